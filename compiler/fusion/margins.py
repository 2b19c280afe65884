"""Results with margins: a kernel computes a row, and stores it within a longer one.

The gradient of a loss of `x[:, 100:900]` is such a row with zeros around. As an operation of the kernel, `pad` has a
loop of its own along the longer row, which would look at values that wait for the row reductions. But what nobody in
the kernel reads is a matter of addresses: the row is stored where it lies within the longer one, and what is beside it
when that is done. So is a slice of an input of which the kernel reads nothing else.

In: a function that is to be one kernel. Out: the same without these `pad`s and slices, and what lies within what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ...ir.function import Function, Op, Value
from ...ir.schedule import Refusal, Schedule


def without_windows(function: Function) -> tuple[Function, Mapping[Value, Op]]:
    """The function that gives what each last `pad` looks at in its place, and takes the slices of inputs in theirs; and
    the `pad` or slice of each such value. Nothing of it where nothing has margins."""
    margins: dict[Value, Op] = {}
    readers = Counter(operand for op in function.ops for operand in set(op.operands))
    for op in function.ops:
        if op.name == "pad" and op.result in function.outputs and not readers[op.result]:
            (inside,) = op.operands
            if inside not in (*function.inputs, *function.outputs, *margins):
                margins[inside] = op
    slices = {op.result: op for op in function.ops
              if margins and op.name == "slice" and op.operands[0] in function.inputs and readers[op.operands[0]] == 1
              and not {*op.operands, op.result} & {*function.outputs, *margins}}  # fmt: skip
    within = {op.operands[0]: value for value, op in slices.items()}
    within |= {op.result: value for value, op in margins.items()}
    windows = {**slices, **margins}
    ops = tuple(op for op in function.ops if op not in windows.values())
    inputs, outputs = (tuple(within.get(v, v) for v in values) for values in (function.inputs, function.outputs))
    return function.with_(inputs=inputs, ops=ops, outputs=outputs), windows


def refusal_of_margins(schedule: Schedule) -> Refusal | None:
    """Margins lie at the ends of rows, and columns side by side."""
    if schedule.margins and (schedule.matmul is not None or len(schedule.looped) < 2):
        return Refusal("margins are stored with rows")
    for value, op in schedule.margins.items():
        own = [axis for axis in schedule.where[value] if axis is not None]
        along = schedule.where[value][op.attributes["axis"]]
        columns = schedule.reduced or {max(schedule.looped)}
        if value not in schedule.element_outputs or columns != {along} or own[-1] != along:
            return Refusal(f"the margins of %{op.result.name} are not at the ends of rows")
    return None
