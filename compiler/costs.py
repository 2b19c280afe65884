"""What operations cost, beside each other: where a result is worth keeping, and what is computed again."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.function import Op
from ..ir.ops import FREE, VIEWS

COSTS: Mapping[str, int] = {
    "exp": 9, "expm1": 12, "log": 18, "log1p": 12, "pow": 30, "tanh": 20, "erf": 20, "sqrt": 6, "div": 6,
}  # fmt: skip
"""In multiply-adds, which any other operation is counted as: what is measured of the polynomials, about."""
COSTLY = frozenset(COSTS)


def cost_of(op: Op) -> int:
    """Of one element, in multiply-adds."""
    return 0 if op.name in FREE or op.name in VIEWS else COSTS.get(op.name, 1)
