"""Each lane of a vector owns a row. For rows that lie side by side in memory (class axis in front of pixels, sums over
a batch) and for rows too short for a vector along them.

A block is one vector of rows; the last block of a line overlaps the one before, and counts only its own lanes.
"""

from __future__ import annotations

from ...ir.kernel import (
    Apply,
    Expr,
    For,
    Iota,
    PrivateArray,
    Splat,
    WorkItem,
    add,
    at_least,
    ceil_div,
    div,
    integer,
    maximum,
    minimum,
    mul,
    register_dtype,
    sub,
)  # fmt: skip
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import DimLike, multiply_dims
from ..emit import Lanes, Point, Scope, product, size_of, split_rows
from ..fused import Fused, kernel_and_launch, partial_dtypes, store_partials, with_finish, work_item
from ..reductions import accumulate, declare, fold
from ..stages import kept_values, stages_of
from ..sweep import Row, Work, visit
from ..vectors import vector_width

ITEM_ELEMENTS = 16384
PRIVATE_BYTES = 64 * 1024


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    schedule = fused.schedule
    if schedule.matmul is not None:
        return "it has a matrix product"
    if not schedule.reduced:
        return "it has no row reductions"
    if not schedule.rows:
        return "it is a single row"
    return None


def lane_axis(schedule: Schedule) -> int:
    """The row axis that vectors run along: the innermost."""
    return schedule.rows[-1]


def cost(fused: Fused, device: DeviceInfo) -> float:
    """Free where lanes are neighbours in memory; otherwise every lane loads for itself. On a GPU only for what nothing
    else does: rows along several axes."""
    if device.kind == "gpu":
        return 10.0
    schedule = fused.schedule
    axis = lane_axis(schedule)
    width = vector_width(schedule, device, schedule.axes[axis])
    inner = all(own[-1] == axis for value in schedule.function.inputs
                if len(own := [a for a in schedule.where[value] if a is not None]) > 1 and axis in own)  # fmt: skip
    return 1.05 / width if inner else max(0.35, 1.0 / width)


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    schedule = fused.schedule
    size = schedule.axes[lane_axis(schedule)]
    width = vector_width(schedule, device, size)
    variants = []
    if not isinstance(size, int):
        variants.append(_variant(fused, device, width, at_least(size_of(size), width)))
        width = 1
    variants.append(_variant(fused, device, width, None))
    return variants


