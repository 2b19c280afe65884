"""What guards of variants say of sizes: which of them can hold together, and which hold wherever another does.

In: guards, conditions on sizes such as `B >= 12 and B * 5 < 16385 and B mod 8 < 1`. Out: what is known where one holds,
the bounds of sizes and the conditions that are no bounds; and of variants those that some sizes take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..ir.frozen import frozen
from ..ir.kernel import Apply, Const, Expr
from ..ir.program import Variant
from .intervals import Range

_SIZES = Range(low=0)


@frozen
class Known:
    """Between which numbers sizes lie, and what else holds."""

    bounds: Mapping[Expr, Range]
    others: frozenset[Expr]

    @property
    def is_possible(self) -> bool:
        """Whether some sizes may be within the bounds."""
        return all(bound.low <= bound.high for bound in self.bounds.values())

    def and_where(self, guard: Expr | None) -> Known:
        """What is known where `guard` holds, too; it always does if it is None."""
        bounds, others, pending = dict(self.bounds), set(self.others), [] if guard is None else [guard]
        while pending:
            condition = pending.pop()
            if isinstance(condition, Apply) and condition.op == "and":
                pending += condition.operands
                continue
            bound = _bound(condition)
            if bound is None:
                others.add(condition)
                continue
            size, found = bound
            known = bounds.get(size, _SIZES)
            bounds[size] = Range(max(known.low, found.low), min(known.high, found.high))
        return Known(bounds, frozenset(others))

    def implies(self, other: Known) -> bool:
        """Whether all that is known there holds here."""
        return other.others <= self.others and all(
            self.bounds.get(size, _SIZES).within(bound.low, bound.high) for size, bound in other.bounds.items()
        )


NOTHING = Known({}, frozenset())


def taken(variants: Iterable[Variant]) -> tuple[Variant, ...]:
    """Those that some sizes take: the first whose guard holds is taken, so some come too late."""
    found: list[tuple[Variant, Known]] = []
    for variant in variants:
        known = NOTHING.and_where(variant.guard)
        if known.is_possible and not any(known.implies(earlier) for _, earlier in found):
            # What always holds is no condition, and the last one.
            found.append((replace(variant, guard=None) if NOTHING.implies(known) else variant, known))
    return tuple(variant for variant, _ in found)


def _bound(condition: Expr) -> tuple[Expr, Range] | None:
    """The size and its range where a condition is a bound of a size, or of its product with a number."""
    if not isinstance(condition, Apply) or condition.op not in ("ge", "lt"):
        return None
    size, number = condition.operands
    if not isinstance(number, Const):
        return None
    limit, factor = int(number.value), 1
    if isinstance(size, Apply) and size.op == "mul" and isinstance(size.operands[1], Const):
        size, factor = size.operands[0], int(size.operands[1].value)
    if factor < 1:
        return None
    if condition.op == "ge":
        return size, Range(low=-(-limit // factor))
    return size, Range(-math.inf, (limit - 1) // factor)
