"""One work-group a row, or several short rows: its items lie side by side along the row. The shape for GPUs:
neighbouring items read neighbouring vectors of 16 bytes.

A row that fits stays in registers between the passes, or in registers and local memory (`tiers`); a longer one is
read again. Partial results meet in local memory, once a pass. Where the length of a row has a name there are variants
for short rows, for longer ones, and for those that vectors do not divide.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, both, ceil_div, div, divides, integer, less, minimum, mod, mul, sub
from ...ir.kernel import Expr, For, If, WorkItem
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..emission.emit import Emitter, Scope
from ..emission.points import Point, product, size_of
from ..emission.reductions import Accumulators, declare
from ..fused import Fused, kernel_and_launch, with_finish
from ..rows.blocks import finish_rows
from ..rows.ownership import point_of
from ..rows.phases import Phase, phases_of, rescaled_in
from ..rows.rescalable import rescalable
from ..rows.stages import Stage
from ..rows.work import Work, work_of
from ..work_groups.finish import first_of, group_count, group_finish, leave_partials
from ..work_groups.meeting import Meeting, widest_of
from ..work_groups.online import TILE, reduce_online
from ..work_groups.rows import GroupRows
from ..work_groups.tiers import (
    WARP,
    Layout,
    group_size,
    held_values,
    layout_of,
    local_for_meetings,
    values_for,
    vector_of,
    words_held,
)
from . import row_item

KEPT_VALUES = (16, 64)
"""Elements an item keeps of rows whose length has a name: a row of that many an item, or of fewer, is read once."""
ONLINE = "_online"
"""In the name of a kernel that reads a row once for all passes of a phase; the traffic report looks for it."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if not schedule.looped:
        return "it has no rows"
    if not schedule.reduced and len(schedule.looped) == 1:
        return "its elements lie along one axis"
    size = group_size(device)
    if local_for_meetings(schedule, fused.stages, size, min(size, WARP)) > device.local_memory:
        return "the partial results of a group do not fit local memory"
    return None


def column_axis(schedule: Schedule) -> int:
    """The axis that items lie along: the innermost of those that are reduced, else of all."""
    return max(schedule.reduced or schedule.looped)


