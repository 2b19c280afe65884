"""Single elements that rows pick, fetched some rows ahead.

A row that reads one element of an input where its label says, and nothing else of that input, waits for memory once: no
processor guesses the place, and the stores of the rows before fill its queue, so that it does not look far ahead.

In: the stages of a schedule and a row. Out: prefetches of what later rows pick.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, integer, minimum, sub
from ...ir.function import Op, Value
from ...ir.kernel import Expr, Prefetch
from ...ir.ops import REDUCTIONS
from ...ir.schedule import Schedule
from ..ancestors import ancestors
from ..emission.emit import Emitter, Scope
from ..emission.points import converted
from .ownership import point_of
from .stages import Stage, inputs_read

AHEAD = 16
"""Rows. Those of the next item, too: it is most often the same core that takes it."""
FIRST_LEVEL = 3


def fetch_picked(
    emitter: Emitter, scope: Scope, row: Expr, rows: Expr, row_axes: Sequence[int], stages: Sequence[Stage]
) -> None:
    """Fetch what the row picks that is `AHEAD` of `row`, or the last of `rows`."""
    schedule = emitter.schedule
    passed = {value for stage in stages for value in inputs_read(schedule, stage)}
    for op in schedule.function.ops:
        if op.name != "gather" or not _has_own_place(schedule, op, frozenset(row_axes)):
            continue
        source, indices = op.operands
        axis = schedule.axis_of(op, source)
        picked = [value for value in _inputs_behind(schedule, source)
                  if value not in passed and {axis} < schedule.varies[value]]  # fmt: skip
        if axis is None or not picked:
            continue
        later = emitter.let(scope, "later", minimum(add(row, integer(AHEAD)), sub(rows, integer(1))))
        there = Scope({v: e for v, e in scope.known.items() if not schedule.varies[v]}, scope.statements)
        point = point_of(emitter, there, later, row_axes)
        emitter.compute([indices], point, there)
        place = converted(there.known[indices], "i64")
        for value in picked:
            index, _ = emitter.index(value, {**point, axis: place})
            scope.statements.append(Prefetch(emitter.buffers[value], index, FIRST_LEVEL))


def _inputs_behind(schedule: Schedule, value: Value) -> list[Value]:
    """Those whose element at the same point the value hangs on: not what lies behind a slice, at another one."""
    seen = ancestors([value], schedule.producer, elsewhere=False)
    return [each for each in schedule.function.inputs if each in seen]


def _has_own_place(schedule: Schedule, op: Op, rows: frozenset[int]) -> bool:
    """Whether each row picks one element, at a place that is read off the row and needs no pass over it."""
    producer, (_, indices) = schedule.producer, op.operands
    names = {producer[value].name for value in ancestors([indices], producer) if value in producer}
    by_rows = all(schedule.varies[value] and schedule.varies[value] <= rows for value in (op.result, indices))
    return by_rows and names.isdisjoint(("gather", "matmul", *REDUCTIONS))
