"""Each lane of a vector owns a row. For rows that lie side by side in memory (class axis in front of pixels, sums over
a batch) and for rows too short for a vector along them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.arithmetic import at_least, integer
from ...ir.function import Value
from ...ir.kernel import Expr, For, register_dtype
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE, DimLike, multiply_dims
from ..emission.emit import Emitter, Scope
from ..emission.points import size_of
from ..emission.reductions import declare
from ..emission.vectors import past_cache, static_size, vector_width
from ..fused import Fused, fold_partials, kernel_and_launch, with_finish
from ..rows.blocks import block_count, finish_block, lane_axis, rows_abreast
from ..rows.columns import pass_over
from ..rows.ends import end_of_columns
from ..rows.ownership import ITEMS_A_CORE, items_for, own_share
from ..rows.row_costs import fetched_apart
from ..rows.stages import FEW_PASSES, NO_LIMIT, Kept, Stage, arrays_of, bytes_of, inputs_read, waiting_values
from ..rows.work import waiting_rows, work_of
from .row_item import USUAL_LENGTH

PRIVATE_BYTES = 64 * 1024
ABREAST, ACCUMULATORS = 8, 16
"""Vectors of rows that one light pass takes side by side, and accumulators that stay in registers. The next column of a
row is often in another page, where one vector reads one line: 0.40 of the time (512 by 1024), 0.50 with four."""
FEW_COLUMNS, LIGHT = 64, 4.0
"""Columns below which the pages of a block are still followed when the next one comes: 1.3 of the time (21 columns of
pixels). And what an element of such a pass costs at most: an exponential takes as long either way."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if not schedule.reduced:
        return "it has no row reductions"
    if not schedule.rows:
        return "it is a single row"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """A vector of elements is one step where lanes are neighbours in memory; otherwise every lane loads for itself. On
    a GPU only for what nothing else does: rows along several axes."""
    if device.kind == "gpu":
        return 10.0
    schedule = fused.schedule
    width = vector_width(schedule, device, schedule.axes[lane_axis(schedule)])
    element = of_elements(fused, device, width)
    if width > 1 and not lanes_are_inner(schedule):
        element += fetched_apart(schedule, fused.stages, lambda value: _is_inner(schedule, value))
    return element / fused.row_costs.step


def of_elements(fused: Fused, device: DeviceInfo, width: int) -> float:
    """What an element takes of vectors of so many rows, wherever it lies."""
    work, schedule = fused.row_costs, fused.schedule
    length = static_size(tuple(schedule.axes[a] for a in schedule.columns)) or USUAL_LENGTH
    return (work.element + work.of_rows(width) / length) / width + work.memory / vector_width(schedule, device)


def lanes_are_inner(schedule: Schedule) -> bool:
    """Whether rows lie side by side in every input that has several axes."""
    return all(_is_inner(schedule, value) for value in schedule.function.inputs)


def _is_inner(schedule: Schedule, value: Value) -> bool:
    axis, own = lane_axis(schedule), [a for a in schedule.where[value] if a is not None]
    return len(own) < 2 or axis not in own or own[-1] == axis


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule = fused.schedule
    size = schedule.axes[lane_axis(schedule)]
    width = vector_width(schedule, device, size)
    variants = []
    large = past_cache(schedule, device, width, lane_axis(schedule), size)
    if large is not None:
        variants.append(_variant(fused, device, width, large, True))
    if not isinstance(size, int):
        variants.append(_variant(fused, device, width, at_least(size_of(size), width)))
        width = 1
    variants.append(_variant(fused, device, width, None))
    return variants


