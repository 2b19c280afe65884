"""What an exponent is: x - m, or that times a constant.

In: the exponent, and what tells who makes a value: a function, for while a pass rebuilds a function nobody has a
mapping of its makers yet (`Rebuild.producer`). Out: the subtraction.
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


def _is_positive(op: Op | None) -> bool:
    """Whether it is a constant above 0, and finite."""
    if op is None or op.name != "constant":
        return False
    return 0 < round_to(op.attributes["value"], op.result.type.dtype) < math.inf
