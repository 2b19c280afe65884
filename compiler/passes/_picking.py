"""Taking a gather through the pointwise operations above it.

gather(f(a, broadcast(s)), t) = f(gather(a, t), s): one element a row is computed instead of a row. Out of range a
gather is 0, so that the result is select(0 <= t < size, f(...), 0) unless f(0, ...) is 0 anyway.
"""

from __future__ import annotations

import numpy as np

from ...ir.function import Op, Value
from ...ir.ops import PRIMITIVES
from ...ir.types import numpy_dtype
from ..rewrite import NoMatch, Rebuild
from ._match import constant_like, expand, is_constant, size_value, view_of, without_axes

MOST_OPERATIONS = 32  # more are not computed again for the sake of one element a row
_ZERO_AT_ZERO = frozenset({
    "neg", "abs", "sign", "expm1", "log1p", "sqrt", "erf", "floor", "tanh", "cast", "stop_gradient", "add", "sub",
})  # fmt: skip


def picks_anything(build: Rebuild, x: Value, axis: int) -> bool:
    """Whether a gather of `x` along `axis` can be taken further up."""
    maker = build.producer(x)
    return maker is not None and (_is_pointwise(maker) or _is_free(build, maker, axis))


def _is_pointwise(op: Op) -> bool:
    return PRIMITIVES[op.name].kind == "pointwise" if op.name in PRIMITIVES else False


def _is_free(build: Rebuild, op: Op, axis: int) -> bool:
    """Whether an element of the result of `op` needs no gather."""
    if op.name in ("constant", "iota"):
        return True
    view = view_of(build, op.result)
    return view is not None and axis not in view[1]


def pick(build: Rebuild, x: Value, indices: Value, axis: int) -> Value | NoMatch:
    """gather(x, indices) with the operations that make x done after the gather."""
    cone = _pointwise_above(build, x)
    if len(cone) > MOST_OPERATIONS:
        return NoMatch(f"more than {MOST_OPERATIONS} operations lie between the gather and what is in memory")
    shape = without_axes(x.type.shape, (axis,))
    picked: dict[Value, Value] = {}
    zero: set[Value] = set()  # values that are 0 where the index is out of range

    def leaf(value: Value) -> Value:
        if value not in picked:
            picked[value] = _pick_leaf(build, value, indices, axis)
            if build.match(picked[value], "gather") or is_constant(build, picked[value], 0):
                zero.add(value)
        return picked[value]

    for op in cone:
        operands = [leaf(operand) for operand in op.operands]
        (picked[op.result],) = build.emit_many(op.name, operands, dict(op.attributes), (op.result.name,))
        chosen = op.operands[1:] if op.name == "select" else op.operands
        if op.name in _ZERO_AT_ZERO or op.name in ("select", "mul"):
            zero.update([op.result] if all(operand in zero for operand in chosen) else [])
    result = leaf(x)
    if x in zero:
        return result
    inside = _in_range(build, indices, x, axis)
    return result if inside is None else build.emit("select", inside, result, build.constant(0, x.type.dtype, shape))


def _pointwise_above(build: Rebuild, x: Value) -> list[Op]:
    """The pointwise operations that make `x`, operands first; one more than MOST_OPERATIONS if there are too many."""
    order: dict[Op, None] = {}
    pending = [(x, False)]
    while pending and len(order) <= MOST_OPERATIONS:
        value, done = pending.pop()
        op = build.producer(value)
        if op is None or op in order or not _is_pointwise(op):
            continue
        if done:
            order[op] = None
        else:
            pending.append((value, True))
            pending += [(operand, False) for operand in op.operands]
            if len(pending) > 8 * MOST_OPERATIONS:
                return [op] * (MOST_OPERATIONS + 1)
    return list(order)


def _pick_leaf(build: Rebuild, value: Value, indices: Value, axis: int) -> Value:
    shape = without_axes(value.type.shape, (axis,))
    maker = build.producer(value)
    if maker is not None and maker.name == "constant":
        return build.constant(maker.attributes["value"], value.type.dtype, shape)
    if maker is not None and maker.name == "iota":
        along = maker.attributes["axis"] % value.type.rank
        if along == axis:
            same = indices.type.dtype == value.type.dtype
            return indices if same else build.emit("cast", indices, dtype=value.type.dtype)
        return build.emit("iota", axis=along - (along > axis), dtype=value.type.dtype, shape=shape)
    view = view_of(build, value)
    if view is not None and axis not in view[1]:
        return expand(build, view[0], tuple(dim - (dim > axis) for dim in view[1]), shape)
    return build.emit("gather", value, indices, axis=axis)


def _in_range(build: Rebuild, indices: Value, x: Value, axis: int) -> Value | None:
    """0 <= indices < size of the axis; None where every index of the type is."""
    size = x.type.shape[axis]
    above = build.emit("ge", indices, constant_like(build, 0, indices))
    if isinstance(size, int) and size > np.iinfo(numpy_dtype(indices.type.dtype)).max:
        return above
    count = size_value(build, size)
    if count is None:
        count = build.emit("dim", x, axis=axis)
    limit = build.emit("cast", count, dtype=indices.type.dtype)
    return build.emit("and", above, build.emit("lt", indices, expand(build, limit, (), indices.type.shape)))
