"""Neighbouring axes of a schedule as one loop: fewer loops, and longer ones.

In: a schedule. Out: the same with every two axes joined that lie side by side in memory wherever they occur.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.function import Op
from ...ir.ops import WINDOWS, read_elsewhere
from ...ir.schedule import Refusal, Schedule
from ...ir.types import multiply_dims


def collapse(schedule: Schedule | Refusal) -> Schedule | Refusal:
    """Join neighbouring axes that every value has together or not at all: one loop instead of two."""
    if isinstance(schedule, Refusal) or schedule.matmul is not None:
        return schedule
    axis = 0
    while axis + 1 < len(schedule.axes):
        if _together(schedule, axis):
            schedule = _joined(schedule, axis)
        else:
            axis += 1
    return schedule


def _together(schedule: Schedule, axis: int) -> bool:
    both = {axis, axis + 1}
    for group in (schedule.looped, schedule.reduced, *schedule.varies.values()):
        if len(both & group) == 1:
            return False
    for own in schedule.where.values():
        present = [a for a in own if a in both]
        if present and (set(present) != both or own.index(axis) > own.index(axis + 1) or _between(own, axis)):
            return False
    return not any(both & _indexed_axes(schedule, op) for op in schedule.function.ops)


def _between(own: tuple[int | None, ...], axis: int) -> bool:
    """Whether a long axis lies between the last place of `axis` and the first of the next."""
    last = max(i for i, a in enumerate(own) if a == axis)
    return any(a is not None for a in own[last + 1 : own.index(axis + 1)])


def _indexed_axes(schedule: Schedule, op: Op) -> set[int | None]:
    """The axes along which it matters to an operation where it is."""
    values = (*op.results, *op.operands) if op.name in WINDOWS else op.results if op.name == "iota" else ()
    values = read_elsewhere(op) if op.name == "gather" else values
    return {schedule.axis_of(op, value) for value in values}


def _joined(schedule: Schedule, axis: int) -> Schedule:
    def renumber(a: int | None) -> int | None:
        return a if a is None or a <= axis else a - 1

    def renumber_set(group: frozenset[int]) -> frozenset[int]:
        return frozenset(a if a <= axis else a - 1 for a in group)

    sizes = schedule.axes
    merged = (*sizes[:axis], multiply_dims(sizes[axis : axis + 2]), *sizes[axis + 2 :])
    return replace(
        schedule,
        axes=merged,
        looped=renumber_set(schedule.looped),
        reduced=renumber_set(schedule.reduced),
        where={value: tuple(renumber(a) for a in own) for value, own in schedule.where.items()},
        varies={value: renumber_set(group) for value, group in schedule.varies.items()},
    )
