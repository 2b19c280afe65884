"""Between which numbers values lie, as far as the operations and checks of a function tell. NaN may occur beside them.

In: a function. Out: for each of its values the least and the largest number that it can be. A check that fails refuses
the run, so that what it asks for may be taken as true. Bounds come from the real numbers; rounding keeps order, so that
they hold for what is computed to within a rounding of the bound, and exactly where the bound needs none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..ir.function import Function, Op, Value
from ..ir.ops import PRIMITIVES
from ..ir.types import INTEGER_DTYPES, ITEM_SIZE, is_float

VIEWS = ("broadcast", "reshape", "transpose", "stop_gradient", "with_gradient")
MOST_TERMS = 2.0**63


@dataclass(frozen=True)
class Range:
    """low <= x <= high, or NaN."""

    low: float = -math.inf
    high: float = math.inf

    def within(self, low: float, high: float) -> bool:
        return low <= self.low and self.high <= high


ANY = Range()


@dataclass(frozen=True)
class Ranges:
    """`of`: the range of every value. `operand`: of an operation's first operand, wherever its result is chosen."""

    of: Mapping[Value, Range]
    operand: Callable[[Op], Range]


def ranges_of(function: Function, maxima: Mapping[Value, Value] | None = None) -> Ranges:
    """One forward walk for the ranges, one backward for what is chosen. `maxima`: inputs that are maxima of others."""
    walk = _Walk(function, maxima or {})
    chosen = _chosen(function)

    def operand(op: Op) -> Range:
        found, choice = walk.ranges[op.operands[0]], chosen.get(op.result)
        return found if choice is None else _both(found, walk.where(*choice, op.operands[0]))

    return Ranges(walk.ranges, operand)


def _chosen(function: Function) -> dict[Value, tuple[Op, int]]:
    """For values that serve one arm of one select only: that select, and which arm."""
    nowhere = set(function.outputs)
    chosen: dict[Value, tuple[Op, int]] = {}
    for op in reversed(function.ops):
        is_pointwise = op.name in PRIMITIVES and PRIMITIVES[op.name].kind == "pointwise"
        own = chosen.get(op.result) if op.results and op.result not in nowhere else None
        for index, operand in enumerate(op.operands):
            choice = (op, index) if op.name == "select" and index > 0 and own is None else own
            if choice is None or not is_pointwise or chosen.setdefault(operand, choice) != choice:
                nowhere.add(operand)
    return {value: choice for value, choice in chosen.items() if value not in nowhere}


def source(value: Value, producer: Mapping[Value, Op]) -> Value:
    """The value behind operations that only repeat or rename it."""
    while (op := producer.get(value)) is not None and op.name in VIEWS:
        value = op.operands[0]
    return value


