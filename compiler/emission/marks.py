"""Comparisons of a column's number with constants, and the stretches of columns along which their outcome is known.

What runs along windows of an array under masks (`fusion/masks.py`) is computed stretch by stretch: where a mask does
not hold, nothing is read or computed for it, and where it does, nobody asks.

In: a schedule; loops over vectors of columns, with bounds that are numbers. Out: the same in several parts, each with
what is known there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ...ir.arithmetic import integer
from ...ir.function import Op, Value
from ...ir.kernel import Const, Expr
from ...ir.ops import read_here
from ...ir.schedule import Schedule

MOST_STRETCHES = 64
"""Each is a loop of its own, to be compiled."""


@dataclass(frozen=True)
class Marks:
    """`between`: conditions that hold from one column to before another, each with the axis. `last`: what the kernel
    reduces, checks and stores."""

    between: Mapping[Value, tuple[int, float, float]]
    schedule: Schedule
    last: Sequence[Value]


@dataclass(frozen=True)
class Stretch:
    """Columns along which some conditions are `known`."""

    start: Expr
    stop: Expr
    known: Mapping[Value, Expr] = field(default_factory=dict)

    @property
    def bounds(self) -> tuple[int, int]:
        """Where anything is known: numbers."""
        assert isinstance(self.start, Const)
        assert isinstance(self.stop, Const)
        return int(self.start.value), int(self.stop.value)

    @property
    def length(self) -> int:
        start, stop = self.bounds
        return stop - start

    def may_have(self, least: float, most: float) -> bool:
        """Whether a column between two numbers may be one of these, where anything is known."""
        start, stop = self.bounds
        return start <= most and least < stop


def marks_of(schedule: Schedule) -> Marks:
    """The conditions of a schedule that compare a column's number with constants."""
    producer, found = schedule.producer, dict[Value, tuple[int, float, float]]()
    for op in schedule.function.ops:
        if op.name in ("ge", "lt"):
            place, limit = (producer.get(operand) for operand in op.operands)
            if place is not None and limit is not None and (place.name, limit.name) == ("iota", "constant"):
                if place.result.type.dtype not in ("i32", "i64"):
                    continue  # others may begin anew
                axis, at = schedule.axis_of(place, place.result), limit.attributes["value"]
                if axis is not None:
                    found[op.result] = (axis, at, math.inf) if op.name == "ge" else (axis, -math.inf, at)
        elif op.name == "and" and all(operand in found for operand in op.operands):
            (axis, *a), (other, *b) = (found[operand] for operand in op.operands)
            if axis == other:
                found[op.result] = axis, max(a[0], b[0]), min(a[1], b[1])
    last = [op.operands[0] for op in (*schedule.row_reductions, *schedule.whole_reductions, *schedule.checks,
                                      *schedule.across)]  # fmt: skip
    return Marks(found, schedule, [*last, *schedule.element_outputs])


def stretches(marks: Marks, axis: int, start: Expr, stop: Expr, width: int = 1, slack: int = 0) -> list[Stretch]:
    """The vectors from `start` to `stop` in parts: those that lie on one side of all marks, and those on a mark. Each
    may lie so much `slack` behind where it is counted."""
    own = {value: ends for value, (along, *ends) in marks.between.items() if along == axis}
    if not own or not isinstance(start, Const) or not isinstance(stop, Const):
        return [Stretch(start, stop)]
    low, high = int(start.value), int(stop.value)
    cuts = {low, high}
    for place in {int(place) for ends in own.values() for place in ends if math.isfinite(place)}:
        before = (place - slack - low) // width * width + low
        behind = -(-(place - low) // width) * width + low
        cuts |= {cut for cut in (before, behind) if low < cut < high}
    if len(cuts) > MOST_STRETCHES:
        return [Stretch(start, stop)]
    ends = sorted(cuts)
    return [Stretch(integer(a), integer(b), _known(own, a, b + slack)) for a, b in pairwise(ends)]


def _known(own: Mapping[Value, Sequence[float]], low: int, high: int) -> dict[Value, Expr]:
    """Which conditions hold at all columns from `low` to `high`, and which at none."""
    found: dict[Value, Expr] = {}
    for value, (first, end) in own.items():
        if first <= low and high <= end:
            found[value] = Const(True, "bool")
        elif high <= first or end <= low:
            found[value] = Const(False, "bool")
    return found


def read_where(op: Op, known: Mapping[Value, Expr]) -> tuple[Value, ...]:
    """The operands that an operation reads at the point of its result where conditions are known: of a choice that is
    made, one."""
    if op.name == "select" and isinstance(condition := known.get(op.operands[0]), Const):
        return (op.operands[1 if condition.value else 2],)
    return read_here(op)


def needed_in(marks: Marks, stretch: Stretch) -> set[Value]:
    """What the kernel computes or reads along a stretch, in whichever pass."""
    pending, seen = list(marks.last), set[Value]()
    while pending:
        value = pending.pop()
        if value not in seen:
            seen.add(value)
            if (op := marks.schedule.producer.get(value)) is not None:
                pending += read_where(op, stretch.known)
    return seen


def all_stretches(marks: Marks, axis: int) -> list[Stretch]:
    """The stretches of an axis of known size that has marks; else none."""
    size = marks.schedule.axes[axis]
    if not isinstance(size, int) or not any(along == axis for along, *_ in marks.between.values()):
        return []
    return stretches(marks, axis, integer(0), integer(size))


def columns_read(marks: Marks, axis: int, value: Value) -> int | None:
    """Along how many columns an input is read, or picked as one of them; None: along all."""
    found = all_stretches(marks, axis)
    if not found:
        return None
    producer = marks.schedule.producer
    picks = (producer.get(op.operands[1]) for op in marks.schedule.function.ops
             if op.name == "gather" and op.operands[0] is value)  # fmt: skip
    alone = {op.attributes["value"] for op in picks if op is not None and op.name == "constant"}
    return sum(each.length if value in needed_in(marks, each) else sum(each.may_have(at, at) for at in alone)
               for each in found)  # fmt: skip


def idle_columns(marks: Marks, axis: int) -> tuple[Sequence[tuple[int, int]], Stretch] | None:
    """Where a kernel reads elements along an axis, from which column to which; and what is known of all other columns.
    None if there are no others, or if all are."""
    inputs = {value for value in marks.schedule.function.inputs if axis in marks.schedule.varies[value]}
    busy: list[tuple[int, int]] = []
    idle: list[Stretch] = []
    for each in all_stretches(marks, axis):
        if inputs.isdisjoint(needed_in(marks, each)):
            idle.append(each)
            continue
        start, stop = each.bounds
        if busy and busy[-1][1] == start:
            start, _ = busy.pop()
        busy.append((start, stop))
    if not idle or not busy:
        return None
    known = {value: truth for value, truth in idle[0].known.items()
             if all(each.known.get(value) == truth for each in idle)}  # fmt: skip
    return busy, Stretch(idle[0].start, idle[-1].stop, known)
