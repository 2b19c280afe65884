"""Matrix products on a GPU: each work-group owns a tile of the result, each of its items a small square of that.

    result[i, j] = sum over k of left(i, k) * right(k, j), then whatever elementwise work follows

A step along k brings a slab of both operands to local memory, neighbours reading neighbouring elements whichever way an
operand is stored, one barrier a step: of two slabs in turn one is filled while the other is read. An item's vectors of
columns lie apart by what the others of its line have, so that lines are stored side by side. Rows and columns beyond
the edge are computed from what lies at the edge, and not stored; beyond the end of k is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, at_least, both, ceil_div, div, divides, integer, less, minimum, mod, mul, sub
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import (
    Apply,
    Barrier,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    LocalArray,
    Stmt,
    Store,
    Var,
    WorkItem,
    register_dtype,
)
from ...ir.program import Launch, Variant
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, size_of
from ..fused import Fused, kernel_and_launch
from ..product import follow, products_added, sums_from_zero

STORES_ONCE = True
MULTIPLIES = True
SQUARES = (8, 4, 2)
"""Rows and columns of an item, the largest first: smaller ones where there would be too few tiles for the device."""
SIDE = 16
"""Items along a side of a tile."""
DEPTH = 16
"""Steps of k in a slab."""
PAD = 4
"""Elements between the rows of a slab: those of one column are in different banks of local memory."""


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    if device.max_work_group_size < SIDE * SIDE:
        return f"a tile takes {SIDE * SIDE} work-items"
    assert fused.schedule.matmul is not None
    dtype = register_dtype(fused.schedule.matmul.result.type.dtype)
    if Tile(SQUARES[-1], 1, dtype).local_bytes > device.local_memory:
        return "two slabs of the operands do not fit local memory"
    return None


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 0.5 if device.kind == "gpu" else 20.0


@frozen
class Tile:
    """The tile of a work-group: SIDE x SIDE items with `square` x `square` elements each, in vectors of `width`."""

    square: int
    width: int
    dtype: str

    @property
    def side(self) -> int:
        return SIDE * self.square

    @property
    def depth(self) -> int:
        return DEPTH if ITEM_SIZE[self.dtype] <= 4 else DEPTH // 2

    @property
    def pitch(self) -> int:
        return self.side + PAD

    @property
    def vectors(self) -> int:
        return self.square // self.width

    @property
    def local_bytes(self) -> int:
        return 2 * 2 * self.depth * self.pitch * ITEM_SIZE[self.dtype]


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    """Large tiles where there are so many that every compute unit has one; vectors where they divide the columns."""
    matmul = fused.schedule.matmul
    assert matmul is not None
    dtype = register_dtype(matmul.result.type.dtype)
    rows, columns = matmul.result.type.shape
    widest = min(device.vector_width, 16 // max(4, ITEM_SIZE[dtype]))
    variants: list[Variant] = []
    for square in SQUARES:
        width = min(widest, square)
        while isinstance(columns, int) and columns % width:
            width //= 2
        tile = Tile(square, width, dtype)
        if tile.local_bytes > device.local_memory:
            continue
        side = integer(tile.side)
        tiles = mul(ceil_div(size_of(rows), side), ceil_div(size_of(columns), side))
        is_last = square == SQUARES[-1]
        if isinstance(tiles, Const) and int(tiles.value) < device.compute_units and not is_last:
            continue
        guard = None if isinstance(tiles, Const) or is_last else at_least(tiles, device.compute_units)
        if not isinstance(columns, int) and width > 1:
            variants.append(_variant(fused, device, tile, both(guard, divides(width, size_of(columns)))))
            tile = Tile(square, 1, dtype)
        variants.append(_variant(fused, device, tile, guard))
        if guard is None:
            break
    return variants


def _variant(fused: Fused, device: DeviceInfo, tile: Tile, guard: Expr | None) -> Variant:
    product = _Product(fused, device, tile)
    return Variant("matmul-group", (product.launch(),), guard)


class _Product:
    """The kernel under construction."""

    def __init__(self, fused: Fused, device: DeviceInfo, tile: Tile):
        self.fused, self.tile, self.schedule = fused, tile, fused.schedule
        matmul = self.schedule.matmul
        assert matmul is not None
        self.matmul: Op = matmul
        self.emitter: Emitter = fused.emitter()
        self.emitter.aligned = not device.shared_pointers
        left, right = matmul.operands
        self.rows, self.columns = (size_of(size) for size in matmul.result.type.shape)
        self.inner_axis = 0 if matmul.attributes["transpose_left"] else 1
        self.depth = size_of(left.type.shape[self.inner_axis])
        size = 2 * tile.depth * tile.pitch
        names = {side: self.emitter.fresh(f"{side}_slab", tile.dtype).name for side in ("left", "right")}
        self.slabs = {side: LocalArray(name, tile.dtype, size) for side, name in names.items()}
        self.is_turned = {
            "left": not matmul.attributes["transpose_left"],
            "right": matmul.attributes["transpose_right"],
        }
        self.operands = {"left": left, "right": right}

    def launch(self) -> Launch:
        emitter, scope, tile = self.emitter, Scope(), self.tile
        side = integer(tile.side)
        across = ceil_div(self.columns, side)
        item = emitter.let(scope, "local_id", WorkItem("local_id"))
        group = emitter.let(scope, "group_id", WorkItem("group_id"))
        first_row = emitter.let(scope, "tile_row", mul(div(group, across), side))
        first_column = emitter.let(scope, "tile_column", mul(mod(group, across), side))
        line = emitter.let(scope, "line", div(item, integer(SIDE)))
        place = emitter.let(scope, "place", mod(item, integer(SIDE)))
        sums = sums_from_zero(emitter, scope, tile.dtype, tile.square, tile.vectors, tile.width)
        start = emitter.fresh("k", "i64")
        step = scope.inner()
        turn = mod(div(start, integer(tile.depth)), integer(2))
        slab = emitter.let(step, "slab", mul(turn, integer(tile.depth * tile.pitch)))
        self._fill(step, "left", first_row, self.rows, start, slab, item)
        self._fill(step, "right", first_column, self.columns, start, slab, item)
        step.statements.append(Barrier())
        self._multiply(step, slab, line, place, sums)
        scope.statements.append(For(start, integer(0), self.depth, integer(tile.depth), tuple(step.statements)))
        for r, vectors in enumerate(sums):
            row = add(first_row, self._along(line, r, 1))
            for v, var in enumerate(vectors):
                column = add(first_column, self._along(place, v * tile.width, tile.width))
                self._store(scope, var, row, column)
        groups = mul(ceil_div(self.rows, side), across)
        return kernel_and_launch(
            self.fused, emitter, f"_matmul_group{tile.side}x{tile.width}", scope.statements,
            mul(groups, integer(SIDE * SIDE)), local_size=SIDE * SIDE, local_arrays=list(self.slabs.values()),
            comment=(f"a tile of {tile.side} x {tile.side} a work-group, {tile.square} x {tile.square} an item, "
                     f"{tile.depth} steps of the inner size at a time in local memory",),
        )  # fmt: skip

    def _along(self, place: Expr, number: int, width: int) -> Expr:
        """Where in the tile an item's element of that number lies: rows one by one, columns in vectors of `width`."""
        vector = number // width
        return add(mul(place, integer(width)), integer(vector * SIDE * width))

    def _fill(
        self, scope: Scope, name: str, first: Expr, size: Expr, start: Expr, slab: Expr, item: Expr
    ) -> None:  # fmt: skip
        """Elements of one operand, slab[k][place in the tile]: neighbours take neighbours in memory."""
        emitter, tile = self.emitter, self.tile
        value = self.operands[name]
        each = tile.side * tile.depth // (SIDE * SIDE)
        for number in range(each):
            flat = add(item, integer(number * SIDE * SIDE))
            inner = tile.depth if self.is_turned[name] else tile.side
            fast, slow = mod(flat, integer(inner)), div(flat, integer(inner))
            k, place = (fast, slow) if self.is_turned[name] else (slow, fast)
            k, place = emitter.let(scope, "k_in", k), emitter.let(scope, "place_in", place)
            at_k = emitter.let(scope, "at_k", add(start, k))
            inside = less(at_k, self.depth)
            safe_k = emitter.let(scope, "safe", minimum(at_k, sub(self.depth, integer(1))))
            position = emitter.let(scope, "at", minimum(add(first, place), sub(size, integer(1))))
            here = Scope({}, scope.statements)
            found = emitter.operand(value, self._point(name, value, position, safe_k), here)
            kept = Apply("select", (inside, found, Const(0.0, tile.dtype)), tile.dtype)
            index = add(slab, add(mul(k, integer(tile.pitch)), place))
            scope.statements.append(Store(self.slabs[name].name, index, kept))

    def _point(self, name: str, value: Value, position: Expr, k: Expr) -> dict[int, Expr | Lanes]:
        """The coordinates of an element of an operand."""
        own = self.schedule.where[value]
        is_k_last = self.is_turned[name]
        pair = (position, k) if is_k_last else (k, position)
        return {axis: where for axis, where in zip(own, pair) if axis is not None}

    def _multiply(
        self, scope: Scope, slab: Expr, line: Expr, place: Expr, sums: Sequence[Sequence[Var]]
    ) -> None:  # fmt: skip
        """An item's square, one step of k after the other."""
        emitter, tile = self.emitter, self.tile
        k = emitter.fresh("k", "i64")
        base = emitter.fresh("base", "i64")
        body: list[Stmt] = [Let(base, add(slab, mul(k, integer(tile.pitch))))]
        right: list[Var] = []
        for v in range(tile.vectors):
            var = emitter.fresh("right", tile.dtype, tile.width)
            index = add(base, self._along(place, v * tile.width, tile.width))
            body.append(Let(var, Load(self.slabs["right"].name, index, tile.dtype, tile.width, tile.width > 1)))
            right.append(var)
        for r, vectors in enumerate(sums):
            var = emitter.fresh("left", tile.dtype)
            body.append(Let(var, Load(self.slabs["left"].name, add(base, self._along(line, r, 1)), tile.dtype)))
            body += products_added(vectors, var, right)
        scope.statements.append(For(k, integer(0), integer(tile.depth), integer(1), tuple(body)))

    def _store(self, scope: Scope, total: Var, row: Expr, column: Expr) -> None:
        """What follows the product, at one vector of the result, where that lies inside."""
        emitter, width = self.emitter, self.tile.width
        row, column = emitter.let(scope, "row", row), emitter.let(scope, "column", column)
        block = scope.inner()
        follow(self.fused, emitter, block, total, (row, Lanes(column, width)))
        inside = both(less(row, self.rows), less(column, self.columns))
        scope.statements.append(If(inside, tuple(block.statements)))
