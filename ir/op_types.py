"""The type rules of the primitive operations: from types of operands and attributes to types of results.

In: types, attributes. Out: types, or a `LirError` that says why there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .diagnostics import Limitation, LirError
from .types import DTYPES, DimLike, Type, is_float, is_integer, numpy_dtype

Attributes = Mapping[str, Any]


def _fail(message: str, *notes: str, code: str = "LIR0030") -> LirError:
    return LirError(message, *notes, code=code)


def repetition(first: Type, other: Type) -> str:
    """The `broadcast` that repeats the smaller of two as NumPy does, where one fits into the other."""
    small, large = sorted((first.shape, other.shape), key=len)
    fits = all(a == b for a, b in zip(reversed(small), reversed(large))) and len(small) < len(large)
    dims = [*range(len(large) - len(small), len(large))]
    return f"`broadcast %smaller {{dims = {dims}, shape = [{', '.join(map(str, large))}]}}`" if fits else "`broadcast`"


def _same_shape(types: tuple[Type, ...]) -> tuple[DimLike, ...]:
    first = types[0]
    for other in types[1:]:
        if other.shape != first.shape:
            raise _fail(
                f"operands have different shapes: {first} and {other}",
                f"shapes must match exactly; write {repetition(first, other)} where one is meant to repeat",
            )
    return first.shape


def _same_dtype(types: tuple[Type, ...]) -> str:
    first = types[0]
    for other in types[1:]:
        if other.dtype != first.dtype:
            wide = max(first.dtype, other.dtype, key=lambda dtype: (is_float(dtype), numpy_dtype(dtype).itemsize))
            raise _fail(
                f"operands have different element types: {first} and {other}",
                f'convert one of them: cast %x {{dtype = {wide}}}, in Python x.cast("{wide}")',
                code="LIR0031",
            )
    return first.dtype


_CAST = 'convert it: cast %x {dtype = f32}, in Python x.cast("f32")'
_WAYS = {
    "float": _CAST, "number": _CAST, "bool": "a comparison gives one: gt %x, 0.0, in Python x > 0",
    "integer": 'convert it: cast %x {dtype = i32}, in Python x.cast("i32")',
}  # fmt: skip
_A = {"float": "a float", "number": "a number as", "bool": "a bool", "integer": "an integer"}


def _want(types: tuple[Type, ...], accepted: str) -> None:
    tests = {"float": is_float, "number": lambda d: d != "bool", "bool": lambda d: d == "bool", "integer": is_integer}
    for type_ in types:
        if not tests[accepted](type_.dtype):
            raise _fail(f"expected {_A[accepted]} operand, found {type_}", _WAYS[accepted], code="LIR0031")


def pointwise(accepted: str, result: str | None = None):
    def infer(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
        if accepted != "any":
            _want(types, accepted)
        return (Type(result or _same_dtype(types), _same_shape(types)),)

    def infer_checked(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
        _same_dtype(types)
        return infer(types, attributes)

    return infer_checked


def select(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types[:1], "bool")
    return (Type(_same_dtype(types[1:]), _same_shape(types)),)


def random_bits(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    for type_ in types:
        if type_.dtype != "i64":
            raise _fail(f"random bits are made from an i64 key and an i64 counter, found {type_}", code="LIR0031")
    return (Type("i32", _same_shape(types)),)


def check_axis(axis: int, rank: int) -> int:
    """A possibly negative axis as 0..rank-1."""
    if not -rank <= axis < rank:
        numbers = ", ".join(map(str, range(-rank, rank)))
        there = f"its axes are {numbers}" if 0 < rank <= 4 else f"it has {rank or 'no'} axes"
        raise _fail(f"axis {axis} is out of range for rank {rank}", there, code="LIR0033")
    return axis % rank


def class_axis(rank: int, axis: int | None) -> int:
    """The axis of the classes among those of logits: `axis`, by default the second, or the only one."""
    if rank == 0:
        raise _fail("logits need a class axis, found a scalar")
    return min(1, rank - 1) if axis is None else check_axis(axis, rank)


def _check_axes(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    checked = tuple(check_axis(axis, rank) for axis in axes)
    if len(set(checked)) != len(checked):
        raise _fail(f"an axis is named twice in {list(axes)}", code="LIR0033")
    return checked


def reduce(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (operand,) = types
    _want(types, "number")
    axes = _check_axes(attributes["axes"], operand.rank)
    return (operand.with_shape(dim for axis, dim in enumerate(operand.shape) if axis not in axes),)


def constant(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    value, dtype = attributes["value"], attributes["dtype"]
    if is_integer(dtype) or dtype == "bool":
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(numpy_dtype(dtype)).min, np.iinfo(numpy_dtype(dtype)).max)
        if not (float(value).is_integer() and low <= value <= high):
            way = 'a number has the element type of what it stands beside: in Python x.cast("f32") for floats'
            raise _fail(f"constant {value} does not fit {dtype}", way, code="LIR0035")
    return (Type(dtype, tuple(attributes["shape"])),)


def iota(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    shape = tuple(attributes["shape"])
    check_axis(attributes["axis"], len(shape))
    if not is_integer(attributes["dtype"]):
        raise _fail(f"iota counts in integers, found dtype {attributes['dtype']}", code="LIR0031")
    return (Type(attributes["dtype"], shape),)


def cast(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    if attributes["dtype"] not in DTYPES:
        raise _fail(f"unknown element type {attributes['dtype']}", code="LIR0034")
    return (types[0].with_dtype(attributes["dtype"]),)


def dim(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    check_axis(attributes["axis"], types[0].rank)
    return (Type("i64"),)


def broadcast(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (operand,) = types
    shape, dims = tuple(attributes["shape"]), tuple(attributes["dims"])
    if len(dims) != operand.rank or list(dims) != sorted(set(dims)):
        raise _fail(f"dims = {list(dims)} must name one ascending result axis for each of the {operand.rank} axes of "
                    f"{operand}")  # fmt: skip
    for axis, target in enumerate(dims):
        check_axis(target, len(shape))
        if operand.shape[axis] not in (1, shape[target]):
            raise _fail(f"axis {axis} of {operand} has size {operand.shape[axis]}; it cannot become size "
                        f"{shape[target]} (axis {target} of the result)")  # fmt: skip
    return (operand.with_shape(shape),)


def reshape(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    result = types[0].with_shape(attributes["shape"])
    if result.count != types[0].count:
        raise _fail(f"cannot reshape {types[0]} ({types[0].count} elements) to {result} ({result.count} elements)")
    return (result,)


def transpose(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (operand,) = types
    permutation = tuple(attributes["permutation"])
    if sorted(permutation) != list(range(operand.rank)):
        raise _fail(f"permutation {list(permutation)} must name each of the {operand.rank} axes of {operand} once")
    return (operand.with_shape(operand.shape[axis] for axis in permutation),)


def gather(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    operand, indices = types
    _want((indices,), "integer")
    axis = check_axis(attributes["axis"], operand.rank)
    kept = operand.shape[:axis] + operand.shape[axis + 1 :]
    if indices.shape != kept:
        raise _fail(f"gather along axis {axis} of {operand} takes one index for each remaining position: expected "
                    f"indices of shape {Type(indices.dtype, kept)}, found {indices}")  # fmt: skip
    return (operand.with_shape(kept),)


def matmul(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types, "float")
    dtype = _same_dtype(types)
    left, right = types
    if left.rank != 2 or right.rank != 2:
        raise _fail(f"matmul takes two matrices, found {left} and {right}",
                    "a vector becomes a matrix of one column by reshape, in Python v.reshape(-1, 1)")  # fmt: skip
    rows, inner = left.shape[::-1] if attributes["transpose_left"] else left.shape
    inner_right, columns = right.shape[::-1] if attributes["transpose_right"] else right.shape
    if inner != inner_right:
        raise _fail(f"inner dimensions differ: {inner} (of {left}) and {inner_right} (of {right})",
                    "weights are [out, in]: multiply with {transpose_right = true}, or use `linear`",
                    "in Python that is x @ w.T")  # fmt: skip
    return (Type(dtype, (rows, columns)),)


def check(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types[:1], "bool")
    _same_shape(types)
    return ()


def grad(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    skip = 2 if attributes["upstream"] else 1
    if len(types) <= skip:
        raise _fail("grad names a value and at least one value to differentiate with respect to", code="LIR0025")
    if attributes["upstream"] and types[0] != types[1]:
        raise _fail(f"the upstream gradient has type {types[1]}, expected that of the differentiated value {types[0]}")
    _want(types, "float")
    return types[skip:]


def with_gradient(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types, "float")
    _same_shape(types)
    _same_dtype(types)
    if len(types) % 2 == 0:
        raise _fail("with_gradient takes a value and then pairs: a value to differentiate by, and the derivative",
                    code="LIR0025")  # fmt: skip
    return types[:1]


def count_axes_from_front(types: tuple[Type, ...], attributes: Attributes) -> dict[str, Any]:
    """The attributes with axes counted from the front and in order: one spelling for one meaning."""
    rank = types[0].rank if types else len(attributes.get("shape", ()))
    found = dict(attributes)
    if "axis" in found:
        found["axis"] = found["axis"] % rank
    if "axes" in found:
        found["axes"] = tuple(sorted(axis % rank for axis in found["axes"]))
    if "start" in found:
        found["start"], found["stop"] = slice_bounds(types[0], found)
    return found


def slice_bounds(x: Type, attributes: Attributes) -> tuple[DimLike, DimLike]:
    """The bounds of a slice, counted from the front."""
    size, start, stop = x.shape[attributes["axis"]], attributes["start"], attributes["stop"]
    return _from_front(start, size), size if stop is None else _from_front(stop, size)


def _from_front(place: DimLike, size: DimLike) -> DimLike:
    if not isinstance(place, int) or place >= 0:
        return place
    if not isinstance(size, int):
        raise Limitation(f"{place} counts from the end of an axis of size {size}, and {size} - {-place} is no "
                         "dimension", "declare the axis with its size")  # fmt: skip
    return place + size
