"""What the rules of several passes ask: constants, views, and sizes.

A *view* is a value that repeats a smaller one: a `broadcast`, or a `reshape` that only inserts axes of size 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.function import Function, Value
from ...ir.types import Dim, DimLike, Shape
from ..max_shift import maximum_in, shift_of
from ..numbers import Number, constant_number
from ..rewrite import Rebuild


def constant_of(build: Rebuild, value: Value) -> Number | None:
    """The number in every element of `value`, if it is a constant; rounded to its type."""
    return constant_number(build.producer(value))


def is_constant(build: Rebuild, value: Value, number: Number) -> bool:
    return constant_of(build, value) == number


def same_value(build: Rebuild, a: Value, b: Value) -> bool:
    """Whether two values are one, or constants of one type and number."""
    if a is b:
        return True
    numbers = constant_of(build, a), constant_of(build, b)
    return None not in numbers and a.type == b.type and repr(numbers[0]) == repr(numbers[1])  # tells -0.0 from 0.0


LEAST_DIVISOR, LARGEST_DIVISOR = 2.0**-13, 2.0**13
"""Within these the reciprocal is normal in every type."""


def divides_well(build: Rebuild, divisor: Value) -> Number | None:
    """The constant that `divisor` is, if a product with its reciprocal is as good as a quotient by it. In 16 bits it is
    not: the reciprocal would be rounded to them, where the quotient is computed in 32."""
    number = constant_of(build, divisor)
    if number is None or divisor.type.dtype not in ("f32", "f64"):
        return None
    return number if LEAST_DIVISOR <= abs(number) <= LARGEST_DIVISOR else None


def constant_like(build: Rebuild, number: Number, value: Value) -> Value:
    return build.constant(number, value.type.dtype, value.type.shape)


def expand(build: Rebuild, value: Value, dims: Sequence[int], shape: Shape) -> Value:
    """`value`, whose axis i becomes axis dims[i] of `shape`, as a view: a reshape where nothing repeats."""
    if value.type.shape == shape:
        return value
    added = [dim for axis, dim in enumerate(shape) if axis not in dims]
    if all(dim == 1 for dim in added) and value.type.shape == tuple(shape[dim] for dim in dims):
        return build.emit("reshape", value, shape=shape)
    return build.emit("broadcast", value, dims=tuple(dims), shape=shape)


def view_of(build: Rebuild, value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """(source, dims) where `value` is a view: axis i of the source is axis dims[i] of `value`, of the same size."""
    op = build.match(value, "broadcast", "reshape")
    if op is None:
        return None
    (source,) = op.operands
    if op.name == "reshape":
        dims = _inserted_units(source.type.shape, value.type.shape)
        return None if dims is None else (source, dims)
    dims = tuple(op.attributes["dims"])
    stretched = any(source.type.shape[axis] != value.type.shape[target] for axis, target in enumerate(dims))
    return None if stretched else (source, dims)


def _inserted_units(source: Shape, result: Shape) -> tuple[int, ...] | None:
    """Where the axes of `source` went if `result` is `source` with axes of size 1 put in, else None."""
    if len(source) >= len(result):
        return None
    dims: list[int] = []
    for axis, dim in enumerate(result):
        if len(dims) < len(source) and source[len(dims)] == dim:
            dims.append(axis)
        elif dim != 1:
            return None
    return tuple(dims) if len(dims) == len(source) else None


def without_axes(shape: Shape, axes: Sequence[int]) -> Shape:
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def kept_axes(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(rank) if axis not in axes)


def size_source(function: Function, dim: Dim) -> tuple[Value, int] | None:
    """The first input that has an axis of size `dim`, and that axis."""
    for value in function.inputs:
        if dim in value.type.shape:
            return value, value.type.shape.index(dim)
    return None


def size_value(build: Rebuild, dim: DimLike) -> Value | None:
    """A dimension as an i64 scalar: a constant, or the size of an input's axis, or a product of those."""
    if isinstance(dim, int):
        return build.constant(dim, "i64")
    source = size_source(build.original, dim)
    if source is not None:
        return build.emit("dim", source[0], axis=source[1])
    factors: list[DimLike] = [Dim(1, (name,)) for name in dim.names]
    if len(factors) == 1 and dim.factor == 1:
        return None
    product = size_value(build, dim.factor) if dim.factor != 1 else None
    for factor in factors:
        size = size_value(build, factor)
        if size is None:
            return None
        product = size if product is None else build.emit("mul", product, size)
    return product


def unless_empty(build: Rebuild, total: Value, dim: DimLike, size: Value) -> Value:
    """`total`, but 0 where `dim`, the number of its terms, is 0: factors may be infinite then, as 1 / N is in a mean.
    `size` is `dim` as a value."""
    if isinstance(dim, int) and dim > 0:
        return total
    some = expand(build, build.emit("ne", size, build.constant(0, "i64")), (), total.type.shape)
    return build.emit("select", some, total, constant_like(build, 0, total))


def is_softmax_power(build: Rebuild, value: Value) -> bool:
    """Whether `value` is exp(x - max(x)) along some axes: between 0 and 1, unless it is NaN."""
    power = build.match(value, "exp")
    return power is not None and maximum_in(shift_of(power.operands[0], build.producer), build.producer) is not None
