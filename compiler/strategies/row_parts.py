"""Few rows that are long: each in parts, a part a work-group's (a work-item's on a CPU), so that there is work for all
of the device. One launch a phase (`rows.phases`): partial results go to memory, the next launch begins by joining them.

Where there are rows enough, or they are not that long, other variants take a row whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import ModuleType

from ...ir.arithmetic import add, at_least, both, ceil_div, div, divides, integer, less, maximum, minimum, mul, sub
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Apply, Const, Expr, For, If, Store, WorkItem
from ...ir.program import Launch, Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..emission.emit import Emitter, Scope
from ..emission.points import Point, product, size_of
from ..emission.reductions import Accumulators, declare
from ..emission.vectors import vector_width
from ..fused import Fused, finish_launch, kernel_and_launch, store_partials, with_finish
from ..rows.ownership import point_of
from ..rows.phases import Phase, phases_of, rescaled_in, used_reductions
from ..rows.rescalable import Law, rescalable
from ..rows.stages import Stage
from ..rows.sweep import Track, sweep
from ..rows.work import work_of
from ..work_groups.finish import first_of, group_count, group_finish
from ..work_groups.meeting import Meeting, widest_of
from ..work_groups.parts import PartBuffers, join_parts, reference
from ..work_groups.rows import GroupRows
from ..work_groups.tiers import Layout, group_size, held_values, values_for, vector_of, words_held
from . import row_group, row_item, row_pipeline

PART = {"cpu": 16384, "gpu": 8192}
"""Columns of a part: so many that it is worth a work-group or a work-item, so few that registers or the cache hold
it."""
LEAST_PARTS = 4
UNROLL = 4


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    refused = (row_group if device.kind == "gpu" else row_item).applies(fused, device)
    if refused is not None:
        return refused
    if not schedule.row_reductions:
        return "it has no row reductions"
    if len(schedule.reduced) > 1:
        return "rows are reduced along several axes that are not one in memory"
    if not row_item.is_contiguous(schedule, row_item.column_axis(schedule)):
        return "rows are not contiguous"
    columns, rows = schedule.axes[row_item.column_axis(schedule)], _Parts(fused, device).rows
    if device.kind == "cpu" and not isinstance(columns, int) and not isinstance(rows, Const):
        return "rows are seldom fewer than cores: it wants to know how many there are, or how long"
    if isinstance(columns, int) and columns < LEAST_PARTS * _Parts(fused, device).part:
        return "its rows are not long enough to divide"
    if isinstance(rows, Const) and int(rows.value) >= _most_rows(device):
        return "there are rows enough for the whole device"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """A little less than what takes rows whole, which it leaves to that where there are many."""
    return 0.98 * _whole(fused, device).cost(fused, device)


def _whole(fused: Fused, device: DeviceInfo) -> ModuleType:
    """The strategy for rows that are not divided."""
    if device.kind == "gpu":
        return row_group
    return row_pipeline if row_pipeline.applies(fused, device) is None else row_item


def _most_rows(device: DeviceInfo) -> int:
    """From so many rows on a whole row each is as good: on a GPU a divided row is read once more than one that is kept
    on the chip, three passes against two."""
    return device.compute_units if device.kind == "cpu" else max(1, 2 * device.compute_units // 3)


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """In parts where rows are few and long. On a GPU element by element where vectors do not divide a row."""
    parts = _Parts(fused, device)
    columns = fused.schedule.axes[parts.axis]
    few = None if isinstance(parts.rows, Const) else less(parts.rows, integer(_most_rows(device)))
    if isinstance(columns, int):
        divided = [parts.variant(few)]
    else:
        long = at_least(size_of(columns), LEAST_PARTS * parts.part)
        divided = [parts.variant(both(both(long, parts.whole_vectors), few))]
        if parts.whole_vectors is not None:
            divided.append(replace(parts, widest=1).variant(both(long, few)))
    is_always = divided[-1].guard is None
    return divided if is_always else [*divided, *_whole(fused, device).lower(fused, device)]


@frozen
class _Parts:
    fused: Fused
    device: DeviceInfo
    widest: int = 16

    @property
    def schedule(self) -> Schedule:
        return self.fused.schedule

    @property
    def on_gpu(self) -> bool:
        return self.device.kind == "gpu"

    @property
    def axis(self) -> int:
        return row_item.column_axis(self.schedule)

    @property
    def row_axes(self) -> list[int]:
        return [a for a in sorted(self.schedule.looped) if a != self.axis]

    @cached_property
    def width(self) -> int:
        columns = self.schedule.axes[self.axis]
        wanted = (vector_of if self.on_gpu else vector_width)(self.schedule, self.device, columns)
        return min(self.widest, wanted)

    @property
    def whole_vectors(self) -> Expr | None:
        """The condition that vectors divide a row whose length has a name. CPUs do not ask for it."""
        return divides(self.width, self.columns) if self.on_gpu and self.width > 1 else None

    @property
    def lanes(self) -> int:
        """Work-items of a part."""
        return group_size(self.device) if self.on_gpu else 1

    @property
    def part(self) -> int:
        """Columns of a part, a whole number of vectors for each item."""
        whole = self.lanes * self.width
        wanted = self.fused.setting("part", PART[self.device.kind])
        return max(1, min(wanted // whole, 32 // self.width if self.on_gpu else wanted)) * whole

    @property
    def columns(self) -> Expr:
        return size_of(self.schedule.axes[self.axis])

    @property
    def rows(self) -> Expr:
        return product(self.schedule.axes[a] for a in self.row_axes)

    @property
    def parts(self) -> Expr:
        """Of one row. On a CPU the last part takes what is left, for vectors never to be short of columns."""
        size = integer(self.part)
        return ceil_div(self.columns, size) if self.on_gpu else maximum(integer(1), div(self.columns, size))

    @property
    def units(self) -> Expr:
        """Work-groups (on a CPU work-items) of each launch."""
        wanted = mul(self.rows, self.parts)
        return group_count(wanted, self.lanes, self.device) if self.on_gpu else maximum(integer(1), wanted)

    def variant(self, guard: Expr | None) -> Variant:
        laws = rescalable(self.schedule)
        phases = phases_of(self.fused.stages, laws)
        taken = rescaled_in(phases, laws)
        launches = [_Launch(self, phase, number, taken).launch() for number, phase in enumerate(phases)]
        own = PartBuffers(self.fused, self.rows, self.parts, self.part, self.columns).all
        finish = group_finish if self.on_gpu else finish_launch
        return with_finish(self.fused, self.device, launches, self.units, "row-parts", guard, own, finish)


class _Launch:
    """The launch of one phase, under construction."""

    def __init__(self, shape: _Parts, phase: Phase, number: int, laws: Mapping[Op, Law]):
        self.shape, self.phase, self.number, self.laws = shape, phase, number, laws
        self.fused, self.schedule = shape.fused, shape.schedule
        self.emitter: Emitter = self.fused.emitter()
        self.emitter.aligned = shape.on_gpu and not shape.device.shared_pointers
        self.buffers = PartBuffers(self.fused, shape.rows, shape.parts, shape.part, shape.columns)

    def launch(self) -> Launch:
        emitter, scope, shape, phase = self.emitter, Scope(), self.shape, self.phase
        own_number = "group_id" if shape.on_gpu else "global_id"
        unit_id = emitter.let(scope, own_number, WorkItem(own_number))
        item = emitter.let(scope, "local_id", WorkItem("local_id")) if shape.on_gpu else integer(0)
        meeting = Meeting(emitter, shape.lanes, item, widest_of(shape.device))
        stages = self.fused.stages
        sums = declare(emitter, scope, [op for s in phase.stages for op in s.element_sums], shape.width, 1)
        of_rows = [op for s in stages for op in s.row_sums] if phase.is_last else []
        row_sums = declare(emitter, scope, of_rows, 1, 1)

        unit = emitter.fresh("unit", "i64")
        turn = scope.inner()
        parts = emitter.let(turn, "parts", shape.parts)
        row = emitter.let(turn, "row", Apply("div", (unit, parts), "i64"))
        part = emitter.let(turn, "part", Apply("mod", (unit, parts), "i64"))
        start = emitter.let(turn, "start", mul(part, integer(shape.part)))
        stop = self._stop(turn, part, parts, start)
        point = point_of(emitter, turn, row, shape.row_axes)
        earlier = used_reductions(self.schedule, self._targets(stages), self.laws)
        join_parts(emitter, turn, self.buffers, meeting, item, row,
                   [op for op in earlier if op not in phase.reductions], self.laws)  # fmt: skip
        along = GroupRows(emitter, self._layout(), shape.axis, item, item, start, stop, None)
        for number, stage in enumerate(phase.stages):
            own = [s for s in sums if s.op in stage.element_sums]
            found = declare(emitter, turn, stage.reductions, shape.width, 1 if shape.on_gpu else UNROLL)
            self._pass(turn, point, stage, start, stop, along, [*found, *own])
            values = meeting.join(turn, found, shape.lanes)
            stored = turn.inner()
            for op, value in values.items():
                stored.statements.append(Store(self.buffers.of(op).name, self.buffers.place(row, part), value))
                if number + 1 < len(phase.stages) and op.name == "reduce_max":
                    turn.known[op.result] = reference(emitter, turn, value)
            self._by_first(turn, stored, item)
        if phase.is_last:
            is_first = Apply("eq", (part, integer(0)), "bool")
            first = first_of(item, is_first) if shape.on_gpu else is_first
            for stage in stages:
                row_group.finish_row(emitter, turn, point, stage, row_sums, first)
        meeting.close_turn(turn)
        count = WorkItem("group_count" if shape.on_gpu else "global_size")
        total = mul(shape.rows, shape.parts)
        scope.statements.append(For(unit, unit_id, total, count, tuple(turn.statements)))

        stored = scope.inner()
        store_partials(self.fused, stored, meeting.join(scope, [*sums, *row_sums], shape.lanes), unit_id)
        self._by_first(scope, stored, item)
        return kernel_and_launch(
            self.fused, emitter, f"_row_parts{self.number}x{shape.width}", scope.statements,
            mul(shape.units, integer(shape.lanes)), handed=self.buffers.all, local_size=shape.lanes,
            local_arrays=[*meeting.arrays, *along.local_arrays], private_arrays=along.private_arrays,
            comment=(f"{shape.part} columns of a row a {'work-group' if shape.on_gpu else 'work-item'}, "
                     f"vectors of {shape.width}; phase {self.number}",),
        )  # fmt: skip

    def _by_first(self, scope: Scope, inner: Scope, item: Expr) -> None:
        """What is stored once for a part, by its first item."""
        if inner.statements and self.shape.on_gpu:
            scope.statements.append(If(first_of(item), tuple(inner.statements)))
        else:
            scope.statements += inner.statements

    def _stop(self, scope: Scope, part: Expr, parts: Expr, start: Expr) -> Expr:
        end = add(start, integer(self.shape.part))
        if self.shape.on_gpu:
            return self.emitter.let(scope, "stop", minimum(end, self.shape.columns))
        is_last = Apply("eq", (part, sub(parts, integer(1))), "bool")
        return self.emitter.let(scope, "stop", Apply("select", (is_last, self.shape.columns, end), "i64"))

    def _targets(self, stages: Sequence[Stage]) -> list[Value]:
        """What the launch computes."""
        found = [value for stage in self.phase.stages for value in stage.targets]
        if self.phase.is_last:
            for stage in stages:
                found += [*stage.row_outputs, *(op.operands[0] for op in (*stage.row_sums, *stage.row_checks))]
        return found

    def _layout(self) -> Layout:
        """What the items of a group keep of a part between the two passes of a phase."""
        shape = self.shape
        held = held_values(self.emitter, self.phase.stages) if shape.on_gpu else ()
        vectors = shape.part // (shape.lanes * shape.width)
        if not shape.on_gpu or vectors * shape.width * words_held(held) > values_for(shape.device, shape.lanes):
            return Layout(shape.lanes, 1, shape.width, 0, 0, True)
        return Layout(shape.lanes, 1, shape.width, vectors, 0, False, held)

    def _pass(
        self, scope: Scope, point: Point, stage: Stage, start: Expr, stop: Expr, along: GroupRows,
        groups: Sequence[Accumulators],
    ) -> None:  # fmt: skip
        work = work_of(stage)
        if self.shape.on_gpu:
            along.visit_row(scope, point, stage, work, groups)
        else:
            track = Track(scope, point, work, groups)
            sweep(self.emitter, scope, [track], self.shape.axis, start, stop, self.shape.width, UNROLL)
