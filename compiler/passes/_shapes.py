"""Rules for operations that move, repeat or sum elements. Views are composed until none is left that could go."""

from __future__ import annotations

import math

from ...ir.function import Op, Value
from ...ir.types import Dim, DimLike, is_float, is_short, multiply_dims
from ..rewrite import Rebuild, Rules
from ._match import (
    constant_of,
    expand,
    kept_axes,
    size_source,
    size_value,
    unless_empty,
    view_of,
    without_axes,
)


def constant_in_another_shape(op: Op, build: Rebuild) -> Value | None:
    """broadcast c = c, reshape c = c, transpose c = c, slice c = c  exact"""
    number = constant_of(build, op.operands[0])
    return None if number is None else build.constant(number, op.result.type.dtype, op.result.type.shape)


def same_shape(op: Op, build: Rebuild) -> Value | None:
    """broadcast, reshape, transpose, slice or pad that changes nothing = x  exact"""
    (x,) = op.operands
    if op.name == "transpose" and list(op.attributes["permutation"]) != list(range(x.type.rank)):
        return None
    return x if x.type == op.result.type else None


def repeat_only_ones(op: Op, build: Rebuild) -> Value | None:
    """broadcast that only adds axes of size 1 = reshape  exact"""
    (x,) = op.operands
    result = expand(build, x, op.attributes["dims"], op.result.type.shape)
    return result if build.match(result, "reshape") else None


def drop_stretched_axes(op: Op, build: Rebuild) -> Value | None:
    """broadcast of x[N, 1] along that 1 = broadcast of x[N]  exact"""
    (x,) = op.operands
    shape, dims = op.result.type.shape, op.attributes["dims"]
    stretched = [axis for axis, dim in enumerate(dims) if x.type.shape[axis] != shape[dim]]
    if not stretched:
        return None
    small = build.emit("reshape", x, shape=without_axes(x.type.shape, stretched))
    return build.emit("broadcast", small, dims=without_axes(dims, stretched), shape=shape)


def repeat_a_view(op: Op, build: Rebuild) -> Value | None:
    """broadcast of broadcast = one broadcast  exact"""
    view = view_of(build, op.operands[0])
    if view is None:
        return None
    source, dims = view
    return expand(build, source, tuple(op.attributes["dims"][dim] for dim in dims), op.result.type.shape)


def repeat_counting(op: Op, build: Rebuild) -> Value | None:
    """broadcast of iota = iota  exact"""
    inner = build.match(op.operands[0], "iota")
    if inner is None:
        return None
    axis = op.attributes["dims"][inner.attributes["axis"]]
    return build.emit("iota", axis=axis, dtype=inner.attributes["dtype"], shape=op.result.type.shape)


def reshape_twice(op: Op, build: Rebuild) -> Value | None:
    """reshape of reshape = one reshape; reshape of a broadcast scalar = broadcast of that  exact"""
    inner = build.match(op.operands[0], "reshape", "broadcast")
    if inner is None:
        return None
    (source,) = inner.operands
    if inner.name == "reshape":
        return source if source.type == op.result.type else build.emit("reshape", source, shape=op.result.type.shape)
    return expand(build, source, (), op.result.type.shape) if source.type.rank == 0 else None


def reshape_of_broadcast(op: Op, build: Rebuild) -> Value | None:
    """broadcast, then a reshape that puts in or takes out axes of size 1 = one broadcast  exact"""
    inner = build.match(op.operands[0], "broadcast")
    view = view_of(build, op.operands[0])
    if inner is None or view is None or 1 in view[0].type.shape:
        return None
    (x,) = op.operands
    long = [axis for axis, dim in enumerate(x.type.shape) if dim != 1]
    target = [axis for axis, dim in enumerate(op.result.type.shape) if dim != 1]
    if [x.type.shape[axis] for axis in long] != [op.result.type.shape[axis] for axis in target]:
        return None
    return expand(build, view[0], tuple(target[long.index(dim)] for dim in view[1]), op.result.type.shape)


