"""Rules for constant factors of elements, such as a temperature: they are taken out of what rows are reduced to, and
left where nothing but an exponential meets them, which takes a factor into its own constants.

Before:  %s = mul %x, %c ; %m = reduce_max %s ; %d = sub %s, (broadcast %m) ; %e = exp %d
After:   %m = reduce_max %x ; %d = sub %x, (broadcast %m) ; %s = mul %d, %c ; %e = exp %s

Of a constant c < 1 the power of two stays behind: x - m may overflow where x * c - m * c does not. A product with a
power of two is not rounded, and is one operation with the subtraction.
"""

from __future__ import annotations

import math

from ...ir.function import Op, Value
from ...ir.ops import EXTREMES
from ..max_shift import maximum_in
from ..numbers import constant_number
from ..rewrite import Rebuild, Rules
from ._factors import factors_of, has_small_and_more, is_moderate, is_small
from ._match import constant_like, constant_of, is_constant, same_value, view_of

_FLOATS = ("f32", "f64")
"""In 16 bits a product is rounded, where registers have 32."""


def factor_out_of_extreme(op: Op, build: Rebuild) -> Value | None:
    """max(x * c) = max(x) * c for a constant c > 0; so with min  exact"""
    # Rounding keeps order. But what is compared with its maximum has to stay as that is: x * c may be regrouped.
    found = _scaled(build, op.operands[0])
    if found is None or build.shows_rounding(op.result):
        return None
    extreme = build.emit(op.name, found[0], **op.attributes)
    return build.emit("mul", extreme, _like(build, found[1], extreme))


def _may_be_masked(build: Rebuild, value: Value) -> bool:
    """Whether `value` is compared with -inf."""
    operands = [operand for reader in build.readers(value) if reader.name == "eq" for operand in reader.operands]
    producer = build.original.producers() if operands else {}
    return any(constant_number(producer.get(operand)) == -math.inf for operand in operands)


def factor_out_of_shift(op: Op, build: Rebuild) -> Value | None:
    """x * c - max(x) * c = (x * p - max(x) * p) * (c / p), c > 0 a constant, p a power of two  extends (overflows)

    p is the largest up to c and 1. Where the difference is compared with -inf, p is 1: what overflows counts as what is
    masked, and makes no NaN. Two exponentials an element leave no room for a further product: it would take 1.05 of the
    time of distillation.
    """
    scaled, view = _scaled(build, op.operands[0]), view_of(build, op.operands[1])
    moved = _scaled(build, view[0]) if view is not None else None
    if scaled is None or moved is None or constant_of(build, scaled[1]) != constant_of(build, moved[1]):
        return None
    extreme = build.match(moved[0], *EXTREMES)
    repeat = build.producer(op.operands[1])
    if extreme is None or repeat is None or extreme.operands[0] is not scaled[0] or build.shows_sign(op.result):
        return None
    kept = 1.0 if _may_be_masked(build, op.result) else _power_up_to(build, scaled[1])
    if kept == constant_of(build, scaled[1]):
        return None
    x, largest = (_times(build, value, kept) for value in (scaled[0], moved[0]))
    difference = build.emit("sub", x, build.emit(repeat.name, largest, **repeat.attributes))
    if kept == 1:
        return build.emit("mul", difference, scaled[1])
    return _times(build, difference, float(constant_of(build, scaled[1]) or 0) / kept)


def factor_out_of_difference(op: Op, build: Rebuild) -> Value | None:
    """x * c - y * c = (x - y) * c for a constant c > 0, where else only exponentials read x * c  extends"""
    x, y = (_scaled(build, operand) for operand in op.operands)
    if x is None or y is None or not same_value(build, x[1], y[1]) or op.operands[0] is op.operands[1]:
        return None
    if build.shows_sign(op.result):
        return None
    if not all(_is_met_once_beside_exponentials(build, operand) for operand in op.operands):
        return None
    # Beside a row's factor, c costs nothing (`small_factor_into_sum`).
    if all(has_small_and_more(build, factors_of(build, each)) for each, _ in (x, y)):
        return None
    # By c < 1 it would overflow more often, but not the difference of two numbers that are not above 0.
    below = all(maximum_in(build.producer(value), build.producer) is not None for value in (x[0], y[0]))
    if _power_up_to(build, x[1]) < 1 and not below:
        return None
    return build.emit("mul", build.emit("sub", x[0], y[0]), x[1])


