"""Drop choices that are already made: by a check, by the ranges of what is compared, or by another select that has the
same condition.

Before:  check %ok ; %a = select %ok, %x, %zero
After:   check %ok ; %x in place of %a

Before:  %t = tanh %x ; %p = eq %t, inf ; %a = select %p, %y, %z
After:   %z in place of %a

Before:  %a = select %p, %x, %y ; %b = mul %a, %w ; %c = select %p, %b, %z
After:   %b = mul %x, %w ; %c = select %p, %b, %z

The second form holds where %a serves nothing but that arm. It goes through pointwise operations, and through a
broadcast where the condition is a broadcast along the same axes.

Before:  %a = select %p, %x, %zero ; %b = neg %a ; %c = select %p, %b, %zero
After:   %a = select %p, %x, %zero ; %b = neg %a ; %b in place of %c
"""

from __future__ import annotations

import heapq

from ...ir.function import Function, Module, Op, Value
from ...ir.ops import PRIMITIVES, is_pointwise
from ..functions import count_readers, map_functions, with_operands, without_dead
from ..rewrite import ROUNDS
from ._conditional_constants import ConditionalConstants
from ._predicates import Assumption, Predicates, Truths

MOST_OPERATIONS = 64  # of an arm that are looked through


def propagate_conditions(module: Module) -> Module:
    """Drop selects whose condition a check, the range of a number or an outer select has decided.

    select(p, select(p, x, y), z) = select(p, x, z)  exact
    """
    return map_functions(module, _propagate)


def _propagate(function: Function) -> Function:
    """Search and drop until nothing is decided any more: a select that goes may free what it read."""
    for _ in range(ROUNDS):
        has_select = any(op.name == "select" for op in function.ops)
        chosen = _Search(function).choices() if has_select else {}
        if not chosen:
            break
        function = _with_choices(function, chosen)
    return function


def _with_choices(function: Function, chosen: dict[Value, Value]) -> Function:
    def now(value: Value) -> Value:
        while value in chosen:
            value = chosen[value]
        return value

    ops = [with_operands(op, tuple(map(now, op.operands))) for op in function.ops]
    return without_dead(function.with_(ops=tuple(ops), outputs=tuple(map(now, function.outputs))))


class _Search:
    """Finds the selects of one function that are decided."""

    def __init__(self, function: Function):
        self.function = function
        self.predicates = Predicates(function)
        self.position = {op: index for index, op in enumerate(function.ops)}
        self.readers = function.users()
        self.counts = count_readers(function)
        self.outputs = set(function.outputs)

    def choices(self) -> dict[Value, Value]:
        """The results of decided selects, each with the operand that is chosen."""
        everywhere = Truths.of(self.predicates)
        chosen: dict[Value, Value] = {}
        for op in self.function.ops:
            if op.name != "select":
                continue
            truth = everywhere.truth(op.operands[0])
            if truth is not None:
                chosen[op.result] = op.operands[1 if truth else 2]
                continue
            arms = [
                (arm, other, Assumption.of(op.operands[0], truth, everywhere))
                for arm, other, truth in ((*op.operands[1:], True), (*op.operands[:0:-1], False))
            ]
            same = next((arm[1] for arm in arms if self._is_the_same_anyway(op, *arm)), None)
            if same is not None:
                # That rests on the selects inside the arm: only if this one stays may those go.
                chosen[op.result] = same
                continue
            for arm, _, assumed in arms:
                chosen.update(self._decided_in(arm, assumed))
        return chosen

    def _is_the_same_anyway(self, op: Op, arm: Value, other: Value, assumed: Assumption) -> bool:
        """Whether `other` comes to the constant `arm` wherever `arm` is chosen."""
        number = self.predicates.numbers.get(arm)
        if number is None or self.predicates.producers.get(other) is None:
            return False
        return ConditionalConstants(self.predicates, op.result, assumed).value(other) == number

    def _decided_in(self, arm: Value, assumed: Assumption) -> dict[Value, Value]:
        """Selects that serve nothing but an arm, and whose condition follows from what is assumed there."""
        if not self._could_hold_a_select(arm):
            return {}
        decided: dict[Value, Value] = {}
        inside: set[Op] = set()
        pending: list[tuple[int, bool]] = []
        known = {True: assumed.here, False: assumed.behind}

        def look_at(value: Value, direct: bool) -> None:
            op = self.predicates.producers.get(value)
            if op is not None and op.name in PRIMITIVES and value not in self.outputs and op not in inside:
                heapq.heappush(pending, (-self.position[op], direct))

        look_at(arm, True)
        while pending and len(inside) < MOST_OPERATIONS:
            index, direct = heapq.heappop(pending)
            op = self.function.ops[-index]
            if op in inside or not self._serves_only(op.result, arm, inside):
                continue
            facts = known[direct]
            if op.name == "broadcast":
                if not (direct and assumed.view and _same_view(op, assumed.view)):
                    continue
                inside.add(op)
                look_at(op.operands[0], False)
                continue
            if not is_pointwise(op.name):
                continue
            inside.add(op)
            if op.name == "select" and facts is not None:
                decision = facts.truth(op.operands[0])
                if decision is not None:
                    decided[op.result] = op.operands[1 if decision else 2]
            for operand in op.operands:
                look_at(operand, direct)
        return decided

    def _could_hold_a_select(self, arm: Value) -> bool:
        op = self.predicates.producers.get(arm)
        return op is not None and (op.name == "broadcast" or is_pointwise(op.name))

    def _serves_only(self, value: Value, arm: Value, inside: set[Op]) -> bool:
        if value is arm:
            return self.counts[arm] == 1
        return all(reader in inside for reader in self.readers[value])


def _same_view(op: Op, other: Op) -> bool:
    return op.attributes["dims"] == other.attributes["dims"] and op.result.type.shape == other.result.type.shape
