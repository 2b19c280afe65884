"""Random values for inputs that are not given.

In: a function, the sizes of its dimensions, a seed. Out: arrays. Floats are normal, truth values even;
what the function checks about an input (labels in [0, C), probabilities in [0, 1]) and the axes that it indexes with
an input bound the values. An integer without any bound has no sensible values: it must be given.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lossc.arrays import to_dtype
from lossc.compiler.pipeline import run_passes
from lossc.ir.diagnostics import Diagnostic, LirError
from lossc.ir.function import Function, Module, Op, Value
from lossc.ir.ops import COMPLEMENT, MIRRORED
from lossc.ir.types import DimLike, Type, dim_value, is_float
from lossc.ir.verify import check_type

# What leaves the values of a tensor as they are, at most moved, repeated or in another type.
_SAME_VALUES = ("cast", "broadcast", "reshape", "transpose", "slice", "stop_gradient")
_BOUNDS = ("lt", "le", "gt", "ge")


@dataclass
class Bounds:
    """The values that an input may have, both ends included."""

    low: float = -math.inf
    high: float = math.inf

    def narrow(self, comparison: str, limit: float, step: float) -> None:
        """What remains where `value comparison limit` holds; `step` is the distance to the next value."""
        match comparison:
            case "lt" | "le":
                self.high = min(self.high, limit - step * (comparison == "lt"))
            case _:
                self.low = max(self.low, limit + step * (comparison == "gt"))

    def __str__(self) -> str:
        return f"in [{self.low:g}, {self.high:g}]"


def random_array(value: Value, bounds: Bounds, sizes: Mapping[str, int], seed: int) -> tuple[np.ndarray, str]:
    """The values of one input and how they are distributed. They depend on the seed and on the name alone."""
    shape = tuple(dim_value(dim, sizes) for dim in value.type.shape)
    check_type(Type(value.type.dtype, shape))
    if 8 * math.prod(shape) > sys.maxsize:
        raise MemoryError(f"input `{value.name}` would have {math.prod(shape)} elements")
    if bounds.low > bounds.high:
        raise _give(value, f"the checks of the program seem to leave no value for `{value.name}`: {value.type}")
    generator = np.random.default_rng([seed, *value.name.encode()])
    kind = "float" if is_float(value.type.dtype) else "bool" if value.type.dtype == "bool" else "integer"
    values, how = _DRAW[kind](value, bounds, shape, generator)
    return values.astype(to_dtype(value.type.dtype)), how


Shape = tuple[int, ...]


def _floats(value: Value, bounds: Bounds, shape: Shape, generator: np.random.Generator) -> tuple[np.ndarray, str]:
    match math.isinf(bounds.low), math.isinf(bounds.high):
        case False, False:
            return generator.uniform(bounds.low, bounds.high, shape), f"uniform {bounds}"
        case False, True:
            return bounds.low + abs(generator.standard_normal(shape)), f"normal, from {bounds.low:g}"
        case True, False:
            return bounds.high - abs(generator.standard_normal(shape)), f"normal, up to {bounds.high:g}"
        case _:
            return generator.standard_normal(shape), "normal"


def _integers(value: Value, bounds: Bounds, shape: Shape, generator: np.random.Generator) -> tuple[np.ndarray, str]:
    bounds = Bounds(0 if math.isinf(bounds.low) else bounds.low, bounds.high)
    if math.isinf(bounds.high) or bounds.high < bounds.low:
        raise _give(value, f"nothing in the program says which values `{value.name}`: {value.type} may have")
    return generator.integers(int(bounds.low), int(bounds.high) + 1, shape), str(bounds)


def _truth_values(value: Value, bounds: Bounds, shape: Shape, generator: np.random.Generator) -> tuple[np.ndarray, str]:
    low, high = int(max(0, bounds.low)), int(min(1, bounds.high))
    return generator.integers(low, high + 1, shape), "true or false" if low < high else ("false", "true")[low]


_DRAW = {"float": _floats, "integer": _integers, "bool": _truth_values}


def _give(value: Value, problem: str) -> LirError:
    note = f"give it: --input {value.name}={value.name}.npy"
    return LirError(Diagnostic(LirError.code, problem, value.span, notes=(note,)))


def bounds_of_inputs(module: Module, sizes: Mapping[str, int]) -> dict[str, Bounds]:
    """What the checks of the entry and its `gather`s allow each input to be."""
    # Primitives, with calls inlined; autodiff lets functions with a gradient of their own be inlined too.
    function = run_passes(module, ("inline", "expand", "autodiff", "inline", "expand")).entry
    bounds = {value: Bounds() for value in function.inputs}
    producers = function.producers()
    for value, comparison, limit in [*_checked(function, producers), *_indexed(function, producers)]:
        number = _number(limit, producers, sizes) if isinstance(limit, Value) else float(dim_value(limit, sizes))
        if value in bounds and number is not None:
            bounds[value].narrow(comparison, number, 0.0 if is_float(value.type.dtype) else 1.0)
    return {value.name: bounds[value] for value in function.inputs}


def _checked(function: Function, producers: Mapping[Value, Op]) -> Iterator[tuple[Value, str, Value | int]]:
    """Every `input < limit` that some check wants to hold; a truth value is 1 or 0."""
    pending = [(op.operands[0], True) for op in function.ops if op.name == "check"]
    seen: set[tuple[Value, bool]] = set()
    while pending:
        value, holds = pending.pop()
        if (value, holds) in seen:
            continue
        seen.add((value, holds))
        op = producers.get(value)
        if op is None:
            yield value, "ge" if holds else "lt", 1
        elif op.name in _BOUNDS:
            comparison = op.name if holds else COMPLEMENT[op.name]
            left, right = (_source(operand, producers) for operand in op.operands)
            yield left, comparison, right
            yield right, MIRRORED[comparison], left
        elif op.name == "not":
            pending.append((op.operands[0], not holds))
        elif op.name in ("and", "or", *_SAME_VALUES):
            pending += [(operand, holds) for operand in op.operands]


def _indexed(function: Function, producers: Mapping[Value, Op]) -> Iterator[tuple[Value, str, DimLike]]:
    """Every index into an axis: 0 or more, less than its size."""
    for op in function.ops:
        if op.name == "gather":
            indices = _source(op.operands[1], producers)
            size = op.operands[0].type.shape[op.attributes["axis"]]
            yield indices, "ge", 0
            yield indices, "lt", size


def _source(value: Value, producers: Mapping[Value, Op]) -> Value:
    """The tensor whose values `value` has."""
    while (op := producers.get(value)) is not None and op.name in _SAME_VALUES:
        value = op.operands[0]
    return value


def _number(value: Value, producers: Mapping[Value, Op], sizes: Mapping[str, int]) -> float | None:
    """What a limit is, if it is a constant or a size."""
    op = producers.get(_source(value, producers))
    if op is None:
        return None
    if op.name == "constant":
        return float(op.attributes["value"])
    if op.name == "dim":
        return float(dim_value(op.operands[0].type.shape[op.attributes["axis"]], sizes))
    return None
