"""Where a row lives between two passes of a work-group: in registers, then in local memory, else in global memory.

In: a schedule and the figures of a device. Out: a `Layout`: how many items share a row, how many rows a group takes,
how many vectors of the row each item keeps in registers and in local memory. A row that fits is read once.

    a row of                     items of a row                    kept by each item
    4 KiB or less                up to a warp, several rows a      what it reads
                                 group
    up to 64 values an item      the fewest for 32 values, from    registers, as many as the register file gives each
                                 two warps to eight; then 512,     item beside 24 for the arithmetic
                                 then 1024
    a little more                1024                              registers, and local memory for what is left
    more                         256                               nothing: the row is read again (`online`)

What is kept are costly values that several passes need, and the inputs that several passes read; two values of which
one is last needed where the other is first computed take turns, so that cross-entropy keeps one value an element: the
logit, then its exponential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir.frozen import frozen
from ...ir.function import Value
from ...ir.kernel import register_dtype
from ...ir.schedule import Schedule
from ...ir.target import KIB, DeviceInfo
from ...ir.types import ITEM_SIZE, DimLike
from ..costs import COSTLY
from ..emission.emit import Emitter
from ..rows.stages import Stage, inputs_read
from .meeting import meeting_bytes

WARP = 32
GROUP = 256
LARGEST_GROUP = 1024
SHORT_BYTES = 4 * KIB
"""Rows up to here are one warp's."""
VALUES = 32
"""Elements that an item has where there are items enough."""
MOST_VALUES = 64
OTHER_REGISTERS = 24
ASSUMED_REGISTER_FILE = 128 * KIB
MOST_UNROLLED = 16
"""Vectors of a row that one item visits one after the other, without a loop."""
VECTOR_BYTES = 16


@frozen
class Held:
    """An element value that is kept from pass `first` until pass `last`."""

    value: Value
    first: int
    last: int


@frozen
class Layout:
    """`lanes` items a row, `rows` rows a group at a time, vectors of `width`. Of an item's vectors `registers` are kept
    in registers and the next `local` in local memory, as `held` says; the others are visited in a loop, and read again.
    """

    lanes: int
    rows: int
    width: int
    registers: int
    local: int
    looped: bool
    held: tuple[Held, ...] = ()

    @property
    def size(self) -> int:
        return self.lanes * self.rows

    @property
    def vectors(self) -> int:
        """Vectors that an item visits without a loop."""
        return self.registers + self.local

    @property
    def tier(self) -> str:
        """Where a row waits, in words."""
        if self.looped:
            return "read again in every pass"
        if not self.held:
            return "read once"
        places = ["registers"] * bool(self.registers) + ["local memory"] * bool(self.local)
        return f"kept in {' and '.join(places)} between the passes"


def held_values(emitter: Emitter, stages: Sequence[Stage]) -> tuple[Held, ...]:
    """What several passes need: costly values, then the inputs that are still read twice."""
    schedule = emitter.schedule
    held: list[Held] = []
    for op in schedule.function.ops:
        if op.name not in COSTLY or schedule.varies[op.result] != schedule.looped or op.result in schedule.finished:
            continue
        uses = [stage.number for stage in stages if stage.needs(op.result)]
        if len(uses) > 1:
            held.append(Held(op.result, uses[0], uses[-1]))
    for value in schedule.function.inputs:
        uses = [stage.number for stage in stages if value in _inputs_of(schedule, stage, held)]
        if len(uses) > 1:
            held.append(Held(value, uses[0], uses[-1]))
    return tuple(held)


def _inputs_of(schedule: Schedule, stage: Stage, held: Sequence[Held]) -> list[Value]:
    """The inputs of which a pass reads every element, where it finds the values that earlier passes kept."""
    known = [each.value for each in held if each.first < stage.number]
    return inputs_read(schedule, stage, known, [each.value for each in held if each.first == stage.number])


def words_held(held: Sequence[Held]) -> int:
    """The most 4-byte words of one element that are alive between two passes."""
    last = max((each.last for each in held), default=0)
    return max((sum(_words(each.value) for each in held if each.first <= gap < each.last) for gap in range(last)),
               default=0)  # fmt: skip


