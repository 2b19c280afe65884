"""Between which numbers values lie, as far as the operations and checks of a function tell. NaN may occur beside them.

In: a function. Out: for each of its values the least and the largest number that it can be (`intervals.py` says how far
to trust a bound). A check that fails refuses the run, so that what it asks for may be taken as true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..ir.frozen import frozen
from ..ir.function import Function, Op, Value
from ..ir.ops import COMPLEMENT, EXTREMES, MIRRORED, VIEWS, is_pointwise
from ..ir.types import Dim, DimLike, Shape, is_float
from .ancestors import Places, behind_views
from .intervals import ANY, MOST_TERMS, RULES, Range, both, either, held, mul, of_type, square, total
from .max_shift import is_softmax_total, maximum_in, shift_operands
from .numbers import constant_number

LOG1P_NEAR = (-0.5, 1.0)
"""Between these log(1 + x) is computed by a quotient by 1 + x."""


@frozen
class Ranges:
    """`of`: the range of every value. `operand`: of an operation's first operand, wherever its result is chosen."""

    of: Mapping[Value, Range]
    operand: Callable[[Op], Range]


def bounds_of(function: Function) -> Mapping[Value, Range]:
    """The range of every value."""
    return _Walk(function, {}).ranges


def ranges_of(function: Function, maxima: Mapping[Value, Value] | None = None) -> Ranges:
    """`bounds_of`, and what is chosen, by a walk back. `maxima`: inputs that are maxima of others."""
    walk = _Walk(function, maxima or {})
    chosen = _chosen(function)

    def operand(op: Op) -> Range:
        found, choice = walk.ranges[op.operands[0]], chosen.get(op.result)
        return found if choice is None else both(found, walk.where(*choice, op.operands[0]))

    return Ranges(walk.ranges, operand)


def _chosen(function: Function) -> dict[Value, tuple[Op, int]]:
    """For values that serve one arm of one select only: that select, and which arm."""
    nowhere = set(function.outputs)
    chosen: dict[Value, tuple[Op, int]] = {}
    for op in reversed(function.ops):
        result = op.result if len(op.results) == 1 else None
        own = chosen.get(result) if result is not None and result not in nowhere else None
        for index, operand in enumerate(op.operands):
            choice = (op, index) if op.name == "select" and index > 0 and own is None else own
            if choice is None or not is_pointwise(op.name) or chosen.setdefault(operand, choice) != choice:
                nowhere.add(operand)
    return {value: choice for value, choice in chosen.items() if value not in nowhere}


