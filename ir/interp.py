"""The meaning of a function: NumPy, floats in float64. This is the reference that everything is compared with.

In: a function of primitives and composites (calls inlined, `grad` already differentiated), arrays by input name.
Out: arrays, floats as float64. Dimension names are bound from the shapes of the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .builder import Builder
from .composites import COMPOSITES, expand
from .diagnostics import CheckFailed, Limitation, LirError
from .failed_checks import failed_check
from .function import Function, Op, Value
from .op_meanings import Evaluation
from .ops import PRIMITIVES
from .repeat import NAME as REPEAT
from .repeat import evaluate_repeat
from .shapes import bind_dimensions
from .types import Dim, Type, dim_value, is_float, multiply_dims, numpy_dtype


def bind_shapes(function: Function, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Sizes of the dimension names, from the concrete shapes of the inputs. Raises LirError on a contradiction."""
    return bind_dimensions([(value.name, value.type) for value in function.inputs], shapes)


def interpret(
    function: Function, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int] | None = None,
    functions: Mapping[str, Function] | None = None, first_row: int = 0,
) -> list[np.ndarray]:  # fmt: skip
    """Evaluate `function`; `functions` are those that it repeats. Raises LirError where a `check` fails; where the
    arrays are one piece of the rows, `first_row` is where it begins."""
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    bound = {**bind_shapes(function, {name: array.shape for name, array in arrays.items()}), **(sizes or {})}
    environment: dict[Value, np.ndarray] = {}
    for value in function.inputs:
        if value.name not in arrays:
            raise LirError(f"missing input `{value.name}`: {value.type}")
        environment[value] = _as_float64(arrays[value.name], value.type)
    with np.errstate(all="ignore"):
        for op in function.ops:
            if op.name == REPEAT and functions is not None:
                operands = [environment[operand] for operand in op.operands]
                results = evaluate_repeat(op, functions[op.attributes["callee"]], operands, bound, interpret)
                environment.update(zip(op.results, results))
            elif op.name == "check":
                _evaluate_check(op, [environment[operand] for operand in op.operands], first_row)
            else:
                evaluate_op(op, environment, bound)
    return [environment[value] for value in function.outputs]


def _as_float64(array: np.ndarray, type_: Type) -> np.ndarray:
    return array.astype(np.float64 if is_float(type_.dtype) else numpy_dtype(type_.dtype))


def evaluate_op(op: Op, environment: dict[Value, np.ndarray], sizes: Mapping[str, int]) -> None:
    """Evaluate one operation, adding its results to `environment`."""
    operands = [environment[operand] for operand in op.operands]
    if op.name in COMPOSITES:
        _evaluate_composite(op, environment, sizes)
    elif op.name == "check":
        _evaluate_check(op, operands, 0)
    elif op.name == "size":
        environment[op.result] = np.asarray(dim_value(multiply_dims(op.attributes["of"]), sizes), np.int64)
    elif op.name == "dim":
        environment[op.result] = np.int64(operands[0].shape[op.attributes["axis"]])  # type: ignore[assignment]
    else:
        definition = PRIMITIVES.get(op.name)
        if definition is None or definition.evaluate is None:
            raise Limitation(f"the interpreter does not evaluate `{op.name}`",
                             "run the passes first: lossc opt f.lir --passes prepare", span=op.span)  # fmt: skip
        environment[op.result] = np.asarray(definition.evaluate(context_of(op, sizes), *operands))


def context_of(op: Op, sizes: Mapping[str, int]) -> Evaluation:
    """What the meaning of an operation with one result may ask, with the dimension names bound."""
    shape = tuple(dim_value(dim, sizes) for dim in op.result.type.shape)
    attributes = {name: dim_value(v, sizes) if isinstance(v, Dim) else v for name, v in op.attributes.items()}
    return Evaluation(attributes, op.result.type.dtype, shape)


def _evaluate_composite(op: Op, environment: dict[Value, np.ndarray], sizes: Mapping[str, int]) -> None:
    builder = Builder()
    inputs = [builder.input(f"operand{index}", operand.type) for index, operand in enumerate(op.operands)]
    results = expand(COMPOSITES[op.name], builder, inputs, op.attributes)
    inner = dict(zip(inputs, (environment[operand] for operand in op.operands)))
    for primitive in builder.ops:
        evaluate_op(primitive, inner, sizes)
    environment.update(zip(op.results, (inner[result] for result in results)))


def _evaluate_check(op: Op, operands: list[np.ndarray], first_row: int) -> None:
    failed, shape = np.flatnonzero(~operands[0]), operands[0].shape
    if failed.size:
        position = int(failed[0])
        value = operands[1].reshape(-1)[position] if len(operands) > 1 else None
        if first_row:
            position += first_row * math.prod(shape[1:])
            shape = (first_row + shape[0], *shape[1:])
        raise CheckFailed([failed_check(op.attributes, position, shape, value, op.span)])