def seats(held: Sequence[Held]) -> list[list[Value]]:
    """Values that take turns in one place, each first computed where the one before is last needed."""
    found: list[list[Held]] = []
    for each in sorted(held, key=lambda other: other.first):
        free = (seat for seat in found if seat[-1].last <= each.first and _dtype(seat[-1].value) == _dtype(each.value))
        seat = next(free, None)
        if seat is None:
            found.append([each])
        else:
            seat.append(each)
    return [[each.value for each in seat] for seat in found]


def _dtype(value: Value) -> str:
    return register_dtype(value.type.dtype)


def _words(value: Value) -> int:
    return max(1, ITEM_SIZE[_dtype(value)] // 4)


def vector_of(schedule: Schedule, device: DeviceInfo, columns: DimLike) -> int:
    """Lanes of a vector of 16 bytes of what has the widest elements; fewer where they do not divide the row, or where
    the device is to have shorter ones."""
    streamed = [v for v in (*schedule.function.inputs, *schedule.element_outputs)
                if schedule.varies[v] == schedule.looped]  # fmt: skip
    widest = max((ITEM_SIZE[value.type.dtype] for value in streamed), default=4)
    width = min(VECTOR_BYTES // max(2, widest), 2 * device.vector_width if device.vector_width > 1 else 1)
    while isinstance(columns, int) and columns % width:
        width //= 2
    return width


def group_size(device: DeviceInfo, most: int = GROUP) -> int:
    """The largest work-group, of `most` items or fewer: a power of two."""
    return 1 << (min(most, device.max_work_group_size).bit_length() - 1)


def values_for(device: DeviceInfo, size: int) -> int:
    """Words that each item of a group can keep in registers."""
    registers = (device.register_file or ASSUMED_REGISTER_FILE) // 4 // max(size, GROUP)
    return max(0, min(MOST_VALUES, registers - OTHER_REGISTERS))


def layout_of(emitter: Emitter, stages: Sequence[Stage], columns: int, width: int, device: DeviceInfo) -> Layout:
    """The layout for rows of a known length, which `width` divides."""
    held = held_values(emitter, stages)
    words = words_held(held)
    vectors = max(1, columns // width)
    most = group_size(device, LARGEST_GROUP)
    while most > GROUP and local_for_meetings(emitter.schedule, stages, most, most) > device.local_memory:
        most //= 2
    small = min(GROUP, most)
    if not words:
        lanes = _lanes_for(vectors, columns, small)
        each = -(-vectors // lanes)
        return _with_rows(Layout(lanes, 1, width, each, 0, False) if each <= MOST_UNROLLED
                          else Layout(lanes, 1, width, 0, 0, True), small)  # fmt: skip
    lanes = _lanes_for(vectors, columns * words, small)
    while lanes < most and -(-vectors // lanes) * width * words > values_for(device, lanes):
        lanes *= 2
    each = -(-vectors // lanes)
    registers = min(each, values_for(device, lanes) // (width * words))
    if registers == each:
        return _with_rows(Layout(lanes, 1, width, registers, 0, False, held), small)
    room = device.local_memory - local_for_meetings(emitter.schedule, stages, lanes, lanes)
    bytes_each = sum(4 * _words(seated[0]) for seated in seats(held))
    local = each - registers
    if local * lanes * width * bytes_each <= room:
        return Layout(lanes, 1, width, registers, local, False, held)
    return Layout(small, 1, width, 0, 0, True)


def _lanes_for(vectors: int, words: int, most: int) -> int:
    """The fewest items that have no more than VALUES of a row each; a warp at the most where the row is short."""
    least = min(WARP, 1 << (vectors - 1).bit_length(), most)
    if words * 4 <= SHORT_BYTES:
        return least
    lanes = least
    while lanes < most and words > lanes * VALUES:
        lanes *= 2
    return lanes


def _with_rows(layout: Layout, most: int) -> Layout:
    return replace(layout, rows=max(1, most // layout.lanes))


def local_for_meetings(schedule: Schedule, stages: Sequence[Stage], size: int, lanes: int) -> int:
    reductions = [len(stage.reductions) for stage in stages]
    dtypes = {register_dtype(op.result.type.dtype) for op in (*schedule.row_reductions, *schedule.whole_reductions)}
    item = max((ITEM_SIZE[dtype] for dtype in dtypes), default=4)
    return meeting_bytes(size, lanes, reductions, len(schedule.whole_reductions), item)
