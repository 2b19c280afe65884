"""Each work-item owns rows, and works on several at once: while one row is read for its maximum, the row before is
exponentiated, and the gradient of the one before that is stored. The shape for long streams of contiguous rows on CPUs.

One loop over the columns does every pass, each for another row (`in_flight.py`), or a few loops do, and waiting rows
lie in each other's place (`pass_order.py`).

Where rows start anywhere in a cache line, a pass that stores is one step later: then it knows the row after its own
too, and stores the line that the two share whole. Items own rows between aligned addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir.arithmetic import add, integer, less, mod, mul, sub
from ...ir.function import Value
from ...ir.kernel import Assign, Const, Expr, For, PrivateArray, Store, Var, register_dtype
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE, DimLike
from ..emission.emit import Emitter, Scope
from ..emission.marks import idle_columns
from ..emission.points import Point, product
from ..emission.reductions import Accumulators, declare, fold
from ..emission.vectors import past_cache, vector_width
from ..emission.windows import reads_beside
from ..fused import Fused, fold_partials, kernel_and_launch, with_finish
from ..rows.in_flight import Carried, declare_carried, known_of, lags_of, pitch_of, steps
from ..rows.ownership import items_for, own_share, point_of
from ..rows.pass_order import costly_values, order_of_passes
from ..rows.shared_lines import rows_together, skew_of, sweep_aligned
from ..rows.stages import Stage, waiting_values
from ..rows.sweep import Track, hits_of, sweep
from ..rows.values import RowValues
from ..rows.work import Row, Work, work_of
from . import row_item

SHORTEST = 64
"""Columns from which the loop is long enough to overlap anything."""
ABREAST = 2
LONG = 3072
"""Columns from which the loop is not unrolled: cross-entropy takes 0.7 to 0.9 of the time from 3,000 on, other losses
0.95 to 1.01; at 2,048 it takes 1.1."""
TURNS = 2
"""Accumulators of a sum where the loop is not unrolled: 0.98 to 1.0 of the time, and half the error or less; four of
them take 1.16 (distillation)."""
ROWS_EACH, ELEMENTS_EACH = 64, 128 * 1024
"""Rows an item has at least where there are many, and elements: its first and last steps overlap nothing."""
AHEAD_BYTES = 16 * 1024
GOING_BACK = 256, 8192
"""Columns where every second pass goes backward, if nothing is fetched ahead: it begins with what was read last, and
half a row later with what the processor has begun to forget (cosine embedding: 0.98 with 256 columns, 0.87 with 1,024,
0.91 with 4,096, 1.01 with 16,384; triplet: 0.80, 0.89 and 0.93 with 512, 1,024 and 4,096). With 128 it takes 1.05, over
rows of pixels (tversky) 1.09, and beside prefetches of our own 1.16 (distributions)."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    reason = row_item.applies(fused, device)
    if reason is not None:
        return reason
    schedule = fused.schedule
    axis = row_item.column_axis(schedule)
    columns = schedule.axes[axis]
    if len(fused.stages) < 2 or not schedule.rows:
        return "a row is finished in one pass, or there is one row"
    if not isinstance(columns, int):
        return "the length of a row is not known"
    if columns < SHORTEST or vector_width(schedule, device, columns) < 2:
        return f"rows are shorter than {SHORTEST}"
    if not row_item.is_contiguous(schedule, axis):
        return "rows are not contiguous"
    if order_of_passes(fused, columns, vector_width(schedule, device, columns)) is None:
        return "the rows that wait between passes do not fit the cache"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """Short rows that start anywhere in a cache line overlap too little (1.05 to 1.3 from 72 to 100 columns)."""
    columns = fused.schedule.axes[row_item.column_axis(fused.schedule)]
    is_ragged = isinstance(columns, int) and columns < 128 and columns % device.vector_width != 0
    return (1.1 if is_ragged else 0.9) * row_item.cost(fused, device)


