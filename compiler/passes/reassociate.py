"""Multiply what is small first: constants with constants, rows with rows, elements last.

Before:  %a = mul %x, %r ; %g = mul %a, %two           (%r = broadcast of a row or a scalar)
After:   %g = mul %x, (broadcast of row * 2)

Only products are regrouped, and sums of products that share a factor: there the error stays in the last bits. Sums
are left alone, since (x - max) - log(sum) is exact where x - (max + log(sum)) is not.
"""

from __future__ import annotations

import math

from ...ir.function import Module, Op, Value
from ...ir.types import is_float, multiply_dims
from ..rewrite import Log, Rebuild, Rules, rewrite_module
from ._match import (
    Number,
    axes_of,
    constant_of,
    expand,
    is_constant,
    is_softmax_power,
    kept_axes,
    round_to,
    same_value,
    size_value,
    softmax_total,
    unless_empty,
    view_of,
)
from .share_divisors import LARGEST, LEAST


def reassociate(module: Module, log: Log | None = None) -> Module:
    """Regroup products so that constants and rows are multiplied before elements."""
    return rewrite_module(module, RULES, log)


def _is_small(build: Rebuild, value: Value, deepest: int = 4) -> bool:
    """Whether `value` repeats a smaller one, or is about to: a product of such values becomes one."""
    if value.type.rank == 0:
        return False
    if build.match(value, "constant") or view_of(build, value) is not None:
        return True
    inner = build.match(value, "mul", "neg")
    return deepest > 0 and inner is not None and all(_is_small(build, o, deepest - 1) for o in inner.operands)


def small_factors_together(op: Op, build: Rebuild) -> Value | None:
    """x * c * y * d = (x * y) * (c * d) for c, d that repeat  rounding"""
    if not is_float(op.result.type.dtype):
        return None
    factors = [factor for operand in op.operands for factor in _factors(build, operand)]
    small = [factor for factor in factors if _is_small(build, factor)]
    rest = [factor for factor in factors if not _is_small(build, factor)]
    if len(small) < 2 or not rest:
        return None
    constants = _merged([n for factor in small if (n := constant_of(build, factor)) is not None], op.result.type.dtype)
    others = [factor for factor in small if constant_of(build, factor) is None]
    if max(len(constants), len(others) > 0) == len(small):
        return None
    small = [*others, *(build.constant(number, op.result.type.dtype, op.result.type.shape) for number in constants)]
    together = len(others) + 1  # the values that repeat, and one constant with them
    product = build.emit("mul", _product(build, rest), _product(build, small[:together]))
    return _product(build, [product, *small[together:]])


def _merged(numbers: list[Number], dtype: str) -> list[Number]:
    """Products of the numbers, as few as stay far from overflow and underflow."""
    limit = 1e3 if dtype == "f16" else 1e12
    merged: list[Number] = []
    for number in numbers:
        if merged and 1 / limit <= abs(merged[-1] * number) <= limit:
            merged[-1] = round_to(merged[-1] * number, dtype)
        else:
            merged.append(number)
    return merged


def small_factor_into_sum(op: Op, build: Rebuild) -> Value | None:
    """(x * c + y * d) * e = x * (c * e) + y * (d * e) for c, d, e that repeat; so with -  rounding"""
    if not is_float(op.result.type.dtype):
        return None
    for total, e in (op.operands, op.operands[::-1]):
        sum_of_products = build.match(total, "add", "sub")
        if sum_of_products is None or not build.used_once(total) or not _is_small(build, e):
            continue
        terms = [_factors(build, term) for term in sum_of_products.operands]
        if all(_has_small_and_more(build, factors) for factors in terms):
            return build.emit(sum_of_products.name, *(_product(build, [*factors, e]) for factors in terms))
    return None


def _has_small_and_more(build: Rebuild, factors: list[Value]) -> bool:
    """Whether some factors repeat, so that one more that does costs nothing, and some do not."""
    return 0 < sum(_is_small(build, factor) for factor in factors) < len(factors)


