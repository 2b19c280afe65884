"""What is known about truth values: from checks that passed, from the ranges of numbers, and in an arm of a select from
its condition.

A `check` refuses the whole run where it fails, so that everywhere its condition may be taken as true.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.frozen import frozen
from ...ir.function import Function, Op, Value
from ...ir.ops import COMPLEMENT
from ...ir.types import INTEGER_DTYPES
from ..intervals import ANY, Range, both, holds, integers_where
from ..numbers import Number
from ..ranges import bounds_of, is_never

_DEEPEST = 4


class Predicates:
    """The truth values of one function, and how they hang together."""

    def __init__(self, function: Function):
        self.producers = function.producers()
        self.numbers = {op.result: op.attributes["value"] for op in function.ops if op.name == "constant"}
        comparisons = [op for op in function.ops if op.name in COMPLEMENT]
        self.comparisons = {(op.name, op.operands): op.result for op in comparisons}
        self.checked = [op.operands[0] for op in function.ops if op.name == "check"]
        ranges = bounds_of(function) if comparisons else {}
        self.never = [op.result for op in comparisons if is_never(op, ranges)]

    def complement(self, op: Op) -> Value | None:
        """The value of the opposite comparison of the same operands, if the function has it."""
        if op.name not in ("eq", "ne") and op.operands[0].type.dtype not in INTEGER_DTYPES:
            return None  # both are false where an operand is NaN
        return self.comparisons.get((COMPLEMENT[op.name], op.operands))


class Truths:
    """Truth values that are known, with the numbers and ranges that follow: those of `base`, and further ones."""

    def __init__(self, predicates: Predicates, base: Truths | None = None):
        self.predicates, self.base = predicates, base
        self._known: dict[Value, bool] = {}
        self._numbers: dict[Value, Number] = {}
        self._ranges: dict[Value, Range] = {}
        self._clauses: dict[Value, list[Value]] = {}  # value -> values of which one is true if it is not

    @staticmethod
    def of(predicates: Predicates) -> Truths:
        """What the checks of a function say, and the ranges of what it compares."""
        known = Truths(predicates)
        known._learn((value, True) for value in predicates.checked)
        known._learn((value, False) for value in predicates.never)
        return known

    def given(self, value: Value, truth: bool) -> Truths:
        """These facts and one more."""
        more = Truths(self.predicates, self)
        more._learn([(value, truth)])
        return more

    def known(self, value: Value) -> bool | None:
        """The truth of `value`, if it is a fact."""
        inherited = self.base.known(value) if self.base is not None else None
        return self._known.get(value, inherited)

    def number(self, value: Value) -> Number | None:
        """The number that `value` is equal to, if that is a fact."""
        inherited = self.base.number(value) if self.base is not None else None
        return self._numbers.get(value, inherited)

    def range(self, value: Value) -> Range:
        """Between which numbers an integer lies where these facts hold. `Predicates.never` rests on the ranges of all
        numbers, wherever they are computed."""
        return self._ranges.get(value, self.base.range(value) if self.base is not None else ANY)

    def _alternatives(self, value: Value) -> list[Value]:
        inherited = self.base._alternatives(value) if self.base is not None else []
        return [*inherited, *self._clauses.get(value, ())]

    def _learn(self, news: Iterable[tuple[Value, bool]]) -> None:
        """Take in facts and what follows from them at once."""
        pending = list(news)
        while pending:
            value, truth = pending.pop()
            if self.known(value) is None:
                self._known[value] = truth
                pending += self._consequences(value, truth)

    def _consequences(self, value: Value, truth: bool) -> Iterable[tuple[Value, bool]]:
        if not truth:
            yield from ((other, True) for other in self._alternatives(value))
        op = self.predicates.producers.get(value)
        if op is None:
            return
        if op.name == "not":
            yield op.operands[0], not truth
        elif (op.name == "and" and truth) or (op.name == "or" and not truth):
            yield op.operands[0], truth
            yield op.operands[1], truth
        elif op.name == "or":
            for side, other in (op.operands, op.operands[::-1]):
                self._clauses.setdefault(side, []).append(other)
                if self.known(side) is False:
                    yield other, True
        elif op.name in COMPLEMENT:
            opposite = self.predicates.complement(op)
            if opposite is not None:
                yield opposite, not truth
            self._learn_number(op, truth)

    def _learn_number(self, op: Op, truth: bool) -> None:
        x, number = op.operands[0], self.predicates.numbers.get(op.operands[1])
        if number is None:
            return
        relation = op.name if truth else COMPLEMENT[op.name]
        if relation == "eq":
            self._numbers[x] = number
        if x.type.dtype in INTEGER_DTYPES:
            self._ranges[x] = both(self.range(x), integers_where(relation, number))

    def truth(self, value: Value, deepest: int = _DEEPEST) -> bool | None:
        """Whether `value` is true everywhere, false everywhere, or not known."""
        fact = self.known(value)
        if fact is not None:
            return fact
        op = self.predicates.producers.get(value)
        if op is None or deepest == 0:
            return None
        if op.name == "not":
            inner = self.truth(op.operands[0], deepest - 1)
            return None if inner is None else not inner
        if op.name in ("and", "or"):
            sides = [self.truth(operand, deepest - 1) for operand in op.operands]
            decisive = op.name == "or"
            if decisive in sides:
                return decisive
            return None if None in sides else not decisive
        return self._compare(op) if op.name in COMPLEMENT else None

    def _compare(self, op: Op) -> bool | None:
        x, number = op.operands[0], self.predicates.numbers.get(op.operands[1])
        if number is None or x.type.dtype not in INTEGER_DTYPES:
            return None
        return holds(op.name, self.range(x), number)


@frozen
class Assumption:
    """A condition taken as true or false: what is known at the elements where it is so; and where it is a broadcast,
    that operation, and what is known of what it repeats."""

    condition: Value
    view: Op | None
    here: Truths
    behind: Truths | None

    @staticmethod
    def of(condition: Value, truth: bool, everywhere: Truths) -> Assumption:
        view = everywhere.predicates.producers.get(condition)
        view = view if view is not None and view.name == "broadcast" else None
        behind = everywhere.given(view.operands[0], truth) if view is not None else None
        return Assumption(condition, view, everywhere.given(condition, truth), behind)
