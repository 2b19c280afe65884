"""Where stored values lie: a row-major array each, whose axes are axes of the domain that a kernel loops over.

In: a schedule, a value that is stored, a point of the domain. Out: its distance from the start, in elements.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, integer, mul, sub
from ...ir.diagnostics import CompilerBug
from ...ir.function import Op, Value
from ...ir.kernel import Apply, Expr, Iota
from ...ir.schedule import Schedule
from ...ir.types import Shape
from .points import Lanes, Point, product, times, widen


def strides_of(schedule: Schedule, value: Value) -> list[tuple[int, Expr]]:
    """Each domain axis of a stored value with its distance in elements."""
    return _strides(schedule, value, schedule.shape_of(value))


def _strides(schedule: Schedule, value: Value, shape: Shape) -> list[tuple[int, Expr]]:
    found: dict[int, Expr] = {}
    for position, axis in enumerate(schedule.where[value]):
        if axis is not None:
            found[axis] = product(shape[position + 1 :])
    return list(found.items())


def lies_as_looped(schedule: Schedule, value: Value) -> bool:
    """Whether a stored value's elements follow each other in memory as the domain is looped over."""
    order = [axis for axis in schedule.where[value] if axis is not None]
    return order == sorted(schedule.looped)


def index_of(schedule: Schedule, value: Value, point: Point) -> tuple[Expr, int]:
    """Where `value` lies in its buffer at `point`, and how many lanes it has there. A scalar index with several lanes
    means consecutive elements."""
    return _within(schedule, value, value, point)


def index_at(strides: Sequence[tuple[int, Expr]], point: Point) -> tuple[Expr, int]:
    """The same where the distances along axes of the domain are known."""
    offset: Expr = integer(0)
    lanes: list[Expr] = []
    width, contiguous, counts = 1, True, False
    for axis, stride in strides:
        coordinate = point[axis]
        if isinstance(coordinate, Lanes):
            offset = add(offset, mul(coordinate.base, stride))
            width = coordinate.width
            if stride == integer(1):
                counts = True
            elif width > 1:
                contiguous = False
                lanes.append(times(Iota("i64", width), stride))
        elif coordinate.width > 1:
            width, contiguous = coordinate.width, False
            lanes.append(times(coordinate, stride))
        else:
            offset = add(offset, mul(coordinate, stride))
    if contiguous:
        return offset, width
    if not any(isinstance(lane, Apply) or lane.width > 1 for lane in lanes):
        raise CompilerBug("a gathered load without lanes")
    indices: Expr = widen(offset, width)
    for lane in [*lanes, *([Iota("i64", width)] if counts else [])]:
        indices = Apply("add", (indices, lane), "i64", width)
    return indices, width


def place_of(schedule: Schedule, check: Op, point: Point) -> tuple[Expr, int]:
    """Where a check is at `point`, and how many lanes it has there: in its window, if it is in one."""
    return _within(schedule, check, check.operands[0], point)


def _within(schedule: Schedule, what: Op | Value, value: Value, point: Point) -> tuple[Expr, int]:
    """Where a value is in an array as large as its window, if it is in one."""
    shape, axis, start = schedule.places.get(what, (value.type.shape, 0, 0))
    index, width = index_at(_strides(schedule, value, shape), point)
    before = product((start, *shape[axis + 1 :]))
    if index.width == 1 or before == integer(0):
        return sub(index, before), width
    return Apply("sub", (index, widen(before, index.width)), "i64", index.width), width
