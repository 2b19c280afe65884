"""Multiply what is small first: constants with constants, rows with rows, elements last.

Before:  %a = mul %x, %r ; %g = mul %a, %two           (%r = broadcast of a row or a scalar)
After:   %g = mul %x, (broadcast of row * 2)

Factors are regrouped, in products and in sums of products; terms are not, since (x - max) - log(sum) is exact where
x - (max + log(sum)) is not. What is chosen by a condition that repeats is moved in and out of sums and products.
"""

from __future__ import annotations

import math

from ...ir.function import Module, Op, Value
from ...ir.types import is_float, multiply_dims
from ..max_shift import is_softmax_total
from ..numbers import round_to
from ..rewrite import Log, Rebuild, Rules, rewrite_module
from ._choices import CHOICES
from ._factors import (
    factors_of,
    has_small_and_more,
    is_moderate,
    is_negative,
    is_power_of_two,
    is_share,
    is_small,
    merged,
    product_of,
    ratio,
    scale_of,
)
from ._match import (
    constant_of,
    divides_well,
    expand,
    is_softmax_power,
    kept_axes,
    size_value,
    unless_empty,
    view_of,
)
from ._scales import SCALES


def reassociate(module: Module, log: Log | None = None) -> Module:
    """Regroup products so that constants and rows are multiplied before elements."""
    return rewrite_module(module, RULES, log)


def small_factors_together(op: Op, build: Rebuild) -> Value | None:
    """x * c * y * d = (x * y) * (c * d) for c, d that repeat  rounding"""
    if not is_float(op.result.type.dtype) or build.shows_rounding(op.result):
        return None
    factors = [factor for operand in op.operands for factor in factors_of(build, operand)]
    small = [factor for factor in factors if is_small(build, factor)]
    rest = [factor for factor in factors if not is_small(build, factor)]
    if len(small) < 2 or not rest:
        return None
    constants = merged([n for factor in small if (n := constant_of(build, factor)) is not None], op.result.type.dtype)
    others = [factor for factor in small if constant_of(build, factor) is None]
    # The values that repeat, and one constant with them, unless they have one already that it would overflow with.
    scale = math.prod(scale_of(build, factor) for factor in others)
    together = len(others) + bool(constants and (scale == 1 or is_moderate(scale * constants[0])))
    if 1 + len(others) + len(constants) - together == len(small):
        return None
    small = [*others, *(build.constant(number, op.result.type.dtype, op.result.type.shape) for number in constants)]
    product = build.emit("mul", product_of(build, rest), product_of(build, small[:together]))
    return product_of(build, [product, *small[together:]])


def small_factor_into_sum(op: Op, build: Rebuild) -> Value | None:
    """(x * c + y * d) * e = x * (c * e) + y * (d * e) for c, d that repeat and e = 2^k; so with -  rounding"""
    # By another e both products would be rounded once more: of terms that cancel that would be all that is left.
    if not is_float(op.result.type.dtype):
        return None
    for total, e in (op.operands, op.operands[::-1]):
        sum_of_products = build.match(total, "add", "sub")
        if sum_of_products is None or not build.used_once(total) or not is_power_of_two(constant_of(build, e)):
            continue
        terms = [factors_of(build, term) for term in sum_of_products.operands]
        if all(has_small_and_more(build, factors) for factors in terms):
            return build.emit(sum_of_products.name, *(product_of(build, [*factors, e]) for factors in terms))
    return None


def common_factor(op: Op, build: Rebuild) -> Value | None:
    """a * c + b * c = (a + b) * c, a * c + b * -c = (a - b) * c; so with -  extends (0 * inf was NaN)"""
    # Where c repeats and a and b have other factors that do, c costs nothing as it is (`small_factor_into_sum`).
    if not is_float(op.result.type.dtype) or op.operands[0] is op.operands[1] or build.shows_sign(op.result):
        return None
    left, right = (factors_of(build, operand) for operand in op.operands)
    for i, c in enumerate(left):
        for j, d in enumerate(right):
            sign = ratio(build, c, d)
            if sign == 0 or len(left) == 1 or len(right) == 1:
                continue
            rest = [*left[:i], *left[i + 1 :]], [*right[:j], *right[j + 1 :]]
            if is_small(build, c) and all(has_small_and_more(build, factors) for factors in rest):
                continue
            a, b = (product_of(build, factors) for factors in rest)
            if sign < 0 and op.name == "add" and is_negative(build, c):
                return build.emit("mul", build.emit("sub", b, a), d)
            return build.emit("mul", build.emit(op.name if sign > 0 else _OPPOSITE[op.name], a, b), c)
    return None


_OPPOSITE = {"add": "sub", "sub": "add"}


def divide_rows(op: Op, build: Rebuild) -> Value | None:
    """x / broadcast(s) = x * broadcast(1 / s) where s is a sum of exp(x - max): not below 1  rounding"""
    x, repeated = op.operands
    view = view_of(build, repeated)
    if view is None or not is_softmax_total(build.producer(view[0]), build.producer, guarded=True):
        return None
    if build.shows_rounding(op.result):
        return None
    one = build.constant(1, x.type.dtype, view[0].type.shape)
    return build.emit("mul", x, expand(build, build.emit("div", one, view[0]), view[1], x.type.shape))


