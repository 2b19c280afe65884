"""Interval arithmetic: between which numbers a result lies whose operands lie between given numbers.

In: the ranges of an operation's operands. Out: the range of its result. Bounds are those of the real numbers; rounding
keeps order, so that they hold for what is computed but for its own rounding, and that of constants and shorter types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..ir.frozen import frozen
from ..ir.ops import COMPLEMENT, VIEWS
from ..ir.types import INTEGER_DTYPES
from .numbers import Number, integer_limits

MOST_TERMS = 2.0**63


@frozen
class Range:
    """low <= x <= high, or NaN."""

    low: float = -math.inf
    high: float = math.inf

    def within(self, low: float, high: float) -> bool:
        return low <= self.low and self.high <= high


ANY = Range()
_LARGEST = {"f16": 6.5e4, "bf16": 3.3e38, "f32": 3.4e38, "f64": 1.79e308}
"""Some roundings below the largest number of a type: a result that is bounded by such a number is finite."""


def of_type(dtype: str) -> Range:
    """Between which numbers everything of a type lies."""
    if dtype == "bool":
        return Range(0.0, 1.0)
    if dtype not in INTEGER_DTYPES:
        return ANY
    return Range(*integer_limits(dtype))


def held(found: Range, dtype: str) -> Range:
    """A range as a type holds it: integers wrap around, large floats become infinite."""
    limits = of_type(dtype)
    if dtype == "i64":  # of which a bound may be rounded
        return found if limits.low < found.low and found.high < limits.high else limits
    if limits != ANY:
        return found if found.within(limits.low, limits.high) else limits
    largest = _LARGEST[dtype]
    return Range(found.low if found.low >= -largest else -math.inf, found.high if found.high <= largest else math.inf)


def both(a: Range, b: Range) -> Range:
    """What lies in both. Where nothing does, no element takes that way, and one of them will do."""
    low, high = max(a.low, b.low), min(a.high, b.high)
    return Range(low, high) if low <= high else a


def either(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), max(a.high, b.high))


_RELATED: Mapping[str, Callable[[Number], Range]] = {
    "lt": lambda n: Range(high=n - 1), "le": lambda n: Range(high=n), "eq": lambda n: Range(n, n),
    "gt": lambda n: Range(low=n + 1), "ge": lambda n: Range(low=n), "ne": lambda n: ANY,
}  # fmt: skip


def integers_where(relation: str, number: Number) -> Range:
    """Between which numbers the integers lie that are in a relation to a number."""
    return _RELATED[relation](number)


def holds(relation: str, integers: Range, number: Number) -> bool | None:
    """Whether integers of a range are in a relation to a number: all of them, none, or (None) perhaps some."""
    if relation in ("eq", "ne") and not integers.low <= number <= integers.high:
        return relation == "ne"
    for asked, truth in ((relation, True), (COMPLEMENT[relation], False)):
        limits = integers_where(asked, number)
        if asked != "ne" and integers.within(limits.low, limits.high):
            return truth
    return None


def _hull(*numbers: float) -> Range:
    return ANY if any(map(math.isnan, numbers)) else Range(min(numbers), max(numbers))


def _rising(function: Callable[[float], float], least: float = -math.inf) -> Callable[[Range], Range]:
    """For a function that rises, and is NaN below `least`."""
    return lambda x: Range(function(max(x.low, least)), function(max(x.high, least)))


def _grows(function: Callable[[float], float]) -> Callable[[Range], Range]:
    """For exp and expm1. A finite number beyond which they are infinite is no bound below what they give."""

    def at(x: float, beyond: float) -> float:
        return function(x) if x < 709 else math.inf if x == math.inf else beyond

    return lambda x: Range(at(x.low, function(709)), at(x.high, math.inf))


def _add(a: Range, b: Range) -> Range:
    return _hull(a.low + b.low, a.high + b.high)


def _times(a: float, b: float) -> float:
    # An infinite bound is no number that is taken: 0 times what comes near it is 0.
    return 0.0 if a == 0 or b == 0 else a * b


def mul(a: Range, b: Range) -> Range:
    return _hull(*(_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)))


def _over(a: float, b: float) -> float:
    # An infinite bound is no number that is taken: what is divided by what comes near it is 0.
    return 0.0 if a == 0 or math.isinf(b) else a / b


def _div(a: Range, b: Range) -> Range:
    if b.low <= 0 <= b.high:
        return ANY
    return _hull(*(_over(x, y) for x in (a.low, a.high) for y in (b.low, b.high)))


def _abs(x: Range) -> Range:
    largest = max(-x.low, x.high)
    return Range(max(0.0, x.low, -x.high), largest)


def square(x: Range) -> Range:
    away = _abs(x)
    return Range(away.low * away.low, away.high * away.high)


def total(x: Range) -> Range:
    return Range(_times(min(x.low, 0.0), MOST_TERMS), _times(max(x.high, 0.0), MOST_TERMS))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _log1p(x: float) -> float:
    return math.log1p(x) if x > -1 else -math.inf


def _pow(a: Range, b: Range) -> Range:
    # (-0) ** -3 is minus infinity.
    return Range(0.0) if a.low > 0 or (a.low == 0 and b.low >= 0) else ANY


RULES: Mapping[str, Callable[..., Range]] = {
    **dict.fromkeys((*VIEWS, "cast"), lambda x, *_: x),
    "neg": lambda x: Range(-x.high, -x.low),
    "abs": _abs,
    "sign": _rising(lambda x: float((x > 0) - (x < 0))),
    "exp": _grows(math.exp),
    "expm1": _grows(math.expm1),
    "log": _rising(_log, 0.0),
    "log1p": _rising(_log1p, -1.0),
    "sqrt": _rising(math.sqrt, 0.0),
    "erf": _rising(math.erf),
    "tanh": _rising(math.tanh),
    "sigmoid": lambda x: Range(0.0, 1.0),
    "softplus": lambda x: Range(0.0),
    "add": _add,
    "sub": lambda a, b: _add(a, Range(-b.high, -b.low)),
    "mul": mul,
    "div": _div,
    "max": lambda a, b: Range(max(a.low, b.low), max(a.high, b.high)),
    "min": lambda a, b: Range(min(a.low, b.low), min(a.high, b.high)),
    # Of no elements they are infinite.
    "reduce_max": lambda x: Range(high=x.high),
    "reduce_min": lambda x: Range(low=x.low),
    "pow": _pow,
    "gather": lambda x, _: either(x, Range(0.0, 0.0)),
    "slice": lambda x: x,
    "concat": lambda *xs: Range(min(x.low for x in xs), max(x.high for x in xs)),
    "iota": lambda: Range(0.0),
    "size": lambda: Range(0.0),
    "dim": lambda x: Range(0.0),
}
