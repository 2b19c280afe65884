"""Each lane of a vector owns a row, and several blocks of rows are in flight: while one block is read for its maximum,
the block before is exponentiated, and the gradient of the one before that is stored. The shape for pixels on CPUs,
whose classes lie far apart in memory.

What is summed across the rows has a vector of partial sums for each column; they are folded and stored at the end of
every line of rows, and a work-item owns whole lines.

A block is two vectors of rows, so that every class gives two neighbouring cache lines at a time. Inputs are fetched
some blocks ahead: the processor follows fewer streams than there are classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.arithmetic import add, at_least, integer, mod, mul, sub
from ...ir.function import Op, Value
from ...ir.kernel import Apply, Assign, Const, Expr, For, If, Load, PrivateArray, Reduce, Store, Var, register_dtype
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE
from ..emission.emit import Emitter, Scope
from ..emission.points import size_of
from ..emission.reductions import Accumulators, declare, fold
from ..emission.vectors import past_cache, static_size, vector_width
from ..fused import Fused, fold_partials, kernel_and_launch, with_finish
from ..rows.blocks import block_count, finish_block, lane_axis, vectors_at
from ..rows.columns import LaneTrack, declare_pick, picked_in_passing, visit_columns
from ..rows.in_flight import Carried, declare_carried, known_of, lags_of, pitch_of, steps
from ..rows.ownership import items_for, own_share
from ..rows.stages import Kept, Stage, waiting_values
from ..rows.work import Row, Work, work_of
from . import row_lanes

SUMS_ACROSS = ("cpu",)
PRIVATE_BYTES = 256 * 1024
"""All blocks waiting between passes: a quarter of a second-level cache of 1 MiB."""
ABREAST = 2
AHEAD = 4
"""Blocks: measured 1.2 with two, the same with eight."""
BLOCKS_EACH, ELEMENTS_EACH = 32, 128 * 1024
"""Blocks an item has at least where there are many, and elements: its first and last steps overlap nothing."""
INPUTS_WAIT_ABOVE, INPUTS_WAIT_BELOW = 32, 48
"""Between so many columns inputs wait from pass to pass, beyond them every pass reads them again. Of columns a power of
two apart, which share one set of every cache, the next pass finds those of few in their place (0.95 of keeping them, at
21); of many neither them nor what was kept instead (0.85 at 64 and 150, 0.5 at 100; 1.1 at 40)."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    refused = row_lanes.applies(fused, device)
    if refused is not None:
        return refused
    if device.kind == "gpu":
        return "one work-item does not overlap passes on a GPU"
    if len(fused.stages) < 2:
        return "a row is finished in one pass"
    columns = static_size(tuple(schedule.axes[a] for a in schedule.columns))
    if columns is None or columns == 0:
        return "the length of a row is not known"
    if schedule.across:
        return None  # Nothing else sums across rows: where what waits is large, it is slow.
    waiting, lags = _waiting(fused.emitter(), fused.stages, columns), lags_of(fused.stages)
    lanes = ABREAST * vector_width(schedule, device)
    if sum(each.copies(lags) * columns * lanes * _item(value) for value, each in waiting.items()) > PRIVATE_BYTES:
        return "the rows that wait between passes do not fit the cache"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """Where lanes are no neighbours in memory, fetching ahead what they gather is work for nothing (1.2 to 1.5)."""
    return (0.9 if row_lanes.lanes_are_inner(fused.schedule) else 1.4) * row_lanes.cost(fused, device)


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule = fused.schedule
    size = schedule.axes[lane_axis(schedule)]
    width = vector_width(schedule, device, size)
    vectors = ABREAST if width > 1 and (not isinstance(size, int) or size >= ABREAST * width) else 1
    large = past_cache(schedule, device, width, lane_axis(schedule), size)
    variants = []
    if large is not None:
        variants.append(_Pipeline(fused, device, width, vectors, True).variant(large))
    guard = None if isinstance(size, int) else at_least(size_of(size), width * vectors)
    variants.append(_Pipeline(fused, device, width, vectors, False).variant(guard))
    return variants if guard is None else [*variants, *row_lanes.lower(fused, device)]


