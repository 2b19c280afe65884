"""A matrix product whichever way its operands are stored: what element lies where, and what becomes of its sums.

    result[i, j] = sum over k of left(i, k) * right(k, j)

In: a fused product. Out: loads of its operands by row, column and k, and the elementwise work that follows on a vector
of the result. `swapped`, it is the product of the transposed: rows are the result's columns, and the operands have
changed sides.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.arithmetic import add, mul
from ..ir.function import Op, Value
from ..ir.kernel import Apply, Assign, Const, Declare, Expr, Load, Var, register_dtype
from ..ir.types import DimLike
from .emission.emit import Emitter, Scope
from .emission.points import Coordinate, size_of, widen
from .fused import Fused

MOST_DOTS = 4
"""Rows of which dot products are taken at once."""
LARGEST_TURNED = 16384
"""Elements of so few rows that are copied, where they lie the other way: they fit a second-level cache easily."""


def is_swapped(matmul: Op) -> bool:
    """Whether to take the columns for rows: there are few of them, and a vector runs along the rows."""
    rows, columns = matmul.result.type.shape
    if not isinstance(columns, int) or not 0 < columns <= MOST_DOTS or (isinstance(rows, int) and rows <= columns):
        return False
    if columns == 1 or matmul.attributes["transpose_left"] or matmul.attributes["transpose_right"]:
        return True
    depth = matmul.operands[1].type.shape[0]
    return isinstance(depth, int) and columns * depth <= LARGEST_TURNED


def outer_dims(matmul: Op) -> tuple[DimLike, DimLike]:
    """Rows and columns, swapped where they are."""
    rows, columns = matmul.result.type.shape
    return (columns, rows) if is_swapped(matmul) else (rows, columns)


class Product:
    """The operands of one product, by the row and column that an element has in it."""

    def __init__(self, fused: Fused, emitter: Emitter):
        matmul = fused.schedule.matmul
        assert matmul is not None
        self.fused, self.emitter, self.buffers = fused, emitter, fused.buffers
        self.swapped = is_swapped(matmul)
        self.left, self.right = matmul.operands
        self.left_turned: bool = matmul.attributes["transpose_left"]
        self.right_turned: bool = matmul.attributes["transpose_right"]
        if self.swapped:
            self.left, self.right = self.right, self.left
            self.left_turned, self.right_turned = not self.right_turned, not self.left_turned
        self.dtype = register_dtype(matmul.result.type.dtype)
        self.row_dim, self.column_dim = outer_dims(matmul)
        self.depth_dim: DimLike = self.left.type.shape[0 if self.left_turned else 1]
        # Swapped, few enough; else there is a tile for them.
        self.turns_left = self.swapped and self.left_turned and self.right_turned and self.row_dim != 1
        self.rows, self.columns, self.depth = size_of(self.row_dim), size_of(self.column_dim), size_of(self.depth_dim)

    def left_at(self, row: Expr, k: Expr, width: int = 1) -> Load:
        return self._element(self.left, self.left_turned, row, k, width)

    def right_at(self, k: Expr, column: Expr, width: int = 1) -> Load:
        return self._element(self.right, self.right_turned, k, column, width)

    def _element(self, value: Value, turned: bool, row: Expr, column: Expr, width: int) -> Load:
        """One element, or several along its memory."""
        first, second = (column, row) if turned else (row, column)
        index = add(mul(first, size_of(value.type.shape[1])), second)
        return Load(self.buffers[value], index, register_dtype(value.type.dtype), width)

    def follow(self, scope: Scope, sums: Expr, row: Expr, column: Coordinate) -> None:
        """Elementwise work on one vector of the result, and its stores."""
        place: tuple[Coordinate, Coordinate] = (column, row) if self.swapped else (row, column)
        follow(self.fused, self.emitter, scope, sums, place)


def follow(
    fused: Fused, emitter: Emitter, scope: Scope, sums: Expr, place: tuple[Coordinate, Coordinate]
) -> None:  # fmt: skip
    """Elementwise work on a vector of the result, whose sums are known, at its row and column, and its stores."""
    schedule = fused.schedule
    assert schedule.matmul is not None
    result = schedule.matmul.result
    point = {axis: where for axis, where in zip(schedule.where[result], place) if axis is not None}
    scope.known[result] = emitter.let(scope, result.name, sums)
    emitter.compute(schedule.function.outputs, point, scope)
    for value in schedule.function.outputs:
        emitter.store(value, point, scope)


def sums_from_zero(
    emitter: Emitter, scope: Scope, dtype: str, rows: int, columns: int, lanes: int
) -> list[list[Var]]:  # fmt: skip
    """A tile of sums in registers: for each row some vectors of columns."""
    tile = [[emitter.fresh(f"t{row}", dtype, lanes) for _ in range(columns)] for row in range(rows)]
    scope.statements += [Declare(var, Const(0.0, dtype, lanes)) for line in tile for var in line]
    return tile


def products_added(sums: Sequence[Var], factor: Expr, others: Sequence[Expr]) -> list[Assign]:
    """sums[j] += factor * others[j]."""
    return [
        Assign(var, Apply("fma", (widen(factor, var.width), other, var), var.dtype, var.width))
        for var, other in zip(sums, others)
    ]
