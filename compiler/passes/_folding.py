"""Computing at compile time, and computing before repeating: rules for every pointwise operation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.function import Op, Value
from ...ir.op_meanings import Evaluation
from ...ir.ops import PRIMITIVES
from ...ir.types import is_float, numpy_dtype
from ..numbers import Number, round_to
from ..rewrite import Rebuild
from ._match import constant_of, expand, view_of

POINTWISE = tuple(row.name for row in PRIMITIVES.values() if row.kind == "pointwise")


def fold_constants(op: Op, build: Rebuild) -> Value | None:
    """f(c1, c2) is a constant, rounded to its type.  exact"""
    numbers: list[Number] = []
    for operand in op.operands:
        if not build.match(operand, "constant"):
            return None
    for operand in op.operands:
        number = constant_of(build, operand)
        assert number is not None
        numbers.append(number)
    folded = fold(op, numbers)
    return None if folded is None else build.constant(folded, op.result.type.dtype, op.result.type.shape)


def fold(op: Op, numbers: Sequence[Number]) -> Number | None:
    """The number that a pointwise operation makes of numbers, as its type holds it; None where that is not defined."""
    operands = [np.asarray(number, _evaluated_as(value)) for number, value in zip(numbers, op.operands)]
    definition = PRIMITIVES[op.name]
    assert definition.evaluate is not None
    dtype = op.result.type.dtype
    with np.errstate(all="ignore"):
        if op.name == "cast":
            folded = _cast(operands[0], dtype)
        else:
            folded = definition.evaluate(Evaluation(op.attributes, dtype, ()), *operands)
    return None if folded is None else round_to(folded.item(), dtype)


def _evaluated_as(value: Value) -> np.dtype:
    # In f64 and rounded once: for + - * / and sqrt that is the correctly rounded result of the narrow type.
    return np.dtype(np.float64) if is_float(value.type.dtype) else numpy_dtype(value.type.dtype)


def _cast(operand: np.ndarray, dtype: str) -> np.ndarray | None:
    if is_float(dtype):
        return operand.astype(np.float64)
    if dtype == "bool":
        return operand != 0
    limits = np.iinfo(numpy_dtype(dtype))
    inside = np.isfinite(operand) and limits.min <= np.trunc(operand) <= limits.max
    return np.trunc(operand).astype(numpy_dtype(dtype)) if inside else None


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
            sources.append((operand, (maker.attributes["axis"] % len(shape),)))
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
