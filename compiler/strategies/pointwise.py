"""Each work-item owns a run of consecutive elements. For graphs without row reductions whose domain is one axis."""

from __future__ import annotations

from ...ir.arithmetic import add, at_least, div, integer, maximum, mul, sub
from ...ir.kernel import Apply, Expr, WorkItem
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..costs import cost_of
from ..emission.emit import Scope
from ..emission.points import size_of
from ..emission.reductions import declare
from ..emission.vectors import past_cache, vector_width
from ..fused import Fused, fold_partials, kernel_and_launch, with_finish, work_item
from ..rows.sweep import Track, sweep
from ..rows.work import Work, visit

CHUNK = 16384
"""Elements an item: so many that its launch costs nothing, so few that f32 partial sums stay exact to 5e-7."""

UNROLL = 4
LIGHT = 16
"""Multiply-adds of an element up to which a body's vectors are read, computed and stored one after the other, where
several arrays are read: memory is faster where its lines are asked for in turn (four abreast take 1.05 to 1.08 of the
time, mse). More of them wait for each other, and advance four vectors abreast."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if schedule.row_reductions:
        return "it has row reductions"
    if len(schedule.looped) > 1:
        return "its values vary along several axes"
    if device.kind == "gpu" and schedule.looped:
        return "one work-item a run of elements reads memory in strides on a GPU"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 1.0 / device.vector_width


def candidates(fused: Fused, device: DeviceInfo) -> tuple[dict[str, int], ...]:
    """More items, for arrays that give too few for the cores."""
    return {"chunk": 4096}, {"chunk": 1024}


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """Vectors of full width where there are that many elements, else one by one."""
    width = vector_width(fused.schedule, device)
    if not fused.schedule.looped:
        return [_variant(fused, device, 1, integer(1), None, False)]
    (axis,) = fused.schedule.looped
    size = size_of(fused.schedule.axes[axis])
    variants = []
    large = past_cache(fused.schedule, device, width, axis, 0)
    if large is not None:
        variants.append(_variant(fused, device, width, size, large, True))
    variants.append(_variant(fused, device, width, size, at_least(size, width), False))
    variants.append(_variant(fused, device, 1, size, None, False))
    return variants


def _variant(
    fused: Fused, device: DeviceInfo, width: int, size: Expr, guard: Expr | None, nontemporal: bool
) -> Variant:
    emitter, scope = fused.emitter(), Scope()
    schedule, chunk = fused.schedule, fused.setting("chunk", CHUNK)
    items = maximum(integer(1), div(size, integer(chunk)))
    suffix = f"_pointwise{width}" + "_stream" * nontemporal
    item = work_item(emitter, scope, "global_id")
    groups = declare(emitter, scope, schedule.whole_reductions, width, UNROLL if width > 1 else 1)
    work = Work(tuple(group.value for group in groups), schedule.element_outputs, schedule.checks)
    if schedule.looped:
        (axis,) = schedule.looped
        # Every item but the last has a chunk of elements; the last has those and what is left.
        start = emitter.let(scope, "start", mul(item, integer(chunk)))
        is_last = Apply("eq", (item, sub(WorkItem("global_size"), integer(1))), "bool")
        stop = emitter.let(scope, "stop", Apply("select", (is_last, size, add(start, integer(chunk))), "i64"))
        abreast = 1 if _is_light(schedule) else UNROLL
        tracks = [Track(scope, {}, work, groups)]
        sweep(emitter, scope, tracks, axis, start, stop, width, UNROLL, nontemporal, abreast)
    else:
        visit(emitter, scope, {}, work, groups)
    fold_partials(fused, emitter, scope, groups, item)
    launch = kernel_and_launch(
        fused, emitter, suffix, scope.statements, items,
        comment=(f"elements in vectors of {width}, {chunk} or more an item",),
    )  # fmt: skip
    return with_finish(fused, device, (launch,), items, "pointwise", guard)


def _is_light(schedule: Schedule) -> bool:
    """Whether a kernel reads several arrays and does little with them."""
    function, varies = schedule.function, schedule.varies
    cost = sum(cost_of(op) for op in function.ops if op.results and varies[op.result])
    return cost <= LIGHT and sum(bool(varies[value]) for value in function.inputs) > 1