def cost(fused: Fused, device: DeviceInfo) -> float:
    """Nothing on a GPU, where columns lie side by side; else every item reads a line of memory for one element."""
    if device.kind != "gpu":
        return 4.0
    return 0.05 if row_item.is_contiguous(fused.schedule, column_axis(fused.schedule)) else 5.0


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """A row of known length in its own layout. Else in layouts for rows that are kept, then for rows that are not: with
    vectors where they divide the row, element by element where they do not."""
    schedule, emitter = fused.schedule, fused.emitter()
    columns = schedule.axes[column_axis(schedule)]
    widest, stages = vector_of(schedule, device, columns), fused.stages
    is_one_axis = len(schedule.columns) <= 1
    size = group_size(device)
    if isinstance(columns, int):
        known = layout_of(emitter, stages, columns, widest, device) if is_one_axis else None
        return [_variant(fused, device, known or Layout(size, 1, widest, 0, 0, True), None)]
    held = held_values(emitter, stages) if is_one_axis else ()
    words = words_held(held)
    kept = [values for values in KEPT_VALUES if 0 < values * words <= values_for(device, size)]
    variants = []
    for width in dict.fromkeys((widest, 1)):
        whole = divides(width, size_of(columns)) if width > 1 else None
        for values in kept:
            fits = less(size_of(columns), integer(values * size + 1))
            layout = Layout(size, 1, width, values // width, 0, False, held)
            variants.append(_variant(fused, device, layout, both(whole, fits)))
        variants.append(_variant(fused, device, Layout(size, 1, width, 0, 0, True), whole))
    return variants


def _variant(fused: Fused, device: DeviceInfo, layout: Layout, guard: Expr | None) -> Variant:
    schedule, emitter, scope = fused.schedule, fused.emitter(), Scope()
    emitter.aligned = not device.shared_pointers
    axis = column_axis(schedule)
    row_axes = [a for a in sorted(schedule.looped) if a != axis and a not in schedule.reduced]
    item = emitter.let(scope, "local_id", WorkItem("local_id"))
    group = emitter.let(scope, "group_id", WorkItem("group_id"))
    lane = emitter.let(scope, "lane", mod(item, integer(layout.lanes))) if layout.rows > 1 else item
    meeting = Meeting(emitter, layout.size, item, widest_of(device))
    stages = fused.stages
    sums = declare(emitter, scope, [op for s in stages for op in s.element_sums], layout.width, 1)
    row_sums = declare(emitter, scope, [op for s in stages for op in s.row_sums], 1, 1)
    rows = product(schedule.axes[a] for a in row_axes)
    blocks = ceil_div(rows, integer(layout.rows))
    groups = group_count(blocks, layout.size, device)

    block = emitter.fresh("row" if layout.rows == 1 else "rows", "i64")
    turn = scope.inner()
    row: Expr = block
    inside: Expr | None = None
    if layout.rows > 1:
        own = add(mul(block, integer(layout.rows)), div(item, integer(layout.lanes)))
        wanted = emitter.let(turn, "wanted", own)
        inside = emitter.let(turn, "inside", less(wanted, rows))
        row = emitter.let(turn, "row", minimum(wanted, sub(rows, integer(1))))
    point = point_of(emitter, turn, row, row_axes)
    along = GroupRows(emitter, layout, axis, item, lane, integer(0), size_of(schedule.axes[axis]), inside)
    laws = rescalable(schedule)
    online = {phase.stages[0].number: phase for phase in _online(along, phases_of(stages, laws), device)}
    done: set[int] = set()
    for stage in stages:
        if stage.number in online:
            phase = online[stage.number]
            reduce_online(along, turn, point, phase, rescaled_in([phase], laws), meeting, sums)
            done |= {each.number for each in phase.stages}
        work = work_of(stage)
        if not work.is_empty and stage.number not in done:
            found = declare(emitter, turn, stage.reductions, layout.width, 1)
            own = [*found, *(s for s in sums if s.op in stage.element_sums)]
            _visit_lines(emitter, turn, point, along, stage, work, own)
            for op, value in meeting.join(turn, found, layout.lanes).items():
                turn.known[op.result] = value
        finish_row(emitter, turn, point, stage, row_sums, first_of(lane, inside))
    meeting.close_turn(turn)
    scope.statements.append(For(block, group, blocks, WorkItem("group_count"), tuple(turn.statements)))

    leave_partials(fused, scope, meeting, [*sums, *row_sums], group)
    again = ONLINE if online else "_looped"
    kind = again if layout.looped else f"_kept{layout.vectors}" if layout.held else ""
    launch = kernel_and_launch(
        fused, emitter, f"_row_group{layout.lanes}x{layout.width}{kind}", scope.statements,
        mul(groups, integer(layout.size)), local_size=layout.size,
        local_arrays=[*meeting.arrays, *along.local_arrays], private_arrays=along.private_arrays,
        comment=(described(layout) + "; maxima and the sums below them in one pass" * bool(online),),
    )  # fmt: skip
    return with_finish(fused, device, (launch,), groups, "row-group", guard, finish=group_finish)


def _online(along: GroupRows, phases: Sequence[Phase], device: DeviceInfo) -> list[Phase]:
    """The phases of two passes that read a row once: all or none. What is kept on the chip is read once as it is."""
    layout, emitter = along.layout, along.emitter
    if not layout.looped or len(emitter.schedule.columns) > 1:
        return []
    found = [phase for phase in phases if len(phase.stages) == 2]
    words = max((words_held(held_values(emitter, phase.stages)) for phase in found), default=0)
    return found if TILE * layout.width * words <= values_for(device, layout.size) else []


def _visit_lines(
    emitter: Emitter, scope: Scope, point: Point, along: GroupRows, stage: Stage, work: Work,
    groups: Sequence[Accumulators],
) -> None:  # fmt: skip
    """A pass over a row; line by line, where it is reduced along more axes than the one that items lie along."""
    outer = [a for a in emitter.schedule.columns if a != along.axis]
    if not outer:
        along.visit_row(scope, point, stage, work, groups)
        return
    variables = {a: emitter.fresh("line", "i64") for a in outer}
    inner = scope.inner()
    along.visit_row(inner, {**point, **variables}, stage, work, groups)
    body = tuple(inner.statements)
    for a, variable in reversed(variables.items()):
        body = (For(variable, integer(0), size_of(emitter.schedule.axes[a]), integer(1), body),)
    scope.statements += body


def described(layout: Layout) -> str:
    """One line for the kernel's comment."""
    share = "one row a work-group" if layout.rows == 1 else f"{layout.rows} rows a work-group"
    return f"{share}, {layout.lanes} items a row, vectors of {layout.width} side by side; {layout.tier}"


def finish_row(
    emitter: Emitter, scope: Scope, point: Point, stage: Stage, sums: Sequence[Accumulators], is_first: Expr
) -> None:  # fmt: skip
    """What a row gives once a pass is done: computed, stored, added up and checked by its first item."""
    inner = scope.inner()
    finish_rows(emitter, inner, point, stage, sums)
    if inner.statements:
        scope.statements.append(If(is_first, tuple(inner.statements)))