class _Walk:
    def __init__(self, function: Function, maxima: Mapping[Value, Value]):
        self.producer, self.maxima = function.producers(), maxima
        self.ranges: dict[Value, Range] = {}
        checked: dict[Value, Range] = {}
        for op in function.ops:
            if op.name == "check":
                self._learn(op.operands[0], True, checked)
        for value in function.inputs:
            self.ranges[value] = _both(_of_type(value), checked.get(value, ANY))
        for op in function.ops:
            for value in op.results:
                self.ranges[value] = _both(_held(self._of(op), value), checked.get(value, ANY))

    def _learn(self, condition: Value, truth: bool, learnt: dict[Value, Range]) -> None:
        """What a condition that is `truth` says of the numbers that it compares with constants."""
        op = self.producer.get(source(condition, self.producer))
        if op is None:
            return
        if op.name == "not":
            self._learn(op.operands[0], not truth, learnt)
        elif op.name == ("and" if truth else "or"):
            for operand in op.operands:
                self._learn(operand, truth, learnt)
        elif op.name in _OPPOSITE:
            a, b = (source(operand, self.producer) for operand in op.operands)
            name = op.name if truth else _OPPOSITE[op.name]
            for x, other, relation in ((a, b, name), (b, a, _MIRRORED[name])):
                number = self._number(other)
                if number is None:
                    continue
                limit = Range(high=number) if relation in ("lt", "le") else Range(low=number)
                learnt[x] = _both(learnt.get(x, ANY), limit)

    def _number(self, value: Value) -> float | None:
        op = self.producer.get(value)
        return float(op.attributes["value"]) if op is not None and op.name == "constant" else None

    def _of(self, op: Op) -> Range:
        """The range of an operation's result."""
        operands = [self.ranges[operand] for operand in op.operands]
        if op.name == "constant":
            number = float(op.attributes["value"])
            return ANY if math.isnan(number) else Range(number, number)
        if op.name == "cast" and not is_float(op.result.type.dtype) and is_float(op.operands[0].type.dtype):
            return ANY
        if op.name == "select":
            return _either(*(self._arm(op, index) for index in (1, 2)))
        if op.name == "sub" and self._is_its_maximum(op.operands[1], op.operands[0]):
            least = operands[0].low - operands[0].high
            return Range(-math.inf if math.isnan(least) else least, 0.0)
        if op.name == "mul":
            return self._product(*op.operands)
        if op.name == "reduce_sum":
            return Range(1.0, MOST_TERMS) if self._counts_the_largest(op) else _sum(operands[0])
        if op.name in ("reduce_max", "reduce_min") and _reduces_some(op):
            return operands[0]
        rule = _RULES.get(op.name)
        return ANY if rule is None else rule(*operands)

    def _arm(self, select: Op, index: int) -> Range:
        """The range of an arm of a select where that is chosen."""
        return self.where(select, index, select.operands[index])

    def where(self, select: Op, index: int, value: Value) -> Range:
        """The range of a value where a select chooses an arm."""
        learnt: dict[Value, Range] = {}
        self._learn(select.operands[0], index == 1, learnt)
        return _both(self.ranges[value], learnt.get(source(value, self.producer), ANY))

    def _product(self, a: Value, b: Value) -> Range:
        """Of a square; of x and a choice by its sign, arm by arm."""
        if a is b:
            return _square(self.ranges[a])
        for chosen, x in ((a, b), (b, a)):
            select = self.producer.get(chosen)
            if select is not None and select.name == "select":
                return _either(*(_mul(self._arm(select, index), self.where(select, index, x)) for index in (1, 2)))
        return _mul(self.ranges[a], self.ranges[b])

    def _is_its_maximum(self, value: Value, x: Value) -> bool:
        """Whether `value` is max(x), repeated."""
        behind = source(value, self.producer)
        largest = self.producer.get(behind)
        if largest is None:
            return self.maxima.get(behind) is x
        return largest.name == "reduce_max" and largest.operands[0] is x

    def _counts_the_largest(self, op: Op) -> bool:
        """Whether `op` is sum(exp(x - max(x))) over what the maximum is taken: at least 1."""
        power = self.producer.get(op.operands[0])
        shifted = None if power is None or power.name != "exp" else self.producer.get(power.operands[0])
        if (
            shifted is None
            or shifted.name != "sub"
            or not self._is_its_maximum(shifted.operands[1], shifted.operands[0])
        ):
            return False
        largest = self.producer.get(source(shifted.operands[1], self.producer))
        return largest is not None and tuple(largest.attributes["axes"]) == tuple(op.attributes["axes"])


def _reduces_some(op: Op) -> bool:
    """Whether it is known that a reduction is over at least one element."""
    shape = op.operands[0].type.shape
    return all(isinstance(size := shape[axis], int) and size > 0 for axis in op.attributes["axes"])


def is_never(op: Op, ranges: Mapping[Value, Range]) -> bool:
    """Whether a comparison holds nowhere, as the ranges of its operands tell. NaN is neither equal nor above nor
    below."""
    if op.name not in _COMPARISONS:
        return False
    a, b = (ranges[operand] for operand in op.operands)
    return {
        "eq": a.high < b.low or b.high < a.low,
        "lt": a.low >= b.high,
        "gt": a.high <= b.low,
        "le": a.low > b.high,
        "ge": a.high < b.low,
    }[op.name]


_COMPARISONS = ("eq", "lt", "gt", "le", "ge")
_OPPOSITE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le"}
_MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}


# --- the ranges of results ----------------------------------------------------------------------------------


