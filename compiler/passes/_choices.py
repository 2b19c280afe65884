"""Rules for choices between values that repeat, such as a sign or a weight by a label.

What can be computed of the arms is computed before the choice: once a row, where the choice is made for each element.
"""

from __future__ import annotations

from ...ir.function import Op, Value
from ...ir.types import is_float
from ..rewrite import Rebuild, Rules
from ._factors import is_small
from ._match import constant_of, is_constant

_MOST_TERMS = 8


def choice_of_small(op: Op, build: Rebuild) -> Value | None:
    """select(p, a, b) + c = select(p, a + c, b + c) where a, b, c repeat; so for - and *  exact"""
    for index, operand in enumerate(op.operands):
        other = op.operands[1 - index]
        select = build.match(operand, "select")
        if select is None or not _is_choice(build, operand) or not is_small(build, other):
            continue
        condition, *arms = select.operands
        new = [build.emit(op.name, *((arm, other) if index == 0 else (other, arm))) for arm in arms]
        return build.emit("select", condition, *new)
    return None


def negative_choice(op: Op, build: Rebuild) -> Value | None:
    """-select(p, a, b) = select(p, -a, -b) where a, b repeat  exact"""
    (operand,) = op.operands
    select = build.match(operand, "select")
    if select is None or not _is_choice(build, operand):
        return None
    condition, a, b = select.operands
    return build.emit("select", condition, build.emit("neg", a), build.emit("neg", b))


def choice_beside_products(op: Op, build: Rebuild) -> Value | None:
    """x * y + select(p, a, b) + c = x * y + select(p, a + c, b + c) where a, b, c repeat  rounding"""
    terms = _terms(op, build)
    small = [(sign, value) for sign, value in terms if is_small(build, value)]
    choices = [(sign, value) for sign, value in terms if _is_choice(build, value)]
    rest = [term for term in terms if term not in small and term not in choices]
    if not small or len(choices) != 1 or not all(build.match(value, "mul") for _, value in rest):
        return None
    sign, choice = choices[0]
    select = build.match(choice, "select")
    assert select is not None
    condition, *arms = select.operands
    for small_sign, value in small:
        arms = [build.emit("add" if small_sign == sign else "sub", arm, value) for arm in arms]
    total: Value | None = None
    for term_sign, value in [*rest, (sign, build.emit("select", condition, *arms))]:
        if total is None:
            total = value if term_sign > 0 else build.emit("neg", value)
        else:
            total = build.emit("add" if term_sign > 0 else "sub", total, value)
    return total


def _is_choice(build: Rebuild, value: Value) -> bool:
    """Whether `value` chooses element by element between values that repeat."""
    select = build.match(value, "select")
    if select is None or not build.used_once(value) or is_small(build, select.operands[0]):
        return False
    return all(is_small(build, arm) for arm in select.operands[1:])


def _terms(op: Op, build: Rebuild) -> list[tuple[int, Value]]:
    """The terms of a sum with their signs, where nothing else reads a part of the sum."""
    terms: list[tuple[int, Value]] = []
    pending = [(-1 if op.name == "sub" else 1, op.operands[1]), (1, op.operands[0])]
    while pending:
        sign, value = pending.pop()
        inner = build.match(value, "add", "sub")
        if inner is None or not build.used_once(value) or len(terms) + len(pending) >= _MOST_TERMS:
            terms.append((sign, value))
        else:
            pending.append((-sign if inner.name == "sub" else sign, inner.operands[1]))
            pending.append((sign, inner.operands[0]))
    return terms


def negative_row(op: Op, build: Rebuild) -> Value | None:
    """-(x * c) = x * -c where c repeats  exact"""
    (operand,) = op.operands
    inner = build.match(operand, "mul")
    if inner is None or not build.used_once(operand) or not is_float(operand.type.dtype):
        return None
    for c, x in (inner.operands, inner.operands[::-1]):
        if is_small(build, c) and not is_small(build, x) and constant_of(build, c) is None:
            return build.emit("mul", x, build.emit("neg", c))
    return None


def choice_of_sign(op: Op, build: Rebuild) -> Value | None:
    """select(p, -1, 1) * x = select(p, -x, x); that is |x| where p is x < 0  exact"""
    for choice, x in (op.operands, op.operands[::-1]):
        select = build.match(choice, "select")
        if select is None or is_small(build, x):
            continue
        condition, a, b = select.operands
        signs = constant_of(build, a), constant_of(build, b)
        if signs not in ((-1, 1), (1, -1)):
            continue
        compared = build.match(condition, "lt") if signs == (-1, 1) else None
        if compared is not None and compared.operands[0] is x and is_constant(build, compared.operands[1], 0):
            return build.emit("abs", x)
        negative = build.emit("neg", x)
        return build.emit("select", condition, *((negative, x) if signs[0] == -1 else (x, negative)))
    return None


CHOICES: Rules = {
    "mul": (choice_of_small, choice_of_sign),
    "add": (choice_of_small, choice_beside_products),
    "sub": (choice_of_small, choice_beside_products),
    "neg": (negative_choice, negative_row),
}
