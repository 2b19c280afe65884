"""Results with margins: a kernel computes a row, and stores it within a longer one.

The gradient of a loss of `x[:, 100:900]` is such a row with zeros around. As an operation of the kernel, `pad` has a
loop of its own along the longer row, which would look at values that wait for the row reductions. But what nobody in
the kernel reads is a matter of addresses: the row is stored where it lies within the longer one, and what is beside it
when that is done.

In: a function that is to be one kernel. Out: the same without its last `pad`s, and which result lies within which.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.function import Function, Op, Value
from ...ir.schedule import Refusal, Schedule


def without_margins(function: Function) -> tuple[Function, Mapping[Value, Op]]:
    """The function that gives what each last `pad` looks at in its place, and the `pad` of each such result."""
    read = {operand for op in function.ops for operand in op.operands}
    margins: dict[Value, Op] = {}
    for op in function.ops:
        if op.name == "pad" and op.result in function.outputs and op.result not in read:
            (inside,) = op.operands
            if inside not in (*function.inputs, *function.outputs, *margins):
                margins[inside] = op
    within = {op.result: inside for inside, op in margins.items()}
    ops = tuple(op for op in function.ops if not within.keys() & set(op.results))
    return function.with_(ops=ops, outputs=tuple(within.get(value, value) for value in function.outputs)), margins


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
