"""Slices, joined tensors and margins along one axis: type rules and meanings of `slice`, `concat` and `pad`.

In: types and attributes, or arrays. Out: types, or an error that says why there are none; arrays. Bounds are sizes, so
along an axis with a name they are 0 and multiples of that name: `slice %x {axis = 0, start = N, stop = 2*N}`. A sum of
different names, or of a name and a number, is no dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .diagnostics import Limitation, LirError
from .op_meanings import Evaluation
from .op_types import Attributes, check_axis, constant, slice_bounds
from .types import DimLike, Type, add_dims, dim_names, is_at_most, subtract_dims

NAMES = ("slice", "concat", "pad")


def slice_(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (x,) = types
    axis = check_axis(attributes["axis"], x.rank)
    start, stop = slice_bounds(x, attributes)
    found = f"a slice from {start} to {stop} of axis {axis} of {x}"
    for low, high in ((0, start), (start, stop), (stop, x.shape[axis])):
        if not is_at_most(low, high):
            if dim_names(low) == dim_names(high):
                raise LirError(f"{found}, which has size {x.shape[axis]}", code="LIR0033")
            raise Limitation(f"{found}: whether {low} is at most {high} is known only at run time",
                             "declare the axis with its size; the bounds along a named axis are 0 and multiples of "
                             "its name")  # fmt: skip
    count = subtract_dims(stop, start)
    if count is None:
        raise Limitation(f"{found}: its size {stop} - {start} is no dimension", "declare the axis with its size")
    return (_with_size(x, axis, count),)


def concat(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    first = types[0]
    axis = check_axis(attributes["axis"], first.rank)
    size = first.shape[axis]
    for other in types[1:]:
        if other.dtype != first.dtype:
            raise LirError(f"operands have different element types: {first} and {other}",
                           f"convert one of them: cast %x {{dtype = {first.dtype}}}", code="LIR0031")  # fmt: skip
        if other.rank != first.rank or _with_size(other, axis, 1) != _with_size(first, axis, 1):
            raise LirError(f"operands of `concat` along axis {axis} have one shape but for that axis, found {first} "
                           f"and {other}", code="LIR0030")  # fmt: skip
        size = _sum(size, other.shape[axis])
    return (_with_size(first, axis, size),)


def pad(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (x,) = types
    axis = check_axis(attributes["axis"], x.rank)
    for name in ("before", "after"):
        if isinstance(attributes[name], int) and attributes[name] < 0:
            raise LirError(f"`pad` adds {name} = {attributes[name]} elements", "`slice` takes some away",
                           code="LIR0033", about=name)  # fmt: skip
    if isinstance(attributes["value"], bool) and x.dtype != "bool":
        raise LirError(f"the value {str(attributes['value']).lower()} beside elements of {x}", code="LIR0035",
                       about="value")  # fmt: skip
    constant((), {"value": attributes["value"], "dtype": x.dtype, "shape": ()})
    return (_with_size(x, axis, _sum(_sum(attributes["before"], x.shape[axis]), attributes["after"])),)


def offsets(types: tuple[Type, ...], axis: int) -> list[DimLike]:
    """Where each operand of a `concat` begins."""
    found: list[DimLike] = [0]
    for type_ in types[:-1]:
        found.append(_sum(found[-1], type_.shape[axis]))
    return found


def _sum(a: DimLike, b: DimLike) -> DimLike:
    found = add_dims(a, b)
    if found is None:
        raise Limitation(f"an axis of size {a} + {b}: a dimension is a size, a name or a product of them",
                         "declare both with their sizes, or as multiples of one name; or take what is joined as one "
                         "input, and slices of that")  # fmt: skip
    return found


def _with_size(type_: Type, axis: int, size: DimLike) -> Type:
    return type_.with_shape((*type_.shape[:axis], size, *type_.shape[axis + 1 :]))


# --- meanings; dimension names in the attributes are bound ---------------------------------------------------


def evaluate_slice(context: Evaluation, x: np.ndarray) -> np.ndarray:
    axis, start = context.attributes["axis"], context.attributes["start"]
    return x[(slice(None),) * axis + (slice(start, start + context.shape[axis]),)]


def evaluate_concat(context: Evaluation, *operands: np.ndarray) -> np.ndarray:
    return np.concatenate(operands, axis=context.attributes["axis"])


def evaluate_pad(context: Evaluation, x: np.ndarray) -> np.ndarray:
    attributes: Mapping[str, Any] = context.attributes
    result = np.full(context.shape, attributes["value"], x.dtype)
    axis, before = attributes["axis"], attributes["before"]
    result[(slice(None),) * axis + (slice(before, before + x.shape[axis]),)] = x
    return result