def factor_out_of_choice(op: Op, build: Rebuild) -> Value | None:
    """select(p, 0, x * c) = select(p, 0, x) * c for a constant c > 0, and with the arms exchanged  exact"""
    condition, *arms = op.operands
    for index, (arm, other) in enumerate((arms, arms[::-1])):
        found = _scaled(build, arm)
        if found is not None and is_constant(build, other, 0) and _is_met_once_beside_exponentials(build, arm):
            chosen = (found[0], other) if index == 0 else (other, found[0])
            return build.emit("mul", build.emit("select", condition, *chosen), found[1])
    return None


def factor_out_of_comparison(op: Op, build: Rebuild) -> Value | None:
    """(x * c == inf) = (x == inf) for a constant c > 0 where x is an extreme, or c <= 1; so with -inf  extends"""
    found = _scaled(build, op.operands[0])
    number = constant_of(build, op.operands[1])
    if found is None or number is None or abs(number) != math.inf:
        return None
    factor = constant_of(build, found[1])
    if build.match(found[0], *EXTREMES) is None and not (factor is not None and factor <= 1):
        return None  # elements that a factor makes infinite are seen to be so
    return build.emit(op.name, found[0], op.operands[1])


def factor_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum(y * (x * c)) = sum(y * x) * c for a constant c > 0, where else only exponentials read x * c  rounding"""
    product = build.match(op.operands[0], "mul")
    if product is None or not build.used_once(product.result):
        return None
    for y, inner in (product.operands, product.operands[::-1]):
        found = _scaled(build, inner)
        if found is not None and _is_met_once_beside_exponentials(build, inner):
            total = build.emit("reduce_sum", build.emit("mul", y, found[0]), axes=op.attributes["axes"])
            return build.emit("mul", total, _like(build, found[1], total))
    return None


def _scaled(build: Rebuild, value: Value) -> tuple[Value, Value] | None:
    """x and c where `value` is x * c for a moderate constant c > 0 and elements x that repeat no smaller value."""
    product = build.match(value, "mul")
    if product is None or value.type.dtype not in _FLOATS:
        return None
    for x, factor in (product.operands, product.operands[::-1]):
        number = constant_of(build, factor)
        if number is not None and number > 0 and is_moderate(number) and not is_small(build, x):
            return x, factor
    return None


def _power_up_to(build: Rebuild, factor: Value) -> float:
    """The largest power of two up to a constant and 1."""
    number = constant_of(build, factor)
    assert number is not None
    return min(1.0, 2.0 ** (math.frexp(number)[1] - 1))


def _times(build: Rebuild, value: Value, number: float) -> Value:
    return value if number == 1 else build.emit("mul", value, constant_like(build, number, value))


def _like(build: Rebuild, factor: Value, value: Value) -> Value:
    """The constant `factor`, digit for digit, in the shape of `value`."""
    constant = build.match(factor, "constant")
    assert constant is not None
    return constant_like(build, constant.attributes["value"], value)


def _is_met_once_beside_exponentials(build: Rebuild, value: Value) -> bool:
    """Whether one operation reads `value`, beside exponentials."""
    if build.used_once(value):
        return True
    others = [reader for reader in build.readers(value) if reader.name != "exp"]
    return value not in build.original.outputs and len(others) == 1 and others[0].operands.count(value) == 1


SCALES: Rules = {
    "reduce_max": (factor_out_of_extreme,),
    "reduce_min": (factor_out_of_extreme,),
    "reduce_sum": (factor_out_of_sum,),
    "sub": (factor_out_of_shift, factor_out_of_difference),
    "select": (factor_out_of_choice,),
    "eq": (factor_out_of_comparison,),
}
