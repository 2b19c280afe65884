"""Computing at compile time, and computing before repeating: rules for every pointwise operation."""

from __future__ import annotations

from ...ir.function import Op, Value
from ...ir.ops import PRIMITIVES
from ..numbers import fold
from ..rewrite import Rebuild
from ._match import constant_of, expand, view_of

POINTWISE = tuple(row.name for row in PRIMITIVES.values() if row.kind == "pointwise")


def fold_constants(op: Op, build: Rebuild) -> Value | None:
    """f(c1, c2) is a constant, rounded to its type.  exact"""
    if not all(build.match(operand, "constant") for operand in op.operands):
        return None
    folded = fold(op, [number for operand in op.operands if (number := constant_of(build, operand)) is not None])
    return None if folded is None else build.constant(folded, op.result.type.dtype, op.result.type.shape)


def compute_before_repeating(op: Op, build: Rebuild) -> Value | None:
    """f(broadcast a, broadcast b) = broadcast f(a, b)  exact

    The operands' views are taken to the axes that any of them has; constants and iotas fit any shape.
    """
    if build.rounds_gradient(op):
        return None
    shape = op.result.type.shape
    sources: list[tuple[Value, tuple[int, ...]]] = []
    for operand in op.operands:
        maker = build.match(operand, "constant", "iota", "broadcast", "reshape")
        if maker is None:
            return None
        if maker.name == "constant":
            sources.append((operand, ()))
        elif maker.name == "iota":
            sources.append((operand, (maker.attributes["axis"],)))
        else:
            view = view_of(build, operand)
            if view is None:
                return None
            sources.append(view)
    axes = sorted({dim for _, dims in sources for dim in dims})
    if len(axes) == len(shape):
        return None
    small = tuple(shape[axis] for axis in axes)
    operands: list[Value] = []
    for source, dims in sources:
        maker = build.match(source, "constant", "iota")
        if source.type.shape != shape or maker is None:
            operands.append(expand(build, source, [axes.index(dim) for dim in dims], small))
        elif maker.name == "constant":
            operands.append(build.constant(maker.attributes["value"], source.type.dtype, small))
        else:
            operands.append(build.emit("iota", axis=axes.index(dims[0]), dtype=source.type.dtype, shape=small))
    (result,) = build.emit_many(op.name, operands, dict(op.attributes), (op.result.name,))
    return expand(build, result, axes, shape)
