"""Comparisons of a column's number with sizes, and the stretches of columns along which their outcome is known.

What runs along windows of an array under masks (`fusion/masks.py`) is computed stretch by stretch: where a mask does
not hold, nothing is read or computed for it, and where it does, nobody asks.

In: a schedule; loops over vectors of columns. Out: the same in several parts, each with what is known there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cmp_to_key
from itertools import combinations, pairwise

from ...ir.arithmetic import ceil_div, div, integer, maximum, minimum, mul
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Const, Expr
from ...ir.ops import VIEWS, read_here
from ...ir.schedule import Schedule
from ...ir.types import DimLike, add_dims, is_at_most, multiply_dims, subtract_dims
from ..numbers import COUNTED
from .points import size_of

MOST_STRETCHES = 64
"""Each is a loop of its own, to be compiled."""

End = DimLike | float
"""A column, or infinity."""


@frozen
class Marks:
    """`between`: conditions that hold from one column to before another, each with the axis. `last`: what the kernel
    reduces, checks and stores."""

    between: Mapping[Value, tuple[int, End, End]]
    schedule: Schedule
    last: Sequence[Value]


Known = Mapping[Value, Expr]
"""Conditions with their truth."""


@frozen
class Stretch:
    """Columns along which some conditions are `known`; `edge`: a vector at the most."""

    start: Expr
    stop: Expr
    known: Known = field(default_factory=dict)
    edge: bool = False

    def may_have(self, least: float, most: float) -> bool:
        """Whether a column between two numbers may be one of these."""
        after = isinstance(self.start, Const) and self.start.value > most
        before = isinstance(self.stop, Const) and self.stop.value <= least
        return not (after or before)


def marks_of(schedule: Schedule) -> Marks:
    """The conditions of a schedule that compare a column's number with constants and sizes."""
    producer, found = schedule.producer, dict[Value, tuple[int, End, End]]()
    for op in schedule.function.ops:
        if op.name in ("ge", "lt"):
            place, limit = producer.get(op.operands[0]), _column(op.operands[1], producer)
            if place is None or place.name != "iota" or place.result.type.dtype not in COUNTED:
                continue  # others may begin anew
            axis = schedule.axis_of(place, place.result)
            if axis is not None and limit is not None:
                found[op.result] = (axis, limit, math.inf) if op.name == "ge" else (axis, 0, limit)
        elif op.name == "and" and all(operand in found for operand in op.operands):
            (axis, *a), (other, *b) = (found[operand] for operand in op.operands)
            first, end = _in_order([a[0], b[0]]), _in_order([a[1], b[1]])
            if axis == other and first and end:
                found[op.result] = axis, first[-1], end[0]
    last = [op.operands[0] for op in (*schedule.row_reductions, *schedule.whole_reductions, *schedule.checks,
                                      *schedule.across)]  # fmt: skip
    return Marks(found, schedule, [*last, *schedule.element_outputs])


def _column(value: Value, producer: Mapping[Value, Op]) -> DimLike | None:
    """The column that a constant or a size is; none comes before the first."""
    op = producer.get(value)
    if op is not None and op.name == "constant":
        return max(0, op.attributes["value"])
    # A size may not fit into other types.
    while op is not None and (op.name == "broadcast" or (op.name == "cast" and op.result.type.dtype in COUNTED)):
        op = producer.get(op.operands[0])
    return multiply_dims(op.attributes["of"]) if op is not None and op.name == "size" else None


def _at_most(a: End, b: End) -> bool:
    """Whether it is known that a column does not come after another."""
    return isinstance(b, float) or (not isinstance(a, float) and is_at_most(a, b))


def _in_order(columns: Iterable[End]) -> list[End]:
    """Columns from left to right; none if it is not known which come first."""
    each = list(dict.fromkeys(columns))
    if not all(_at_most(a, b) or _at_most(b, a) for a, b in combinations(each, 2)):
        return []
    return sorted(each, key=cmp_to_key(lambda a, b: -1 if _at_most(a, b) else 1))


