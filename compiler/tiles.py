"""Tiles of a matrix product: what one work-item packs, multiplies and keeps.

    sums[i, j] = sum over k of left(i, k) * right(k, j), for a tile of rows and a panel of columns

In: a fused product and its `Tiling`. Out: statements. The right operand's columns are packed panel by panel into
private memory, packed[panel][k][lane], so that the inner loop reads it in order whichever way it was stored: by the
first tile on its way, where its rows are in order, else before that. Where hardly anything reads it twice it stays
where it lies, and the last panel moves to the left. The left operand is read where it lies, an element for each row of
the tile, or from a copy where its rows would displace each other in the caches.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.arithmetic import add, div, integer, maximum, minimum, mod, mul, sub
from ..ir.kernel import (
    Apply,
    Assign,
    Const,
    Expr,
    For,
    If,
    Iota,
    Let,
    Load,
    Prefetch,
    PrivateArray,
    Splat,
    Stmt,
    Store,
    Var,
)
from ..ir.target import DeviceInfo
from .emission.emit import Emitter, Scope
from .fused import Fused
from .product import Product, products_added, sums_from_zero
from .tiling import tiling_of

PACKED, STAGED, SUMS = "matmul.packed", "matmul.staged", "matmul.sums"
LINES_AHEAD = 4
STEPS_AHEAD = 64
"""Steps of the inner size that what is packed is fetched ahead: its rows, or columns, are pages apart."""
STAGED_PADDING = 16
"""Elements between the staged rows of the left operand, so that they do not displace each other."""


class Tiles(Product):
    """A product in tiles."""

    def __init__(self, fused: Fused, emitter: Emitter, device: DeviceInfo, rows: int):
        super().__init__(fused, emitter)
        self.tiling = tiling_of(self, device, rows)

    @property
    def private_arrays(self) -> tuple[PrivateArray, ...]:
        tiling = self.tiling
        sizes = {
            PACKED: tiling.panels * tiling.panel * tiling.depth if tiling.packs else 0,
            SUMS: tiling.sum_rows * tiling.sum_pitch,
            STAGED: tiling.staged * self.staged_tile,
        }
        return tuple(PrivateArray(name, self.dtype, size) for name, size in sizes.items() if size)

    # --- the right operand ---

    @property
    def packs_on_its_way(self) -> bool:
        """Whether a work-item's first tile reads the right operand where it lies and packs it: its rows are in order,
        and panels have whole vectors."""
        tiling, columns = self.tiling, self.column_dim
        return tiling.packs and not self.right_turned and isinstance(columns, int) and columns % tiling.lanes == 0

    def pack(self, scope: Scope, panel: Expr, column: Expr, first: Expr, depth: Expr) -> None:
        """packed[panel][k][lane] = right(first + k, column + lane) for k < depth, anything past the last column."""
        base = mul(panel, integer(self.tiling.depth * self.tiling.panel))
        if self.right_turned:
            self._pack_turned(scope, base, column, first, depth)
            return
        end = add(column, integer(self.tiling.panel))
        full, ragged = scope.inner(), scope.inner()
        self._pack_rows(full, base, column, first, depth)
        self._pack_short_rows(ragged, base, column, first, depth)
        scope.statements.append(If(Apply("le", (end, self.columns), "bool"), tuple(full.statements)))
        scope.statements.append(If(Apply("gt", (end, self.columns), "bool"), tuple(ragged.statements)))

    @property
    def _has_full_panels(self) -> bool:
        return isinstance(self.column_dim, int) and self.column_dim % self.tiling.panel == 0

    def _pack_rows(self, scope: Scope, base: Expr, column: Expr, first: Expr, depth: Expr) -> None:
        k, tiling = self.emitter.fresh("k", "i64"), self.tiling
        to = add(base, mul(k, integer(tiling.panel)))
        copies = tuple(
            Store(PACKED, add(to, integer(at)), self.right_at(add(first, k), add(column, integer(at)), tiling.lanes))
            for at in range(0, tiling.panel, tiling.lanes)
        )
        scope.statements.append(For(k, integer(0), depth, integer(1), copies))

    def _pack_short_rows(self, scope: Scope, base: Expr, column: Expr, first: Expr, depth: Expr) -> None:
        """The last panel, where it has fewer columns: the others are 0."""
        k, lane, tiling = self.emitter.fresh("k", "i64"), self.emitter.fresh("lane", "i64"), self.tiling
        to, zero = add(base, mul(k, integer(tiling.panel))), Const(0.0, self.dtype, tiling.lanes)
        body: list[Stmt] = [Store(PACKED, add(to, integer(at)), zero) for at in range(0, tiling.panel, tiling.lanes)]
        if isinstance(self.column_dim, int):
            for at, width in pieces(self.column_dim % tiling.panel, tiling.lanes):
                load = self.right_at(add(first, k), add(column, integer(at)), width)
                body.append(Store(PACKED, add(to, integer(at)), load))
        else:
            single = Store(PACKED, add(to, lane), self.right_at(add(first, k), add(column, lane)))
            body.append(For(lane, integer(0), sub(self.columns, column), integer(1), (single,)))
        scope.statements.append(For(k, integer(0), depth, integer(1), tuple(body)))

    def _pack_turned(self, scope: Scope, base: Expr, column: Expr, first: Expr, depth: Expr) -> None:
        """A vector along each column's memory, scattered over as many rows of the panel; then what is left. Past the
        last column it is taken once more."""
        tiling, pitch = self.tiling, integer(self.tiling.panel)
        whole = self.emitter.let(scope, "whole", mul(div(depth, integer(tiling.lanes)), integer(tiling.lanes)))
        for start, stop, width in ((integer(0), whole, tiling.lanes), (whole, depth, 1)):
            k, lane = self.emitter.fresh("k", "i64"), self.emitter.fresh("lane", "i64")
            at = add(column, lane)
            if not self._has_full_panels:
                at = minimum(at, sub(self.columns, integer(1)))
            to: Expr = add(add(base, mul(k, pitch)), lane)
            if width > 1:
                steps = Apply("mul", (Iota("i64", width), Splat(pitch, width)), "i64", width)
                to = Apply("add", (Splat(to, width), steps), "i64", width)
            body: list[Stmt] = [Store(PACKED, to, self.right_at(add(first, k), at, width))]
            if width > 1:
                later = self.right_at(add(add(first, k), integer(STEPS_AHEAD)), at)
                body.append(Prefetch(later.buffer, later.index))
            each = For(lane, integer(0), pitch, integer(1), tuple(body))
            scope.statements.append(For(k, start, stop, integer(width), (each,)))

    # --- the left operand ---

    def stage(self, scope: Scope, tiles: tuple[Expr, Expr], first: Expr, depth: Expr) -> None:
        """staged[tile][i][k] = left(top of tile + i, first + k); staged[tile][k][i] where it lies that way, row by row,
        as what is in one line of memory there is for several tiles."""
        k, tile, tiling = self.emitter.fresh("k", "i64"), self.emitter.fresh("tile", "i64"), self.tiling
        inner = scope.inner()
        top = self.emitter.let(inner, "top", self.top(tile))
        base = mul(sub(tile, tiles[0]), integer(self.staged_tile))
        if self.left_turned:
            to = self.emitter.let(inner, "to", add(base, mul(k, integer(tiling.rows))))
            inner.statements += [
                Store(STAGED, add(to, integer(at)), self.left_at(add(top, integer(at)), add(first, k), width))
                for at, width in pieces(tiling.rows, tiling.lanes)
            ]
            each = For(tile, *tiles, integer(1), tuple(inner.statements))
            scope.statements.append(For(k, integer(0), depth, integer(1), (each,)))
            return
        row = self.emitter.fresh("i", "i64")
        to = add(add(base, mul(row, integer(tiling.depth + STAGED_PADDING))), k)
        whole = self.emitter.let(scope, "whole", mul(div(depth, integer(tiling.lanes)), integer(tiling.lanes)))
        loops = tuple(
            For(k, start, stop, integer(width), (Store(STAGED, to, self.left_at(add(top, row), add(first, k), width)),))
            for start, stop, width in ((integer(0), whole, tiling.lanes), (whole, depth, 1))
        )
        inner.statements.append(For(row, integer(0), integer(tiling.rows), integer(1), loops))
        scope.statements.append(For(tile, *tiles, integer(1), tuple(inner.statements)))

    @property
    def staged_tile(self) -> int:
        tiling = self.tiling
        return tiling.rows * (tiling.depth if self.left_turned else tiling.depth + STAGED_PADDING)

    def top(self, tile: Expr) -> Expr:
        """The first row of a tile: the last one moves up."""
        rows = integer(self.tiling.rows)
        return minimum(mul(tile, rows), sub(self.rows, rows))

    def start(self, column: Expr) -> Expr:
        """The first column of a panel that begins at `column`: the last one moves to the left where it is read in
        place, else it is padded."""
        return column if self.tiling.packs else minimum(column, sub(self.columns, integer(self.tiling.panel)))

    def _factors(self, scope: Scope, top: Expr, staged: Expr, first: Expr, k: Expr) -> list[Load]:
        """left(top + i, first + k) for each row of a tile: one place in memory, and fixed distances from there where
        the pitch is known, so that the loop over k needs one address."""
        tiling, emitter = self.tiling, self.emitter
        if tiling.staged and self.left_turned:
            place, apart = add(staged, mul(k, integer(tiling.rows))), integer(1)
        elif tiling.staged:
            place, apart = add(staged, k), integer(tiling.depth + STAGED_PADDING)
        elif self.left_turned:
            place, apart = add(mul(add(first, k), self.rows), top), integer(1)
        else:
            place, apart = add(mul(top, self.depth), add(first, k)), self.depth
        place = emitter.let(scope, "place", place)
        memory = STAGED if tiling.staged else self.buffers[self.left]
        return [Load(memory, add(place, mul(integer(row), apart)), self.dtype) for row in range(tiling.rows)]

    # --- a tile ---

    def multiply(
        self, scope: Scope, top: Expr, staged: Expr, earlier: Expr, panel: Expr, column: Expr, first: Expr,
        depth: Expr, sums: Expr,
    ) -> None:  # fmt: skip
        """sums[i][j] at `sums` += the products of `depth` steps from `first` on; = in the first turn. The tile has the
        number `staged` among those that are staged, the panel `panel` among those that are packed; `earlier` tiles of
        the work-item came before."""
        columns = self.column_dim
        narrow = columns % self.tiling.panel if self.tiling.packs and isinstance(columns, int) else 0
        if not 0 < narrow <= self.tiling.lanes < self.tiling.panel:
            self._multiply(scope, top, staged, earlier, panel, column, first, depth, sums, self.tiling.vectors)
            return
        # The last panel has one vector of columns.
        for comparison, vectors in (("gt", self.tiling.vectors), ("le", 1)):
            inner = scope.inner()
            self._multiply(inner, top, staged, earlier, panel, column, first, depth, sums, vectors)
            there = Apply(comparison, (sub(self.columns, column), integer(self.tiling.lanes)), "bool")
            scope.statements.append(If(there, tuple(inner.statements)))

    def _multiply(
        self, scope: Scope, top: Expr, staged: Expr, earlier: Expr, panel: Expr, column: Expr, first: Expr,
        depth: Expr, sums: Expr, vectors: int,
    ) -> None:  # fmt: skip
        tiling, emitter = self.tiling, self.emitter
        lanes, base = tiling.lanes, mul(panel, integer(tiling.depth * tiling.panel))
        tile = sums_from_zero(emitter, scope, self.dtype, tiling.rows, vectors, lanes)
        places = [(var, add(sums, integer(r * tiling.sum_pitch + v * lanes)))
                  for r, line in enumerate(tile) for v, var in enumerate(line)]  # fmt: skip
        number = staged
        if tiling.staged:
            staged = emitter.let(scope, "staged_at", mul(staged, integer(self.staged_tile)))

        def steps(reads_packed: bool, packs: bool) -> For:
            k, inner = emitter.fresh("k", "i64"), scope.inner()
            right: list[Var] = []
            for v in range(vectors):
                var, at = emitter.fresh("right", self.dtype, lanes), add(column, integer(v * lanes))
                packed = add(add(base, mul(k, integer(tiling.panel))), integer(v * lanes))
                there = self.right_at(add(first, k), at, lanes)
                inner.statements.append(Let(var, Load(PACKED, packed, self.dtype, lanes) if reads_packed else there))
                if packs:
                    inner.statements.append(Store(PACKED, packed, var))
                if packs or tiling.streams:
                    ahead = integer(STEPS_AHEAD if packs else tiling.depth)
                    later = self.right_at(add(add(first, k), ahead), at, lanes)
                    inner.statements.append(Prefetch(later.buffer, later.index))
                right.append(var)
            if tiling.staged:
                inner.statements += self._fetched_ahead(scope, top, number, panel, first, depth, k)
            for line, load in zip(tile, self._factors(inner, top, staged, first, k)):
                inner.statements += products_added(line, emitter.let(inner, "left", load), right)
            return For(k, integer(0), depth, integer(1), tuple(inner.statements))

        if self.packs_on_its_way:
            loops = (("eq", steps(reads_packed=False, packs=True)), ("gt", steps(reads_packed=True, packs=False)))
            scope.statements += [If(Apply(is_, (earlier, integer(0)), "bool"), (loop,)) for is_, loop in loops]
        else:
            scope.statements.append(steps(reads_packed=tiling.packs, packs=False))
        if not tiling.one_turn:
            # Each turn sums from 0: what is rounded stays as small as its own terms.
            before = ((var, Load(SUMS, at, self.dtype, lanes)) for var, at in places)
            more = tuple(Assign(var, Apply("add", (var, load), self.dtype, lanes)) for var, load in before)
            scope.statements.append(If(Apply("gt", (first, integer(0)), "bool"), more))
        scope.statements += [Store(SUMS, at, var) for var, at in places]

    def _fetched_ahead(
        self, scope: Scope, top: Expr, staged: Expr, panel: Expr, first: Expr, depth: Expr, k: Expr
    ) -> list[Prefetch]:  # fmt: skip
        """What is staged next comes to the second-level cache meanwhile, a part of it with each panel."""
        tiling, let = self.tiling, self.emitter.let
        buffer = self.buffers[self.left]
        if not self.left_turned:
            rows = (add(add(top, integer(tiling.rows + more)), panel) for more in (0, tiling.panels))
            lines = [let(scope, "ahead", add(mul(row, self.depth), first)) for row in rows]
            return [Prefetch(buffer, add(line, k)) for line in lines]
        # Of the lines that the next tiles have in each row, one for every eighth step.
        parts = tiling.panels * tiling.staged
        part = add(mul(staged, integer(tiling.panels)), panel)
        row = let(scope, "ahead", add(first, mul(part, maximum(integer(1), div(depth, integer(parts))))))
        next_top = let(scope, "next_top", add(top, mul(sub(integer(tiling.staged), staged), integer(tiling.rows))))
        line = mul(mod(div(k, integer(LINES_AHEAD * 2)), integer(LINES_AHEAD)), integer(16))
        return [Prefetch(buffer, add(add(mul(add(row, div(k, integer(parts))), self.rows), next_top), line))]


def pieces(count: int, widest: int) -> Iterator[tuple[int, int]]:
    """(first, width) of vectors that cover `count` elements exactly."""
    at, width = 0, widest
    while at < count:
        while width > count - at:
            width //= 2
        yield at, width
        at += width
