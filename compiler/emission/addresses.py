"""Where stored values lie: a row-major array each, whose axes are axes of the domain that a kernel loops over.

In: a schedule, a value that is stored, a point of the domain. Out: its distance from the start, in elements.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, integer, mul
from ...ir.diagnostics import CompilerBug
from ...ir.function import Value
from ...ir.kernel import Apply, Expr, Iota
from ...ir.schedule import Schedule
from .points import Lanes, Point, product, times, widen


def strides_of(schedule: Schedule, value: Value) -> list[tuple[int, Expr]]:
    """Each domain axis of a stored value with its distance in elements."""
    found: dict[int, Expr] = {}
    shape = schedule.in_memory(value).type.shape
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
    return index_at(strides_of(schedule, value), point, start_of(schedule, value))


def start_of(schedule: Schedule, value: Value) -> Expr:
    """Where the first element of `value` lies in its buffer: behind what is before its window."""
    if value not in schedule.windows:
        return integer(0)
    op = schedule.windows[value]
    before = op.attributes["start" if op.name == "slice" else "before"]
    return product((before, *op.result.type.shape[op.attributes["axis"] + 1 :]))


def index_at(strides: Sequence[tuple[int, Expr]], point: Point, start: Expr | None = None) -> tuple[Expr, int]:
    """The same where the distances along axes of the domain are known, and where the first element lies."""
    offset: Expr = integer(0) if start is None else start
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