def _holds_up_loads(schedule: Schedule) -> bool:
    """Whether something keeps loads from being far ahead of their use: costly functions, or rows that begin with a look
    at one of their elements. Else the processor's own prefetching keeps up, and ours beside it costs 1.2 (triplet)."""
    picks = (op for op in schedule.function.ops if op.name == "gather")
    return bool(costly_values(schedule)) or any(schedule.varies[op.operands[0]] == schedule.looped for op in picks)


def candidates(fused: Fused, device: DeviceInfo) -> tuple[dict[str, int], ...]:
    """The loop unrolled where it is not, and the reverse: 0.77 to 1.5 of the time, by the length of the rows."""
    columns = fused.schedule.axes[row_item.column_axis(fused.schedule)]
    return ({"unroll": ABREAST if _unrolled(columns) == 1 else 1},)


def _unrolled(columns: DimLike) -> int:
    return 1 if isinstance(columns, int) and columns >= LONG else ABREAST


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """Long gradients go past the cache, at aligned addresses of whatever row."""
    schedule = fused.schedule
    axis = row_item.column_axis(schedule)
    columns = schedule.axes[axis]
    width = vector_width(schedule, device, columns)
    large = past_cache(schedule, device, width, axis, 0)
    if isinstance(columns, int) and columns % width and reads_beside(schedule, axis):
        # The line that two rows share is computed beyond their ends, where a slice may have nothing to read.
        large = None
    variants = []
    if large is not None and not schedule.element_checks:
        variants.append(_Pipeline(fused, device, width, True).variant(large))
    variants.append(_Pipeline(fused, device, width, False).variant(None))
    return variants