def _vectors_abreast(fused: Fused, device: DeviceInfo, width: int) -> int:
    """Vectors of rows that a kernel takes side by side: several where it reads neighbours in one light pass, which does
    not stop early, and there are rows enough for all cores."""
    schedule = fused.schedule
    size, columns = schedule.axes[lane_axis(schedule)], static_size(tuple(schedule.axes[a] for a in schedule.columns))
    passes = [stage for stage in fused.stages if stage.targets]
    if device.kind != "cpu" or width == 1 or not isinstance(size, int) or len(passes) != 1:
        return 1
    is_short = columns is not None and columns < FEW_COLUMNS
    if is_short or not lanes_are_inner(schedule) or fused.row_costs.element > LIGHT:
        return 1
    if end_of_columns(schedule, passes[0].reductions) is not None:
        return 1
    enough = size // (width * ITEMS_A_CORE * device.compute_units)
    most = min(enough, ACCUMULATORS // max(1, len(passes[0].summed)))
    return next((vectors for vectors in (ABREAST, ABREAST // 2, ABREAST // 4) if vectors <= most), 1)


def _variant(fused: Fused, device: DeviceInfo, width: int, guard: Expr | None, nontemporal: bool = False) -> Variant:
    schedule = fused.schedule
    emitter, scope = fused.emitter(), Scope()
    vectors = _vectors_abreast(fused, device, width)
    blocks = block_count(schedule, width * vectors)
    length = multiply_dims([*(schedule.axes[a] for a in schedule.columns), width])
    items = items_for(blocks, multiply_dims([length, vectors]), device, least=1)
    own = own_share(emitter, scope, blocks, "blocks")
    keeps = width > 1 or len(fused.stages) > FEW_PASSES
    kept = waiting_values(emitter, fused.stages, length, PRIVATE_BYTES) if keeps else {}
    kept |= inputs_read_again(emitter, fused.stages, kept, length, PRIVATE_BYTES) if width > 1 else {}
    sums = declare(emitter, scope, [op for stage in fused.stages for op in stage.sums], width, vectors)

    number = emitter.fresh("block", "i64")
    inside = scope.inner()
    rows = rows_abreast(emitter, inside, number, width, vectors)
    for stage in fused.stages:
        work = work_of(stage, *waiting_rows(kept, stage))
        pass_over(emitter, inside, rows, stage, work, sums, nontemporal=nontemporal)
        for vector, (known, block) in enumerate(rows):
            finish_block(emitter, known, block, stage, sums, vector)
    scope.statements.append(For(number, own.first, own.end, integer(1), tuple(inside.statements)))
    fold_partials(fused, emitter, scope, sums, own.item)
    launch = kernel_and_launch(
        fused, emitter, f"_row_lanes{width}" + "_stream" * nontemporal, scope.statements, items,
        comment=(f"one row a lane, {width * vectors} rows at a time",),
        private_arrays=arrays_of(kept, length) if isinstance(length, int) else [],
    )  # fmt: skip
    return with_finish(fused, device, (launch,), items, "row-lanes", guard)


def inputs_read_again(
    emitter: Emitter, stages: Sequence[Stage], kept: Mapping[Value, Kept], length: DimLike, limit: int = NO_LIMIT
) -> dict[Value, Kept]:
    """Inputs that several passes read. Columns that lie a power of two apart share one set of every cache: the second
    pass would find nothing of the first."""
    if not isinstance(length, int) or length == 0:
        return {}
    found: dict[Value, Kept] = {}
    room = limit - bytes_of(kept, length)
    for value in emitter.schedule.function.inputs:
        first, *later = [stage.number for stage in stages if value in inputs_of(emitter, stage, kept)] or [0]
        if later and _size(value, length) <= room:
            room -= _size(value, length)
            dtype = register_dtype(value.type.dtype)
            found[value] = Kept(emitter.fresh(f"{value.name}_row", dtype).name, first, frozenset(later))
    return found


def _size(value: Value, length: int) -> int:
    return length * ITEM_SIZE[register_dtype(value.type.dtype)]


def inputs_of(emitter: Emitter, stage: Stage, kept: Mapping[Value, Kept]) -> list[Value]:
    """The inputs that a pass reads at every element, where it finds the values that earlier passes kept."""
    before = [value for value, each in kept.items() if each.filled < stage.number]
    return inputs_read(emitter.schedule, stage, before)
