"""What each row of a kernel would do again: sums of what is the same in every row, such as class weights.

In: the schedule of a merged group. Out: why that would cost too much, or None. It saves a launch and the bytes that
this would read. In the row it costs one operation an element (1.5 % of the time of a weighted, smoothed loss of 32,000
columns, which is least in need of it) as long as the row reads the same anyway, and computes nothing costly of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ir.function import Op, Value
from ...ir.schedule import Schedule
from ..rows.stages import COSTLY


def too_much_again(schedule: Schedule) -> str | None:
    """Why a sum that is the same in every row should not be taken in each."""
    repeated = schedule.repeated_reductions
    if not repeated:
        return None
    producer = schedule.function.producers()
    checked = (op.operands[0] for op in schedule.element_checks)
    others = [*schedule.element_outputs, *checked, *(op.operands[0] for op in schedule.element_sums),
              *(op.operands[0] for op in schedule.row_reductions if op not in repeated)]  # fmt: skip
    read, _ = _behind(others, producer)
    for op in repeated:
        inputs, ops = _behind([op.operands[0]], producer)
        costly = next((inner.name for inner in ops if inner.name in COSTLY), None)
        if costly is not None:
            return f"each row would compute `{costly}` again for %{op.result.name}"
        unread = next((value for value in inputs if value not in read), None)
        if unread is not None:
            return f"each row would read %{unread.name} again for %{op.result.name} alone"
    return None


def _behind(targets: Iterable[Value], producer: Mapping[Value, Op]) -> tuple[set[Value], set[Op]]:
    """The inputs that some values are computed from element by element, and the operations on the way. What is only
    picked from is not read at every element; what rows were reduced to is known."""
    inputs: set[Value] = set()
    ops: set[Op] = set()
    seen: set[Value] = set()
    pending = list(targets)
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        op = producer.get(value)
        if op is None:
            inputs.add(value)
        elif not op.name.startswith("reduce_"):
            ops.add(op)
            pending += op.operands[1:] if op.name == "gather" else op.operands
    return inputs, ops
