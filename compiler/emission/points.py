"""Points of a kernel's domain, and sizes as expressions: what needs neither a schedule nor a scope.

In: dimensions, coordinates, the number of a row. Out: kernel expressions. A coordinate is one number, or one for each
lane of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.kernel import Apply, Const, Expr, Iota, Splat, index_var, integer, mul
from ...ir.types import DimLike


@dataclass(frozen=True)
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


def times(lanes: Expr, stride: Expr) -> Expr:
    if stride == integer(1):
        return lanes
    return Apply("mul", (lanes, widen(stride, lanes.width)), "i64", lanes.width)


def coordinate_value(coordinate: Coordinate, dtype: str) -> Expr:
    """A coordinate as a number of type `dtype`."""
    if isinstance(coordinate, Lanes):
        base = _convert(coordinate.base, dtype)
        if coordinate.width == 1:
            return base
        return Apply("add", (Splat(base, coordinate.width), Iota(dtype, coordinate.width)), dtype, coordinate.width)
    return _convert(coordinate, dtype)


def _convert(expression: Expr, dtype: str) -> Expr:
    return expression if expression.dtype == dtype else Apply("cast", (expression,), dtype, expression.width)


def split_rows(row: Expr, sizes: Sequence[Expr]) -> list[Expr]:
    """The coordinates of row number `row` in a box of `sizes`, outer to inner."""
    coordinates: list[Expr] = []
    for size in reversed(sizes):
        coordinates.append(row if len(coordinates) == len(sizes) - 1 else _mod(row, size))
        row = _div(row, size)
    return coordinates[::-1]


def _mod(a: Expr, b: Expr) -> Expr:
    return integer(0) if b == integer(1) else Apply("mod", (a, b), "i64")


def _div(a: Expr, b: Expr) -> Expr:
    return a if b == integer(1) else Apply("div", (a, b), "i64")
