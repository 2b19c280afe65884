"""Each work-item owns whole rows and goes along them in explicit vectors. The shape for CPUs and contiguous rows.

A pass over the row for each stage; what a later pass begins from (`keeping.py`) stays in a private array. For graphs
without row reductions the last axis is the column. Rows of one pass go past the cache wherever they start in a
line (`shared_lines.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.arithmetic import add, at_least, integer
from ...ir.function import Value
from ...ir.kernel import Expr, For
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE
from ..emission.emit import Emitter, Scope
from ..emission.points import Point, product, size_of
from ..emission.reductions import Accumulators, declare, fold
from ..emission.vectors import past_cache, vector_width
from ..fused import Fused, fold_partials, kernel_and_launch, with_finish
from ..rows.ownership import ITEM_ELEMENTS, items_for, own_share, point_of
from ..rows.picked import fetch_picked
from ..rows.row_costs import fetched_apart
from ..rows.shared_lines import past_cache_over_lines, rows_together, sweep_over_lines
from ..rows.stages import FEW_PASSES, Kept, Stage, arrays_of, waiting_values
from ..rows.sweep import Track, sweep
from ..rows.values import RowValues
from ..rows.work import waiting_rows, work_of

UNROLL = 4
PRIVATE_BYTES = 256 * 1024
"""The longest row kept between passes: a quarter of a second-level cache of 1 MiB."""
ALONE = 2048
"""Elements of an item that goes along its rows one by one: all of them join one accumulator."""
USUAL_LENGTH = 256
"""Of rows whose length has a name."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if not schedule.looped:
        return "it has no rows"
    if len(schedule.reduced) > 1:
        return "rows are reduced along several axes that are not one in memory"
    if device.kind == "gpu":
        return "one work-item a row reads memory in strides on a GPU"
    return None


def column_axis(schedule: Schedule) -> int:
    """The axis that vectors run along: the reduced one, else the innermost."""
    return next(iter(schedule.reduced)) if schedule.reduced else max(schedule.looped)


