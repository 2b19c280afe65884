"""Elements along one axis, taken by all work-items side by side: neighbours read neighbouring vectors of 16 bytes, and
go on by as many as there are items. The shape for GPUs and graphs without rows. A group adds up its sums in local
memory and leaves one partial result of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, ceil_div, div, integer, less, mod, mul
from ...ir.kernel import Apply, Const, Expr, For, If, Iota, WorkItem
from ...ir.program import Variant
from ...ir.target import DeviceInfo
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, size_of
from ..emission.reductions import Accumulators, accumulate, declare
from ..fused import Fused, kernel_and_launch, with_finish
from ..rows.work import Work, visit
from ..work_groups.finish import group_count, group_finish, leave_partials
from ..work_groups.meeting import Meeting, widest_of
from ..work_groups.tiers import group_size, local_for_meetings, vector_of


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if schedule.row_reductions:
        return "it has row reductions"
    if len(schedule.looped) != 1:
        return "its values vary along several axes" if schedule.looped else "it has no elements"
    size = group_size(device)
    if local_for_meetings(schedule, fused.stages, size, size) > device.local_memory:
        return "the partial results of a group do not fit local memory"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 0.02 if device.kind == "gpu" else 4.0


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule, emitter, scope = fused.schedule, fused.emitter(), Scope()
    emitter.aligned = not device.shared_pointers
    (axis,) = schedule.looped
    width = vector_of(schedule, device, 0)
    size_of_group = group_size(device)
    size = size_of(schedule.axes[axis])
    item = emitter.let(scope, "local_id", WorkItem("local_id"))
    number = emitter.let(scope, "global_id", WorkItem("global_id"))
    group = emitter.let(scope, "group_id", WorkItem("group_id"))
    groups = group_count(ceil_div(size, integer(size_of_group * width)), size_of_group, device)
    sums = declare(emitter, scope, schedule.whole_reductions, width, 1)
    work = Work(tuple(each.value for each in sums), schedule.element_outputs, schedule.checks)
    emitter.hoist(work.targets, frozenset({axis}), {}, scope)

    whole = mul(div(size, integer(width)), integer(width))
    column = emitter.fresh("column", "i64")
    inner = scope.inner()
    visit(emitter, inner, {axis: Lanes(column, width)}, work, sums)
    step = mul(WorkItem("global_size"), integer(width))
    scope.statements.append(For(column, mul(number, integer(width)), whole, step, tuple(inner.statements)))
    rest = mod(size, integer(width))
    if width > 1 and rest != integer(0):
        last = _last_elements(emitter, scope, add(whole, number), axis, width, work, sums)
        scope.statements.append(If(less(number, rest), tuple(last.statements)))

    meeting = Meeting(emitter, size_of_group, item, widest_of(device))
    leave_partials(fused, scope, meeting, sums, group)
    launch = kernel_and_launch(
        fused, emitter, f"_element_group{size_of_group}x{width}", scope.statements, mul(groups, integer(size_of_group)),
        local_size=size_of_group, local_arrays=meeting.arrays,
        comment=(f"all work-items side by side, vectors of {width}",),
    )  # fmt: skip
    return [with_finish(fused, device, (launch,), groups, "element-group", None, finish=group_finish)]


def _last_elements(
    emitter: Emitter, scope: Scope, column: Expr, axis: int, width: int, work: Work, sums: Sequence[Accumulators],
) -> Scope:  # fmt: skip
    """What is less than a vector: one element an item, joined into the first lane."""
    inner = scope.inner()
    column = emitter.let(inner, "column", column)
    visit(emitter, inner, {axis: Lanes(column, 1)}, work, ())
    for each in sums:
        first_lane = Apply("eq", (Iota("i32", width), Const(0, "i32", width)), "bool", width)
        accumulate(emitter, inner, each, 0, first_lane)
    return inner