class _Walk:
    def __init__(self, function: Function, maxima: Mapping[Value, Value]):
        self.producer, self.maxima = function.producers(), maxima
        self.ranges: dict[Value, Range] = {}
        checked: dict[Value, Range] = {}
        for op in function.ops:
            if op.name == "check":
                for (value, places), found in self._learnt(op.operands[0], True).items():
                    met = self._met(value, places, op.operands[0].type.shape)
                    if met is not None:
                        checked[met] = both(checked.get(met, ANY), found)
        for value in function.inputs:
            self.ranges[value] = both(of_type(value.type.dtype), checked.get(value, ANY))
        for op in function.ops:
            for value in op.results:
                self.ranges[value] = both(held(self._of(op), value.type.dtype), checked.get(value, ANY))

    def _learnt(self, condition: Value, truth: bool) -> dict[tuple[Value, Places], Range]:
        """What a condition that is `truth` says of the numbers that it compares with constants, at the same element."""
        learnt: dict[tuple[Value, Places], Range] = {}
        pending = [(*self._behind(condition), truth)]
        while pending:
            value, places, truth = pending.pop()
            value, places = self._behind(value, places)
            op = self.producer.get(value)
            if op is None:
                continue
            if op.name == "not":
                pending.append((op.operands[0], places, not truth))
            elif op.name == ("and" if truth else "or"):
                pending += [(operand, places, truth) for operand in op.operands]
            elif op.name in ("lt", "le", "gt", "ge"):
                a, b = (self._behind(operand, places) for operand in op.operands)
                name = op.name if truth else COMPLEMENT[op.name]
                for x, other, relation in ((a, b, name), (b, a, MIRRORED[name])):
                    number = constant_number(self.producer.get(other[0]))
                    if number is not None:
                        limit = Range(high=number) if relation in ("lt", "le") else Range(low=number)
                        learnt[x] = both(learnt.get(x, ANY), limit)
        return learnt

    def _met(self, value: Value, places: Places, shape: Shape) -> Value | None:
        """The value behind `value` of which a tensor of `shape`, in which it lies as `places` say, has every element
        somewhere; None if that does not even have those of `value`: it is empty where an axis that repeats is."""
        met = None
        while all(_is_some(dim, value.type.shape) for axis, dim in enumerate(shape) if axis not in places):
            met, op = value, self.producer.get(value)
            if op is None or op.name not in VIEWS:
                break
            shape = op.operands[0].type.shape
            value, places = self._behind(op.operands[0])
        return met

    def _of(self, op: Op) -> Range:
        """The range of an operation's result."""
        operands = [self.ranges[operand] for operand in op.operands]
        if op.name == "constant":
            number = float(op.attributes["value"])
            return ANY if math.isnan(number) else Range(number, number)
        if op.name == "cast" and not is_float(op.result.type.dtype) and is_float(op.operands[0].type.dtype):
            return ANY
        if op.name == "div" and not is_float(op.result.type.dtype):
            return ANY  # cut towards 0, and 0 where the divisor is
        if op.name == "pad":
            beside = float(op.attributes["value"])
            return ANY if math.isnan(beside) else either(operands[0], Range(beside, beside))
        if op.name == "select":
            return either(*(self._arm(op, index) for index in (1, 2)))
        if op.name == "sub" and self._is_below_maximum(op):
            least = operands[0].low - operands[0].high
            return Range(-math.inf if math.isnan(least) else least, 0.0)
        if op.name == "mul":
            return self._product(*op.operands)
        if op.name == "reduce_sum":
            counts_the_largest = is_softmax_total(op, self.producer.get) and _reduces_some(op)
            return Range(1.0, MOST_TERMS) if counts_the_largest else total(operands[0])
        if op.name in EXTREMES and _reduces_some(op):
            return operands[0]
        rule = RULES.get(op.name)
        return ANY if rule is None else rule(*operands)

    def _arm(self, select: Op, index: int) -> Range:
        """The range of an arm of a select where that is chosen."""
        return self.where(select, index, select.operands[index])

    def where(self, select: Op, index: int, value: Value) -> Range:
        """The range of a value where a select chooses an arm."""
        learnt = self._learnt(select.operands[0], index == 1)
        return both(self.ranges[value], learnt.get(self._behind(value), ANY))

    def _behind(self, value: Value, places: Places | None = None) -> tuple[Value, Places]:
        return behind_views(value, self.producer.get, places)

    def _product(self, a: Value, b: Value) -> Range:
        """Of a square; of x and a choice by its sign, arm by arm."""
        if a is b:
            return square(self.ranges[a])
        for chosen, x in ((a, b), (b, a)):
            select = self.producer.get(chosen)
            if select is not None and select.name == "select":
                return either(*(mul(self._arm(select, index), self.where(select, index, x)) for index in (1, 2)))
        return mul(self.ranges[a], self.ranges[b])

    def _is_below_maximum(self, difference: Op) -> bool:
        """Whether a difference is x - max(x); `maxima` of inputs count, too."""
        x, largest, _ = shift_operands(difference, self.producer.get)
        return self.maxima.get(largest) is x or maximum_in(difference, self.producer.get) is not None


def _reduces_some(op: Op) -> bool:
    """Whether it is known that a reduction is over at least one element, wherever it has a result."""
    shape = op.operands[0].type.shape
    return all(_is_some(shape[axis], op.result.type.shape) for axis in op.attributes["axes"])


def _is_some(dim: DimLike, present: Shape) -> bool:
    """Whether a dimension is known to be no 0, where there are elements of the shape `present`."""
    own = {name for other in present if isinstance(other, Dim) for name in other.names}
    return dim != 0 if isinstance(dim, int) else own.issuperset(dim.names)


def counts_once(iota: Op) -> bool:
    """Whether the numbers of an iota all differ: in a short type they wrap around where the axis is long."""
    dtype, size = iota.result.type.dtype, iota.result.type.shape[iota.attributes["axis"]]
    return dtype in ("i32", "i64") or (isinstance(size, int) and size - 1 <= of_type(dtype).high)


def is_never(op: Op, ranges: Mapping[Value, Range]) -> bool:
    """Whether a comparison holds nowhere, as the ranges of its operands tell: a number that is bounded is not infinite.

    Bounds hold but for roundings, which a difference can make as large as it likes: for x <= 3, x * 0.7 - 2.1 may be
    above 0. So nothing is concluded from finite bounds but that a number some roundings below the largest of its type
    is not infinite. NaN is neither equal nor above nor below.
    """
    rule = _NEVER.get(op.name)
    return rule is not None and rule(*(ranges[operand] for operand in op.operands))


def _is_below_infinity(a: Range, b: Range) -> bool:
    """Whether a is surely below b, one of them being infinite."""
    return a.high < b.low and (b.low == math.inf or a.high == -math.inf)


_NEVER: Mapping[str, Callable[[Range, Range], bool]] = {
    "eq": lambda a, b: _is_below_infinity(a, b) or _is_below_infinity(b, a),
    "lt": lambda a, b: _is_below_infinity(b, a),
    "le": lambda a, b: _is_below_infinity(b, a),
    "gt": _is_below_infinity,
    "ge": _is_below_infinity,
}
