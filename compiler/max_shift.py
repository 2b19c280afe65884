"""The shift of a softmax: x - max(x), also times a constant, as it stands in an exponent.

In: an operation, and who makes a value: as a function, since nobody has a mapping of the makers while a pass rebuilds
theirs (`Rebuild.producer`). Out: the subtraction, or the maximum in it.
"""

from __future__ import annotations

import math

from ..ir.function import Op, Value
from .ancestors import Producer, behind_views
from .numbers import constant_number


def shift_of(exponent: Value, producer: Producer) -> Op | None:
    """The subtraction x - m in an exponent that is it, or (x - m) * c for a constant c > 0."""
    op = producer(exponent)
    if op is not None and op.name == "mul":
        shifted = [x for x, factor in (op.operands, op.operands[::-1]) if _is_positive(producer(factor))]
        op = producer(shifted[0]) if shifted else None
    return op if op is not None and op.name == "sub" else None


def maximum_in(difference: Op | None, producer: Producer, guarded: bool = False) -> Op | None:
    """max(x) in x - max(x), repeated along the axes over which it is taken: what is not above 0, unless it is NaN.
    `guarded`: also where 0 may stand for a maximum that is infinite."""
    if difference is None or difference.name != "sub":
        return None
    x, m, places = shift_operands(difference, producer, guarded)
    largest = producer(m)
    if largest is None or largest.name != "reduce_max" or unmarked(largest.operands[0], producer) is not x:
        return None
    kept = [axis for axis in range(x.type.rank) if axis not in largest.attributes["axes"]]
    in_place = all(place == axis or x.type.shape[axis] == 1 for place, axis in zip(places, kept))
    return largest if in_place else None


def shift_operands(
    difference: Op, producer: Producer, guarded: bool = False
) -> tuple[Value, Value, tuple[int | None, ...]]:
    """x and m in a difference, without a constant factor of both, m behind what repeats it; and where m's axes lie."""
    x, repeated = difference.operands
    m, places = behind_views(repeated, producer)
    x, m = _without_common_factor(unmarked(x, producer), m, producer)
    m, places = behind_views(m, producer, places)
    if guarded:
        m, places = behind_views(behind_guard(m, producer), producer, places)
    return unmarked(x, producer), m, places


def is_softmax_total(total: Op | None, producer: Producer, guarded: bool = False) -> bool:
    """Whether an operation is sum(exp(x - max(x))) along the axes of the maximum: at least 1, unless it is NaN; 0 of no
    elements. Where `guarded` it is 0 of nothing but minus infinity, and infinite where some x are infinity."""
    power = producer(total.operands[0]) if total is not None and total.name == "reduce_sum" else None
    shifted = shift_of(power.operands[0], producer) if power is not None and power.name == "exp" else None
    largest = maximum_in(shifted, producer, guarded)
    return total is not None and largest is not None and largest.attributes["axes"] == total.attributes["axes"]


def behind_guard(value: Value, producer: Producer) -> Value:
    """m in select(|m| == inf, 0, m), which keeps an infinite maximum from being subtracted; else the value itself."""
    match producer(value):
        case Op("select", (condition, zero, m)) if constant_number(producer(zero)) == 0:
            match producer(condition):
                case Op("eq", (absolute, infinity)) if constant_number(producer(infinity)) == math.inf:
                    inside = producer(absolute)
                    return m if inside is not None and (inside.name, inside.operands) == ("abs", (m,)) else value
    return value


def unmarked(value: Value, producer: Producer) -> Value:
    """`value` behind any `stop_gradient`."""
    while (op := producer(value)) is not None and op.name == "stop_gradient":
        (value,) = op.operands
    return value


def _without_common_factor(x: Value, y: Value, producer: Producer) -> tuple[Value, Value]:
    """x and y where two values are x * c and y * c for one constant c > 0, as what `_scales.py` makes of exponents;
    else the values as they are."""
    match producer(x), producer(y):
        case Op("mul", (a, c)), Op("mul", (b, d)):
            if _is_positive(producer(c)) and constant_number(producer(c)) == constant_number(producer(d)):
                return a, b
    return x, y


def _is_positive(op: Op | None) -> bool:
    """Whether it is a constant above 0, and finite."""
    number = constant_number(op)
    return number is not None and 0 < number < math.inf
