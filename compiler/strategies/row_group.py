"""One work-group a row, its items side by side along it. The shape for GPUs: neighbouring items read neighbouring
addresses, 16 bytes each. Partial results meet in a tree in local memory, one for all reductions of a stage.

Without row reductions a group takes a run of elements in place of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.function import Op
from ...ir.kernel import (
    Apply,
    Barrier,
    Const,
    Expr,
    For,
    If,
    Iota,
    Load,
    LocalArray,
    Store,
    WorkItem,
    add,
    ceil_div,
    div,
    integer,
    maximum,
    minimum,
    mul,
)  # fmt: skip
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ..emit import Emitter, Lanes, Point, Scope, product, size_of, split_rows
from ..fused import Fused, kernel_and_launch, partial_dtypes, store_partials, with_finish
from ..reductions import Accumulators, accumulate, declare, fold
from ..stages import Stage, stages_of
from ..sweep import Work, visit
from ..vectors import vector_width

RUN = 16384
"""Elements a group takes at a time where there are no rows."""
MOST_GROUPS = 2048


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if schedule.matmul is not None:
        return "it has a matrix product"
    if not schedule.looped:
        return "it has no rows"
    if len(schedule.reduced) > 1:
        return "rows are reduced along several axes that are not one in memory"
    if _group_size(schedule, device) * 8 * max(1, len(schedule.row_reductions)) > device.local_memory:
        return "the partial results of a group do not fit local memory"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 0.05 if device.kind == "gpu" else 4.0


def _column_axis(schedule: Schedule) -> int:
    return next(iter(schedule.reduced)) if schedule.reduced else max(schedule.looped)


def _group_size(schedule: Schedule, device: DeviceInfo) -> int:
    """Items of a group: a power of two, fewer for rows that are known to be short."""
    columns = schedule.axes[_column_axis(schedule)] if schedule.reduced else RUN
    size = min(256, device.max_work_group_size)
    while size > max(1, device.lanes) and isinstance(columns, int) and size >= 2 * columns:
        size //= 2
    return 1 << (size.bit_length() - 1)


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    return [_variant(fused, device)]


def _variant(fused: Fused, device: DeviceInfo) -> Variant:
    schedule = fused.schedule
    group_size = _group_size(schedule, device)
    axis = _column_axis(schedule)
    width = min(4, vector_width(schedule, device, schedule.axes[axis]))
    emitter, scope = fused.emitter(), Scope()
    local_arrays: list[LocalArray] = []
    item = emitter.let(scope, "local_id", WorkItem("local_id"))
    group = emitter.let(scope, "group_id", WorkItem("group_id"))
    stages = stages_of(schedule)
    sums = declare(emitter, scope, [op for s in stages for op in s.element_sums], width, 1)
    row_sums = declare(emitter, scope, [op for s in stages for op in s.row_sums], 1, 1)
    size = size_of(schedule.axes[axis])
    row_axes = [a for a in sorted(schedule.looped) if a != axis]
    rows = product(schedule.axes[a] for a in row_axes) if row_axes or schedule.reduced else maximum(
        integer(1), ceil_div(size, integer(RUN)))  # fmt: skip
    groups = maximum(integer(1), minimum(rows, integer(MOST_GROUPS)))

    row = emitter.fresh("row", "i64")
    inside = scope.inner()
    start, stop = integer(0), size
    point: Point = {}
    if row_axes:
        coordinates = split_rows(row, [size_of(schedule.axes[a]) for a in row_axes])
        point = {a: emitter.let(inside, "row_at", c) for a, c in zip(row_axes, coordinates)}
    elif not schedule.reduced:
        start = emitter.let(inside, "start", mul(row, integer(RUN)))
        stop = emitter.let(inside, "stop", minimum(size, add(start, integer(RUN))))
    for stage in stages:
        _pass(emitter, inside, point, axis, width, group_size, item, start, stop, stage, sums, local_arrays)
        _row_values(emitter, inside, point, stage, row_sums, item)
    scope.statements.append(For(row, group, rows, WorkItem("group_count"), tuple(inside.statements)))

    totals = meet(emitter, scope, sums, group_size, item, local_arrays)
    totals |= {each.op: fold(emitter, scope, each, True) for each in row_sums}
    stored = Scope(dict(scope.known))
    store_partials(fused, stored, totals, group)
    if stored.statements:
        scope.statements.append(If(_is_first(item), tuple(stored.statements)))
    launch = kernel_and_launch(
        fused, emitter, f"_row_group{group_size}x{width}", scope.statements, mul(groups, integer(group_size)),
        partials=partial_dtypes(fused), local_size=group_size, local_arrays=local_arrays,
        comment=(f"one work-group of {group_size} a row, vectors of {width} side by side",),
    )  # fmt: skip
    return with_finish(fused, device, launch, groups, "row-group", None)


def _is_first(item: Expr) -> Expr:
    return Apply("eq", (item, integer(0)), "bool")


def _pass(
    emitter: Emitter, scope: Scope, point: Point, axis: int, width: int, group_size: int, item: Expr, start: Expr,
    stop: Expr, stage: Stage, sums: Sequence[Accumulators], local_arrays: list[LocalArray],
) -> None:  # fmt: skip
    """Every item takes each `group_size`-th vector of the row; what is left over is taken element by element."""
    work = Work((*stage.reductions, *stage.element_sums), stage.element_outputs, stage.element_checks)
    if work.is_empty:
        return
    wide = declare(emitter, scope, stage.reductions, width, 1)
    groups = [*wide, *(each for each in sums if each.op in stage.element_sums)]
    emitter.hoist(work.targets, frozenset({axis}), point, scope)
    count = Apply("sub", (stop, start), "i64") if start != integer(0) else stop
    whole = add(start, mul(div(count, integer(width)), integer(width)))
    column = emitter.fresh("column", "i64")
    inner = scope.inner()
    visit(emitter, inner, {**point, axis: Lanes(column, width)}, work, groups)
    first = add(start, mul(item, integer(width)))
    scope.statements.append(For(column, first, whole, integer(width * group_size), tuple(inner.statements)))
    if width > 1 and not (isinstance(count, Const) and int(count.value) % width == 0):
        _left_over(emitter, scope, point, axis, whole, stop, group_size, item, work, groups)
    for op, value in meet(emitter, scope, wide, group_size, item, local_arrays).items():
        scope.known[op.result] = value


def _left_over(
    emitter: Emitter, scope: Scope, point: Point, axis: int, whole: Expr, stop: Expr, group_size: int, item: Expr,
    work: Work, groups: Sequence[Accumulators],
) -> None:  # fmt: skip
    """The last few elements, one an item, joined into the first lane."""
    column = emitter.fresh("column", "i64")
    inner = scope.inner()
    visit(emitter, inner, {**point, axis: Lanes(column, 1)}, work, ())
    for each in groups:
        width = each.variables[0].width
        first_lane = Apply("eq", (Iota("i32", width), Const(0, "i32", width)), "bool", width)
        accumulate(emitter, inner, each, 0, first_lane)
    first = add(whole, item)
    scope.statements.append(For(column, first, stop, integer(group_size), tuple(inner.statements)))


def meet(
    emitter: Emitter, scope: Scope, groups: Sequence[Accumulators], group_size: int, item: Expr,
    local_arrays: list[LocalArray],
) -> dict[Op, Expr]:  # fmt: skip
    """The value of each reduction over all items of the group, known to every item. A fixed tree."""
    if not groups:
        return {}
    values = {each.op: fold(emitter, scope, each, True) for each in groups}
    if group_size == 1:
        return values
    arrays: dict[Op, LocalArray] = {}
    for each in groups:
        name = emitter.fresh(f"{each.op.result.name}_local", each.monoid.dtype).name
        array = LocalArray(name, each.monoid.dtype, group_size)
        local_arrays.append(array)
        arrays[each.op] = array
        scope.statements.append(Store(array.name, item, values[each.op]))
    scope.statements.append(Barrier())
    half = group_size // 2
    while half:
        body = []
        for each in groups:
            name, dtype = arrays[each.op].name, each.monoid.dtype
            joined = each.monoid.join(Load(name, item, dtype), Load(name, add(item, integer(half)), dtype))
            body.append(Store(name, item, joined))
        scope.statements += [If(Apply("lt", (item, integer(half)), "bool"), tuple(body)), Barrier()]
        half //= 2
    result = {
        each.op: emitter.let(scope, each.op.result.name, Load(arrays[each.op].name, integer(0), each.monoid.dtype))
        for each in groups
    }
    # Nobody writes the arrays for the next row before all have read.
    scope.statements.append(Barrier())
    return result


def _row_values(
    emitter: Emitter, scope: Scope, point: Point, stage: Stage, row_sums: Sequence[Accumulators], item: Expr
) -> None:
    """Row values are computed by every item and stored by the first."""
    sums = [each for each in row_sums if each.op in stage.row_sums]
    emitter.compute([*stage.row_outputs, *(each.op.operands[0] for each in sums)], point, scope)
    stored = scope.inner()
    for value in stage.row_outputs:
        emitter.store(value, point, stored)
    for op in stage.row_checks:
        emitter.check(op, point, stored)
    if stored.statements:
        scope.statements.append(If(_is_first(item), tuple(stored.statements)))
    for each in sums:
        accumulate(emitter, scope, each, 0, None)