def divide_small_factor(op: Op, build: Rebuild) -> Value | None:
    """(x * c) / d = x * (c / d) for c that repeats and a constant d in [2^-13, 2^13]  rounding"""
    product, divisor = op.operands
    if divides_well(build, divisor) is None or build.shows_rounding(op.result):
        return None
    factors = factors_of(build, product)
    small = [factor for factor in factors if is_small(build, factor)]
    if not small or len(factors) == len(small):
        return None
    chosen = next((factor for factor in small if constant_of(build, factor) is not None), small[0])
    factors[factors.index(chosen)] = build.emit("div", chosen, divisor)
    return product_of(build, factors)


def divide_by_constant(op: Op, build: Rebuild) -> Value | None:
    """x / c = x * (1 / c) for elements x and a constant c in [2^-13, 2^13]  rounding"""
    x, divisor = op.operands
    number = divides_well(build, divisor)
    if number is None or x.type.count == 1 or is_small(build, x) or build.shows_rounding(op.result):
        return None
    inverse = build.constant(round_to(1 / number, x.type.dtype), x.type.dtype, x.type.shape)
    return build.emit("mul", x, inverse)


def small_factor_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum(x * c) = sum(x) * c, or 0 of nothing, for a moderate constant c or a share, at no further sum  rounding"""
    # Another c may be 0 where x is too large to be summed: rows that are left out by a weight of 0 hold anything. What
    # exp(x - max) weights is not.
    product = build.match(op.operands[0], "mul")
    if product is None or op.result.type.dtype not in ("f32", "f64"):
        return None
    axes = op.attributes["axes"]
    kept = kept_axes(product.result.type.rank, axes)
    for x, c in (product.operands, product.operands[::-1]):
        number, view = constant_of(build, c), view_of(build, c)
        if is_small(build, x) or (number is None and (view is None or set(view[1]) & set(axes))):
            continue
        is_fit = is_share(build, c) or _is_weighted(build, x) if number is None else is_moderate(number)
        if not is_fit:
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
        return scaled if number is not None else unless_empty(build, scaled, terms, size)
    return None


def _is_weighted(build: Rebuild, x: Value) -> bool:
    """Whether `x` is exp(x - max), or a product with that: its sum is a mean, but for the sum of the weights."""
    product = build.match(x, "mul")
    return any(is_softmax_power(build, factor) for factor in (x, *(product.operands if product is not None else ())))


def softmax_factor_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum((e * c) * y) = sum((e * y) * c) for e = exp(x - max) and c not above 1, as 1 / sum(e) is  rounding"""
    # Else a sum of probabilities times anything waits for the sum that they are divided by. As neither e nor c is above
    # 1, e * y neither overflows nor underflows where the product with c does not. Another c where the sum of e * y is
    # there anyway: what else is made of that is no better.
    product = build.match(op.operands[0], "mul")
    if product is None or op.result.type.dtype not in ("f32", "f64") or not build.used_once(product.result):
        return None
    for inner_value, y in (product.operands, product.operands[::-1]):
        inner = build.match(inner_value, "mul")
        if inner is None or is_small(build, inner_value) or is_small(build, y):
            continue
        for e, c in (inner.operands, inner.operands[::-1]):
            view = ((), ()) if constant_of(build, c) is not None else view_of(build, c)
            if view is None or is_small(build, e) or not (is_softmax_power(build, e) or is_softmax_power(build, y)):
                continue
            if not is_share(build, c) and not _sums_product(op, e, y, build):
                continue
            if not set(view[1]) & set(op.attributes["axes"]):
                regrouped = build.emit("mul", build.emit("mul", e, y), c)
                return build.emit("reduce_sum", regrouped, axes=op.attributes["axes"])
    return None


def _sums_product(op: Op, e: Value, y: Value, build: Rebuild) -> bool:
    """Whether sum(e * y) along the axes of the sum `op` is computed before it."""
    axes = op.attributes["axes"]
    products = [
        reader for reader in build.readers(y) if reader.name == "mul" and {*map(build.now, reader.operands)} == {e, y}
    ]
    return any(_known_sum(op, product.result, axes, build) is not None for product in products)


def _known_sum(op: Op, x: Value, axes: tuple[int, ...], build: Rebuild) -> Value | None:
    """The sum of x along `axes`, if it is computed before `op`."""
    for reader in build.readers(x):
        if reader.name == "reduce_sum" and reader.attributes["axes"] == axes:
            total = build.now(reader.result)
            if build.producer(total) is not None and total is not op.result:
                return total
    return None


_PRODUCTS: Rules = {
    "mul": (small_factors_together, small_factor_into_sum),
    "div": (divide_rows, divide_small_factor, divide_by_constant),
    "add": (common_factor,),
    "sub": (common_factor,),
    "reduce_sum": (small_factor_out_of_sum, softmax_factor_out_of_sum),
}

RULES: Rules = {
    name: tuple(rule for table in (SCALES, _PRODUCTS, CHOICES) for rule in table.get(name, ()))
    for name in {**SCALES, **_PRODUCTS, **CHOICES}
}
