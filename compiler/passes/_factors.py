"""The factors of products, and which of them are small: constants, and what repeats a row or a scalar."""

from __future__ import annotations

import math

from ...ir.function import Value
from ...ir.types import is_short
from ..max_shift import is_softmax_total
from ..numbers import Number, round_to
from ..rewrite import Rebuild
from ._match import constant_of, same_value, view_of

_MOST_FACTORS = 8


def is_small(build: Rebuild, value: Value, deepest: int = 4) -> bool:
    """Whether `value` repeats a smaller one, or is about to: a product of such values becomes one."""
    if value.type.rank == 0:
        return False
    if build.match(value, "constant") or view_of(build, value) is not None:
        return True
    inner = build.match(value, "mul", "neg")
    return deepest > 0 and inner is not None and all(is_small(build, o, deepest - 1) for o in inner.operands)


def has_small_and_more(build: Rebuild, factors: list[Value]) -> bool:
    """Whether some factors repeat, so that one more that does costs nothing, and some do not."""
    return 0 < sum(is_small(build, factor) for factor in factors) < len(factors)


def factors_of(build: Rebuild, value: Value) -> list[Value]:
    """The factors of a product that nothing else reads, or the value alone. What repeats as a whole stays whole."""
    factors: list[Value] = []
    pending = [value]
    while pending:
        factor = pending.pop()
        product = build.match(factor, "mul")
        room = len(factors) + len(pending) < _MOST_FACTORS
        if product is not None and room and build.used_once(factor) and not is_small(build, factor):
            pending += product.operands[::-1]
        else:
            factors.append(factor)
    return factors


def product_of(build: Rebuild, factors: list[Value]) -> Value:
    product = factors[0]
    for factor in factors[1:]:
        product = build.emit("mul", product, factor)
    return product


def is_moderate(number: Number) -> bool:
    """Whether a constant stays far from overflow and underflow, whatever else is multiplied."""
    return 1e-12 <= abs(number) <= 1e12


def is_power_of_two(number: Number | None) -> bool:
    """Whether a product with a constant is not rounded."""
    return number is not None and is_moderate(number) and abs(math.frexp(number)[0]) == 0.5


def is_share(build: Rebuild, value: Value, deepest: int = 6) -> bool:
    """Whether `value` is not 0 and its magnitude not above 1: a constant, a number divided by a size or by
    sum(exp(x - max(x))), or a product of such."""
    number, view = constant_of(build, value), view_of(build, value)
    if number is not None or deepest == 0:
        return number is not None and 0 < abs(number) <= 1
    if view is not None:
        return is_share(build, view[0], deepest - 1)
    inner = build.match(value, "mul", "div", "neg")
    if inner is None:
        return False
    if inner.name != "div":
        return all(is_share(build, operand, deepest - 1) for operand in inner.operands)
    dividend, divisor = inner.operands
    is_total = is_softmax_total(build.producer(divisor), build.producer, guarded=True)
    return (is_total or _is_size(build, divisor)) and is_share(build, dividend, deepest - 1)


def _is_size(build: Rebuild, value: Value, deepest: int = 4) -> bool:
    """Whether `value` is a size: where it is 0, it divides no element."""
    op, number = build.match(value, "cast", "dim", "size", "mul"), constant_of(build, value)
    if op is None or deepest == 0:
        return number is not None and number >= 1
    return op.name in ("dim", "size") or all(_is_size(build, operand, deepest - 1) for operand in op.operands)


def scale_of(build: Rebuild, value: Value, deepest: int = 4) -> Number:
    """The product of the constants among the factors of a value that repeats."""
    view, number = view_of(build, value), constant_of(build, value)
    inner = build.match(view[0] if view is not None else value, "mul", "neg")
    if number is not None or inner is None or deepest == 0:
        return 1 if number is None else number
    return math.prod(scale_of(build, operand, deepest - 1) for operand in inner.operands)


def merged(numbers: list[Number], dtype: str) -> list[Number]:
    """Products of the numbers, as few as stay far from overflow and underflow. In 16 bits they stay apart: there each
    product would be rounded, where registers have 32."""
    found: list[Number] = []
    for number in numbers:
        if found and not is_short(dtype) and is_moderate(found[-1] * number):
            found[-1] = round_to(found[-1] * number, dtype)
        else:
            found.append(number)
    return found


def ratio(build: Rebuild, c: Value, d: Value) -> int:
    """1 if d is c, -1 if it is -c, else 0."""
    if same_value(build, c, d):
        return 1
    number = constant_of(build, c)
    if number is not None:
        return -1 if constant_of(build, d) == -number else 0
    views = view_of(build, c), view_of(build, d)
    if views[0] is not None and views[1] is not None and views[0][1] == views[1][1]:
        c, d = views[0][0], views[1][0]
    for one, other in ((c, d), (d, c)):
        negative = build.match(one, "neg")
        if negative is not None and negative.operands[0] is other:
            return -1
    return 0


def is_negative(build: Rebuild, value: Value) -> bool:
    number, view = constant_of(build, value), view_of(build, value)
    if number is not None:
        return number < 0
    return build.match(view[0] if view is not None else value, "neg") is not None
