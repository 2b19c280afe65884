"""Conditional constant propagation: what a value comes to where a condition is assumed, that of one arm of a select.

In an arm that a select does not choose, what it masks is a constant: with %m = select(%p, %x, 0), where %p is false
and the same along a row, exp(%m - max(%m)) is 1 and 0 * exp(...) is 0. So select(%p, 0 * exp(...), 0) needs no select.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.ops import REDUCTIONS, VIEWS, is_pointwise
from ...ir.types import DimLike, is_float, multiply_dims
from ..numbers import Number, evaluate, round_to
from ._match import kept_axes
from ._predicates import Assumption, Predicates

MOST_OPERATIONS = 64


@frozen
class AtLeastOne:
    """A number that is not known but is the product of some sizes of one tensor, so that it lies between 1 and 2^63;
    or (not `plain`) the reciprocal or negative of such a number."""

    sizes: frozenset[DimLike]
    plain: bool = True


Known = Number | AtLeastOne | None
Place = tuple[Value, str]


class ConditionalConstants:
    """Evaluates values under an assumption, for the select `root`.

    A value is looked at in one of three places: "here", at the elements where the condition is as assumed; "behind",
    where it is a broadcast, at what that repeats; "free", where nothing is known but constants and sizes.
    """

    def __init__(self, predicates: Predicates, root: Value, assumed: Assumption):
        self.predicates, self.root, self.assumed = predicates, root, assumed
        self.facts = {"here": assumed.here, "behind": assumed.behind, "free": None}
        self.known: dict[Place, Known] = {}

    def value(self, value: Value) -> Number | None:
        """The number that `value` is wherever the condition is as assumed, if that is known."""
        pending: list[Place] = [(value, "here")]
        while pending:
            place = pending[-1]
            if place in self.known or self._by_facts(*place):
                pending.pop()
                continue
            op = self.predicates.producers.get(place[0])
            if op is None or len(self.known) > MOST_OPERATIONS or len(pending) > MOST_OPERATIONS:
                self.known[place] = None
                continue
            operands = self._operands(op, place[1])
            missing = [operand for operand in operands if operand not in self.known]
            pending += missing
            if not missing:
                self.known[place] = self._evaluate(op, [self.known[operand] for operand in operands])
        found = self.known[value, "here"]
        return None if isinstance(found, AtLeastOne) else found

    def _by_facts(self, value: Value, where: str) -> bool:
        facts = self.facts[where]
        if facts is None:
            return False
        known = facts.truth(value) if value.type.dtype == "bool" else facts.number(value)
        if known is not None:
            self.known[value, where] = known
        return known is not None

    def _operands(self, op: Op, where: str) -> list[Place]:
        """The operands, each in the place from which the result is in `where`."""
        if is_pointwise(op.name):
            return [(operand, where) for operand in op.operands]
        if self.assumed.view is not None and op.operands:
            dims, type_ = self.assumed.view.attributes["dims"], self.assumed.condition.type
            first = op.operands[0]
            if where == "here" and op.name == "broadcast" and op.attributes["dims"] == dims:
                return [(first, "behind")]
            reduces_here = where == "behind" and op.name in REDUCTIONS and first.type.shape == type_.shape
            if reduces_here and kept_axes(type_.rank, op.attributes["axes"]) == dims:
                return [(first, "here")]
        return [(operand, "free") for operand in op.operands]

    def _evaluate(self, op: Op, operands: Sequence[Known]) -> Known:
        match op.name:
            case "dim":
                return self._product([op.operands[0].type.shape[op.attributes["axis"]]])
            case "size":
                return self._product(op.attributes["of"])
            case "reduce_max" | "reduce_min":
                return operands[0] if self._is_over_some(op) else None
            case "reduce_sum":
                return self._total(op, operands[0])
            case "div" if operands[1] == 0:
                return None  # what is equal to 0 may be -0
            case "pow" if operands[0] == 0:
                return None
        numbers = [operand for operand in operands if not isinstance(operand, AtLeastOne)]
        return evaluate(op, numbers) if len(numbers) == len(operands) else _estimate(op, operands)

    def _product(self, sizes: Sequence[DimLike]) -> Known:
        # Where one of them is 0, the tensor that the condition chooses for has no elements.
        own = set(sizes)
        return AtLeastOne(frozenset(own)) if len(own) == len(sizes) and own <= {*self.root.type.shape} else None

    def _is_over_some(self, op: Op) -> bool:
        """Whether a reduction is over at least one element, where the tensor that the condition chooses for has any."""
        sizes = [op.operands[0].type.shape[axis] for axis in op.attributes["axes"]]
        return all(size in self.root.type.shape or (isinstance(size, int) and size > 0) for size in sizes)

    def _total(self, op: Op, summand: Known) -> Known:
        if isinstance(summand, AtLeastOne) or summand is None:
            return None
        sizes = [op.operands[0].type.shape[axis] for axis in op.attributes["axes"]]
        size = multiply_dims(sizes)
        if summand == 0:
            return 0
        if isinstance(size, int):
            return round_to(summand * size, op.result.type.dtype) if is_float(op.result.type.dtype) else None
        return self._product(sizes) if summand == 1 else None


def _estimate(op: Op, operands: Sequence[Known]) -> Known:
    """0 times and 0 divided by something finite; sizes, their products, reciprocals and negatives stay finite."""
    match op.name, operands:
        case name, (size,) if name in VIEWS:
            return size
        case "select", (bool(condition), a, b):
            return a if condition else b
    if any(operand is None for operand in operands) or op.result.type.dtype == "f16":
        return None
    unknown = [operand for operand in operands if isinstance(operand, AtLeastOne)]
    numbers = [operand for operand in operands if not isinstance(operand, AtLeastOne)]
    is_small = all(math.isfinite(number) and abs(number) <= 1 for number in numbers)  # type: ignore[arg-type]
    match op.name:
        case "cast":
            return operands[0]
        case "neg":
            return AtLeastOne(unknown[0].sizes, plain=False)
        case "mul" if not numbers:
            one, other = unknown
            if not (one.plain and other.plain) or one.sizes & other.sizes:
                return None
            return AtLeastOne(one.sizes | other.sizes)
        case "mul":
            return 0 if numbers == [0] else AtLeastOne(unknown[0].sizes, plain=False) if is_small else None
        case "div" if isinstance(operands[1], AtLeastOne) and operands[1].plain and numbers:
            return 0 if numbers == [0] else AtLeastOne(operands[1].sizes, plain=False) if is_small else None
    return None
