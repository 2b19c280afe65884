"""Each lane of a vector owns a row, where rows are contiguous and short: a block of rows is transposed in registers, so
that every pass goes along its columns with a vector of rows, and what it stores is transposed back. For the ten classes
of a digit, or embeddings, on CPUs: along rows a vector would be half empty, and a row would cost its horizontal
reductions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir.arithmetic import at_least, both, integer
from ...ir.function import Value
from ...ir.kernel import Expr, For, PrivateArray, register_dtype
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, size_of
from ..emission.reductions import Accumulators, declare
from ..emission.vectors import past_cache, vector_width
from ..fused import Fused, fold_partials, kernel_and_launch, with_finish
from ..rows.blocks import Block, block_at, block_count, finish_block, lane_axis
from ..rows.columns import declare_pick, pass_over, picked_in_passing
from ..rows.ownership import items_for, own_share
from ..rows.stages import Stage, waiting_values
from ..rows.transposed import transpose_in, transpose_out, transposed
from ..rows.work import Row, waiting_rows, work_of
from . import row_lanes

SHORTEST, LONGEST = 5, 32
"""Columns. Shorter ones gain nothing beside gathers, longer ones nothing beside vectors along the row."""
HALVING, BETWEEN = 1.5, 2.6
"""Multiply-adds: a vector goes to its place in as many steps as its width can be halved, and one of a short row through
an array before."""
IN_REGISTERS, PRIVATE = 22, 2.0
"""Up to so many columns the driver unrolls the loops over them and has them in registers; beyond that each vector that
a pass loads or stores takes so many multiply-adds more."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    refused = row_lanes.applies(fused, device)
    if refused is not None:
        return refused
    if device.kind == "gpu":
        return "work-items own rows on a GPU, not lanes of a vector"
    if len(fused.stages) < 2:
        return "a row is finished in one pass: turning it would take longer"
    if len(schedule.columns) != 1:
        return "rows are reduced along several axes that are not one in memory"
    columns, rows = schedule.axes[schedule.columns[0]], schedule.axes[lane_axis(schedule)]
    if not isinstance(columns, int) or not SHORTEST <= columns <= LONGEST:
        return f"rows are not known to have {SHORTEST} to {LONGEST} columns"
    if vector_width(schedule, device, rows) < 2:
        return "there is a single row"
    emitter = fused.emitter()
    streamed = _streamed(emitter, fused.stages)
    if not streamed:
        return "nothing lies in rows"
    if any(value.type.dtype == "bool" for value in streamed):
        return "masks are not transposed"
    if not all(_lies_in_rows(emitter, value) for value in streamed):
        return "rows are not contiguous"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """A vector of elements, and turning it."""
    schedule, work = fused.schedule, fused.row_costs
    columns = schedule.axes[schedule.columns[0]]
    assert isinstance(columns, int)
    width = vector_width(schedule, device, schedule.axes[lane_axis(schedule)])
    whole = -(-columns // width) * width
    turning = HALVING * (width.bit_length() - 1) * whole / columns + BETWEEN * (columns < width)
    private = PRIVATE * work.moves * (columns > IN_REGISTERS)
    element = row_lanes.of_elements(fused, device, width) + (work.streams * turning + private) / width
    return element / work.step


def _streamed(emitter: Emitter, stages: Sequence[Stage]) -> list[Value]:
    """Inputs that passes read at every element, and what is stored there."""
    schedule = emitter.schedule
    read = set[Value]().union(*(row_lanes.inputs_of(emitter, stage, {}) for stage in stages))
    return [*(value for value in schedule.function.inputs if value in read), *schedule.element_outputs]


def _lies_in_rows(emitter: Emitter, value: Value) -> bool:
    """Whether columns lie side by side, and rows one behind the other."""
    schedule = emitter.schedule
    strides = dict(emitter.strides(value))
    columns = schedule.columns[0]
    return strides[columns] == integer(1) and strides[lane_axis(schedule)] == size_of(schedule.axes[columns])


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule = fused.schedule
    rows, columns = schedule.axes[lane_axis(schedule)], schedule.axes[schedule.columns[0]]
    width = vector_width(schedule, device, rows)
    variants = []
    large = past_cache(schedule, device, width, schedule.columns[0], columns)
    guard = None if isinstance(rows, int) else at_least(size_of(rows), width)
    if large is not None:
        variants.append(_ShortRows(fused, device, width, True).variant(both(guard, large)))
    variants.append(_ShortRows(fused, device, width, False).variant(guard))
    return variants if guard is None else [*variants, *row_lanes.lower(fused, device)]


class _ShortRows:
    """The kernel under construction."""

    def __init__(self, fused: Fused, device: DeviceInfo, width: int, nontemporal: bool):
        self.fused, self.device, self.width, self.nontemporal = fused, device, width, nontemporal
        self.schedule: Schedule = fused.schedule
        self.emitter = fused.emitter()
        self.stages = fused.stages
        columns = self.schedule.axes[self.schedule.columns[0]]
        assert isinstance(columns, int)
        self.columns = columns
        self.picks = picked_in_passing(self.schedule, self.stages, columns)
        self.transposed = {value: transposed(self.emitter, value.name, register_dtype(value.type.dtype), columns, width)
                       for value in dict.fromkeys(_streamed(self.emitter, self.stages))}  # fmt: skip
        kept = waiting_values(self.emitter, self.stages, columns * width)
        self.kept = {value: replace(each, array=self.transposed[value].array) if value in self.transposed else each
                     for value, each in kept.items()}  # fmt: skip

    def variant(self, guard: Expr | None) -> Variant:
        fused, emitter, scope = self.fused, self.emitter, Scope()
        blocks = block_count(self.schedule, self.width)
        items = items_for(blocks, self.columns * self.width, self.device, least=1)
        own = own_share(emitter, scope, blocks, "blocks")
        sums = declare(emitter, scope, [op for stage in self.stages for op in stage.sums], self.width, 1)
        for rows in self.transposed.values():
            scope.statements += rows.prepare()
        number = emitter.fresh("block", "i64")
        inside = scope.inner()
        self._block(inside, block_at(emitter, inside, number, self.width), sums)
        scope.statements.append(For(number, own.first, own.end, integer(1), tuple(inside.statements)))
        fold_partials(fused, emitter, scope, sums, own.item)
        launch = kernel_and_launch(
            fused, emitter, f"_short_rows{self.width}" + "_stream" * self.nontemporal, scope.statements, items,
            private_arrays=self._arrays(),
            comment=(f"one row a lane, {self.width} rows at a time, transposed in registers",),
        )  # fmt: skip
        return with_finish(fused, self.device, (launch,), items, "short-rows", guard)

    def _arrays(self) -> list[PrivateArray]:
        inputs = self.schedule.function.inputs
        arrays = [PrivateArray(each.array, register_dtype(value.type.dtype), self.columns * self.width, (value,))
                  for value, each in self.kept.items() if value not in self.transposed]  # fmt: skip
        for value, rows in self.transposed.items():
            own, *between = rows.arrays
            holds = (value,) if value in inputs or value in self.kept else ()
            arrays += [PrivateArray(own.name, own.dtype, own.size, holds), *between]
        return arrays

    def _block(self, scope: Scope, block: Block, sums: Sequence[Accumulators]) -> None:
        """Rows in, every pass over them, rows out."""
        emitter, inputs = self.emitter, self.schedule.function.inputs
        for value, rows in self.transposed.items():
            if value in inputs:
                transpose_in(emitter, scope, self.fused.buffers[value], self._start(value, block), rows)
        for stage in self.stages:
            self._pass(scope, block, stage, sums)
        for value in self.schedule.element_outputs:
            rows, buffer = self.transposed[value], self.fused.buffers[value]
            transpose_out(emitter, scope, rows, buffer, self._start(value, block), self.nontemporal)

    def _start(self, value: Value, block: Block) -> Expr:
        """Where the first row of a block lies."""
        lanes = block.point[lane_axis(self.schedule)]
        assert isinstance(lanes, Lanes)
        first = {**block.point, self.schedule.columns[0]: integer(0), lane_axis(self.schedule): lanes.base}
        index, _ = self.emitter.index(value, first)
        return index

    def _pass(self, scope: Scope, block: Block, stage: Stage, sums: Sequence[Accumulators]) -> None:
        emitter = self.emitter
        read = row_lanes.inputs_of(emitter, stage, self.kept)
        picked = [op for op, number in self.picks.items() if number == stage.number]
        picks = [declare_pick(emitter, scope, op, self.width) for op in picked]
        read += [pick.op.operands[0] for pick in picks if pick.op.operands[0] in self.transposed]
        keep, kept = waiting_rows(self.kept, stage)
        keep |= {v: Row(self.transposed[v].array) for v in stage.element_outputs}
        kept |= {v: Row(self.transposed[v].array) for v in read}
        work = replace(work_of(stage, keep, kept), stores=())
        pass_over(emitter, scope, [(scope, block)], stage, work, sums, picks)
        finish_block(emitter, scope, block, stage, sums)
