"""Rules for choices between values that repeat, such as a sign or a weight by a label.

What can be computed of the arms is computed before the choice: once a row, where the choice is made for each element.
And what can be chosen once a row is.
"""

from __future__ import annotations

from ...ir.function import Op, Value
from ...ir.types import is_float
from ..rewrite import Rebuild, Rules
from ._factors import is_small
from ._match import constant_of, expand, is_constant, kept_axes, view_of


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


def _is_choice(build: Rebuild, value: Value) -> bool:
    """Whether `value` chooses element by element between values that repeat."""
    select = build.match(value, "select")
    if select is None or not build.used_once(value) or is_small(build, select.operands[0]):
        return False
    return all(is_small(build, arm) for arm in select.operands[1:])


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


def condition_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum(select(p and q, x, 0)) = select(p, sum(select(q, x, 0)), 0) for p that repeats  exact"""
    # Once a row in place of once an element; and what uses the sum sees that it is 0.
    (chosen,) = op.operands
    select = build.match(chosen, "select")
    both = None if select is None else build.match(select.operands[0], "and")
    if select is None or both is None or not is_constant(build, select.operands[2], 0):
        return None
    axes = op.attributes["axes"]
    kept = kept_axes(chosen.type.rank, axes)
    for condition, other in (both.operands, both.operands[::-1]):
        view = view_of(build, condition)
        if view is None or set(view[1]) & set(axes) or not kept:
            continue
        rest = build.emit("select", other, *select.operands[1:])
        total = build.emit("reduce_sum", rest, axes=axes)
        holds = expand(build, view[0], tuple(kept.index(dim) for dim in view[1]), total.type.shape)
        return build.emit("select", holds, total, build.constant(0, total.type.dtype, total.type.shape))
    return None


def condition_of_factor(op: Op, build: Rebuild) -> Value | None:
    """select(x <= 0, 0, g) = select(y <= 0, 0, g) with y = select(x <= 0, 0, x), where a product reads y  exact"""
    # The product has y stored. Where nothing else asks for x, that is not.
    condition, zero, chosen = op.operands
    compared = build.match(condition, "le")
    if compared is None or chosen is compared.operands[0] or not is_constant(build, zero, 0):
        return None
    x, bound = compared.operands
    for other in build.readers(condition) if is_constant(build, bound, 0) else ():
        if other.name != "select" or other.operands[2] is not x or not is_constant(build, other.operands[1], 0):
            continue
        (y,) = other.results
        if build.producer(build.now(y)) is not None and any(reader.name == "matmul" for reader in build.readers(y)):
            return build.emit("select", build.emit("le", build.now(y), bound), zero, chosen)
    return None


CHOICES: Rules = {
    "mul": (choice_of_small, choice_of_sign),
    "add": (choice_of_small,),
    "sub": (choice_of_small,),
    "neg": (negative_choice, negative_row),
    "select": (condition_of_factor,),
    "reduce_sum": (condition_out_of_sum,),
}
