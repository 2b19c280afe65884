"""Which pass over a row does what could be done in several: sums, stores and checks go where their inputs are read
anyway.

In: a schedule, whose levels say how early everything is possible. Out: the pass of each reduction, stored value and
check. The sum of the target's probabilities can be taken while the maximum of the logits is; but the pass after that
reads the target too, and what only passes side by side read leaves the first-level cache in between (cross-entropy of
distributions, 16384 x 1024: 0.77 of the time).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ir.function import Op, Value
from ...ir.schedule import Schedule
from ..ancestors import ancestors
from ..costs import COSTLY

Task = Op | Value
"""A row reduction, a sum over everything or a check, done at every element; or a value that is stored there."""


def places(schedule: Schedule) -> Mapping[Task, int]:
    """The pass that does each task: the earliest of those that make the fewest passes read the fewest inputs. Results
    of costly operations are taken to be kept from the first pass that computes them, which is about what `keeping.py`
    decides once the passes are known."""
    latest = _latest(schedule)
    reads: list[set[Value]] = [set() for _ in range(schedule.stages)]
    found: dict[Task, int] = {}
    # What has no choice first: others join it.
    for task in sorted(latest, key=lambda task: latest[task] - _earliest(schedule, task)):
        first = _earliest(schedule, task)
        own = {number: _inputs(schedule, _value(task), number) for number in range(first, latest[task] + 1)}
        found[task] = min(own, key=lambda number: (len(own[number] - reads[number]), number))
        reads[found[task]] |= own[found[task]]
    return found


def _value(task: Task) -> Value:
    return task if isinstance(task, Value) else task.operands[0]


def _earliest(schedule: Schedule, task: Task) -> int:
    return schedule.stage[_value(task)]


def _latest(schedule: Schedule) -> dict[Task, int]:
    """The last pass that may do each task: for a row reduction, the one before all that looks at its result."""
    last = schedule.stages - 1
    at_elements: list[Task] = [*schedule.row_reductions, *schedule.element_outputs, *schedule.element_sums,
                               *schedule.element_checks, *schedule.across]  # fmt: skip
    at_rows: list[Task] = [*schedule.row_outputs, *(op for op in (*schedule.whole_reductions, *schedule.checks)
                                                    if op not in at_elements)]  # fmt: skip
    found: dict[Task, int] = dict.fromkeys(at_elements, last)
    # A value of a row is computed once the pass before its level is done, or the first.
    needs = [(task, _earliest(schedule, task) - 1) for task in at_elements]
    needs += [(task, max(0, _earliest(schedule, task) - 1)) for task in at_rows]
    for task, number in needs:
        for op in _reductions_behind(schedule, _value(task)):
            found[op] = min(found[op], number)
    return found


def _reductions_behind(schedule: Schedule, value: Value) -> Iterable[Op]:
    """The row reductions that a value looks at, not those behind them."""
    seen = ancestors([value], schedule.producer, {op.result for op in schedule.row_reductions})
    return [op for op in schedule.row_reductions if op.result in seen]


def _inputs(schedule: Schedule, value: Value, number: int) -> set[Value]:
    """The inputs that pass `number` reads at every element for a value."""
    known = {op.result for op in schedule.function.ops if op.name in COSTLY and schedule.stage[op.result] < number
             and schedule.varies[op.result] == schedule.looped}  # fmt: skip
    known.update(op.result for op in schedule.row_reductions)
    seen = ancestors([value], schedule.producer, known, elsewhere=False)
    return {v for v in schedule.function.inputs if v in seen and schedule.varies[v] == schedule.looped}