def transpose_twice(op: Op, build: Rebuild) -> Value | None:
    """transpose of transpose = one transpose, or none  exact"""
    inner = build.match(op.operands[0], "transpose")
    if inner is None:
        return None
    first = inner.attributes["permutation"]
    return build.emit("transpose", inner.operands[0], permutation=tuple(first[a] for a in op.attributes["permutation"]))


def transpose_of_broadcast(op: Op, build: Rebuild) -> Value | None:
    """transpose of broadcast x = broadcast of (transpose x)  exact"""
    inner = build.match(op.operands[0], "broadcast")
    view = view_of(build, op.operands[0])
    if inner is None or view is None:
        return None
    source, dims = view
    places = [op.attributes["permutation"].index(dim) for dim in dims]
    order = sorted(range(len(places)), key=places.__getitem__)
    if order != list(range(len(order))):
        source = build.emit("transpose", source, permutation=tuple(order))
    return expand(build, source, tuple(sorted(places)), op.result.type.shape)


def reduce_ones(op: Op, build: Rebuild) -> Value | None:
    """a reduction over axes of size 1 = reshape  exact"""
    (x,) = op.operands
    if any(x.type.shape[axis] != 1 for axis in op.attributes["axes"]):
        return None
    return x if x.type == op.result.type else build.emit("reshape", x, shape=op.result.type.shape)


def reduce_twice(op: Op, build: Rebuild) -> Value | None:
    """sum over one axis, then over another = sum over both; so with max and min  rounding"""
    (x,) = op.operands
    inner = build.match(x, op.name)
    if inner is None or not build.used_once(x):
        return None
    (source,) = inner.operands
    first = inner.attributes["axes"]
    rest = kept_axes(source.type.rank, first)
    second = [rest[axis] for axis in op.attributes["axes"]]
    return build.emit(op.name, source, axes=tuple(sorted([*first, *second])))


def reduce_whole_reshape(op: Op, build: Rebuild) -> Value | None:
    """sum of all of (reshape x) = sum of all of x  exact"""
    (x,) = op.operands
    inner = build.match(x, "reshape", "transpose")
    if inner is None or len(op.attributes["axes"]) != x.type.rank or inner.operands[0].type.rank == 0:
        return None
    return build.emit(op.name, inner.operands[0], axes=tuple(range(inner.operands[0].type.rank)))


def sum_of_repeated(op: Op, build: Rebuild) -> Value | None:
    """sum of (broadcast g) = g * size, 0 where the size is  rounding"""
    (x,) = op.operands
    if is_short(x.type.dtype):
        return None  # the size may be beyond what the type counts
    axes = op.attributes["axes"]
    number = constant_of(build, x)
    if number is not None:
        source, dims = build.constant(number, x.type.dtype), ()
    else:
        view = view_of(build, x)
        if view is None or set(axes) <= set(view[1]):
            return None
        source, dims = view
    repeated = multiply_dims(x.type.shape[axis] for axis in axes if axis not in dims)
    size = size_value(build, repeated)
    if size is None:
        return None
    count = build.emit("cast", size, dtype=x.type.dtype)
    total = build.emit("mul", source, expand(build, count, (), source.type.shape))
    if number is None or not math.isfinite(number):
        total = unless_empty(build, total, repeated, size)
    summed = tuple(position for position, dim in enumerate(dims) if dim in axes)
    if summed:
        total = build.emit("reduce_sum", total, axes=summed)
    kept = kept_axes(x.type.rank, axes)
    return expand(build, total, tuple(kept.index(dim) for dim in dims if dim not in axes), op.result.type.shape)


