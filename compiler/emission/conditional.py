"""Sums of what counts under a condition: it is added to an accumulator in the lanes where the condition holds.

    a + select(c, x, 0) = select(c, a + x, a), and 1 is added for a condition that is counted

Exact: sums begin at 0, not at -0, and none of theirs is -0. Two such terms are added to each other first, as they were
written: they may cancel. A vector unit with masks has one operation where choosing and adding are two.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.function import Op, Value
from ...ir.kernel import Apply, Const, Expr
from ..numbers import constant_number
from .points import widen
from .polynomials import Let


def joins_a_sum(op: Op, producer: Mapping[Value, Op], users: Mapping[Value, list[Op]]) -> bool:
    """Whether all that becomes of an operation's result is that a sum adds it, and that it counts under a condition, or
    is the sum of two that do."""
    using = users.get(op.result, [])
    if len(using) != 1 or not (_is_conditional(op, producer) or _adds_conditional(op, producer, users)):
        return False
    return using[0].name == "reduce_sum" or (op.name != "add" and joins_a_sum(using[0], producer, users))


def _adds_conditional(op: Op, producer: Mapping[Value, Op], users: Mapping[Value, list[Op]]) -> bool:
    makers = [producer.get(operand) for operand in op.operands] if op.name == "add" else []
    alone = all(len(users.get(operand, [])) == 1 for operand in op.operands)
    return bool(makers) and alone and all(each is not None and _is_conditional(each, producer) for each in makers)


def _is_conditional(op: Op, producer: Mapping[Value, Op]) -> bool:
    if op.name == "select":
        return any(constant_number(producer.get(operand)) == 0 for operand in op.operands[1:])
    return op.name == "cast" and op.operands[0].type.dtype == "bool"


def with_added(let: Let, total: Expr, value: Expr, mask: Expr | None) -> Expr:
    """`total` and `value`, in the lanes of `mask`. What a sum takes in is no variable, but still as it was written.
    `let` gives what is in between a name."""
    width = total.width
    if isinstance(value, Apply) and value.op == "add" and all(map(_is_open, value.operands)):
        a, b = value.operands
        value = let("both", with_added(let, let("chosen", widen(a, width)), b, None))
    condition, term = _term(value)
    found = Apply("add", (total, widen(term, width)), total.dtype, width)
    masks = [widen(each, width) for each in (condition, mask) if each is not None]
    if not masks:
        return found
    both = masks[0] if len(masks) == 1 else Apply("and", (masks[0], masks[1]), "bool", width)
    return Apply("select", (both, found, total), total.dtype, width)


def _is_open(value: Expr) -> bool:
    return isinstance(value, Apply) and value.op in ("select", "cast")


def _term(value: Expr) -> tuple[Expr | None, Expr]:
    """What is added with `value`, and the condition under which it is."""
    if isinstance(value, Apply):
        match value.op, value.operands:
            case "select", (condition, x, Const(value=0)):
                return condition, x
            case "select", (condition, Const(value=0), x):
                return Apply("not", (condition,), "bool", condition.width), x
            case "cast", (condition,) if condition.dtype == "bool":
                return condition, Const(1, value.dtype)
    return None, value
