"""Operations of which less is left where their operands are known to be a product, a constant or a condition.

In: the name of an operation, its operands as expressions. Out: a shorter expression, or None.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.kernel import Apply, Const, Expr
from .polynomials import LARGEST_SCALE, LEAST_SCALE


def fused_multiply_add(name: str, operands: Sequence[Expr]) -> Expr | None:
    """a * b + c, a * b - c or c - a * b as one operation, where a product has been left open for that."""
    a, b = operands
    if isinstance(a, Apply) and a.op == "mul":
        x, y = a.operands
        return Apply("fma", (x, y, b if name == "add" else _negated(b)), a.dtype, a.width)
    if isinstance(b, Apply) and b.op == "mul":
        x, y = b.operands
        return Apply("fma", (x if name == "add" else _negated(x), y, a), b.dtype, b.width)
    return None


def scaled(operand: Expr) -> tuple[Expr, float]:
    """x and c where c x has been left open for the function of it, and that takes c; else the operand and 1."""
    if isinstance(operand, Apply) and operand.op == "neg":
        return operand.operands[0], -1.0
    if isinstance(operand, Apply) and operand.op == "mul":
        for x, factor in (operand.operands, operand.operands[::-1]):
            if isinstance(factor, Const) and LEAST_SCALE <= abs(factor.value) <= LARGEST_SCALE:
                return x, float(factor.value)
    return operand, 1.0


def _negated(operand: Expr) -> Expr:
    return Apply("neg", (operand,), operand.dtype, operand.width)


def folded(name: str, operands: Sequence[Expr]) -> Expr | None:
    """What is left of an operation where a condition is known here, or one of two terms to be 0: what a mask chooses in
    a loop over columns that all count, or that none does."""
    if name == "select" and isinstance(operands[0], Const):
        return operands[1 if operands[0].value else 2]
    if name == "add" and any(isinstance(o, Const) and o.value == 0 for o in operands):
        return next((o for o in operands if not (isinstance(o, Const) and o.value == 0)), operands[0])
    return None