def reduce_before_repeating(op: Op, build: Rebuild) -> Value | None:
    """sum of (broadcast w) over axes of w = broadcast of (sum of w), so with max and min  exact"""
    (x,) = op.operands
    axes = op.attributes["axes"]
    view = view_of(build, x)
    if view is None or not set(axes) <= set(view[1]):
        return None
    source, dims = view
    reduced = build.emit(op.name, source, axes=tuple(position for position, dim in enumerate(dims) if dim in axes))
    kept = kept_axes(x.type.rank, axes)
    return expand(build, reduced, tuple(kept.index(dim) for dim in dims if dim not in axes), op.result.type.shape)


def largest_of_repeated(op: Op, build: Rebuild) -> Value | None:
    """max of (broadcast g) = g, so with min, where something is repeated at all  exact"""
    (x,) = op.operands
    axes = op.attributes["axes"]
    view = view_of(build, x)
    if view is None or set(axes) & set(view[1]) or not all(_at_least_one(x.type.shape[axis]) for axis in axes):
        return None
    kept = kept_axes(x.type.rank, axes)
    return expand(build, view[0], tuple(kept.index(dim) for dim in view[1]), op.result.type.shape)


def _at_least_one(dim: DimLike) -> bool:
    return isinstance(dim, int) and dim >= 1


def sum_of_negative(op: Op, build: Rebuild) -> Value | None:
    """sum of -x = -(sum of x)  exact"""
    inner = build.match(op.operands[0], "neg")
    if inner is None or not is_float(op.result.type.dtype):
        return None
    return build.emit("neg", build.emit("reduce_sum", inner.operands[0], axes=op.attributes["axes"]))


def product_of_transposed(op: Op, build: Rebuild) -> Value | None:
    """matmul of (transpose a) = matmul that reads a transposed  exact"""
    left, right = op.operands
    left_op, right_op = _turned(left, build), _turned(right, build)
    if left_op is None and right_op is None:
        return None
    return build.emit(
        "matmul",
        left if left_op is None else left_op.operands[0],
        right if right_op is None else right_op.operands[0],
        transpose_left=op.attributes["transpose_left"] != (left_op is not None),
        transpose_right=op.attributes["transpose_right"] != (right_op is not None),
        memory_budget=op.attributes["memory_budget"],
    )


def _turned(matrix: Value, build: Rebuild) -> Op | None:
    """The operation that transposes a matrix. Two that undid each other may have left one that does nothing."""
    op = build.match(matrix, "transpose")
    return op if op is not None and tuple(op.attributes["permutation"]) == (1, 0) else None


def size_of_an_axis(op: Op, build: Rebuild) -> Value | None:
    """the size of an axis of any value = a constant, or the size of an input's axis  exact"""
    (x,) = op.operands
    axis = op.attributes["axis"]
    dim = x.type.shape[axis]
    if isinstance(dim, Dim) and size_source(build.original, dim) == (x, axis):
        return None
    return size_value(build, dim)


def known_size(op: Op, build: Rebuild) -> Value | None:
    """a product of known sizes = a constant  exact"""
    size = multiply_dims(op.attributes["of"])
    return build.constant(size, "i64") if isinstance(size, int) else None


_REDUCE = (reduce_ones, reduce_twice, reduce_whole_reshape, reduce_before_repeating)

ACROSS: Rules = {
    "broadcast": (
        constant_in_another_shape, same_shape, repeat_only_ones, drop_stretched_axes, repeat_a_view, repeat_counting,
    ),
    "reshape": (constant_in_another_shape, same_shape, reshape_twice, reshape_of_broadcast),
    "transpose": (constant_in_another_shape, same_shape, transpose_twice, transpose_of_broadcast),
    "reduce_sum": (*_REDUCE, sum_of_repeated, sum_of_negative),
    "reduce_max": (*_REDUCE, largest_of_repeated),
    "reduce_min": (*_REDUCE, largest_of_repeated),
    "matmul": (product_of_transposed,),
    "dim": (size_of_an_axis,),
    "size": (known_size,),
}  # fmt: skip