def common_factor(op: Op, build: Rebuild) -> Value | None:
    """a * c + b * c = (a + b) * c, a * c + b * -c = (a - b) * c; so with -  rounding"""
    # Where c repeats and a and b have other factors that do, c costs nothing as it is (`small_factor_into_sum`).
    if not is_float(op.result.type.dtype) or op.operands[0] is op.operands[1]:
        return None
    left, right = (_factors(build, operand) for operand in op.operands)
    for i, c in enumerate(left):
        for j, d in enumerate(right):
            sign = _ratio(build, c, d)
            if sign == 0 or len(left) == 1 or len(right) == 1:
                continue
            rest = [*left[:i], *left[i + 1 :]], [*right[:j], *right[j + 1 :]]
            if _is_small(build, c) and all(_has_small_and_more(build, factors) for factors in rest):
                continue
            a, b = (_product(build, factors) for factors in rest)
            if sign < 0 and op.name == "add" and _is_negative(build, c):
                return build.emit("mul", build.emit("sub", b, a), d)
            return build.emit("mul", build.emit(op.name if sign > 0 else _OPPOSITE[op.name], a, b), c)
    return None


_OPPOSITE = {"add": "sub", "sub": "add"}
_MOST_FACTORS = 8


def _factors(build: Rebuild, value: Value) -> list[Value]:
    """The factors of a product that nothing else reads, or the value alone. What repeats as a whole stays whole."""
    factors: list[Value] = []
    pending = [value]
    while pending:
        factor = pending.pop()
        product = build.match(factor, "mul")
        room = len(factors) + len(pending) < _MOST_FACTORS
        if product is not None and room and build.used_once(factor) and not _is_small(build, factor):
            pending += product.operands[::-1]
        else:
            factors.append(factor)
    return factors


def _product(build: Rebuild, factors: list[Value]) -> Value:
    product = factors[0]
    for factor in factors[1:]:
        product = build.emit("mul", product, factor)
    return product


def _ratio(build: Rebuild, c: Value, d: Value) -> int:
    """1 if d is c, -1 if it is -c, else 0."""
    if same_value(build, c, d):
        return 1
    number = constant_of(build, c)
    if number is not None:
        return -1 if constant_of(build, d) == -number else 0
    views = view_of(build, c), view_of(build, d)
    if views[0] is not None and views[1] is not None and views[0][1] == views[1][1]:
        c, d = views[0][0], views[1][0]
    for one, other in ((c, d), (d, c)):
        negative = build.match(one, "neg")
        if negative is not None and negative.operands[0] is other:
            return -1
    return 0


def _is_negative(build: Rebuild, value: Value) -> bool:
    number, view = constant_of(build, value), view_of(build, value)
    if number is not None:
        return number < 0
    return build.match(view[0] if view is not None else value, "neg") is not None


def divide_rows(op: Op, build: Rebuild) -> Value | None:
    """x / broadcast(s) = x * broadcast(1 / s) where s is a sum of exp(x - max): not below 1  rounding"""
    x, repeated = op.operands
    view = view_of(build, repeated)
    if view is None or not softmax_total(build, view[0]):
        return None
    one = build.constant(1, x.type.dtype, view[0].type.shape)
    return build.emit("mul", x, expand(build, build.emit("div", one, view[0]), view[1], x.type.shape))


def divide_small_factor(op: Op, build: Rebuild) -> Value | None:
    """(x * c) / d = x * (c / d) for c that repeats and a constant d in [2^-13, 2^13]  rounding"""
    product, divisor = op.operands
    number = constant_of(build, divisor)
    if number is None or not is_float(op.result.type.dtype) or not LEAST <= abs(number) <= LARGEST:
        return None
    factors = _factors(build, product)
    small = [factor for factor in factors if _is_small(build, factor)]
    if not small or len(factors) == len(small):
        return None
    chosen = next((factor for factor in small if constant_of(build, factor) is not None), small[0])
    divided = build.emit("div", chosen, divisor)
    return _product(build, [divided if factor is chosen else factor for factor in factors])


def divide_by_constant(op: Op, build: Rebuild) -> Value | None:
    """x / c = x * (1 / c) for elements x and a constant c in [2^-13, 2^13]  rounding"""
    x, divisor = op.operands
    number = constant_of(build, divisor)
    if number is None or not is_float(x.type.dtype) or not LEAST <= abs(number) <= LARGEST:
        return None
    if x.type.count == 1 or _is_small(build, x):
        return None
    inverse = build.constant(round_to(1 / number, x.type.dtype), x.type.dtype, x.type.shape)
    return build.emit("mul", x, inverse)