def _waiting(emitter: Emitter, stages: Sequence[Stage], columns: int) -> Mapping[Value, Kept]:
    """What waits between passes: with a middling number of columns inputs too."""
    kept = waiting_values(emitter, stages, columns)
    if not INPUTS_WAIT_ABOVE < columns < INPUTS_WAIT_BELOW:
        return kept
    return kept | row_lanes.inputs_read_again(emitter, stages, kept, columns)


def _item(value: Value) -> int:
    return ITEM_SIZE[register_dtype(value.type.dtype)]


class _Pipeline:
    """The kernel under construction."""

    def __init__(self, fused: Fused, device: DeviceInfo, width: int, vectors: int, nontemporal: bool):
        self.fused, self.device, self.width, self.vectors = fused, device, width, vectors
        self.nontemporal = nontemporal
        self.schedule: Schedule = fused.schedule
        self.emitter = fused.emitter()
        self.stages = fused.stages
        self.lags = lags_of(self.stages)
        columns = static_size(tuple(self.schedule.axes[a] for a in self.schedule.columns))
        assert columns is not None
        self.columns, self.length = columns, columns * width * vectors
        self.waiting = _waiting(self.emitter, self.stages, columns)
        self.blocks = {value: each.copies(self.lags) for value, each in self.waiting.items()}
        self.picks = picked_in_passing(self.schedule, self.stages, columns)
        self.pitch = {value: pitch_of(self.length, width, _item(value), blocks)
                      for value, blocks in self.blocks.items()}  # fmt: skip
        self.across = {op: self.emitter.fresh(f"{op.result.name}_across", register_dtype(op.result.type.dtype)).name
                       for op in self.schedule.across}  # fmt: skip
        line = self.schedule.axes[lane_axis(self.schedule)]
        self.blocks_in_line = -(-line // (width * vectors)) if self.across and isinstance(line, int) else 1

    def variant(self, guard: Expr | None) -> Variant:
        fused, emitter, scope = self.fused, self.emitter, Scope()
        blocks = block_count(self.schedule, self.width * self.vectors)
        items = items_for(blocks, self.length, self.device, max(BLOCKS_EACH, ELEMENTS_EACH // self.length))
        own = own_share(emitter, scope, blocks, "blocks", self.blocks_in_line)
        sums = declare(emitter, scope, [op for stage in self.stages for op in stage.sums], self.width, self.vectors)
        found = [(op, self.lags[stage.number]) for stage in self.stages for op in self._found_in(stage)]
        last = self.lags[-1]
        carried = [declare_carried(emitter, scope, found, last, self.width) for _ in range(self.vectors)]

        def passes(inside: Scope, stages: Sequence[Stage], step: Var) -> None:
            self._passes(inside, stages, step, carried, sums)

        everything = [each for vector in carried for each in vector]
        self._clear(scope, self.across)
        steps(emitter, scope, own.first, own.end, self.stages, self.lags, everything, passes)
        fold_partials(fused, emitter, scope, sums, own.item)
        launch = kernel_and_launch(
            fused, emitter, f"_lane_pipeline{self.width}" + "_stream" * self.nontemporal, scope.statements, items,
            private_arrays=self._arrays(),
            comment=(f"one row a lane, {self.width * self.vectors} rows at a time, as often as there are passes",),
        )  # fmt: skip
        return with_finish(fused, self.device, (launch,), items, "lane-pipeline", guard)

    def _found_in(self, stage: Stage) -> list[Op]:
        """What a pass finds of every row."""
        return [*stage.reductions, *(op for op, number in self.picks.items() if number == stage.number)]

    def _arrays(self) -> list[PrivateArray]:
        waiting = [
            PrivateArray(each.array, register_dtype(value.type.dtype), self.blocks[value] * self.pitch[value], (value,))
            for value, each in self.waiting.items()
        ]
        return waiting + [PrivateArray(array, register_dtype(op.result.type.dtype), self.columns * self.width)
                          for op, array in self.across.items()]  # fmt: skip

    def _passes(
        self, scope: Scope, stages: Sequence[Stage], step: Expr, carried: Sequence[Sequence[Carried]],
        sums: Sequence[Accumulators],
    ) -> None:  # fmt: skip
        """Some passes in one loop over the columns, then the values of the rows that they finish."""
        emitter = self.emitter
        tracks: list[tuple[Stage, LaneTrack]] = []
        for stage in stages:
            lag = self.lags[stage.number]
            number = emitter.let(scope, "block", sub(step, integer(lag)))
            work = self._work(stage, number)
            own = [group for group in sums if group.op in stage.element_sums]
            ahead = self._ahead() if stage.number == 0 else {}
            for vector, block in enumerate(vectors_at(emitter, scope, number, self.width, self.vectors)):
                known = Scope(known_of(carried[vector], lag), scope.statements)
                rows = declare(emitter, scope, stage.reductions, self.width, 1)
                picked = [op for op, filled in self.picks.items() if filled == stage.number]
                picks = [declare_pick(self.emitter, scope, op, self.width) for op in picked]
                across = {op: self.across[op] for op in stage.across}
                tracks.append((stage, LaneTrack(known, block, work, rows, own, vector, ahead, picks, across)))
        busy = [track for _, track in tracks if not track.work.is_empty]
        if busy:
            visit_columns(emitter, scope, busy, self.vectors, nontemporal=self.nontemporal)
        for stage, track in tracks:
            found = {group.op: fold(emitter, scope, group, False) for group in track.rows}
            found |= {pick.op: pick.found for pick in track.picks}
            track.row.known.update({op.result: value for op, value in found.items()})
            for each in carried[track.vector]:
                if each.op in found:
                    scope.statements.append(Assign(each.new, found[each.op]))
            finish_block(emitter, track.row, track.block, stage, sums, track.vector)
            if track.across and track.vector == 0:
                self._end_line(scope, track, sub(step, integer(self.lags[stage.number])))

    def _clear(self, scope: Scope, across: Mapping[Op, str]) -> None:
        if across:
            column = self.emitter.fresh("column", "i64")
            cleared = tuple(Store(array, mul(column, integer(self.width)),
                                  Const(0, register_dtype(op.result.type.dtype), self.width))
                            for op, array in across.items())  # fmt: skip
            scope.statements.append(For(column, integer(0), integer(self.columns), integer(1), cleared))

    def _end_line(self, scope: Scope, track: LaneTrack, number: Expr) -> None:
        """With the last block of a line, store the sums across the rows that this pass took: others, which run steps
        before or behind it, are on another line by then."""
        emitter, inner = self.emitter, scope.inner()
        variables = [emitter.fresh("column", "i64") for _ in self.schedule.columns]
        body, flat = Scope(), integer(0)
        for variable, axis in zip(variables, self.schedule.columns):
            flat = add(mul(flat, size_of(self.schedule.axes[axis])), variable)
        point = {**track.block.point, **dict(zip(self.schedule.columns, variables))}
        for op, array in track.across.items():
            dtype = register_dtype(op.result.type.dtype)
            lanes = emitter.let(body, "across", Load(array, mul(flat, integer(self.width)), dtype, self.width))
            total = Reduce("add", lanes) if self.width > 1 else lanes
            body.known[op.result] = emitter.let(body, op.result.name, total)
            emitter.store(op.result, point, body)
        statements = tuple(body.statements)
        for variable, axis in reversed(list(zip(variables, self.schedule.columns))):
            stop = size_of(self.schedule.axes[axis])
            statements = (For(variable, integer(0), stop, integer(1), statements),)
        inner.statements += statements
        self._clear(inner, track.across)
        per_line = integer(self.blocks_in_line)
        is_last = Apply("eq", (mod(number, per_line), sub(per_line, integer(1))), "bool")
        scope.statements.append(If(is_last, tuple(inner.statements)))

    def _work(self, stage: Stage, number: Expr) -> Work:
        def row(value: Value) -> Row:
            place = mul(mod(number, integer(self.blocks[value])), integer(self.pitch[value]))
            return Row(self.waiting[value].array, place)

        return work_of(
            stage,
            keep={v: row(v) for v, each in self.waiting.items() if each.filled == stage.number},
            kept={v: row(v) for v, each in self.waiting.items() if stage.number in each.read},
        )

    def _ahead(self) -> dict[Value, int]:
        """Inputs that every row has of its own, side by side with its neighbours."""
        lanes, found = lane_axis(self.schedule), {}
        for value in self.schedule.function.inputs:
            strides = dict(self.emitter.strides(value))
            if self.schedule.varies[value] == self.schedule.looped and strides[lanes] == integer(1):
                found[value] = AHEAD * self.width * self.vectors
        return found
