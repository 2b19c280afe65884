"""Few rows that are long, side by side in memory: gradients of a bias or of class weights, sums over a batch. The
columns of each row are split into parts, each part of a block of rows, or of all rows, is one work-item's.

The partial results of a row are joined by a second launch, in order (in f64 where the device has it): the same bits
every time. Where the rows are not long there is nothing to split, and `row-lanes` takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...ir.arithmetic import add, at_least, both, ceil_div, integer, minimum, mul
from ...ir.frozen import frozen
from ...ir.function import Op
from ...ir.kernel import Apply, Declare, Expr, For, Load, PrivateArray, Store
from ...ir.ops import VIEWS
from ...ir.program import Buffer, Launch, Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..emission.emit import Scope
from ..emission.monoids import monoid_of
from ..emission.points import Lanes, product, size_of
from ..emission.reductions import Accumulators, declare, fold
from ..emission.vectors import static_size, vector_width
from ..fused import Fused, fold_partials, join_in_order, kernel_and_launch, part_buffer, with_finish, work_item
from ..rows.blocks import block_at, block_count, finish_block, lane_axis
from ..rows.columns import LaneTrack, visit_columns
from ..rows.stages import Stage
from ..rows.work import visit, work_of
from . import row_lanes

PART = {"cpu": 1024, "gpu": 64}
"""Columns of a part: so few that f32 sums stay exact to 1e-6, so many that a part is worth an item. A GPU needs
thousands of items."""
ALL_ROWS, PART_OF_ALL = (64, 4096), 128
"""Of so many rows, whose partial results fit half of a first-level cache, a work-item of a CPU takes all, so many
columns of them: it reads from end to end what lies side by side, where a single vector reads one line of each page.
Sums take 0.46 of the time (8192 by 1000), 0.55 (50000 by 256), 0.39 (65536 by 64), 0.85 (4096 by 4096)."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    refused = row_lanes.applies(fused, device)
    if refused is not None:
        return refused
    first, *later = fused.stages
    if any(stage.targets for stage in later) or not first.reductions:
        return "its rows take several passes"
    if any(stage.row_sums for stage in (first, *later)):
        return "it adds up what comes of the rows"
    size = schedule.axes[schedule.columns[0]]
    if isinstance(size, int) and size < 2 * _part(schedule, device):
        return "its rows are not long enough to split"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """A little less than `row-lanes`, which takes what is not long: also where there are rows enough for all cores a
    long walk from row to row misses the cache at every step (8192 x 1000: 2.2 ms against 11). On a GPU neighbours read
    neighbouring rows, as no work-group a row does."""
    if device.kind == "gpu":
        return 0.04 if row_lanes.lanes_are_inner(fused.schedule) else 9.0
    return 0.95 * row_lanes.cost(fused, device)


