"""Multiply what is small first: constants with constants, rows with rows, elements last.

Before:  %a = mul %d, %b ; %g = mul %a, %two           (%b = broadcast of a row or a scalar)
After:   %g = mul %d, (broadcast of row * 2)

Only products are regrouped, and sums of products that share a factor: there the error stays in the last bits. Sums
are left alone, since (x - max) - log(sum) is exact where x - (max + log(sum)) is not.
"""

from __future__ import annotations

from ...ir.function import Module, Op, Value
from ...ir.types import is_float
from ..rewrite import Log, Rebuild, Rules, rewrite_module
from ._match import constant_of, expand, same_value, softmax_total, view_of


def reassociate(module: Module, log: Log | None = None) -> Module:
    """Regroup products so that constants and rows are multiplied before elements."""
    return rewrite_module(module, RULES, log)


def _is_small(build: Rebuild, value: Value) -> bool:
    """Whether `value` repeats a smaller one."""
    return value.type.rank > 0 and (build.match(value, "constant") is not None or view_of(build, value) is not None)


def small_factor_last(op: Op, build: Rebuild) -> Value | None:
    """(x * c) * y = (x * y) * c, (x * c) * d = x * (c * d) for c, d that repeat  rounding"""
    if not is_float(op.result.type.dtype):
        return None
    for product, y in (op.operands, op.operands[::-1]):
        inner = build.match(product, "mul")
        if inner is None or not build.used_once(product) or product is y:
            continue
        for c, x in (inner.operands, inner.operands[::-1]):
            if not _is_small(build, c) or _is_small(build, x):
                continue
            if _is_small(build, y):
                return build.emit("mul", x, build.emit("mul", c, y))
            return build.emit("mul", build.emit("mul", x, y), c)
    return None


def small_factor_out_of_quotient(op: Op, build: Rebuild) -> Value | None:
    """(x * c) / y = (x / y) * c for c that repeats and y that does not  rounding"""
    product, y = op.operands
    inner = build.match(product, "mul")
    if inner is None or not is_float(y.type.dtype) or not build.used_once(product) or _is_small(build, y):
        return None
    for c, x in (inner.operands, inner.operands[::-1]):
        if _is_small(build, c) and not _is_small(build, x):
            return build.emit("mul", build.emit("div", x, y), c)
    return None


def common_factor(op: Op, build: Rebuild) -> Value | None:
    """a * c + b * c = (a + b) * c, a * c - b * c = (a - b) * c  rounding"""
    left, right = (build.match(operand, "mul") for operand in op.operands)
    if left is None or right is None or left is right or not is_float(op.result.type.dtype):
        return None
    if not build.used_once(left.result) or not build.used_once(right.result):
        return None
    for c, a in (left.operands, left.operands[::-1]):
        for d, b in (right.operands, right.operands[::-1]):
            if same_value(build, c, d):
                return build.emit("mul", build.emit(op.name, a, b), c)
    return None


def divide_rows(op: Op, build: Rebuild) -> Value | None:
    """x / broadcast(s) = x * broadcast(1 / s) where s is a sum of exp(x - max): not below 1  rounding"""
    x, repeated = op.operands
    view = view_of(build, repeated)
    if view is None or not softmax_total(build, view[0]):
        return None
    one = build.constant(1, x.type.dtype, view[0].type.shape)
    return build.emit("mul", x, expand(build, build.emit("div", one, view[0]), view[1], x.type.shape))


def choice_of_small(op: Op, build: Rebuild) -> Value | None:
    """select(p, a, b) + c = select(p, a + c, b + c) where a, b, c repeat; so for - and *  exact"""
    for index, operand in enumerate(op.operands):
        select = build.match(operand, "select")
        other = op.operands[1 - index]
        if select is None or not build.used_once(operand) or not _is_small(build, other):
            continue
        condition, a, b = select.operands
        if _is_small(build, condition) or not (_is_small(build, a) and _is_small(build, b)):
            continue
        arms = [build.emit(op.name, *((arm, other) if index == 0 else (other, arm))) for arm in (a, b)]
        return build.emit("select", condition, *arms)
    return None


def negative_choice(op: Op, build: Rebuild) -> Value | None:
    """-select(p, a, b) = select(p, -a, -b) where a, b repeat  exact"""
    (operand,) = op.operands
    select = build.match(operand, "select")
    if select is None or not build.used_once(operand):
        return None
    condition, a, b = select.operands
    if _is_small(build, condition) or not (_is_small(build, a) and _is_small(build, b)):
        return None
    return build.emit("select", condition, build.emit("neg", a), build.emit("neg", b))


def choice_beside_product(op: Op, build: Rebuild) -> Value | None:
    """(x * y + select(p, a, b)) + c = x * y + select(p, a + c, b + c) where a, b, c repeat  rounding"""
    total, c = op.operands
    inner = build.match(total, "add", "sub")
    if inner is None or not build.used_once(total) or not _is_small(build, c):
        return None
    product, choice = inner.operands
    if inner.name == "add" and build.match(product, "select"):
        product, choice = choice, product
    select = build.match(choice, "select")
    if not build.match(product, "mul") or select is None or not build.used_once(choice):
        return None
    condition, a, b = select.operands
    if _is_small(build, condition) or not (_is_small(build, a) and _is_small(build, b)):
        return None
    # a - c where the choice is subtracted and c added, and so on.
    arm_name = op.name if inner.name == "add" else {"add": "sub", "sub": "add"}[op.name]
    arms = [build.emit(arm_name, arm, c) for arm in (a, b)]
    return build.emit(inner.name, product, build.emit("select", condition, *arms))


def negative_row(op: Op, build: Rebuild) -> Value | None:
    """-(x * c) = x * -c where c repeats  exact"""
    (operand,) = op.operands
    inner = build.match(operand, "mul")
    if inner is None or not build.used_once(operand) or not is_float(operand.type.dtype):
        return None
    for c, x in (inner.operands, inner.operands[::-1]):
        if _is_small(build, c) and not _is_small(build, x) and constant_of(build, c) is None:
            return build.emit("mul", x, build.emit("neg", c))
    return None


_CHOICE = (choice_of_small,)

RULES: Rules = {
    "mul": (small_factor_last, *_CHOICE),
    "div": (divide_rows, small_factor_out_of_quotient),
    "add": (common_factor, *_CHOICE, choice_beside_product),
    "sub": (common_factor, *_CHOICE, choice_beside_product),
    "neg": (negative_choice, negative_row),
}
