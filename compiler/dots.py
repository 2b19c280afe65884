"""A few rows by a matrix whose columns lie in order: dot products, that read the matrix once where it lies.

    result[i, j] = sum over k of left(i, k) * right(k, j), with right(k, j) next to right(k + 1, j) in memory

Vectors run along k; some columns of the matrix go abreast, by all rows of the left operand. In: a fused product. Out:
the body of a work-item, which has some lines of columns, as many in a line as a vector of the result has lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.arithmetic import add, ceil_div, div, integer, less, minimum, mul, sub
from ..ir.kernel import Apply, Assign, Expr, For, If, Let, Load, PrivateArray, Reduce, Stmt, Store, Var
from .emission.emit import Scope
from .emission.points import Lanes
from .emission.vectors import narrowed
from .product import MOST_DOTS, Product, products_added, sums_from_zero
from .rows.strips import STRIP
from .tiles import SUMS

TURNED = "matmul.turned"
"""A copy of the left operand, where it lies the other way."""
MOST_SUMS = 24
"""Sums that stay in registers."""
COLUMNS_ABREAST = 8
"""Columns that are read side by side at most: streams of memory."""


def applies(product: Product, rows: int) -> bool:
    """Whether `rows` rows at a time, all there are or one, are dot products with vectors on both sides."""
    if not product.right_turned or rows > MOST_DOTS or rows not in (1, product.row_dim):
        return False
    return not product.left_turned or product.row_dim == 1 or product.turns_left


class Dots:
    """Dot products of `rows` rows at a time with lines of `lanes` columns."""

    def __init__(self, product: Product, rows: int, lanes: int):
        self.product, self.rows, self.emitter = product, rows, product.emitter
        self.lanes, self.width = narrowed(lanes, product.column_dim), narrowed(lanes, product.depth_dim)
        self.abreast = min(COLUMNS_ABREAST, MOST_SUMS // rows, self.lanes)
        while self.lanes % self.abreast:
            self.abreast -= 1
        self.turns = product.turns_left

    @property
    def lines(self) -> Expr:
        return ceil_div(self.product.columns, integer(self.lanes))

    @property
    def private_arrays(self) -> tuple[PrivateArray, ...]:
        arrays = (PrivateArray(SUMS, self.product.dtype, self.rows * self.lanes),)
        if not self.turns:
            return arrays
        depth = self.product.depth_dim
        assert isinstance(depth, int)
        return (*arrays, PrivateArray(TURNED, self.product.dtype, self.rows * max(1, depth)))

    def lines_of_item(self, scope: Scope, first: Expr, end: Expr) -> None:
        """Everything for the lines from `first` to `end`."""
        product, emitter = self.product, self.emitter
        if self.turns:
            self._turn(scope)
        line, top, group = (emitter.fresh(name, "i64") for name in ("line", "top", "group"))
        of_line = scope.inner()
        start = emitter.let(of_line, "column", mul(line, integer(self.lanes)))
        of_rows = of_line.inner()
        some = of_rows.inner()
        self._multiply(some, top, start, group)
        stop = integer(self.lanes)
        of_rows.statements.append(For(group, integer(0), stop, integer(self.abreast), tuple(some.statements)))
        self._follow(of_rows, top, start)
        rows = For(top, integer(0), product.rows, integer(self.rows), tuple(of_rows.statements))
        of_line.statements.append(rows)
        scope.statements.append(For(line, first, end, integer(1), tuple(of_line.statements)))

    def _turn(self, scope: Scope) -> None:
        """turned[i][k] = left(i, k)."""
        product, k = self.product, self.emitter.fresh("k", "i64")
        copies = tuple(
            Store(TURNED, add(mul(integer(row), product.depth), k), product.left_at(integer(row), k))
            for row in range(self.rows)
        )
        scope.statements.append(For(k, integer(0), product.depth, integer(1), copies))

    def _left_at(self, row: Expr, k: Expr, width: int) -> Load:
        product = self.product
        if self.turns:
            return Load(TURNED, add(mul(row, product.depth), k), product.dtype, width)
        return product.left_at(row, k, width)

    def _multiply(self, scope: Scope, top: Expr, start: Expr, group: Expr) -> None:
        """sums[row][column] of some columns. Past the last column, that is taken once more."""
        product, emitter, width = self.product, self.emitter, self.width
        last = sub(product.columns, integer(1))
        places = [add(group, integer(number)) for number in range(self.abreast)]
        columns = [emitter.let(scope, "at", minimum(add(start, place), last)) for place in places]
        whole = emitter.let(scope, "whole", mul(div(product.depth, integer(width)), integer(width)))
        ragged = not isinstance(product.depth_dim, int) or product.depth_dim % width != 0
        totals: list[list[Expr]] = []
        for lanes, first, stop in ((width, integer(0), whole), (1, whole, product.depth))[: 1 + ragged]:
            sums = sums_from_zero(emitter, scope, product.dtype, self.rows, len(columns), lanes)
            self._added(scope, top, columns, (first, stop), lanes, sums)
            totals.append([Reduce("add", var) if lanes > 1 else var for line in sums for var in line])
        targets = [add(place, integer(row * self.lanes)) for row in range(self.rows) for place in places]
        for target, (total, *rest) in zip(targets, zip(*totals)):
            for more in rest:
                total = Apply("add", (total, more), product.dtype)
            scope.statements.append(Store(SUMS, target, total))

    def _added(
        self, scope: Scope, top: Expr, columns: Sequence[Expr], bounds: tuple[Expr, Expr], lanes: int,
        sums: Sequence[Sequence[Var]],
    ) -> None:  # fmt: skip
        """sums += the products of all steps; of many steps strip by strip."""
        product, emitter = self.product, self.emitter
        k, (first, stop) = emitter.fresh("k", "i64"), bounds
        depth, strip = product.depth_dim, integer(STRIP * lanes)
        few = isinstance(depth, int) and depth <= STRIP * lanes
        if few or lanes < self.width or product.dtype != "f32":
            body = self._steps(scope.inner(), top, columns, k, lanes, sums)
            scope.statements.append(For(k, first, stop, integer(lanes), body))
            return
        start, some = emitter.fresh("strip", "i64"), scope.inner()
        parts = sums_from_zero(emitter, some, product.dtype, self.rows, len(columns), lanes)
        end = emitter.let(some, "end_of_strip", minimum(add(start, strip), stop))
        body = self._steps(some.inner(), top, columns, k, lanes, parts)
        some.statements.append(For(k, start, end, integer(lanes), body))
        for total, part in ((total, part) for pair in zip(sums, parts) for total, part in zip(*pair)):
            some.statements.append(Assign(total, Apply("add", (total, part), product.dtype, lanes)))
        scope.statements.append(For(start, first, stop, strip, tuple(some.statements)))

    def _steps(
        self, scope: Scope, top: Expr, columns: Sequence[Expr], k: Expr, lanes: int, sums: Sequence[Sequence[Var]]
    ) -> tuple[Stmt, ...]:  # fmt: skip
        product, emitter = self.product, self.emitter
        left = [emitter.let(scope, "left", self._left_at(add(top, integer(row)), k, lanes)) for row in range(self.rows)]
        for number, column in enumerate(columns):
            right = emitter.fresh("right", product.dtype, lanes)
            scope.statements.append(Let(right, product.right_at(k, column, lanes)))
            scope.statements += products_added([line[number] for line in sums], right, left)
        return tuple(scope.statements)

    def _follow(self, scope: Scope, top: Expr, start: Expr) -> None:
        """Elementwise work on the sums of a line, and its stores: a vector of each row, or what there is of it."""
        product, lanes = self.product, self.lanes
        end = self.emitter.let(scope, "end", minimum(add(start, integer(lanes)), product.columns))
        there = Apply("eq", (sub(end, start), integer(lanes)), "bool")
        for row in range(self.rows):
            at, line = integer(row * lanes), add(top, integer(row))
            whole = scope.inner()
            product.follow(whole, Load(SUMS, at, product.dtype, lanes), line, Lanes(start, lanes))
            if lanes == 1 or (isinstance(product.column_dim, int) and product.column_dim % lanes == 0):
                scope.statements += whole.statements
                continue
            column, single = self.emitter.fresh("j", "i64"), scope.inner()
            product.follow(single, Load(SUMS, add(at, sub(column, start)), product.dtype), line, column)
            each = For(column, start, end, integer(1), tuple(single.statements))
            fewer = less(sub(end, start), integer(lanes))
            scope.statements += [If(there, tuple(whole.statements)), If(fewer, (each,))]