def small_factor_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum(x * c) = sum(x) * c, or 0 of nothing, for c that repeats, where that costs no further sum  rounding"""
    product = build.match(op.operands[0], "mul")
    if product is None or op.result.type.dtype not in ("f32", "f64"):
        return None
    axes = axes_of(op.attributes["axes"], product.result.type.rank)
    kept = kept_axes(product.result.type.rank, axes)
    for x, c in (product.operands, product.operands[::-1]):
        number, view = constant_of(build, c), view_of(build, c)
        if _is_small(build, x) or (number is None and (view is None or set(view[1]) & set(axes))):
            continue
        terms = multiply_dims(product.result.type.shape[axis] for axis in axes)
        size = size_value(build, terms)
        if size is None:
            continue
        total = _known_sum(op, x, axes, build)
        if total is None and build.used_once(product.result):
            total = build.emit("reduce_sum", x, axes=axes)
        if total is None:
            continue
        if view is not None:
            factor = expand(build, view[0], tuple(kept.index(dim) for dim in view[1]), total.type.shape)
        else:
            factor = build.constant(number, x.type.dtype, total.type.shape)  # type: ignore[arg-type]
        scaled = build.emit("mul", total, factor)
        return scaled if number is not None and math.isfinite(number) else unless_empty(build, scaled, terms, size)
    return None


def softmax_factor_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum((e * c) * y) = sum((e * y) * c) where e = exp(x - max) and c repeats, also where e * c is needed  rounding"""
    # Else a sum of probabilities times anything waits for the sum that they are divided by. As e is not above 1, the
    # product does not overflow.
    product = build.match(op.operands[0], "mul")
    if product is None or op.result.type.dtype not in ("f32", "f64") or not build.used_once(product.result):
        return None
    for inner_value, y in (product.operands, product.operands[::-1]):
        inner = build.match(inner_value, "mul")
        if inner is None or _is_small(build, inner_value) or _is_small(build, y):
            continue
        for e, c in (inner.operands, inner.operands[::-1]):
            view = ((), ()) if constant_of(build, c) is not None else view_of(build, c)
            if view is None or _is_small(build, e) or not (is_softmax_power(build, e) or is_softmax_power(build, y)):
                continue
            if not set(view[1]) & set(axes_of(op.attributes["axes"], product.result.type.rank)):
                regrouped = build.emit("mul", build.emit("mul", e, y), c)
                return build.emit("reduce_sum", regrouped, axes=op.attributes["axes"])
    return None


def _known_sum(op: Op, x: Value, axes: tuple[int, ...], build: Rebuild) -> Value | None:
    """The sum of x along `axes`, if it is computed before `op`."""
    for reader in build.readers(x):
        if reader.name == "reduce_sum" and axes_of(reader.attributes["axes"], x.type.rank) == axes:
            total = build.now(reader.result)
            if build.producer(total) is not None and total is not op.result:
                return total
    return None


def multiply_what_was_divided(op: Op, build: Rebuild) -> Value | None:
    """(a / s) * s = a where s is a sum of exp(x - max): not below 1  rounding"""
    for quotient, s in (op.operands, op.operands[::-1]):
        division = build.match(quotient, "div")
        if division is not None and division.operands[1] is s and softmax_total(build, s):
            return division.operands[0]
    return None


def choice_of_small(op: Op, build: Rebuild) -> Value | None:
    """select(p, a, b) + c = select(p, a + c, b + c) where a, b, c repeat; so for - and *  exact"""
    for index, operand in enumerate(op.operands):
        other = op.operands[1 - index]
        select = build.match(operand, "select")
        if select is None or not _is_choice(build, operand) or not _is_small(build, other):
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
    small = [(sign, value) for sign, value in terms if _is_small(build, value)]
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
    if select is None or not build.used_once(value) or _is_small(build, select.operands[0]):
        return False
    return all(_is_small(build, arm) for arm in select.operands[1:])


_MOST_TERMS = 8


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
        if _is_small(build, c) and not _is_small(build, x) and constant_of(build, c) is None:
            return build.emit("mul", x, build.emit("neg", c))
    return None


def choice_of_sign(op: Op, build: Rebuild) -> Value | None:
    """select(p, -1, 1) * x = select(p, -x, x); that is |x| where p is x < 0  exact"""
    for choice, x in (op.operands, op.operands[::-1]):
        select = build.match(choice, "select")
        if select is None or _is_small(build, x):
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


_CHOICE = (choice_of_small,)

RULES: Rules = {
    "mul": (multiply_what_was_divided, small_factors_together, small_factor_into_sum, *_CHOICE, choice_of_sign),
    "div": (divide_rows, divide_small_factor, divide_by_constant),
    "add": (common_factor, *_CHOICE, choice_beside_products),
    "sub": (common_factor, *_CHOICE, choice_beside_products),
    "neg": (negative_choice, negative_row),
    "reduce_sum": (small_factor_out_of_sum, softmax_factor_out_of_sum),
}
