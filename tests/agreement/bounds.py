"""How far a device may be off: a bound on the rounding error of every value of a function, for given inputs.

In: a function of primitives (after all passes: what the kernels compute) and arrays. Out: for each output its value in
float64 and a bound on the error of an evaluation in the declared dtypes. Standard forward analysis, step by step:

    error(f(a, b)) <= max |f(a +- error(a), b +- error(b)) - f(a, b)| + ULPS[f] * 2u * |f(a, b)|
    error(sum a)   <= sum error(a) + min(n - 1, LAMBDA * sqrt(n)) * u * sum |a|

u is the unit roundoff. The second line is the probabilistic bound for sums (Higham and Mary 2019): for LAMBDA = 6 it is
missed once in 10^7, whatever the order. A truth value has an error where it could turn out the other way, and anything
may come of an index that could be another.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossc.ir.function import Function, Op, Value
from lossc.ir.interp import bind_shapes, context_of, evaluate_op
from lossc.ir.op_meanings import Evaluation
from lossc.ir.ops import PRIMITIVES, WINDOWS
from lossc.ir.types import is_float, numpy_dtype

Array = np.ndarray[Any, Any]

UNIT = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24, "f64": 2.0**-53}
"""Half the distance from 1 to the next number."""

TINY = {"f16": 2.0**-25, "bf16": 2.0**-126, "f32": 2.0**-126, "f64": 2.0**-1022}
"""What a result below the normal range may lose: it may be flushed to zero, in f16 it is rounded."""

# Units in the last place that a result may be off for exact operands: what OpenCL 1.2 allows (full profile, section
# 7.4), the larger of f32 and f64. Half a unit is correct rounding. Sums and products of matrices have their own rules.
ULPS: Mapping[str, float] = {
    "add": 0.5, "sub": 0.5, "mul": 0.5, "div": 2.5, "sqrt": 3, "pow": 16,
    "exp": 3, "expm1": 3, "log": 3, "log1p": 2, "tanh": 5, "erf": 16,
    # log1p(exp(-|x|)) and 1 / (1 + exp(-|x|)) with the functions above.
    "softplus": 6, "sigmoid": 8,
    **dict.fromkeys(("neg", "abs", "sign", "floor", "max", "min", "select", "cast", "stop_gradient"), 0),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "isnan", "random_bits"), 0),
}  # fmt: skip

LAMBDA = 6.0
LONGEST_CHAIN = 16384
"""No strategy adds more numbers one after the other before partial results meet in a tree or in f64."""


@dataclass(frozen=True)
class Bounded:
    """A value in float64 with a bound on its error; None stands for no error anywhere."""

    value: Array
    error: Array | None

    def error_array(self) -> Array:
        return np.zeros(self.value.shape) if self.error is None else self.error


def evaluate_with_bounds(function: Function, inputs: Mapping[str, Array]) -> list[Bounded]:
    """The outputs of `function` with bounds. Raises LirError where a check fails."""
    sizes = bind_shapes(function, {name: array.shape for name, array in inputs.items()})
    unit, scale = _units(function)
    known: dict[Value, Bounded] = {}
    for value in function.inputs:
        dtype = np.float64 if is_float(value.type.dtype) else numpy_dtype(value.type.dtype)
        known[value] = Bounded(np.asarray(inputs[value.name]).astype(dtype), None)
    last_use = {operand: op for op in function.ops for operand in op.operands}
    kept = set(function.outputs)
    with np.errstate(all="ignore"):
        for op in function.ops:
            _evaluate(op, known, sizes, unit)
            for operand in dict.fromkeys(op.operands):
                if last_use[operand] is op and operand not in kept:
                    del known[operand]
    found = [known[value] for value in function.outputs]
    return [Bounded(b.value, None if b.error is None else b.error * scale) for b in found]


def _units(function: Function) -> tuple[Mapping[str, float], float]:
    """The unit roundoffs to compute with, and what to multiply the bounds by afterwards.

    Errors of f64 arithmetic would drown in that of this analysis: they are computed as if it were f32. Bounds are
    proportional to u, up to terms of second order.
    """
    rounded = {op.result.type.dtype for op in function.ops if op.results and (_narrows(op) or ULPS.get(op.name, 1))}
    if rounded & {"f16", "bf16", "f32", "f64"} == {"f64"}:
        return {**UNIT, "f64": UNIT["f32"]}, UNIT["f64"] / UNIT["f32"]
    return UNIT, 1.0


def _narrows(op: Op) -> bool:
    """Whether an operation rounds a float to a shorter one."""
    source, target = op.operands[0].type.dtype if op.operands else "", op.result.type.dtype
    return op.name == "cast" and is_float(source) and UNIT[source] < UNIT.get(target, 0)


def _evaluate(op: Op, known: dict[Value, Bounded], sizes: Mapping[str, int], unit: Mapping[str, float]) -> None:
    operands = [known[operand] for operand in op.operands]
    if op.name in ("check", "size", "dim"):
        environment: dict[Value, Array] = {v: known[v].value for v in op.operands}
        evaluate_op(op, environment, sizes)
        known.update({result: Bounded(np.asarray(environment[result]), None) for result in op.results})
        return
    definition = PRIMITIVES[op.name]
    context = context_of(op, sizes)

    def evaluate(*arrays: Array) -> Array:
        assert definition.evaluate is not None
        return np.asarray(definition.evaluate(context, *arrays))

    value = evaluate(*(operand.value for operand in operands))
    if definition.kind == "shape" or op.name in ("stop_gradient", "with_gradient"):
        error = None if operands[0].error is None else evaluate(operands[0].error)
    elif op.name in WINDOWS:
        error = _window_error(context, definition.evaluate, operands)
    elif op.name == "gather":
        error = None if operands[0].error is None else evaluate(operands[0].error, operands[1].value)
        if operands[1].error is not None:
            error = _joined(error, np.where(operands[1].error > 0, math.inf, 0.0))
    elif op.name == "reduce_sum":
        error = _sum_error(op, operands[0], value, unit)
    elif definition.kind == "reduce":
        error = _largest_error(op, operands[0])
    elif op.name == "matmul":
        error = _matmul_error(op, operands, evaluate, unit)
    else:
        error = _propagated(op.name, operands, value, evaluate)
        error = _joined(error, _rounding(op, value, unit))
    known[op.result] = Bounded(value, error)


def _window_error(context: Evaluation, evaluate: Any, operands: Sequence[Bounded]) -> Array | None:
    """The errors lie as the elements do, and what is beside them is exact."""
    if all(operand.error is None for operand in operands):
        return None
    beside = replace(context, attributes={**context.attributes, "value": 0.0})
    return evaluate(beside, *(operand.error_array() for operand in operands))


def _rounding(op: Op, value: Array, unit: Mapping[str, float]) -> Array | None:
    """What rounding the result itself costs."""
    dtype = op.result.type.dtype
    if op.name == "constant" and is_float(dtype):
        # Passes fold constants in their dtype: what has many digits was rounded, such as 1/n.
        constant = float(op.attributes["value"])
        with np.errstate(over="ignore"):
            is_short = float(np.float16(constant)) == constant
        return None if is_short or not math.isfinite(constant) else np.full(value.shape, unit[dtype] * abs(constant))
    if not is_float(dtype) or op.name in ("constant", "iota"):
        return None
    # A 16-bit value may be rounded whatever the operation: where it is stored.
    ulps = max(ULPS[op.name], 0.5) if dtype in ("f16", "bf16") or _narrows(op) else ULPS[op.name]
    # Whole numbers are never so small that they are flushed: 0 stays 0, also where it is compared with 0.
    tiny = 0.0 if op.name == "cast" and not is_float(op.operands[0].type.dtype) else TINY[dtype]
    return np.where(np.isfinite(value), ulps * 2 * unit[dtype] * np.abs(value) + tiny, 0.0)


def _propagated(name: str, operands: Sequence[Bounded], value: Array, evaluate: Any) -> Array | None:
    """The largest change of the result while each operand moves within its error."""
    moving = [index for index, operand in enumerate(operands) if operand.error is not None]
    if not moving:
        return None
    if name in ("eq", "ne"):
        a, b = operands
        reach = a.error_array() + b.error_array()
        return ((np.abs(a.value - b.value) <= reach) & (reach > 0)).astype(np.float64)
    largest = np.zeros(value.shape)
    for directions in itertools.product((-1, 1), repeat=len(moving)):
        moved = [operand.value for operand in operands]
        for index, direction in zip(moving, directions):
            moved[index] = _moved(operands[index], direction)
        there = evaluate(*moved)
        change = (there != value) if value.dtype == np.bool_ else np.abs(there.astype(np.float64) - value)
        change = np.where(np.isfinite(value), np.where(np.isnan(change), math.inf, change), 0.0)
        largest = np.maximum(largest, change)
    return largest


def _moved(operand: Bounded, direction: int) -> Array:
    assert operand.error is not None
    if operand.value.dtype == np.bool_:
        return operand.value ^ (operand.error > 0) if direction > 0 else operand.value
    return operand.value + direction * operand.error


def _sum_error(op: Op, operand: Bounded, value: Array, unit: Mapping[str, float]) -> Array | None:
    axes = tuple(op.attributes["axes"])
    carried = None if operand.error is None else operand.error.sum(axis=axes)
    dtype = op.result.type.dtype
    if not is_float(dtype):
        return carried
    count = operand.value.size // max(1, value.size)
    own = _chain(count) * unit[dtype] * np.abs(operand.value).sum(axis=axes)
    return _joined(carried, np.where(np.isfinite(value), own, 0.0))


def _chain(count: int) -> float:
    return min(max(0, count - 1), LAMBDA * math.sqrt(min(count, LONGEST_CHAIN)))


def _largest_error(op: Op, operand: Bounded) -> Array | None:
    return None if operand.error is None else operand.error.max(axis=tuple(op.attributes["axes"]), initial=0.0)


def _matmul_error(op: Op, operands: Sequence[Bounded], evaluate: Any, unit: Mapping[str, float]) -> Array:
    left, right = (np.abs(operand.value) for operand in operands)
    inner = operands[0].value.shape[0 if op.attributes["transpose_left"] else 1]
    errors = [operand.error_array() for operand in operands]
    own = _chain(inner + 1) * unit[op.result.type.dtype] * evaluate(left, right)
    return own + evaluate(left, errors[1]) + evaluate(errors[0], right + errors[1])


def _joined(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
