"""Taking a gather through the pointwise operations above it.

gather(f(a, broadcast(s)), t) = f(gather(a, t), s): one element a row is computed instead of a row. Out of range a
gather is 0, so that the result is select(0 <= t < size, f(...), 0) unless f(0, ...) is 0 anyway.
"""

from __future__ import annotations

from ...ir.function import Op, Value
from ...ir.ops import is_pointwise
from ..functions import rounds_gradient
from ..numbers import integer_limits
from ..rewrite import NoMatch, Rebuild
from ._match import constant_like, expand, is_constant, size_value, view_of, without_axes

MOST_OPERATIONS = 32  # more are not computed again for the sake of one element a row
_ZERO_AT_ZERO = frozenset({
    "neg", "abs", "sign", "expm1", "log1p", "sqrt", "erf", "floor", "tanh", "cast", "stop_gradient", "add", "sub",
})  # fmt: skip


def picks_anything(build: Rebuild, x: Value, axis: int) -> bool:
    """Whether a gather of `x` along `axis` can be taken further up."""
    return _is_free(build, x, axis) or _next(build, x, axis) is not None


def _is_free(build: Rebuild, value: Value, axis: int) -> bool:
    """Whether an element of `value` needs no gather: a constant, a count, or the same all along the axis."""
    if build.match(value, "constant", "iota"):
        return True
    view = view_of(build, value)
    return view is not None and axis not in view[1]


def _next(build: Rebuild, x: Value, axis: int) -> Op | None:
    """The pointwise operation that makes `x`, if one gather above it does for the one below it."""
    op = build.producer(x)
    if op is None or not is_pointwise(op.name):
        return None
    if rounds_gradient(op):
        # Above it the gradients by the gathered and by the other elements would meet in 16 bits, each rounded.
        return None
    to_gather = {operand for operand in op.operands if not _is_free(build, operand, axis)}
    return op if len(to_gather) == 1 else None


def pick(build: Rebuild, x: Value, indices: Value, axis: int) -> Value | NoMatch:
    """gather(x, indices) with the operations that make x done after the gather."""
    chain = _chain_above(build, x, axis)
    if len(chain) > MOST_OPERATIONS:
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

    for op in chain:
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


def _chain_above(build: Rebuild, x: Value, axis: int) -> list[Op]:
    """The pointwise operations between `x` and what is gathered, from there down to `x`."""
    chain: list[Op] = []
    while len(chain) <= MOST_OPERATIONS and (op := _next(build, x, axis)) is not None:
        chain.append(op)
        (x,) = {operand for operand in op.operands if not _is_free(build, operand, axis)}
    return chain[::-1]


def _pick_leaf(build: Rebuild, value: Value, indices: Value, axis: int) -> Value:
    shape = without_axes(value.type.shape, (axis,))
    maker = build.producer(value)
    if maker is not None and maker.name == "constant":
        return build.constant(maker.attributes["value"], value.type.dtype, shape)
    if maker is not None and maker.name == "iota":
        along = maker.attributes["axis"]
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
    if isinstance(size, int) and size > integer_limits(indices.type.dtype)[1]:
        return above
    count = size_value(build, size)
    if count is None:
        count = build.emit("dim", x, axis=axis)
    # In i64: a size may be beyond the type of the indices.
    wide = indices if indices.type.dtype == "i64" else build.emit("cast", indices, dtype="i64")
    return build.emit("and", above, build.emit("lt", wide, expand(build, count, (), indices.type.shape)))
