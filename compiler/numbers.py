"""Numbers as the types of tensors hold them, and what operations make of those.

In: an operation, and of each operand the number that all its elements are, where that is known. Out: so of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from ..ir.function import Op, Value
from ..ir.op_meanings import Evaluation
from ..ir.ops import PRIMITIVES, VIEWS, is_pointwise
from ..ir.types import is_float, numpy_dtype

Number = float | int | bool

COUNTED = ("i32", "i64")
"""The types that hold the number of any place along an axis."""


def round_to(number: Number, dtype: str) -> Number:
    """`number` as `dtype` holds it, written with as few digits as tell it apart from its neighbours."""
    if not is_float(dtype):
        return bool(number) if dtype == "bool" else int(number)
    if dtype == "f64":
        return float(number)
    with np.errstate(over="ignore"):
        if dtype == "bf16":
            return _round_to_bf16(float(number))
        rounded = numpy_dtype(dtype).type(number)
    return float(number) if float(rounded) == number else float(str(rounded))


@cache
def integer_limits(dtype: str) -> tuple[int, int]:
    """The least and the largest number of an integer type."""
    info = np.iinfo(numpy_dtype(dtype))
    return int(info.min), int(info.max)


def identity(reduction: str, dtype: str) -> float | int:
    """What changes nothing in a reduction of numbers of that type."""
    if reduction == "reduce_sum":
        return 0.0 if is_float(dtype) else 0
    least, largest = (-math.inf, math.inf) if is_float(dtype) else integer_limits(dtype)
    return least if reduction == "reduce_max" else largest


def _round_to_bf16(number: float) -> float:
    # Half to even on the upper 16 bits of the f32.
    if not np.isfinite(number):
        return number
    bits = int(np.float32(number).view(np.uint32))
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return float(np.uint32(bits).view(np.float32))


def constant_number(op: Op | None) -> Number | None:
    """The number that a constant is, as its type holds it; None of any other operation."""
    return round_to(op.attributes["value"], op.result.type.dtype) if op is not None and op.name == "constant" else None


def evaluate(op: Op, operands: Sequence[Number | None]) -> Number | None:
    """The number that every element of the result is, or None where that is not known."""
    match op.name, operands:
        case "constant", _:
            return op.attributes["value"]
        case name, (number, *_) if name in VIEWS:
            return number
        case "and", _ if False in operands:
            return False
        case "select", (bool(condition), a, b):
            return a if condition else b
        case "select", (_, a, b):
            return a if a is not None and a == b else None
    numbers = [operand for operand in operands if operand is not None]
    return fold(op, numbers) if is_pointwise(op.name) and len(numbers) == len(operands) else None


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
    least, largest = integer_limits(dtype)
    inside = np.isfinite(operand) and least <= np.trunc(operand) <= largest
    return np.trunc(operand).astype(numpy_dtype(dtype)) if inside else None