class _Pipeline:
    """The kernel under construction."""

    def __init__(self, fused: Fused, device: DeviceInfo, width: int, nontemporal: bool):
        self.fused, self.device, self.width, self.nontemporal = fused, device, width, nontemporal
        self.schedule: Schedule = fused.schedule
        self.emitter: Emitter = fused.emitter()
        self.stages = fused.stages
        self.axis = row_item.column_axis(self.schedule)
        columns = self.schedule.axes[self.axis]
        assert isinstance(columns, int)
        self.columns = columns
        self.realigns = nontemporal and columns % width != 0
        order = order_of_passes(fused, columns, width)
        assert order is not None
        self.order = order
        self.lags = order.lags if order.is_wrapped else lags_of(self.stages, self.realigns)
        self.unroll = fused.setting("unroll", row_item.UNROLL if order.is_wrapped else _unrolled(columns))
        self.row_axes = [a for a in sorted(self.schedule.looped) if a != self.axis]
        self.kept = waiting_values(self.emitter, self.stages, columns)
        self.pitch = {value: pitch_of(columns, width, ITEM_SIZE[register_dtype(value.type.dtype)], self._copies(value))
                      for value in self.kept}  # fmt: skip

    def variant(self, guard: Expr | None) -> Variant:
        fused, emitter, scope = self.fused, self.emitter, Scope()
        rows = product(self.schedule.axes[a] for a in self.row_axes)
        items = items_for(rows, self.columns, self.device, max(ROWS_EACH, ELEMENTS_EACH // self.columns))
        together = rows_together(self.columns, self.width) if self.realigns else 1
        own = own_share(emitter, scope, rows, together=together)
        sums = declare(emitter, scope, [op for s in self.stages for op in s.element_sums], self.width, 1)
        rows_done = RowValues(emitter, scope, self.stages, self.row_axes, self.width, own.first, own.end)
        found = [(op, self.lags[stage.number]) for stage in self.stages for op in stage.reductions]
        carried = declare_carried(emitter, scope, found, self.lags[-1], 1)
        self._pad(scope)

        def passes(inside: Scope, stages: Sequence[Stage], step: Var) -> None:
            self._passes(inside, stages, step, own.end, carried, sums, rows_done)

        steps(emitter, scope, own.first, own.end, self.order.stages, self.lags, carried, passes)
        fold_partials(fused, emitter, scope, (*sums, *rows_done.totals), own.item)
        launch = kernel_and_launch(
            fused, emitter, f"_row_pipeline{self.width}" + "_stream" * self.nontemporal, scope.statements, items,
            private_arrays=[*self._arrays(), *rows_done.arrays],
            comment=(f"{self._rows_at_a_time()}, vectors of {self.width} along them",),
        )  # fmt: skip
        return with_finish(fused, self.device, (launch,), items, "row-pipeline", guard)

    def _rows_at_a_time(self) -> str:
        if self.order.is_wrapped:
            return "2 rows at a time, the last pass over one beside the first over the next"
        return f"{len(self.stages)} rows at a time, one in each pass"

    def _arrays(self) -> list[PrivateArray]:
        return [
            PrivateArray(
                each.array, register_dtype(value.type.dtype), self._copies(value) * self.pitch[value], (value,)
            )
            for value, each in self.kept.items()
        ]

    def _copies(self, value: Value) -> int:
        return max(1, self.kept[value].copies(self.lags) - 1 + self.order.spare)

    def _pad(self, scope: Scope) -> None:
        """Fill what lies around waiting rows, of which a vector over the seam of two rows reads a little; and all of
        them, where they are not filled along all columns."""
        between = self.emitter.marks.between
        for value, each in self.kept.items() if self.realigns or between else ():
            filler = Const(0, register_dtype(value.type.dtype), self.width)
            after = self.columns // self.width * self.width
            if between:
                column, end = self.emitter.fresh("column", "i64"), integer(self._copies(value) * self.pitch[value])
                store = Store(each.array, column, filler)
                scope.statements.append(For(column, integer(0), end, integer(self.width), (store,)))
                continue
            for copy in range(self._copies(value)):
                for place in (0, after, after + self.width):
                    scope.statements.append(Store(each.array, integer(copy * self.pitch[value] + place), filler))

    def _passes(
        self, scope: Scope, stages: Sequence[Stage], step: Expr, end: Expr, carried: Sequence[Carried],
        sums: Sequence[Accumulators], rows_done: RowValues,
    ) -> None:  # fmt: skip
        """Some passes, loop by loop."""
        for part in self.order.parts:
            loops = [kept for loop in part if (kept := [stage for stage in loop if stage in stages])]
            self._part(scope, loops, step, end, carried, sums, rows_done)

    def _part(
        self, scope: Scope, loops: Sequence[Sequence[Stage]], step: Expr, end: Expr, carried: Sequence[Carried],
        sums: Sequence[Accumulators], rows_done: RowValues,
    ) -> None:  # fmt: skip
        """Sweeps over the columns for the passes of each loop, then the values of the rows that they finish."""
        emitter = self.emitter
        tracks: dict[Stage, Track] = {}
        rows: dict[Stage, Expr] = {}
        turns = TURNS if self.unroll == 1 else 1
        for stage in (stage for loop in loops for stage in loop):
            row = emitter.let(scope, "row", sub(step, integer(self.lags[stage.number])))
            point = self._point(scope, row)
            known = Scope(self._known(carried, stage), scope.statements)
            skew = self._skew(row, scope)
            work = self._work(stage, row, point, skew)
            groups = [*declare(emitter, scope, stage.reductions, self.width, self.unroll, turns),
                      *(group for group in sums if group.op in stage.element_sums)]  # fmt: skip
            track = Track(known, point, work, groups, skew)
            # Before the first loop, beside which the logarithms of rows for the second are computed: 0.94 (js_div).
            emitter.hoist(work.targets, frozenset({self.axis}), point, known, work.kept)
            track = self._with_next(scope, track, stage, row, end, carried)
            last = integer(self.columns - self.width)
            tracks[stage] = replace(track, backward=last) if self._goes_back(stage, track) else track
            rows[stage] = row
        abreast = row_item.UNROLL if self.order.is_wrapped else ABREAST
        for loop in loops:
            busy = [tracks[stage] for stage in loop if not tracks[stage].work.is_empty]
            if busy and self.realigns:
                sweep_aligned(emitter, scope, busy, self.axis, self.columns, self.width, self.unroll, abreast)
            elif busy:
                sweep(emitter, scope, busy, self.axis, integer(0), integer(self.columns), self.width, self.unroll,
                      self.nontemporal, abreast, self.columns)  # fmt: skip
        for stage, track in tracks.items():
            for group in track.groups:
                found = next((each for each in carried if each.op is group.op), None)
                if found is not None:
                    value = fold(emitter, scope, group, True)
                    scope.statements.append(Assign(found.new, value))
                    track.row.known[group.op.result] = value
            rows_done.emit(track.row, track.point, stage, rows[stage])

    def _known(self, carried: Sequence[Carried], stage: Stage) -> dict[Value, Expr]:
        """What earlier passes found of the row that a pass works on, in earlier steps or in this one."""
        lag = self.lags[stage.number]
        before = {op for each in self.stages[: stage.number] for op in each.reductions}
        now = {each.op.result: each.new for each in carried if each.lag == lag and each.op in before}
        return {**known_of(carried, lag), **now}

    def _point(self, scope: Scope, row: Expr) -> Point:
        return point_of(self.emitter, scope, row, self.row_axes)

    def _with_next(
        self, scope: Scope, track: Track, stage: Stage, row: Expr, end: Expr, carried: Sequence[Carried]
    ) -> Track:  # fmt: skip
        """The same, with the row after it, where the two share a line that is stored."""
        if not (self.realigns and track.work.stores):
            return track
        following = self.emitter.let(scope, "row", add(row, integer(1)))
        point = self._point(scope, following)
        known = Scope(known_of(carried, self.lags[stage.number], 1), scope.statements)
        work = self._work(stage, following, point, self._skew(following, scope))
        work = replace(work, joined=(), checks=(), keep={}, prefetch=())
        return replace(track, following=Track(known, point, work, ()), follows=less(following, end))

    def _work(self, stage: Stage, row: Expr, point: Point, skew: Expr | None) -> Work:
        # A waiting row lies in its array as it lies in memory, relative to a cache line.
        ahead = integer(0) if skew is None else mod(sub(integer(self.width), skew), integer(self.width))

        def waiting(value: Value) -> Row:
            copies = self._copies(value)
            place = mul(mod(row, integer(copies)), integer(self.pitch[value])) if copies > 1 else integer(0)
            return Row(self.kept[value].array, add(place, ahead))

        return work_of(
            stage,
            keep={value: waiting(value) for value, each in self.kept.items() if each.filled == stage.number},
            kept={value: waiting(value) for value, each in self.kept.items() if stage.number in each.read},
            prefetch=self._ahead(point) if stage.number == 0 else (),
        )

    def _ahead(self, point: Point) -> tuple[tuple[str, Expr, int], ...]:
        """Into the second-level cache, a fixed distance before the first pass reads it, whatever row that is."""
        if not _holds_up_loads(self.schedule):
            return ()
        starts = row_item.row_starts(self.fused, self.emitter, point, self.axis)
        return tuple((name, add(offset, self._distance(pitch, item)), 2) for name, offset, pitch, item in starts)

    def _distance(self, pitch: Expr, item: int) -> Expr:
        """Of rows that are not read whole a whole number: of what is fetched, none is beside all windows."""
        elements = AHEAD_BYTES // item
        if not isinstance(pitch, Const) or idle_columns(self.emitter.marks, self.axis) is None:
            return integer(elements)
        return mul(pitch, integer(max(1, round(elements / int(pitch.value)))))

    def _goes_back(self, stage: Stage, track: Track) -> bool:
        """Whether a pass begins where the one before it ended, as every second one does over light rows."""
        if stage.number % 2 == 0 or self.columns % self.width or _holds_up_loads(self.schedule):
            return False
        in_place = bool(self.kept) and self.order.spare == 0
        may = not (in_place or self.order.is_wrapped or track.work.checks or hits_of(self.emitter, track)
                   or self.emitter.marks.between)  # fmt: skip
        return may and GOING_BACK[0] <= self.columns <= GOING_BACK[1]

    def _skew(self, row: Expr, scope: Scope) -> Expr | None:
        return skew_of(self.emitter, scope, row, self.columns, self.width) if self.realigns else None
