"""What each row of a kernel would do again: sums of what is the same in every row, such as class weights.

In: the schedule of a merged group. Out: why that would cost too much, or None. It saves a launch and the bytes that
this would read. In the row it costs one operation an element (1.5 % of the time of a weighted, smoothed loss of 32,000
columns, which is least in need of it) as long as the row reads the same anyway, and computes nothing costly of it.
"""

from __future__ import annotations

from ...ir.schedule import Schedule
from ..ancestors import ancestors
from ..costs import COSTLY


def too_much_again(schedule: Schedule) -> str | None:
    """Why a sum that is the same in every row should not be taken in each."""
    repeated = schedule.repeated_reductions
    if not repeated:
        return None
    producer, inputs = schedule.producer, schedule.function.inputs
    reduced = {op.result for op in (*schedule.row_reductions, *schedule.whole_reductions)}
    checked = (op.operands[0] for op in schedule.element_checks)
    others = [*schedule.element_outputs, *checked, *(op.operands[0] for op in schedule.element_sums),
              *(op.operands[0] for op in schedule.row_reductions if op not in repeated)]  # fmt: skip
    # What is only picked from is not read at every element; what rows were reduced to is known.
    read = ancestors(others, producer, reduced, elsewhere=False)
    for op in repeated:
        summed = ancestors([op.operands[0]], producer, reduced, elsewhere=False)
        made = (producer[value].name for value in summed - reduced if value in producer)
        costly = next((name for name in sorted(made) if name in COSTLY), None)
        if costly is not None:
            return f"each row would compute `{costly}` again for %{op.result.name}"
        unread = next((value for value in inputs if value in summed and value not in read), None)
        if unread is not None:
            return f"each row would read %{unread.name} again for %{op.result.name} alone"
    return None
