"""Points of a kernel's domain, and sizes as expressions: what needs neither a schedule nor a scope.

In: dimensions, coordinates, the number of a row. Out: kernel expressions. A coordinate is one number, or one for each
lane of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...ir.arithmetic import div, index_var, integer, mod, mul
from ...ir.frozen import frozen
from ...ir.kernel import Apply, Const, Expr, Iota, Splat
from ...ir.types import DimLike


@frozen
class Lanes:
    """A coordinate that is `base`, `base` + 1, ... in the lanes of a vector."""

    base: Expr
    width: int


Coordinate = Expr | Lanes
Point = Mapping[int, Coordinate]


def size_of(dim: DimLike) -> Expr:
    """A dimension as an expression over the dimension names."""
    if isinstance(dim, int):
        return integer(dim)
    size: Expr = integer(dim.factor)
    for name in dim.names:
        size = mul(size, index_var(name))
    return size


def product(sizes: Iterable[DimLike]) -> Expr:
    result: Expr = integer(1)
    for size in sizes:
        result = mul(result, size_of(size))
    return result


def widen(expression: Expr, width: int) -> Expr:
    """The expression in every lane of a vector of `width`."""
    if expression.width == width:
        return expression
    if isinstance(expression, Const):
        return Const(expression.value, expression.dtype, width)
    return Splat(expression, width)


def lanes_where(comparison: str, number: Expr, width: int) -> Expr:
    """A mask of the lanes whose numbers compare so with a count."""
    known = isinstance(number, Const)
    count = Const(int(number.value), "i32", width) if known else Splat(Apply("cast", (number,), "i32"), width)
    return Apply(comparison, (Iota("i32", width), count), "bool", width)


def times(lanes: Expr, stride: Expr) -> Expr:
    if stride == integer(1):
        return lanes
    return Apply("mul", (lanes, widen(stride, lanes.width)), "i64", lanes.width)


def coordinate_value(coordinate: Coordinate, dtype: str) -> Expr:
    """A coordinate as a number of type `dtype`."""
    if isinstance(coordinate, Lanes):
        base = converted(coordinate.base, dtype)
        if coordinate.width == 1:
            return base
        return Apply("add", (Splat(base, coordinate.width), Iota(dtype, coordinate.width)), dtype, coordinate.width)
    return converted(coordinate, dtype)


def converted(expression: Expr, dtype: str) -> Expr:
    """The expression as a number of type `dtype`."""
    return expression if expression.dtype == dtype else Apply("cast", (expression,), dtype, expression.width)


def delinearized(row: Expr, sizes: Sequence[Expr]) -> list[Expr]:
    """The coordinates of row number `row` in a box of `sizes`, outer to inner."""
    coordinates: list[Expr] = []
    for size in reversed(sizes):
        coordinates.append(row if len(coordinates) == len(sizes) - 1 else mod(row, size))
        row = div(row, size)
    return coordinates[::-1]
