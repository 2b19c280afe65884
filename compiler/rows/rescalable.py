"""Sums that can be taken with the maximum of a part of the row in place of the row's, and be put right later.

In: a schedule. Out: for such a sum the maxima that it was taken with, and how it changes with each.

    sum_j e^(x_j - m) g_j  with m + d in place of m  is  e^(-d) sum_j e^(x_j - m) g_j
    sum_j x_j - m          with m + d in place of m  is  sum_j x_j - m  less d for each j

In general a value v may change with a maximum m in two ways that are simple: v(m + d) = v(m) + a d, or
v(m + d) = v(m) e^(k d). Which of them, and a or k, follows from how v is computed:

    m itself          a = 1
    u + v, u - v      a of u plus or minus a of v; k where both have the same k
    -v                -a; k
    c v, v / c        c a or a / c, where c is a constant
    u v, u / v        k of u plus or minus k of v
    e^v               k = a
    select c u v      k of u and v where both have the same, or one of them is 0 everywhere

A sum over values with an a, or with k < 0, is rescalable. What else depends on m is not. Status: rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.ops import VIEWS
from ...ir.schedule import Schedule
from ..ancestors import source
from ..numbers import constant_number

Slopes = Mapping[Op, float]
"""By maximum: a, or k. What is not there is 0."""


@frozen
class Law:
    """How a value changes with the maxima of a row: by `added` d, or by a factor e^(`scaled` d). One of them is
    empty."""

    added: Slopes
    scaled: Slopes

    @property
    def maxima(self) -> frozenset[Op]:
        return frozenset(self.added) | frozenset(self.scaled)

    @property
    def is_fixed(self) -> bool:
        return not self.added and not self.scaled


FIXED = Law({}, {})
_SAME = (*VIEWS, "gather")


def rescalable(schedule: Schedule) -> dict[Op, Law]:
    """The row sums that can be rescaled, each with the law of what it adds up; and what depends on no maximum, which
    has the law `FIXED`."""
    laws: dict[Value, Law | None] = {}
    found: dict[Op, Law] = {}
    producer = schedule.producer
    for op in schedule.function.ops:
        if op in schedule.row_reductions:
            law = laws.get(op.operands[0], FIXED)
            follows = op.name == "reduce_sum" and law is not None and all(k < 0 for k in law.scaled.values())
            if law is not None and (law.is_fixed or follows):
                found[op] = law
            # A row's maximum of fixed values; whatever else a reduction gives is known only after it is put right.
            is_maximum = op.name == "reduce_max" and law is not None and law.is_fixed
            laws[op.result] = Law({op: 1.0}, {}) if is_maximum else None
        elif op.results:
            law = _law(op, [laws.get(operand, FIXED) for operand in op.operands], producer)
            laws |= dict.fromkeys(op.results, law)
    return found


def _law(op: Op, laws: list[Law | None], producer: Mapping[Value, Op]) -> Law | None:
    """The law of an operation's result; None where there is none."""
    if any(law is None for law in laws):
        return None
    known = [law for law in laws if law is not None]
    if all(law.is_fixed for law in known):
        return FIXED
    match op.name, known:
        case name, [law, *rest] if name in _SAME and all(other.is_fixed for other in rest):
            return law
        case ("add" | "sub") as name, [a, b]:
            if not a.scaled and not b.scaled:
                return Law(_sum(a.added, b.added, 1.0 if name == "add" else -1.0), {})
            return a if a == b else None
        case "neg", [a]:
            return Law(_sum({}, a.added, -1.0), a.scaled)
        case ("mul" | "div") as name, [a, b]:
            if not a.added and not b.added:
                return Law({}, _sum(a.scaled, b.scaled, 1.0 if name == "mul" else -1.0))
            return _times_constant(op, a, b, producer)
        case "exp", [a] if not a.scaled:
            return Law({}, a.added)
        case "select", [condition, a, b] if condition.is_fixed and not a.added and not b.added:
            _, first, second = op.operands
            return a if a == b or _constant(second, producer) == 0 else b if _constant(first, producer) == 0 else None
        case _:
            return None


def _times_constant(op: Op, a: Law, b: Law, producer: Mapping[Value, Op]) -> Law | None:
    left, right = (_constant(operand, producer) for operand in op.operands)
    if right is not None and right and not a.scaled:
        return Law(_sum({}, a.added, right if op.name == "mul" else 1.0 / right), {})
    if op.name == "mul" and left is not None and not b.scaled:
        return Law(_sum({}, b.added, left), {})
    return None


def _constant(value: Value, producer: Mapping[Value, Op]) -> float | None:
    """The number that a value is everywhere, if it is one."""
    return constant_number(producer.get(source(value, producer)))


def _sum(a: Slopes, b: Slopes, factor: float) -> dict[Op, float]:
    total = {op: a.get(op, 0.0) + factor * b.get(op, 0.0) for op in {**a, **b}}
    return {op: slope for op, slope in total.items() if slope}
