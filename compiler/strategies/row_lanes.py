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
from ..emission.reductions import Accumulators, declare, fold
from ..emission.vectors import past_cache, static_size, vector_width
from ..fused import Fused, kernel_and_launch, partial_dtypes, store_partials, with_finish
from ..rows.blocks import Block, LaneTrack, block_at, block_count, finish_block, lane_axis, visit_columns
from ..rows.ownership import items_for, own_share
from ..rows.row_costs import fetched_apart
from ..rows.stages import FEW_PASSES, NO_LIMIT, Kept, Stage, arrays_of, bytes_of, inputs_read, waiting_values
from ..rows.sweep import Work, waiting_rows, work_of
from .row_item import USUAL_LENGTH

PRIVATE_BYTES = 64 * 1024


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


def _variant(fused: Fused, device: DeviceInfo, width: int, guard: Expr | None, nontemporal: bool = False) -> Variant:
    schedule = fused.schedule
    emitter, scope = fused.emitter(), Scope()
    blocks = block_count(schedule, width)
    length = multiply_dims([*(schedule.axes[a] for a in schedule.columns), width])
    items = items_for(blocks, length, device, least=1)
    own = own_share(emitter, scope, blocks, "blocks")
    keeps = width > 1 or len(fused.stages) > FEW_PASSES
    kept = waiting_values(emitter, fused.stages, length, PRIVATE_BYTES) if keeps else {}
    kept |= inputs_read_again(emitter, fused.stages, kept, length, PRIVATE_BYTES) if width > 1 else {}
    sums = declare(emitter, scope, [op for stage in fused.stages for op in stage.sums], width, 1)

    number = emitter.fresh("block", "i64")
    inside = scope.inner()
    block = block_at(emitter, inside, number, width)
    for stage in fused.stages:
        work = work_of(stage, *waiting_rows(kept, stage))
        _pass(emitter, inside, block, stage, work, sums, nontemporal)
        finish_block(emitter, inside, block, stage, sums)
    scope.statements.append(For(number, own.first, own.end, integer(1), tuple(inside.statements)))
    store_partials(fused, scope, {group.op: fold(emitter, scope, group, True) for group in sums}, own.item)
    launch = kernel_and_launch(
        fused, emitter, f"_row_lanes{width}" + "_stream" * nontemporal, scope.statements, items,
        partials=partial_dtypes(fused), comment=(f"one row a lane, {width} rows at a time",),
        private_arrays=arrays_of(kept, length) if isinstance(length, int) else [],
    )  # fmt: skip
    return with_finish(fused, device, launch, items, "row-lanes", guard)


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


def _pass(
    emitter: Emitter, scope: Scope, block: Block, stage: Stage, work: Work, sums: Sequence[Accumulators],
    nontemporal: bool,
) -> None:  # fmt: skip
    """One pass over the columns of a block; afterwards its row reductions are known."""
    if work.is_empty:
        return
    rows = declare(emitter, scope, stage.reductions, block.width, 1)
    own = [group for group in sums if group.op in stage.element_sums]
    visit_columns(emitter, scope, [LaneTrack(scope, block, work, rows, own)], nontemporal=nontemporal)
    for group in rows:
        scope.known[group.op.result] = fold(emitter, scope, group, False)
