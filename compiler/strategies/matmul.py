"""Matrix products on a CPU: each work-item owns some rows and some panels of columns, in register tiles.

    result[i, j] = sum over k of left(i, k) * right(k, j), then whatever elementwise work follows

A work-item packs its columns of the right operand once for each turn over the inner size, then goes through its rows
tile by tile. Tiles at the lower edge move up and store only rows that are theirs, panels at the right edge are padded:
every element is stored once, by the work-item that computed it from what lay there, so that a result may be written
over an elementwise operand.

Where there are only few rows, or few columns, which are then taken for rows, the right operand is read once where it
lies: by wider tiles if its rows lie in order, by dot products (`dots`) if its columns do.
"""

from __future__ import annotations

from ...ir.arithmetic import add, at_least, both, ceil_div, div, divides, integer, less, maximum, minimum, mod, mul, sub
from ...ir.frozen import frozen
from ...ir.kernel import Expr, For, If, Load, Stmt
from ...ir.program import Variant
from ...ir.target import DeviceInfo
from .. import dots
from ..emission.emit import Scope
from ..emission.points import Lanes, size_of
from ..emission.vectors import vector_width
from ..fused import Fused, kernel_and_launch, work_item
from ..product import Product, outer_dims
from ..tiles import SUMS, Tiles, pieces
from ..tiling import EVEN_ROWS, MOST_EVEN_ROWS, TILE_ROWS