_LARGEST = {"f16": 65504.0, "bf16": 3.38e38, "f32": 3.4e38, "f64": 1.79e308}


def _of_type(value: Value) -> Range:
    dtype = value.type.dtype
    if dtype == "bool":
        return Range(0.0, 1.0)
    if dtype not in INTEGER_DTYPES:
        return ANY
    bits = 8 * ITEM_SIZE[dtype]
    return Range(0.0, 2.0**bits - 1) if dtype == "u8" else Range(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)


def _held(found: Range, value: Value) -> Range:
    """The range as the type of `value` holds it: integers wrap around, large floats become infinite."""
    limits = _of_type(value)
    if limits != ANY:
        return found if found.within(limits.low, limits.high) else limits
    largest = _LARGEST[value.type.dtype]
    return Range(found.low if found.low >= -largest else -math.inf, found.high if found.high <= largest else math.inf)


def _both(a: Range, b: Range) -> Range:
    """What lies in both. Where nothing does, no element takes that way, and one of them will do."""
    low, high = max(a.low, b.low), min(a.high, b.high)
    return Range(low, high) if low <= high else a


def _either(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), max(a.high, b.high))


def _hull(*numbers: float) -> Range:
    return ANY if any(map(math.isnan, numbers)) else Range(min(numbers), max(numbers))


def _rising(function: Callable[[float], float], least: float = -math.inf) -> Callable[[Range], Range]:
    """For a function that rises, and is NaN below `least`."""
    return lambda x: Range(function(max(x.low, least)), function(max(x.high, least)))


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _add(a: Range, b: Range) -> Range:
    return _hull(a.low + b.low, a.high + b.high)


def _times(a: float, b: float) -> float:
    # An infinite bound is no number that is taken: 0 times what comes near it is 0.
    return 0.0 if a == 0 or b == 0 else a * b


def _mul(a: Range, b: Range) -> Range:
    return _hull(*(_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)))


def _div(a: Range, b: Range) -> Range:
    if b.low <= 0 <= b.high:
        return ANY
    return _mul(a, Range(1 / b.high, 1 / b.low))


def _abs(x: Range) -> Range:
    largest = max(-x.low, x.high)
    return Range(max(0.0, x.low, -x.high), largest)


def _square(x: Range) -> Range:
    away = _abs(x)
    return Range(away.low * away.low, away.high * away.high)


def _sum(x: Range) -> Range:
    return Range(_times(min(x.low, 0.0), MOST_TERMS), _times(max(x.high, 0.0), MOST_TERMS))


def _log(x: float) -> float:
    return math.log(x) if 0 < x < math.inf else -math.inf if x == 0 else x


_RULES: Mapping[str, Callable[..., Range]] = {
    **dict.fromkeys((*VIEWS, "cast"), lambda x, *_: x),
    "neg": lambda x: Range(-x.high, -x.low),
    "abs": _abs,
    "sign": _rising(lambda x: float((x > 0) - (x < 0))),
    "exp": _rising(_exp),
    "expm1": _rising(lambda x: _exp(x) - 1),
    "log": _rising(_log, 0.0),
    "log1p": _rising(lambda x: _log(1 + x), -1.0),
    "sqrt": _rising(math.sqrt, 0.0),
    "erf": _rising(math.erf),
    "tanh": _rising(math.tanh),
    "sigmoid": lambda x: Range(0.0, 1.0),
    "softplus": lambda x: Range(0.0),
    "add": _add,
    "sub": lambda a, b: _add(a, Range(-b.high, -b.low)),
    "mul": _mul,
    "div": _div,
    "max": lambda a, b: Range(max(a.low, b.low), max(a.high, b.high)),
    "min": lambda a, b: Range(min(a.low, b.low), min(a.high, b.high)),
    # Of no elements they are infinite.
    "reduce_max": lambda x: Range(high=x.high),
    "reduce_min": lambda x: Range(low=x.low),
    "pow": lambda a, b: Range(0.0) if a.low >= 0 else ANY,
    "gather": lambda x, _: _either(x, Range(0.0, 0.0)),
    "iota": lambda: Range(0.0),
    "size": lambda: Range(0.0),
    "dim": lambda x: Range(0.0),
}