def cost(fused: Fused, device: DeviceInfo) -> float:
    """Vectors along the row cost one step each, the last one as much as the others, and so does what a row gives, for
    each row by itself. Where columns are no neighbours in memory every lane fetches for itself."""
    schedule = fused.schedule
    axis = column_axis(schedule)
    columns = schedule.axes[axis]
    length = max(1, columns) if isinstance(columns, int) else USUAL_LENGTH
    width = vector_width(schedule, device, columns)
    vectors = -(-length // width)
    if not schedule.reduced:
        along = vectors + 0.5 * len(fused.stages) + 0.5 * any(stage.row_sums for stage in fused.stages)
        return along / length if is_contiguous(schedule, axis) else 1.0 + 0.5 / length
    work = fused.row_costs
    row = vectors * work.element + work.of_one_row(width)
    row += length * work.memory / vector_width(schedule, device)
    if width > 1:
        row += length * fetched_apart(schedule, fused.stages, lambda value: _stride_is_one(schedule, value, axis))
    return row / (length * work.step)


def is_contiguous(schedule: Schedule, axis: int) -> bool:
    """Whether columns lie side by side in everything that is read and stored along them."""
    stored = (*schedule.function.inputs, *schedule.element_outputs)
    return all(_stride_is_one(schedule, value, axis) for value in stored)


def _stride_is_one(schedule: Schedule, value: Value, axis: int) -> bool:
    own = schedule.where[value]
    return axis not in own or all(a is None or a == axis for a in own[own.index(axis) :])


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """Full vectors where a row has one, else element by element; a long gradient past the cache."""
    schedule = fused.schedule
    columns = schedule.axes[column_axis(schedule)]
    width = vector_width(schedule, device, columns)
    variants = []
    large = past_cache(schedule, device, width, column_axis(schedule), columns)
    if large is not None:
        variants.append(_variant(fused, device, width, large, True))
    elif is_contiguous(schedule, column_axis(schedule)):
        shared = past_cache_over_lines(fused, device, column_axis(schedule))
        if shared is not None:
            variants.append(_variant(fused, device, width, shared, True, realigns=True))
    if not isinstance(columns, int):
        variants.append(_variant(fused, device, width, at_least(size_of(columns), width), False))
        width = 1
    variants.append(_variant(fused, device, width, None, False))
    return variants


def _variant(
    fused: Fused, device: DeviceInfo, width: int, guard: Expr | None, nontemporal: bool, realigns: bool = False
) -> Variant:
    schedule = fused.schedule
    axis = column_axis(schedule)
    row_axes = [a for a in sorted(schedule.looped) if a != axis]
    emitter, scope = fused.emitter(), Scope()
    rows = product(schedule.axes[a] for a in row_axes)
    items = items_for(rows, schedule.axes[axis], device, elements=ITEM_ELEMENTS if width > 1 else ALONE)
    together = rows_together(_length(schedule, axis), width) if realigns else 1
    own = own_share(emitter, scope, rows, together=together)
    stages = fused.stages
    keeps = width > 1 or len(stages) > FEW_PASSES
    kept = waiting_values(emitter, stages, schedule.axes[axis], PRIVATE_BYTES) if keeps else {}
    element_sums = [op for stage in stages for op in stage.element_sums]
    totals = declare(emitter, scope, element_sums, width, 1)
    rows_done = RowValues(emitter, scope, stages, row_axes, width, own.first, own.end)

    row = emitter.fresh("row", "i64")
    inside = scope.inner()
    point = point_of(emitter, inside, row, row_axes)
    if width > 1:
        fetch_picked(emitter, inside, row, rows, row_axes, stages)
    for stage in stages:
        if realigns:
            sweep_over_lines(emitter, inside, stage, row, own.end, row_axes, axis, width, UNROLL, totals)
        else:
            _pass(fused, emitter, inside, point, axis, width, stage, stages, kept, totals, nontemporal)
        rows_done.emit(inside, point, stage, row)
    scope.statements.append(For(row, own.first, own.end, integer(1), tuple(inside.statements)))
    fold_partials(fused, emitter, scope, (*totals, *rows_done.totals), own.item)
    launch = kernel_and_launch(
        fused, emitter, f"_row_item{width}" + "_stream" * nontemporal, scope.statements, items,
        comment=(f"one work-item a row, vectors of {width} along it",),
        private_arrays=[*(arrays_of(kept, _length(schedule, axis)) if kept else ()), *rows_done.arrays],
    )  # fmt: skip
    return with_finish(fused, device, (launch,), items, "row-item", guard)


def _length(schedule: Schedule, axis: int) -> int:
    size = schedule.axes[axis]
    assert isinstance(size, int)
    return size


def _pass(
    fused: Fused, emitter: Emitter, scope: Scope, point: Point, axis: int, width: int, stage: Stage,
    stages: list[Stage], kept: Mapping[Value, Kept], totals: list[Accumulators], nontemporal: bool,
) -> None:  # fmt: skip
    """One sweep over the columns of a row: reductions, stores, sums and checks of one stage."""
    work = work_of(stage, *waiting_rows(kept, stage), _prefetch(fused, emitter, point, axis, width, stage, stages))
    if work.is_empty:
        return
    groups = [*declare(emitter, scope, stage.reductions, width, UNROLL),
              *(group for group in totals if group.op in stage.element_sums)]  # fmt: skip
    stop = size_of(emitter.schedule.axes[axis])
    sweep(emitter, scope, [Track(scope, point, work, groups)], axis, integer(0), stop, width, UNROLL, nontemporal,
          length=emitter.schedule.axes[axis])  # fmt: skip
    for group in groups:
        if group.op in stage.reductions:
            scope.known[group.op.result] = fold(emitter, scope, group, True)


def _prefetch(
    fused: Fused, emitter: Emitter, point: Point, axis: int, width: int, stage: Stage, stages: list[Stage]
) -> tuple[tuple[str, Expr, int], ...]:
    """The next row, fetched while this one is computed: into the first level in the last pass over a short row, into
    the second in the pass before it over a long one."""
    columns = emitter.schedule.axes[axis]
    if len(stages) < 2 or not isinstance(columns, int) or width == 1 or columns < 4 * width:
        return ()
    short = columns * 4 <= 8192
    if stage is not (stages[-1] if short else stages[1]):
        return ()
    return next_row(fused, emitter, point, axis, 3 if short else 2)


def next_row(fused: Fused, emitter: Emitter, point: Point, axis: int, level: int) -> tuple[tuple[str, Expr, int], ...]:
    """What to prefetch of the row after the one at `point`: every input that all rows have of their own."""
    return tuple(
        (name, add(offset, pitch), level) for name, offset, pitch, _ in row_starts(fused, emitter, point, axis)
    )


def row_starts(fused: Fused, emitter: Emitter, point: Point, axis: int) -> list[tuple[str, Expr, Expr, int]]:
    """Inputs that every row has of its own: buffer, where the row at `point` starts, row pitch, bytes an element."""
    schedule = emitter.schedule
    found = []
    for value in schedule.function.inputs:
        strides = dict(emitter.strides(value))
        outer = [a for a in strides if a != axis]
        if schedule.varies[value] == schedule.looped and strides[axis] == integer(1) and outer:
            offset, _ = emitter.index(value, {a: point[a] for a in outer} | {axis: integer(0)})
            found.append((fused.buffers[value], offset, strides[outer[-1]], ITEM_SIZE[value.type.dtype]))
    return found