STORES_ONCE = True
MULTIPLIES = True
ITEMS_A_CORE = 2
"""So that a core which is done early finds more to do."""
PACKED_ROWS = 512
"""Rows of an item below which there is only one for each core: packing takes as long as 16 of its rows."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    return None if device.kind == "cpu" else "it keeps what it multiplies in a core's caches: for CPUs"


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 1.0


def candidates(fused: Fused, device: DeviceInfo) -> tuple[dict[str, int], ...]:
    """For caches of other sizes, for cores that do nothing else, for 16 vector registers instead of 32."""
    panels = ({"panels": 4}, {"panels": 4, "depth": 2048}, {"panels": 16, "depth": 512})
    return (*panels, {"depth": 512}, {"items_a_core": 1}, {"tile_rows": 6})


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """Tiles of as many rows as there are, up to the largest: a variant for each where that is not known."""
    matmul = fused.schedule.matmul
    assert matmul is not None
    rows, _ = outer_dims(matmul)
    most, *fewer = TILE_ROWS
    most = fused.setting("tile_rows", most)
    if isinstance(rows, int):
        even = most > EVEN_ROWS and rows % EVEN_ROWS == 0 and rows % most != 0 and rows < MOST_EVEN_ROWS
        return [_variant(fused, device, EVEN_ROWS if even else max(1, min(most, rows)), None)]
    size = size_of(rows)
    even = both(both(at_least(size, 1), divides(EVEN_ROWS, size)), less(size, integer(MOST_EVEN_ROWS)))
    others = [_variant(fused, device, tile, at_least(size, tile) if tile > 1 else None) for tile in (most, *fewer)]
    return [_variant(fused, device, EVEN_ROWS, even), *others] if most > EVEN_ROWS else others


@frozen
class Grid:
    """How work-items share a product: so many blocks of columns, so many blocks of tiles, and the tiles in each."""

    column_blocks: Expr
    row_blocks: Expr
    tiles_each: Expr


def _grid(product: Tiles, device: DeviceInfo) -> Grid:
    tiling = product.tiling
    panels, tiles = ceil_div(product.columns, integer(tiling.panel)), ceil_div(product.rows, integer(tiling.rows))
    cores = integer(device.compute_units)
    wanted = mul(cores, integer(product.fused.setting("items_a_core", ITEMS_A_CORE)))
    if not tiling.packs:
        # One block of columns for each core, and as many more as it takes to keep their sums.
        panels_each = minimum(integer(tiling.panels), ceil_div(panels, cores))
        column_blocks = ceil_div(panels, panels_each)
        tiles_each = integer(1) if tiling.one_turn else integer(tiling.sum_rows // tiling.rows)
        return Grid(column_blocks, ceil_div(tiles, tiles_each), tiles_each)
    # Every block of rows packs the same columns once more, every block of columns stages the same rows once more.
    panels_each = minimum(integer(tiling.panels), ceil_div(panels, integer(2) if tiling.staged else wanted))
    column_blocks = ceil_div(panels, panels_each)
    for_cores, for_all = (ceil_div(n, maximum(column_blocks, integer(1))) for n in (cores, wanted))
    blocks = maximum(for_cores, minimum(for_all, div(tiles, integer(PACKED_ROWS // tiling.rows))))
    if not tiling.one_turn:
        # None has more rows than an item has sums for.
        blocks = maximum(blocks, ceil_div(tiles, integer(tiling.sum_rows // tiling.rows)))
    tiles_each = maximum(integer(1), ceil_div(tiles, blocks))
    return Grid(column_blocks, ceil_div(tiles, tiles_each), tiles_each)


def _variant(fused: Fused, device: DeviceInfo, tile_rows: int, guard: Expr | None) -> Variant:
    emitter, scope = fused.emitter(), Scope()
    plain = Product(fused, emitter)
    if dots.applies(plain, tile_rows):
        return _variant_of_dots(plain, device, tile_rows, guard)
    product = Tiles(fused, emitter, device, tile_rows)
    tiling, grid = product.tiling, _grid(product, device)
    item = work_item(emitter, scope, "global_id")
    blocks = emitter.let(scope, "column_blocks", maximum(integer(1), grid.column_blocks))
    tiles_each = emitter.let(scope, "tiles_each", grid.tiles_each)
    panels = ceil_div(product.columns, integer(tiling.panel))
    # Blocks of about one size: a core gets neighbours.
    block = emitter.let(scope, "column_block", mod(item, blocks))
    start = emitter.let(scope, "first_panel", div(mul(block, panels), blocks))
    next_start = div(mul(add(block, integer(1)), panels), blocks)
    count = emitter.let(scope, "panels", sub(next_start, start))
    first = emitter.let(scope, "first_tile", mul(div(item, blocks), tiles_each))
    tiles = ceil_div(product.rows, integer(tiling.rows))
    last = emitter.let(scope, "end", minimum(add(first, tiles_each), tiles))
    _turns(product, scope, (start, count), (first, last))
    launch = kernel_and_launch(
        fused, emitter, f"_{tiling.rows}x{tiling.vectors}x{tiling.lanes}", scope.statements,
        mul(grid.column_blocks, grid.row_blocks),
        private_arrays=product.private_arrays,
        comment=(f"tiles of {tiling.rows} rows x {tiling.vectors} vectors of {tiling.lanes}",),
    )  # fmt: skip
    return Variant("matmul", (launch,), guard)


def _variant_of_dots(plain: Product, device: DeviceInfo, rows: int, guard: Expr | None) -> Variant:
    fused, emitter, scope = plain.fused, plain.emitter, Scope()
    product = dots.Dots(plain, rows, vector_width(fused.schedule, device))
    each = maximum(integer(1), ceil_div(product.lines, integer(ITEMS_A_CORE * device.compute_units)))
    item = work_item(emitter, scope, "global_id")
    first = emitter.let(scope, "first_line", mul(item, each))
    end = emitter.let(scope, "end_line", minimum(add(first, each), product.lines))
    product.lines_of_item(scope, first, end)
    launch = kernel_and_launch(
        fused, emitter, f"_{rows}_dots{product.width}", scope.statements, ceil_div(product.lines, each),
        private_arrays=product.private_arrays,
        comment=(f"dot products of {rows} rows with {product.abreast} columns abreast, vectors of {product.width}",),
    )  # fmt: skip
    return Variant("matmul", (launch,), guard)


def _turns(product: Tiles, scope: Scope, panels: tuple[Expr, Expr], tiles: tuple[Expr, Expr]) -> None:
    """All turns over the inner size; in the last, what follows after each tile."""
    emitter, tiling = product.emitter, product.tiling
    if tiling.one_turn:
        _turn(product, scope, panels, tiles, integer(0), product.depth)
        return
    first = emitter.fresh("from", "i64")
    turn = scope.inner()
    depth = emitter.let(turn, "steps", minimum(integer(tiling.depth), sub(product.depth, first)))
    _turn(product, turn, panels, tiles, first, depth)
    stop = maximum(product.depth, integer(1))
    scope.statements.append(For(first, integer(0), stop, integer(tiling.depth), tuple(turn.statements)))


def _turn(
    product: Tiles, scope: Scope, panels: tuple[Expr, Expr], tiles: tuple[Expr, Expr], first: Expr,
    depth: Expr,
) -> None:  # fmt: skip
    """Pack the panels where they are packed beforehand, then go through the tiles."""
    emitter, tiling = product.emitter, product.tiling
    start, count = panels
    if tiling.packs and not product.packs_on_its_way:
        panel = emitter.fresh("panel", "i64")
        packing = scope.inner()
        column = emitter.let(packing, "column", mul(add(start, panel), integer(tiling.panel)))
        product.pack(packing, panel, column, first, depth)
        scope.statements.append(For(panel, integer(0), count, integer(1), tuple(packing.statements)))
    if tiling.staged:
        group = emitter.fresh("group", "i64")
        some = scope.inner()
        stop = emitter.let(some, "stop", minimum(add(group, integer(tiling.staged)), tiles[1]))
        product.stage(some, (group, stop), first, depth)
        _tiles(product, some, panels, (group, stop), tiles[0], first, depth)
        scope.statements.append(For(group, *tiles, integer(tiling.staged), tuple(some.statements)))
    else:
        _tiles(product, scope, panels, tiles, tiles[0], first, depth)


def _tiles(
    product: Tiles, scope: Scope, panels: tuple[Expr, Expr], tiles: tuple[Expr, Expr],
    first_tile: Expr, first: Expr, depth: Expr,
) -> None:  # fmt: skip
    """Multiply some tiles, which are staged together if they are, by the packed panels."""
    emitter, tiling = product.emitter, product.tiling
    start, count = panels
    tile, panel = emitter.fresh("tile", "i64"), emitter.fresh("panel", "i64")
    outer, inner = scope.inner(), scope.inner()
    top, own = _top(product, outer, tile)
    sums = emitter.let(inner, "sums_at", _sums_at(product, first_tile, tile, panel))
    column = emitter.let(inner, "column", product.start(mul(add(start, panel), integer(tiling.panel))))
    number, earlier = sub(tile, tiles[0]), sub(tile, first_tile)
    product.multiply(inner, top, number, earlier, panel, column, first, depth, sums)
    last = inner if tiling.one_turn else inner.inner()
    _follow(product, last, top, own, start, panel, sums)
    if not tiling.one_turn:
        inner.statements.append(If(less(sub(product.depth, add(first, depth)), integer(1)), tuple(last.statements)))
    outer.statements.append(For(panel, integer(0), count, integer(1), tuple(inner.statements)))
    scope.statements.append(For(tile, *tiles, integer(1), tuple(outer.statements)))


def _top(product: Tiles, scope: Scope, tile: Expr) -> tuple[Expr, Expr]:
    """The first row of a tile, and how many of its rows belong to the tile before."""
    emitter = product.emitter
    top = emitter.let(scope, "top", product.top(tile))
    return top, emitter.let(scope, "skipped", sub(mul(tile, integer(product.tiling.rows)), top))


def _sums_at(product: Tiles, first: Expr, tile: Expr, panel: Expr) -> Expr:
    tiling = product.tiling
    if tiling.one_turn:
        return integer(0)
    place = add(mul(sub(tile, first), integer(tiling.rows * tiling.sum_pitch)), mul(panel, integer(tiling.panel)))
    # Where the inner size turns out to be one turn, all have one place, which stays in the first-level cache.
    return mul(place, minimum(integer(1), div(product.depth, integer(tiling.depth + 1))))


def _follow(
    product: Tiles, scope: Scope, top: Expr, own: Expr, first_panel: Expr, panel: Expr, sums: Expr
) -> None:  # fmt: skip
    """Elementwise work on the sums of one tile, and its stores: whole vectors, then what is left of the columns."""
    emitter, tiling = product.emitter, product.tiling
    lanes = tiling.lanes
    row, column = emitter.fresh("i", "i64"), emitter.fresh("j", "i64")
    start = emitter.let(scope, "column", mul(add(first_panel, panel), integer(tiling.panel)))
    stop = emitter.let(scope, "stop", minimum(add(start, integer(tiling.panel)), product.columns))
    line = emitter.let(scope, "sums", sub(sums, product.start(start)))
    inside = scope.inner()
    at = emitter.let(inside, "line", add(line, mul(row, integer(tiling.sum_pitch))))
    place = emitter.let(inside, "row", add(top, row))

    def element(column: Expr, width: int) -> tuple[Stmt, ...]:
        block = inside.inner()
        found = Load(SUMS, add(at, column), product.dtype, width)
        product.follow(block, found, place, Lanes(column, width) if width > 1 else column)
        return tuple(block.statements)

    whole = emitter.let(scope, "whole", mul(div(stop, integer(lanes)), integer(lanes)))
    loops: list[Stmt] = [For(column, start, whole, integer(lanes), element(column, lanes))]
    if not isinstance(product.column_dim, int):
        rest = emitter.fresh("j", "i64")
        loops.append(For(rest, whole, stop, integer(1), element(rest, 1)))
    elif product.column_dim % lanes:
        ragged = [statement for at_, width in pieces(product.column_dim % lanes, lanes)
                  for statement in element(add(whole, integer(at_)), width)]  # fmt: skip
        loops.append(If(less(whole, stop), tuple(ragged)))
    inside.statements += loops
    scope.statements.append(For(row, own, integer(tiling.rows), integer(1), tuple(inside.statements)))