def _variant(fused: Fused, device: DeviceInfo, width: int, guard: Expr | None) -> Variant:
    schedule = fused.schedule
    axis = lane_axis(schedule)
    outer = [a for a in schedule.rows if a != axis]
    emitter, scope = fused.emitter(), Scope()
    lanes = size_of(schedule.axes[axis])
    per_line = ceil_div(lanes, integer(width))
    columns = multiply_dims(schedule.axes[a] for a in schedule.columns)
    blocks = mul(product(schedule.axes[a] for a in outer), per_line)
    items = _items(blocks, columns, width, device)
    item = work_item(emitter, scope, "global_id")
    total = emitter.let(scope, "blocks", blocks)
    per_item = emitter.let(scope, "blocks_per_item", ceil_div(total, WorkItem("global_size")))
    first = emitter.let(scope, "first", mul(item, per_item))
    last = emitter.let(scope, "end", minimum(add(first, per_item), total))

    stages = stages_of(schedule)
    length = multiply_dims([columns, width])
    kept = kept_values(emitter, stages, length, PRIVATE_BYTES) if width > 1 else {}
    sums = declare(emitter, scope, [op for s in stages for op in (*s.element_sums, *s.row_sums)], width, 1)

    block = emitter.fresh("block", "i64")
    inside = scope.inner()
    line = emitter.let(inside, "line", Apply("div", (block, per_line), "i64"))
    wanted = emitter.let(inside, "wanted", mul(Apply("mod", (block, per_line), "i64"), integer(width)))
    base = emitter.let(inside, "base", minimum(wanted, sub(lanes, integer(width))))
    # Lanes that the block before has counted already.
    fresh: Expr | None = None
    if width > 1:
        counted = Splat(Apply("cast", (sub(wanted, base),), "i32"), width)
        fresh = emitter.let(inside, "fresh", Apply("ge", (Iota("i32", width), counted), "bool", width))
    point: dict[int, Expr | Lanes] = {axis: Lanes(base, width)}
    for a, coordinate in zip(outer, split_rows(line, [size_of(schedule.axes[a]) for a in outer])):
        point[a] = emitter.let(inside, "line_at", coordinate)

    for stage in stages:
        element_sums = [group for group in sums if group.op in stage.element_sums]
        work = Work(
            (*stage.reductions, *stage.element_sums), stage.element_outputs, stage.element_checks,
            keep={v: Row(name) for v, (name, number) in kept.items() if number == stage.number},
            kept={v: Row(name) for v, (name, number) in kept.items() if number < stage.number and stage.needs(v)},
        )  # fmt: skip
        if not work.is_empty:
            groups = declare(emitter, inside, stage.reductions, width, 1)
            _columns(fused, emitter, inside, point, width, work, [*groups, *element_sums], element_sums, fresh)
            for group in groups:
                inside.known[group.op.result] = fold(emitter, inside, group, False)
        row_sums = [group for group in sums if group.op in stage.row_sums]
        emitter.compute([*stage.row_outputs, *(g.op.operands[0] for g in row_sums)], point, inside)
        for value in stage.row_outputs:
            emitter.store(value, point, inside)
        for group in row_sums:
            accumulate(emitter, inside, group, 0, fresh)
        for op in stage.row_checks:
            emitter.check(op, point, inside)

    scope.statements.append(For(block, first, last, integer(1), tuple(inside.statements)))
    store_partials(fused, scope, {group.op: fold(emitter, scope, group, True) for group in sums}, item)
    launch = kernel_and_launch(
        fused, emitter, f"_row_lanes{width}", scope.statements, items, partials=partial_dtypes(fused),
        comment=(f"one row a lane, {width} rows at a time",),
        private_arrays=[PrivateArray(name, register_dtype(v.type.dtype), length, v)
                        for v, (name, _) in kept.items() if isinstance(length, int)],
    )  # fmt: skip
    return with_finish(fused, device, launch, items, "row-lanes", guard)


def _items(blocks: Expr, columns: DimLike, width: int, device: DeviceInfo) -> Expr:
    block = maximum(integer(1), mul(size_of(columns), integer(width)))
    wanted = maximum(integer(1), div(integer(ITEM_ELEMENTS), block))
    spread = maximum(integer(1), div(blocks, integer(4 * device.compute_units)))
    return maximum(integer(1), ceil_div(blocks, minimum(wanted, spread)))


def _columns(fused, emitter, scope, point: Point, width, work: Work, groups, masked, fresh) -> None:
    """Loop over the columns one by one, a vector of rows each time."""
    schedule = fused.schedule
    emitter.hoist(work.targets, schedule.reduced, point, scope, given=work.kept)
    variables = [emitter.fresh("column", "i64") for _ in schedule.columns]
    inner = scope.inner()
    here = {**point, **dict(zip(schedule.columns, variables))}
    flat: Expr = integer(0)
    for variable, a in zip(variables, schedule.columns):
        flat = add(mul(flat, size_of(schedule.axes[a])), variable)
    plain = [group for group in groups if group not in masked]
    visit(emitter, inner, here, work, plain, column=mul(flat, integer(width)))
    for group in masked:
        accumulate(emitter, inner, group, 0, fresh)
    body = tuple(inner.statements)
    for variable, a in reversed(list(zip(variables, schedule.columns))):
        body = (For(variable, integer(0), size_of(schedule.axes[a]), integer(1), body),)
    scope.statements += body
