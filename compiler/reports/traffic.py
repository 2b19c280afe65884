"""The certificate: the bytes that a program moves to and from memory, and the fewest that any program could.

In: a `Compiled`, and sizes for its dimension names. Out: for each fused kernel what it moves and why, summed over its
launches and pieces; for the program the bound, which is every input that is needed read once and every output written
once.

A kernel reads an input once as long as what lies between two uses of an element fits the cache that a compute unit has
for itself; else once for each use. A loop that the input does not vary along comes back to it after a whole turn of the
loops inside; so does the next pass over a row. Products of matrices read each operand once, and their packed panels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ...ir.frozen import frozen
from ...ir.function import Function, Op, Value
from ...ir.integers import evaluate_integer
from ...ir.kernel import Store, walk_statements
from ...ir.ops import PRIMITIVES
from ...ir.program import Step, Variant, choose_variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE, DimLike, dim_value, multiply_dims
from .. import Compiled
from ..emission.marks import columns_read, marks_of
from ..emission.vectors import vector_width
from ..fused import Fused
from ..rows.phases import phases_of
from ..rows.rescalable import rescalable
from ..rows.stages import stages_of
from ..strategies import row_group, row_parts, row_split
from .loads import bytes_of, passes_of, picks_of
from .report import assumed_sizes, sizes_of_turns

READ, WRITTEN, AGAIN, LATER, HANDED = "read", "written", "read again", "read by a later launch", "handed on"
"""Why bytes move. `read again`: it left the cache before the launch had done with it; `read by a later launch` of the
same kernel, and not all of it fits the cache. `handed on`: written by one launch of a kernel and read by the next, such
as partial sums and packed panels; both ways are counted."""


WHOLE_ROWS = ("row-parts", "row-split")
"""Strategies that begin anywhere in a row."""


@frozen
class Move:
    """Some bytes of one buffer; where dimensions have names, `formula` is what is read or written once."""

    buffer: str
    why: str
    bytes: int
    formula: DimLike | None = None


@frozen
class KernelTraffic:
    """What one fused kernel moves in all its launches. By itself it could do with `fewest`."""

    name: str
    moves: tuple[Move, ...]

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)

    @property
    def fewest(self) -> int:
        return self.because(READ) + self.because(WRITTEN)

    @property
    def ratio(self) -> float:
        return self.bytes / self.fewest if self.fewest else 1.0

    def because(self, why: str) -> int:
        """The bytes that are moved for one reason."""
        return sum(move.bytes for move in self.moves if move.why == why)


@frozen
class Traffic:
    """What a program moves; no program can move less than `fewest`."""

    kernels: tuple[KernelTraffic, ...]
    fewest: int

    @property
    def bytes(self) -> int:
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def ratio(self) -> float:
        return self.bytes / self.fewest if self.fewest else 1.0

    def because(self, why: str) -> int:
        return sum(kernel.because(why) for kernel in self.kernels)


def traffic(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> Traffic:
    """What `compiled` moves at some sizes; named dimensions without a size count as 1024."""
    bound = assumed_sizes(compiled.program, sizes)
    kernels = tuple(_kernel(compiled, step, bound) for step in compiled.program.steps)
    return Traffic(kernels, sum(bytes_of(value, at, bound) for value, at in _needed(compiled.prepared.entry, bound)))


def bytes_needed(compiled: Compiled) -> list[DimLike]:
    """What any program must move, as formulas: every input that is used and every output, once."""
    entry = compiled.prepared.entry
    return [_formula(value, at) for value, at in _needed(entry, assumed_sizes(compiled.program))]


def moves_of(compiled: Compiled, step: Step, sizes: Mapping[str, int]) -> tuple[Move, ...]:
    """What one run of a fused kernel moves, in the variant that some sizes choose."""
    fused, variant = compiled.lowered.fused[step.name], choose_variant(step.variants, sizes)
    return tuple(_moves(fused, variant, compiled.device, sizes))


def _kernel(compiled: Compiled, step: Step, sizes: Mapping[str, int]) -> KernelTraffic:
    total: dict[tuple[str, str], int] = {}
    for times, there in sizes_of_turns(compiled.program, step, sizes):
        for move in moves_of(compiled, step, there):
            key = move.buffer, move.why
            total[key] = total.get(key, 0) + times * move.bytes
    return KernelTraffic(step.name, tuple(Move(*key, count) for key, count in total.items()))


# --- the bound ----------------------------------------------------------------------------------------------


def _needed(entry: Function, sizes: Mapping[str, int]) -> list[tuple[Value, Value]]:
    """Each input that is looked at and each output, with a value that has as many elements as are needed of it: of what
    is only picked from, no more than is picked."""
    picked: dict[Value, list[Value]] = {}
    slices: dict[Value, list[Op]] = {}
    whole = set(entry.outputs)
    for op in reversed(entry.ops):
        if op.name in ("gather", "slice"):
            picked.setdefault(op.operands[0], []).append(op.result)
            slices.setdefault(op.operands[0], []).extend([op] if op.name == "slice" else [])
            whole.update(op.operands[1:])
        elif op.name in PRIMITIVES and PRIMITIVES[op.name].kind == "pointwise" and op.result not in whole:
            # Of what it is computed from no more is needed than is picked of it.
            for operand in op.operands:
                picked.setdefault(operand, []).extend(picked.get(op.result, ()))
        elif op.name != "dim":
            whole.update(op.operands)
    found = [(value, at) for value in entry.inputs
             for at in ([value] if value in whole else
                        _fewer(value, _apart(picked.get(value, []), slices.get(value, [])), sizes))]  # fmt: skip
    known = {value for value, _ in found}
    return found + [(value, value) for value in dict.fromkeys(entry.outputs) if value not in known]


def _apart(picked: Sequence[Value], slices: Sequence[Op]) -> Sequence[Value]:
    """What is picked of an array, with all its slices along one axis as one: they may overlap."""
    bounds = [(op.attributes["start"], op.attributes["stop"]) for op in slices]
    known = all(isinstance(end, int) for pair in bounds for end in pair)
    if len(slices) < 2 or not known or len({op.attributes["axis"] for op in slices}) > 1:
        return picked
    columns = len(set[int]().union(*(range(*pair) for pair in bounds)))
    first, axis = slices[0].result, slices[0].attributes["axis"]
    shape = (*first.type.shape[:axis], columns, *first.type.shape[axis + 1 :])
    others = [value for value in picked if value not in {op.result for op in slices}]
    return [Value(first.name, first.type.with_shape(shape)), *others]


def _fewer(value: Value, picked: Sequence[Value], sizes: Mapping[str, int]) -> Sequence[Value]:
    """What is picked from a value, or all of it if that is less."""
    everything = bytes_of(value, value, sizes)
    return picked if sum(bytes_of(value, at, sizes) for at in picked) < everything else [value]


def _formula(value: Value, at: Value) -> DimLike:
    return multiply_dims([at.type.count, ITEM_SIZE[value.type.dtype]])


# --- one kernel ---------------------------------------------------------------------------------------------

PASS = -1
"""Stands for an axis in a nest: one pass over the row after the other."""

Nest = tuple[tuple[int, int], ...]
"""Loops, outer to inner: axis and trips. An axis may have two loops, one of blocks and one within a block."""


@frozen
class _Loops:
    """The loop nest of a variant, with what its innermost loops have to keep in the cache."""

    schedule: Schedule
    nest: Nest
    sizes: Mapping[str, int]
    beside: int
    """Bytes of private arrays."""
    cached: tuple[Value, ...]
    cache: int

    def fits(self, position: int) -> bool:
        """Whether one turn of the loops inside of that at `position` leaves in the cache what it brought there."""
        inside = self.nest[position + 1 :]
        footprint = sum(self._bytes_inside(value, inside) for value in self.cached)
        return footprint + self.beside <= self.cache

    def _bytes_inside(self, value: Value, inside: Nest) -> int:
        axes = self.schedule.varies[value]
        return math.prod(trips for axis, trips in inside if axis in axes) * ITEM_SIZE[value.type.dtype]

    def readings(self, value: Value, passes: int) -> int:
        """How often the elements of an input come from memory."""
        axes, times = self.schedule.varies[value], 1
        for position, (axis, trips) in enumerate(self.nest):
            uses = passes if axis == PASS else trips
            # The innermost loop is the lanes of a vector: what varies along that alone stays in a register.
            comes_back = axis not in axes and any(a in axes for a, _ in self.nest[position + 1 : -1])
            if comes_back and uses > 1 and not self.fits(position):
                times *= uses
        return times

    def meet(self, values: Sequence[Value]) -> bool:
        """Whether inputs that are one buffer use each element at about the same time."""
        together = 0
        for axis, _ in self.nest:
            places = {self.schedule.where[v].index(axis) if axis in self.schedule.where[v] else None for v in values}
            if axis != PASS and (len(places) > 1 or None in places):
                break
            together += 1
        return self.fits(together - 1)


def _moves(fused: Fused, variant: Variant, device: DeviceInfo, sizes: Mapping[str, int]) -> Iterator[Move]:
    schedule = fused.schedule
    loops = _loops_of(schedule, variant, device, sizes)
    buffers: dict[str, list[Value]] = {}
    for value in schedule.function.inputs:
        buffers.setdefault(fused.buffers[value], []).append(value)
    for name, values in buffers.items():
        yield from _reads(schedule, variant, loops, name, values)
    for value in schedule.function.outputs:
        stored = Value(value.name, value.type.with_shape(schedule.shape_of(value)))
        yield Move(fused.buffers[value], WRITTEN, bytes_of(stored, stored, sizes), _formula(stored, stored))
    for buffer in variant.temporaries:
        yield Move(buffer.name, HANDED, 2 * evaluate_integer(buffer.size, sizes) * ITEM_SIZE[buffer.dtype])


def _reads(
    schedule: Schedule, variant: Variant, loops: _Loops, name: str, values: Sequence[Value]
) -> Iterator[Move]:  # fmt: skip
    """What is read of one buffer. It is several inputs where it is read along several loops."""
    passes, picks, sizes = passes_of(schedule, variant), picks_of(schedule), loops.sizes
    once: list[list[Move]] = []
    again = 0
    for value in values:
        picked = [pick.result for pick in picks if pick.source is value]
        streamed = _times_streamed(schedule, variant, [value in each.loads for each in passes])
        looked_at = _fewer(value, picked, sizes) if picked and not streamed else [_read_of(schedule, variant, value)]
        once.append([Move(name, READ, bytes_of(value, at, sizes), _formula(value, at)) for at in looked_at])
        if streamed and schedule.matmul is None:
            again += (loops.readings(value, streamed) - 1) * sum(move.bytes for move in once[-1])
    once.sort(key=lambda moves: -sum(move.bytes for move in moves))
    yield from once[0]
    if len(values) > 1 and not (schedule.matmul is None and loops.meet(values)):
        again += sum(move.bytes for moves in once[1:] for move in moves)
    if again:
        yield Move(name, AGAIN, again)
    reading = sum(argument.access != "write" for launch in variant.launches
                  for argument, buffer in zip(launch.kernel.buffers, launch.buffers) if buffer == name)  # fmt: skip
    if reading > 1 and not loops.fits(-1):
        yield Move(name, LATER, (reading - 1) * sum(move.bytes for move in once[0]))


def _read_of(schedule: Schedule, variant: Variant, value: Value) -> Value:
    """A value with as many elements as are read of an input: not the columns beside all windows."""
    marks, shape = marks_of(schedule), list(value.type.shape)
    for position, axis in enumerate(schedule.where[value]):
        if axis is not None and variant.strategy not in WHOLE_ROWS:
            columns = columns_read(marks, axis, value)
            shape[position] = shape[position] if columns is None else columns
    return Value(value.name, value.type.with_shape(tuple(shape)))


def _times_streamed(schedule: Schedule, variant: Variant, loads: Sequence[bool]) -> int:
    """In how many passes over a row an input is looked at. A work-group reads a part of a long row once for two passes
    where the sums of one can be rescaled by what the other finds."""
    if not any(row_group.ONLINE in launch.kernel.name for launch in variant.launches):
        return sum(loads)
    phases = phases_of(stages_of(schedule), rescalable(schedule))
    return sum(any(loads[stage.number] for stage in phase.stages) for phase in phases)


def _loops_of(schedule: Schedule, variant: Variant, device: DeviceInfo, sizes: Mapping[str, int]) -> _Loops:
    kernel = variant.launches[0].kernel
    past_cache = any(isinstance(s, Store) and s.nontemporal for s in walk_statements(kernel.body))
    outputs = () if past_cache else (*schedule.element_outputs, *schedule.row_outputs)
    beside = sum(array.size * ITEM_SIZE[array.dtype] for array in kernel.private_arrays)
    return _Loops(schedule, _nest(schedule, variant, device, sizes), sizes, beside,
                  (*schedule.function.inputs, *outputs), device.cache_per_unit)  # fmt: skip


def _nest(schedule: Schedule, variant: Variant, device: DeviceInfo, sizes: Mapping[str, int]) -> Nest:
    """The loops of a variant as its strategy lays them: some rows at a time, in some strategies part of a row."""
    size = {axis: max(1, dim_value(dim, sizes)) for axis, dim in enumerate(schedule.axes)}
    columns = [(axis, size[axis]) for axis in schedule.columns]
    rows = [(axis, size[axis]) for axis in (schedule.rows if schedule.reduced else sorted(schedule.looped))]
    outside: list[tuple[int, int]] = []
    if variant.strategy == "row-parts":
        # A launch a phase, each part in its turn.
        columns = [(axis, min(length, row_parts.PART[device.kind])) for axis, length in columns]
    if not rows:
        return ((PASS, 1), *columns)
    last, count = rows[-1]
    width = vector_width(schedule, device, schedule.axes[last])
    together = min(count, _rows_abreast(variant.strategy, width, len(stages_of(schedule))))
    if variant.strategy == "row-split" and columns:
        axis, length = columns[0]
        part = min(length, row_split.PART[device.kind])
        outside, columns[0] = [(axis, math.ceil(length / part))], (axis, part)
    rows[-1] = (last, math.ceil(count / together))
    return (*outside, *rows, (PASS, 1), *columns, (last, together))


def _rows_abreast(strategy: str, width: int, stages: int) -> int:
    """How many rows a strategy has in hand at a time, for vectors of `width` and so many passes."""
    match strategy:
        case "row-lanes" | "row-split" | "short-rows":
            return width
        case "row-pipeline":
            return stages
        case "lane-pipeline":
            return 2 * width * stages
        case _:
            return 1