Own = Mapping[Value, tuple[End, End]]
"""The conditions along one axis."""


def _along(marks: Marks, axis: int) -> tuple[Own, list[DimLike]]:
    """The conditions along an axis, and at which columns they change, in order; none if that is not known."""
    own = {value: (first, end) for value, (along, first, end) in marks.between.items() if along == axis}
    ordered = _in_order([0, *(column for ends in own.values() for column in ends)])
    columns = [column for column in ordered if not isinstance(column, float)]
    return (own, columns) if columns else ({}, [])


def stretches(marks: Marks, axis: int, start: Expr, stop: Expr, width: int = 1, slack: int = 0) -> list[Stretch]:
    """The vectors from `start` to `stop` in parts: those that lie on one side of all marks, and those on a mark. Each
    may lie so much `slack` behind where it is counted."""
    own, columns = _along(marks, axis)
    whole = [Stretch(start, stop)]
    if not own or not isinstance(start, Const):
        return whole
    if isinstance(stop, Const) and all(isinstance(column, int) for column in columns):
        cuts = _cuts(columns, int(start.value), int(stop.value), width, slack)
        found = [Stretch(integer(a), integer(b), _known(own, a, b + slack)) for a, b in pairwise(cuts)]
    else:
        found = whole if slack or start.value else _one_by_one(own, columns, stop, width)
    return found if len(found) < MOST_STRETCHES else whole


