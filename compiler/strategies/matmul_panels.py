"""Matrix products on a GPU: each work-item owns a block of rows and a panel of columns, in register tiles.

    result[i, j] = sum over k of left(i, k) * right(k, j), then whatever elementwise work follows, on the tile.

A first launch packs the right operand into panels, panel[p][k][lane], so that the inner loop reads it in order
whichever way it was stored. A tile is `TILE_ROWS` x 2 vectors of accumulators. Ragged edges are full tiles that overlap
their neighbour: both compute the same values.
"""

from __future__ import annotations

from ...ir.function import Value
from ...ir.kernel import (
    Apply,
    Assign,
    Const,
    Declare,
    Expr,
    For,
    Iota,
    Let,
    Load,
    Splat,
    Stmt,
    Store,
    Var,
    add,
    at_least,
    ceil_div,
    div,
    integer,
    maximum,
    minimum,
    mod,
    mul,
    register_dtype,
    sub,
)  # fmt: skip
from ...ir.program import Buffer, Launch, Variant
from ...ir.target import DeviceInfo
from ..emit import Emitter, Lanes, Scope, size_of, widen
from ..fused import Fused, kernel_and_launch, work_item
from ..vectors import vector_width

TILE_ROWS = 12
PANEL_VECTORS = 2
BLOCK_TILES = 8
"""Row tiles an item goes through with one panel, which stays in the second-level cache meanwhile."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    if device.kind == "cpu":
        return "the operand in panels takes memory that a CPU's cores need not: for GPUs"
    return None if fused.schedule.matmul is not None else "it has no matrix product"


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 1.0


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """Full tiles where the result has that many rows and columns; smaller ones for smaller results."""
    matmul = fused.schedule.matmul
    assert matmul is not None
    rows, columns = matmul.result.type.shape
    full = vector_width(fused.schedule, device)
    row_choices = [TILE_ROWS, 1] if not isinstance(rows, int) else [max(1, min(TILE_ROWS, rows))]
    width = vector_width(fused.schedule, device, columns)
    wide = PANEL_VECTORS if not isinstance(columns, int) or columns >= PANEL_VECTORS * full else 1
    column_choices = [(width, wide)] if isinstance(columns, int) else [(full, PANEL_VECTORS), (1, 1)]
    variants = []
    for tile_rows in row_choices:
        for lanes, vectors in column_choices:
            guards = []
            if not isinstance(rows, int) and tile_rows > 1:
                guards.append(at_least(size_of(rows), tile_rows))
            if not isinstance(columns, int) and lanes * vectors > 1:
                guards.append(at_least(size_of(columns), lanes * vectors))
            guard = guards[0] if guards else None
            for other in guards[1:]:
                guard = Apply("and", (guard, other), "bool") if guard is not None else other
            variants.append(_variant(fused, device, tile_rows, lanes, vectors, guard))
    return variants


def _variant(fused: Fused, device: DeviceInfo, tile_rows: int, lanes: int, vectors: int, guard: Expr | None) -> Variant:
    matmul = fused.schedule.matmul
    assert matmul is not None
    dtype = register_dtype(matmul.result.type.dtype)
    panel = lanes * vectors
    inner = matmul.operands[0].type.shape[0 if matmul.attributes["transpose_left"] else 1]
    depth, columns = size_of(inner), size_of(matmul.result.type.shape[1])
    panels = ceil_div(columns, integer(panel))
    packed = Buffer(f"{fused.name}.panels", dtype, mul(mul(panels, depth), integer(panel)), "temporary")
    suffix = f"_{tile_rows}x{vectors}x{lanes}"
    launches = (
        _pack(fused, device, packed, depth, columns, lanes, vectors, suffix),
        _multiply(fused, device, packed, tile_rows, lanes, vectors, depth, suffix),
    )
    return Variant("matmul-panels", launches, guard, (packed,))


def _panel_start(number: Expr, columns: Expr, panel: int) -> Expr:
    return minimum(mul(number, integer(panel)), sub(columns, integer(panel)))


def _element(fused: Fused, value: Value, transposed: bool, row: Expr, column: Expr, lanes: int = 1) -> Load:
    """One element of a stored matrix, by the row and column that it has in the product; or several along its memory."""
    stored = value.type.shape
    first, second = (column, row) if transposed else (row, column)
    index = add(mul(first, size_of(stored[1])), second)
    return Load(fused.buffers[value], index, register_dtype(value.type.dtype), lanes)


def _pack(
    fused: Fused, device: DeviceInfo, packed: Buffer, depth: Expr, columns: Expr, lanes: int, vectors: int, suffix: str
) -> Launch:
    """panel[p][k][lane] = right(k, start of p + lane), one item a panel."""
    panel = lanes * vectors
    matmul = fused.schedule.matmul
    assert matmul is not None
    emitter, scope = fused.emitter(), Scope()
    number = work_item(emitter, scope, "global_id")
    start = emitter.let(scope, "start", _panel_start(number, columns, panel))
    base = emitter.let(scope, "base", mul(mul(number, depth), integer(panel)))
    right, transposed = matmul.operands[1], matmul.attributes["transpose_right"]
    k = emitter.fresh("k", "i64")
    to = add(base, mul(k, integer(panel)))
    if not transposed:
        # A row of the panel lies in one piece.
        copies = tuple(
            Store(packed.name, add(to, integer(v * lanes)),
                  _element(fused, right, False, k, add(start, integer(v * lanes)), lanes))
            for v in range(vectors)
        )  # fmt: skip
        scope.statements.append(For(k, integer(0), depth, integer(1), copies))
    else:
        # A vector along each column's memory, scattered over as many rows of the panel; then the rows that are left.
        lane, count = emitter.fresh("lane", "i64"), vector_width(fused.schedule, device)
        rows = Apply("mul", (Iota("i64", count), Splat(integer(panel), count)), "i64", count)
        where = Apply("add", (Splat(add(to, lane), count), rows), "i64", count)
        column = add(start, lane)
        scattered = Store(packed.name, where, _element(fused, right, True, k, column, count))
        single = Store(packed.name, add(to, lane), _element(fused, right, True, k, column))
        whole = emitter.let(scope, "whole", mul(div(depth, integer(count)), integer(count)))
        for begin, end, step, store in ((integer(0), whole, count, scattered), (whole, depth, 1, single)):
            each = For(lane, integer(0), integer(panel), integer(1), (store,))
            scope.statements.append(For(k, begin, end, integer(step), (each,)))
    return kernel_and_launch(fused, emitter, f"_pack{suffix}", scope.statements, ceil_div(columns, integer(panel)),
                             partials={packed.name: packed.dtype},
                             comment=(f"the right operand in panels of {panel} columns",))  # fmt: skip


def _multiply(
    fused: Fused, device: DeviceInfo, packed: Buffer, tile_rows: int, lanes: int, vectors: int, depth: Expr, suffix: str
) -> Launch:
    matmul = fused.schedule.matmul
    assert matmul is not None
    emitter, scope = fused.emitter(), Scope()
    panel = lanes * vectors
    rows, columns = (size_of(size) for size in matmul.result.type.shape)
    panels = ceil_div(columns, integer(panel))
    tiles = ceil_div(rows, integer(tile_rows))
    # Fewer tiles an item where there would be too few items for the cores.
    wanted = maximum(integer(1), div(mul(tiles, panels), integer(4 * device.compute_units)))
    per_item = minimum(integer(BLOCK_TILES), wanted)
    blocks = ceil_div(tiles, per_item)
    item = work_item(emitter, scope, "global_id")
    number = emitter.let(scope, "panel", mod(item, panels))
    tiles_each = emitter.let(scope, "tiles_per_item", per_item)
    first = emitter.let(scope, "first", mul(div(item, panels), tiles_each))
    last = emitter.let(scope, "end", minimum(add(first, tiles_each), tiles))
    column = emitter.let(scope, "column", _panel_start(number, columns, panel))
    base = emitter.let(scope, "base", mul(mul(number, depth), integer(panel)))
    tile = emitter.fresh("tile", "i64")
    inside = scope.inner()
    row = emitter.let(inside, "row", minimum(mul(tile, integer(tile_rows)), sub(rows, integer(tile_rows))))
    accumulators = _tile(fused, emitter, inside, packed, row, base, tile_rows, lanes, vectors, depth)
    for r, line in enumerate(accumulators):
        for v, tile_vector in enumerate(line):
            at = add(column, integer(v * lanes))
            _after(fused, emitter, inside, tile_vector, add(row, integer(r)), at, lanes)
    scope.statements.append(For(tile, first, last, integer(1), tuple(inside.statements)))
    return kernel_and_launch(
        fused, emitter, f"_matmul{suffix}", scope.statements, mul(panels, blocks), partials={packed.name: packed.dtype},
        comment=(f"tiles of {tile_rows} rows x {vectors} vectors of {lanes}",),
    )  # fmt: skip


def _tile(
    fused: Fused, emitter: Emitter, scope: Scope, packed: Buffer, row: Expr, base: Expr, tile_rows: int, lanes: int,
    vectors: int, depth: Expr,
) -> list[list[Var]]:  # fmt: skip
    """The accumulators of one tile, summed over k."""
    matmul = fused.schedule.matmul
    assert matmul is not None
    dtype = packed.dtype
    accumulators = [[emitter.fresh(f"t{r}", dtype, lanes) for _ in range(vectors)] for r in range(tile_rows)]
    scope.statements += [Declare(var, Const(0.0, dtype, lanes)) for line in accumulators for var in line]
    k = emitter.fresh("k", "i64")
    body: list[Stmt] = []
    panel_row: list[Expr] = []
    for v in range(vectors):
        var = emitter.fresh("right", dtype, lanes)
        index = add(add(base, mul(k, integer(lanes * vectors))), integer(v * lanes))
        body.append(Let(var, Load(packed.name, index, dtype, lanes)))
        panel_row.append(var)
    left, transposed = matmul.operands[0], matmul.attributes["transpose_left"]
    for r in range(tile_rows):
        scalar = emitter.fresh("left", dtype)
        body.append(Let(scalar, _element(fused, left, transposed, add(row, integer(r)), k)))
        for v in range(vectors):
            product = Apply("fma", (widen(scalar, lanes), panel_row[v], accumulators[r][v]), dtype, lanes)
            body.append(Assign(accumulators[r][v], product))
    scope.statements.append(For(k, integer(0), depth, integer(1), tuple(body)))
    return accumulators


def _after(fused: Fused, emitter: Emitter, scope: Scope, tile: Var, row: Expr, column: Expr, lanes: int) -> None:
    """Elementwise work on one vector of the result, and its stores."""
    schedule = fused.schedule
    assert schedule.matmul is not None
    result = schedule.matmul.result
    i, j = schedule.where[result]
    point = {axis: where for axis, where in ((i, row), (j, Lanes(column, lanes))) if axis is not None}
    block = Scope(dict(scope.known), scope.statements)
    block.known[result] = tile
    emitter.compute(schedule.function.outputs, point, block)
    for value in schedule.function.outputs:
        emitter.store(value, point, block)
