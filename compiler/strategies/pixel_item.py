"""One work-item a row, where rows lie side by side in memory: the classes of a pixel, sums over a batch. The shape for
GPUs: neighbouring items read neighbouring elements, column after column.

What several passes need of a few columns stays in registers; of many it is read again. Items go on by as many rows as
there are items; a group adds up its sums in local memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.arithmetic import ceil_div, integer, mul
from ...ir.function import Value
from ...ir.kernel import For, PrivateArray, WorkItem, register_dtype
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..emission.emit import Emitter, Scope
from ..emission.marks import known_at
from ..emission.reductions import Accumulators, declare, fold
from ..fused import Fused, kernel_and_launch, with_finish
from ..rows.blocks import Block, block_at, block_count, finish_block
from ..rows.columns import pass_over
from ..rows.stages import Stage
from ..rows.work import Row, Work, along, visit, work_of
from ..work_groups.finish import group_count, group_finish, leave_partials
from ..work_groups.meeting import Meeting, widest_of
from ..work_groups.tiers import Held, group_size, held_values, local_for_meetings, values_for, words_held
from . import row_lanes


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    refused = row_lanes.applies(fused, device)
    if refused is not None:
        return refused
    size = group_size(device)
    if local_for_meetings(fused.schedule, fused.stages, size, size) > device.local_memory:
        return "the partial results of a group do not fit local memory"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    """Nothing on a GPU where rows lie side by side; else neighbours are far apart, which is still better than a group
    for each row of columns that are."""
    if device.kind != "gpu":
        return 6.0
    return 0.045 if row_lanes.lanes_are_inner(fused.schedule) else 4.5


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule, emitter, scope = fused.schedule, fused.emitter(), Scope()
    size_of_group = group_size(device)
    item = emitter.let(scope, "local_id", WorkItem("local_id"))
    group = emitter.let(scope, "group_id", WorkItem("group_id"))
    stages = fused.stages
    held, columns = _in_registers(emitter, stages, device, size_of_group)
    names = {each.value: emitter.fresh(f"{each.value.name}_kept", "f32").name for each in held}
    sums = declare(emitter, scope, [op for stage in stages for op in stage.sums], 1, 1)
    rows = block_count(schedule, 1)
    groups = group_count(ceil_div(rows, integer(size_of_group)), size_of_group, device)

    number = emitter.fresh("row", "i64")
    inside = scope.inner()
    block = block_at(emitter, inside, number, 1)
    for stage in stages:
        work = work_of(
            stage,
            keep={each.value: Row(names[each.value]) for each in held if each.first == stage.number},
            kept={each.value: Row(names[each.value]) for each in held if each.first < stage.number <= each.last},
        )
        if columns and not work.is_empty:
            _unrolled(emitter, inside, block, stage, work, sums, columns)
        else:
            pass_over(emitter, inside, [(inside, block)], stage, work, sums)
        finish_block(emitter, inside, block, stage, sums)
    first = emitter.let(scope, "global_id", WorkItem("global_id"))
    scope.statements.append(For(number, first, rows, WorkItem("global_size"), tuple(inside.statements)))

    meeting = Meeting(emitter, size_of_group, item, widest_of(device))
    leave_partials(fused, scope, meeting, sums, group)
    place = "columns kept in registers between the passes" if held else "columns read in every pass"
    launch = kernel_and_launch(
        fused, emitter, f"_pixel_item{size_of_group}", scope.statements, mul(groups, integer(size_of_group)),
        local_size=size_of_group, local_arrays=meeting.arrays, private_arrays=_arrays(names, columns),
        comment=(f"one row a work-item, neighbours side by side; {place}",),
    )  # fmt: skip
    return [with_finish(fused, device, (launch,), groups, "pixel-item", None, finish=group_finish)]


def _in_registers(
    emitter: Emitter, stages: Sequence[Stage], device: DeviceInfo, size_of_group: int
) -> tuple[tuple[Held, ...], int]:  # fmt: skip
    """What is kept, and how many columns there are; nothing where they are too many, or their number has a name."""
    schedule: Schedule = emitter.schedule
    held = held_values(emitter, stages)
    columns = schedule.axes[schedule.columns[0]]
    if len(schedule.columns) > 1 or not isinstance(columns, int) or not columns:
        return (), 0
    return (held, columns) if 0 < columns * words_held(held) <= values_for(device, size_of_group) else ((), 0)


def _arrays(names: Mapping[Value, str], columns: int) -> list[PrivateArray]:
    return [PrivateArray(name, register_dtype(v.type.dtype), columns, (v,)) for v, name in names.items()]


def _unrolled(
    emitter: Emitter, scope: Scope, block: Block, stage: Stage, work: Work, sums: Sequence[Accumulators], columns: int
) -> None:  # fmt: skip
    """One pass over columns that are kept, one by one."""
    rows = declare(emitter, scope, stage.reductions, 1, 1)
    own = [each for each in sums if each.op in stage.element_sums]
    emitter.hoist(work.targets, emitter.schedule.reduced, block.point, scope, given=work.kept)
    (axis,) = emitter.schedule.columns
    for column in range(columns):
        at = {**block.point, axis: integer(column)}
        known, there = along(emitter, known_at(emitter.marks, axis, integer(column)), scope, work)
        visit(emitter, inner := known.inner(), at, there, [*rows, *own], column=integer(column))
        scope.statements += inner.statements
    for each in rows:
        scope.known[each.op.result] = fold(emitter, scope, each, False)