def _cuts(columns: Sequence[DimLike], low: int, high: int, width: int, slack: int) -> list[int]:
    """The first and the last vector that a mark may lie in, for all marks."""
    cuts = {low, high}
    for column in columns:
        assert isinstance(column, int)
        before = (column - slack - low) // width * width + low
        behind = -(-(column - low) // width) * width + low
        cuts |= {cut for cut in (before, behind) if low < cut < high}
    return sorted(cuts)


def _one_by_one(own: Own, columns: Sequence[DimLike], stop: Expr, width: int) -> list[Stretch]:
    """The same where columns have names: a part may be empty, and what is known on a mark is nothing."""
    found: list[Stretch] = []
    at: Expr = integer(0)
    for column, following in pairwise([*columns, math.inf]):
        end = before = stop
        if not isinstance(following, float):
            place, lanes = size_of(following), integer(width)
            before = maximum(at, minimum(stop, mul(div(place, lanes), lanes)))
            end = maximum(at, minimum(stop, mul(ceil_div(place, lanes), lanes)))
        found.append(Stretch(at, before, _known(own, column, following)))
        if before != end:
            found.append(Stretch(before, end, edge=True))
        at = end
    return found


def _known(own: Own, low: End, high: End) -> dict[Value, Expr]:
    """Which conditions hold at all columns from `low` to `high`, and which at none."""
    found: dict[Value, Expr] = {}
    for value, (first, end) in own.items():
        if _at_most(first, low) and _at_most(high, end):
            found[value] = Const(True, "bool")
        elif _at_most(high, first) or _at_most(end, low):
            found[value] = Const(False, "bool")
    return found


def known_at(marks: Marks, axis: int, column: Expr, width: int = 1) -> Known:
    """What is known at so many columns from one on, if that is a number."""
    own, _ = _along(marks, axis)
    return _known(own, int(column.value), int(column.value) + width) if isinstance(column, Const) else {}


def read_where(op: Op, known: Known) -> tuple[Value, ...]:
    """The operands that an operation reads at the point of its result where conditions are known: of a choice that is
    made, one."""
    if op.name == "select" and isinstance(condition := known.get(op.operands[0]), Const):
        return (op.operands[1 if condition.value else 2],)
    return read_here(op)


def constant_in(marks: Marks, value: Value, known: Known) -> float | None:
    """The constant that a value is where some conditions are known, if it is one."""
    op = marks.schedule.producer.get(value)
    while op is not None and op.name in ("select", *VIEWS):
        taken = read_where(op, known)
        op = marks.schedule.producer.get(taken[0]) if len(taken) == 1 else None
    return op.attributes["value"] if op is not None and op.name == "constant" else None


def needed_in(marks: Marks, known: Known) -> set[Value]:
    """What the kernel computes or reads where some conditions are known, in whichever pass."""
    pending, seen = list(marks.last), set[Value]()
    while pending:
        value = pending.pop()
        if value not in seen:
            seen.add(value)
            if (op := marks.schedule.producer.get(value)) is not None:
                pending += read_where(op, known)
    return seen


@frozen
class Run:
    """Columns from one mark to the next."""

    low: DimLike
    high: DimLike
    known: Known

    def holds(self, column: float) -> bool:
        """Whether a number is one of these columns, if they are numbers."""
        low, high = self.low, self.high
        return isinstance(low, int) and isinstance(high, int) and low <= column < high

    @property
    def length(self) -> DimLike:
        found = subtract_dims(self.high, self.low)
        assert found is not None
        return found


def runs_of(marks: Marks, axis: int) -> list[Run]:
    """The runs of an axis that has marks; none where it is not known in which order these come."""
    size, (own, columns) = marks.schedule.axes[axis], _along(marks, axis)
    if not own or len(columns) > MOST_STRETCHES or not all(is_at_most(a, size) or is_at_most(size, a) for a in columns):
        return []
    ends = [*(column for column in columns if column != size and is_at_most(column, size)), size]
    return [Run(low, high, _known(own, low, high)) for low, high in pairwise(ends)]


def columns_read(marks: Marks, axis: int, value: Value) -> DimLike | None:
    """Along how many columns an input is read, or picked as one of them; None: along all."""
    producer = marks.schedule.producer
    picks = (producer.get(op.operands[1]) for op in marks.schedule.function.ops
             if op.name == "gather" and op.operands[0] is value)  # fmt: skip
    alone = {op.attributes["value"] for op in picks if op is not None and op.name == "constant"}
    total: DimLike | None = 0
    for run in (runs := runs_of(marks, axis)):
        read = run.length if value in needed_in(marks, run.known) else sum(map(run.holds, alone))
        total = None if total is None else add_dims(total, read)
    return total if runs else None


def idle_columns(marks: Marks, axis: int) -> tuple[Sequence[tuple[DimLike, DimLike]], Known] | None:
    """Where a kernel reads elements along an axis, from which column to which; and what is known of all other columns.
    None if there are no others, or if all are."""
    runs, idle = _busy_and_idle(marks, axis)
    busy: list[tuple[DimLike, DimLike]] = []
    for run in runs:
        if busy and busy[-1][1] == run.low:
            busy[-1] = busy[-1][0], run.high
        else:
            busy.append((run.low, run.high))
    return (busy, _of_all(idle)) if idle and busy else None


def lone_window(marks: Marks, axis: int) -> tuple[Run, Known] | None:
    """The columns along which a kernel reads elements, and what is known of the others; None if there are no others, or
    if a mark lies between them."""
    busy, idle = _busy_and_idle(marks, axis)
    return (busy[0], _of_all(idle)) if idle and len(busy) == 1 else None


def _busy_and_idle(marks: Marks, axis: int) -> tuple[list[Run], list[Run]]:
    """The runs in which a kernel reads elements along an axis, and the others."""
    inputs = {value for value in marks.schedule.function.inputs if axis in marks.schedule.varies[value]}
    found: tuple[list[Run], list[Run]] = [], []
    for run in runs_of(marks, axis):
        found[inputs.isdisjoint(needed_in(marks, run.known))].append(run)
    return found


def _of_all(runs: Sequence[Run]) -> Known:
    """What is known in all of them."""
    return {value: truth for value, truth in runs[0].known.items()
            if all(each.known.get(value) == truth for each in runs)}  # fmt: skip
