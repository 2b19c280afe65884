"""What an exponent is: x - m, or that times a constant; and what x and m are.

In: the exponent, and what tells who makes a value: a function, for while a pass rebuilds a function nobody has a
mapping of its makers yet (`Rebuild.producer`). Out: the subtraction, and x and m without a constant factor of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..ir.function import Op, Value
from .numbers import round_to


def shift_of(exponent: Value, producer: Callable[[Value], Op | None]) -> Op | None:
    """The subtraction x - m in an exponent that is it, or (x - m) * c for a constant c > 0."""
    op = producer(exponent)
    if op is not None and op.name == "mul":
        shifted = [x for x, factor in (op.operands, op.operands[::-1]) if _is_positive(producer(factor))]
        op = producer(shifted[0]) if shifted else None
    return op if op is not None and op.name == "sub" else None


def without_common_factor(x: Value, y: Value, producer: Callable[[Value], Op | None]) -> tuple[Value, Value]:
    """x and y where two values are x * c and y * c for one constant c > 0, as what `_scales.py` makes of exponents;
    else the values as they are."""
    products = producer(x), producer(y)
    if any(op is None or op.name != "mul" for op in products):
        return x, y
    (a, c), (b, d) = (op.operands for op in products if op is not None)
    first, second = producer(c), producer(d)
    if first is None or second is None or not (_is_positive(first) and _is_positive(second)):
        return x, y
    return (a, b) if first.attributes["value"] == second.attributes["value"] else (x, y)


def _is_positive(op: Op | None) -> bool:
    """Whether it is a constant above 0, and finite."""
    if op is None or op.name != "constant":
        return False
    return 0 < round_to(op.attributes["value"], op.result.type.dtype) < math.inf