def _part(schedule: Schedule, device: DeviceInfo) -> int:
    """Steps of the outermost column axis in a part."""
    inner = static_size(tuple(schedule.axes[a] for a in schedule.columns[1:]))
    return max(1, PART[device.kind] // (inner or 1))


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule = fused.schedule
    lanes, columns = schedule.axes[lane_axis(schedule)], schedule.axes[schedule.columns[0]]
    width = vector_width(schedule, device, lanes)
    long = None if isinstance(columns, int) else at_least(size_of(columns), 2 * _part(schedule, device))
    wide = None if isinstance(lanes, int) else at_least(size_of(lanes), width)
    guard = both(long, wide)
    takes_all = _takes_all(fused, device, width)
    part = PART_OF_ALL if takes_all else _part(schedule, device)
    split = _Split(fused, device, width, part, takes_all).variant(guard)
    return [split] if guard is None else [split, *row_lanes.lower(fused, device)]


def _takes_all(fused: Fused, device: DeviceInfo, width: int) -> bool:
    """Whether a work-item takes all rows: they are neighbours, their partial results stay in a cache, and a row has
    nothing that would be computed again at every element."""
    schedule, emitter, stage = fused.schedule, fused.emitter(), fused.stages[0]
    rows = schedule.axes[lane_axis(schedule)]
    if device.kind != "cpu" or width == 1 or len(schedule.looped) != 2 or not isinstance(rows, int):
        return False
    if stage.element_sums or emitter.marks.between or not row_lanes.lanes_are_inner(schedule):
        return False
    least, most = ALL_ROWS
    computed = [op for op in emitter.needed(stage.targets, {}) if op.results and op.name not in VIEWS]
    of_elements = {frozenset(), schedule.looped}
    is_even = all(schedule.varies[op.result] in of_elements for op in computed)
    return is_even and least <= rows <= most // len(stage.reductions)


@frozen
class _Split:
    fused: Fused
    device: DeviceInfo
    width: int
    part: int
    takes_all: bool

    @property
    def schedule(self) -> Schedule:
        return self.fused.schedule

    @property
    def columns(self) -> Expr:
        return size_of(self.schedule.axes[self.schedule.columns[0]])

    @property
    def rows(self) -> Expr:
        return product(self.schedule.axes[a] for a in self.schedule.rows)

    @property
    def parts(self) -> Expr:
        return ceil_div(self.columns, integer(self.part))

    @property
    def first(self) -> Stage:
        return self.fused.stages[0]

    @property
    def handed(self) -> list[Buffer]:
        return [self.partial(op) for op in self.first.reductions]

    def partial(self, op: Op) -> Buffer:
        """One partial result for each part of each row, those of a part side by side."""
        return part_buffer(self.fused, op, mul(self.parts, self.rows))

    def variant(self, guard: Expr | None) -> Variant:
        main, items = self.main_of_all() if self.takes_all else self.main()
        whole = with_finish(self.fused, self.device, (main,), items, "row-split", guard, self.handed)
        return replace(whole, launches=(main, self.join(), *whole.launches[1:]))

    def main(self) -> tuple[Launch, Expr]:
        """Every item reduces one part of one block of rows. Neighbouring items take neighbouring blocks."""
        emitter, scope, stage = self.fused.emitter(), Scope(), self.first
        blocks = block_count(self.schedule, self.width)
        item = work_item(emitter, scope, "global_id")
        number = emitter.let(scope, "block", Apply("mod", (item, blocks), "i64"))
        part = emitter.let(scope, "part", Apply("div", (item, blocks), "i64"))
        start = emitter.let(scope, "start", mul(part, integer(self.part)))
        stop = emitter.let(scope, "stop", minimum(add(start, integer(self.part)), self.columns))
        block = block_at(emitter, scope, number, self.width)
        rows = declare(emitter, scope, stage.reductions, self.width, 1)
        sums = declare(emitter, scope, stage.element_sums, self.width, 1)
        track = LaneTrack(scope, block, work_of(stage), rows, sums)
        visit_columns(emitter, scope, [track], within=(start, stop))
        for group in rows:
            index = add(mul(part, self.rows), block.number)
            scope.statements.append(Store(self.partial(group.op).name, index, fold(emitter, scope, group, False)))
        fold_partials(self.fused, emitter, scope, sums, item)
        items = mul(blocks, self.parts)
        launch = kernel_and_launch(
            self.fused, emitter, f"_row_split{self.width}", scope.statements, items,
            handed=self.handed,
            comment=(f"one row a lane, {self.width} rows at a time, {self.part} columns an item",),
        )  # fmt: skip
        return launch, items

    def main_of_all(self) -> tuple[Launch, Expr]:
        """Every item reduces one part of all rows, a column after the other."""
        emitter, scope, stage, schedule = self.fused.emitter(), Scope(), self.first, self.schedule
        item = work_item(emitter, scope, "global_id")
        start = emitter.let(scope, "start", mul(item, integer(self.part)))
        stop = emitter.let(scope, "stop", minimum(add(start, integer(self.part)), self.columns))
        monoids = {op: monoid_of(op, emitter.facts) for op in stage.reductions}
        arrays = {op: emitter.fresh(f"{op.result.name}_parts", each.dtype).name for op, each in monoids.items()}
        rows = schedule.axes[lane_axis(schedule)]
        assert isinstance(rows, int)
        size = -(-rows // self.width) * self.width

        def each_vector(body: Callable[[Scope, Expr, Expr], None]) -> For:
            """Of the rows, in a line. The last vector overlaps the one before, and has sums of its own."""
            place, inner = emitter.fresh("place", "i64"), scope.inner()
            body(inner, place, minimum(place, integer(rows - self.width)))
            return For(place, integer(0), integer(size), integer(self.width), tuple(inner.statements))

        def clear(inner: Scope, place: Expr, _: Expr) -> None:
            inner.statements += [Store(arrays[op], place, each.neutral(self.width)) for op, each in monoids.items()]

        def join_one(inner: Scope, place: Expr, first: Expr) -> None:
            groups = [Accumulators(op, each, [emitter.fresh(f"{op.result.name}_part", each.dtype, self.width)])
                      for op, each in monoids.items()]  # fmt: skip
            so_far = {group.variables[0]: Load(arrays[group.op], place, group.monoid.dtype, self.width)
                      for group in groups}  # fmt: skip
            inner.statements += [Declare(variable, load) for variable, load in so_far.items()]
            point = {lane_axis(schedule): Lanes(first, self.width), schedule.columns[0]: column}
            visit(emitter, inner, point, work_of(stage), groups)
            inner.statements += [Store(load.buffer, place, variable) for variable, load in so_far.items()]

        def leave(inner: Scope, place: Expr, first: Expr) -> None:
            index = add(mul(item, self.rows), first)
            inner.statements += [Store(self.partial(op).name, index, Load(arrays[op], place, each.dtype, self.width))
                                 for op, each in monoids.items()]  # fmt: skip

        column = emitter.fresh("column", "i64")
        along = For(column, start, stop, integer(1), (each_vector(join_one),))
        scope.statements += [each_vector(clear), along, each_vector(leave)]
        launch = kernel_and_launch(
            self.fused, emitter, f"_row_split{self.width}", scope.statements, self.parts, handed=self.handed,
            private_arrays=[PrivateArray(arrays[op], each.dtype, size) for op, each in monoids.items()],
            comment=(f"one row a lane, all rows, {self.part} columns an item",),
        )  # fmt: skip
        return launch, self.parts

    def join(self) -> Launch:
        """Every item joins the parts of one block of rows, in order, and stores what comes of its rows."""
        emitter, scope = self.fused.emitter(), Scope()
        number = work_item(emitter, scope, "global_id")
        block = block_at(emitter, scope, number, self.width)
        for op in self.first.reductions:
            scope.known[op.result] = join_in_order(
                emitter, scope, op, self.device, self.partial(op).name,
                lambda part: add(mul(part, self.rows), block.number), self.parts, self.width,
            )  # fmt: skip
        for stage in self.fused.stages:
            finish_block(emitter, scope, block, stage, ())
        items = block_count(self.schedule, self.width)
        return kernel_and_launch(
            self.fused, emitter, f"_row_split{self.width}_join", scope.statements, items, handed=self.handed,
            comment=("joins the parts of each row",),
        )  # fmt: skip
