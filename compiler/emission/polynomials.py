"""Own elementary functions for f32, as kernel expressions: cheaper than a library's, most of them because the
range of the operand is known.

Minimax polynomials. Their errors, in ulps of 2^-23 of the result, are held by a test over all f32 that an operand is
reduced to and a sample of the others, with division rounded correctly. NaN passes through all of them. Other dtypes use
the library's functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ...ir.kernel import Apply, Const, Expr

Let = Callable[[str, Expr], Expr]

# Highest power first. e^r and (e^r - 1) / r on [-log(2) / 2, log(2) / 2].
EXP = (0.008265925337849667, 0.04189901356798518, 0.16668109754932475,
       0.499991390210241, 0.9999994931554907, 1.0)  # fmt: skip
EXPM1 = (0.0013869674876332283, 0.008366248570382595, 0.04166744649410248, 0.1666654646396637,
         0.4999999701976776, 1.0)  # fmt: skip
# (log(1 + x) / (x + v) - 1 / 2) / u as a function of u = x v, v = x / (1 + x), for x in [-1/2, 1].
LOG1P = (0.0006091421819292009, -0.0034984489902853966, 0.016654934734106064, -0.08333273977041245)
# (2 atanh(q) / q - 2) / q^2 as a function of q^2, for |q| <= (sqrt(2) - 1) / (sqrt(2) + 1).
ATANH = (0.2987068295478821, 0.3997758626937866, 0.6666677594184875)
# tanh(q) / q as a function of q^2, for |q| <= log(2) / 4.
TANH = (0.13093344, -0.3333064, 0.99999996)
LOG2_E, LOG_2 = 1.4426950408889634, 0.6931471805599453
ROUND, BIAS = 12582912.0, 127.0
"""1.5 * 2^23: adding it rounds to a whole number and leaves that in the low bits, with 127 more the exponent of 2^n."""
LEAST = -88.0
"""exp(x) is below the normal range from about -87.3 on. This makes n = -127."""
LEAST_OF_EXPM1 = -20.0
"""From about -17.3 on exp(x) - 1 is -1."""


def _apply(op: str, *operands: Expr) -> Expr:
    return Apply(op, operands, "bool" if op in ("lt", "eq") else "f32", operands[0].width)


def _like(x: Expr) -> Callable[[float], Expr]:
    """Constants as wide as x."""
    return lambda value: Const(value, "f32", x.width)


def _scaled(coefficients: Sequence[float], scale: float) -> list[float]:
    """Those of the polynomial of `scale` times its variable."""
    return [c * scale**power for power, c in zip(range(len(coefficients) - 1, -1, -1), coefficients)]


def _horner(let: Let, variable: Expr, coefficients: Sequence[float]) -> Expr:
    result: Expr = Const(coefficients[0], "f32", variable.width)
    for coefficient in coefficients[1:]:
        result = let("p", _apply("fma", result, variable, Const(coefficient, "f32", variable.width)))
    return result


# --- exponentials -------------------------------------------------------------------------------------------


def exp_nonpositive(let: Let, x: Expr, scale: float = 1.0) -> Expr:
    """exp(x) = 2^n e^r for x <= 0, n the nearest whole number to x log2(e). -inf gives 0.

    log(2) rounded to f32 is off by 2e-9, which n <= 127 makes 2.4e-7 of r at the most: 2.2 ulp down to x = -40, 3.3 at
    -87. With a `scale` it is exp(scale x), for as many products: log(2) / scale is rounded in place of scale x.
    """
    rounded, r = _reduced(let, x, LEAST, scale)
    return _apply("mul", _horner(let, r, _scaled(EXP, scale)), _apply("power_of_two", rounded))


def expm1_nonpositive(let: Let, x: Expr, scale: float = 1.0) -> Expr:
    """exp(x) - 1 = 2^n (e^r - 1) + (2^n - 1) for x <= 0, which is r P(r) alone where n = 0. 1.1 ulp. With a `scale` it
    is exp(scale x) - 1, where scale x <= 0."""
    rounded, r = _reduced(let, x, LEAST_OF_EXPM1, scale)
    power = let("s", _apply("power_of_two", rounded))
    near = let("l", _apply("mul", r, _horner(let, r, [c * scale for c in _scaled(EXPM1, scale)])))
    return _apply("fma", power, near, _apply("sub", power, _like(x)(1.0)))


def tanh_reduced(let: Let, x: Expr, scale: float = 1.0) -> Expr:
    """tanh(x) = (1 - E) / (1 + E) with E = exp(-2 |x|) = 2^n e^r and e^r = (1 - t) / (1 + t), t = tanh(-r / 2): that is
    (1 - 2^n + (1 + 2^n) t) / (1 + 2^n + (1 - 2^n) t), and t where n = 0; with the sign of x. t is odd in r, which takes
    half the terms of e^r, and both sums are under way at once. 2 ulp. With a `scale` it is tanh(scale x)."""
    one = _like(x)(1.0)
    rounded, r = _reduced(let, let("a", _apply("abs", x)), LEAST_OF_EXPM1, -2.0 * abs(scale))
    power = let("s", _apply("power_of_two", rounded))
    odd = [c * abs(scale) ** (2 * k + 1) for k, c in zip(range(len(TANH) - 1, -1, -1), TANH)]
    t = let("t", _apply("mul", r, _horner(let, let("p", _apply("mul", r, r)), odd)))
    less, more = let("l", _apply("sub", one, power)), let("m", _apply("add", one, power))
    quotient = _apply("div", let("e", _apply("fma", more, t, less)), let("d", _apply("fma", less, t, more)))
    return _apply("copysign", quotient, x if scale > 0 else _apply("neg", x))


def _reduced(let: Let, x: Expr, least: float, scale: float) -> tuple[Expr, Expr]:
    """n + 127 + ROUND and r = x - n log(2) / scale, which is what is left of scale x over `scale`, for scale x from
    `least` on; as if it were that below."""
    constant = _like(x)
    limit = constant(least / scale)
    beyond = _apply("lt", x, limit) if scale > 0 else _apply("lt", limit, x)
    t = let("t", _apply("select", beyond, limit, x))
    rounded = let("z", _apply("fma", t, constant(LOG2_E * scale), constant(ROUND + BIAS)))
    n = let("n", _apply("sub", rounded, constant(ROUND + BIAS)))
    return rounded, let("r", _apply("fma", n, constant(-LOG_2 / scale), t))


# --- logarithms ---------------------------------------------------------------------------------------------


def log1p_near(let: Let, x: Expr) -> Expr:
    """log(1 + x) for x in [-1/2, 1]. 1.25 ulp.

    With l = log(1 + x) and v = x / (1 + x) = 1 - exp(-l), x + v = 2 sinh(l) is odd in l and u = x v = x - v =
    4 sinh^2(l / 2) is even. So l = (x + v) G(u), with a G that is much smoother than log(1 + x) / x.
    """
    one = _like(x)(1.0)
    v = let("v", _apply("mul", x, let("r", _apply("div", one, let("d", _apply("add", x, one))))))
    u = let("u", _apply("sub", x, v))
    rest = let("p", _apply("fma", let("o", _apply("add", x, v)), _horner(let, u, LOG1P), _like(x)(-0.5)))
    return let("l", _apply("fma", u, rest, x))


def log1p_nonpositive(let: Let, x: Expr) -> Expr:
    """log(1 + x) for x in [-1, 0], -inf at -1: with 1 + x = 2^n m it is n log(2) + log(1 + f), f = 2^-n x + (2^-n - 1)
    computed without a rounding of 1 + x. 0.7 ulp."""
    constant = _like(x)
    y = let("y", _apply("add", x, constant(1.0)))
    power = let("s", _apply("reciprocal_power", y))
    rest = let("m", _apply("fma", x, power, _apply("sub", power, constant(1.0))))
    found = let("l", _joined(let, _apply("exponent_of", y), rest))
    return _apply("select", _apply("eq", y, constant(0.0)), constant(-math.inf), found)


def log_normal(let: Let, x: Expr) -> Expr:
    """log(x) for x from 2^-126 on, infinity included. 0.7 ulp."""
    found = let("l", _joined(let, _apply("exponent_of", x), _significand_less_one(let, x)))
    return _apply("select", _apply("lt", x, _like(x)(math.inf)), found, x)  # NaN is not below


def log_unit(let: Let, x: Expr) -> Expr:
    """log(x) for x in [0, 1], -inf at 0. 0.7 ulp."""
    constant = _like(x)
    found = let("l", log_unit_clamped(let, x))
    return _apply("select", _apply("eq", x, constant(0.0)), constant(-math.inf), found)


def log_unit_clamped(let: Let, x: Expr) -> Expr:
    """log(x) for x in [0, 1], where nothing counts that is below `LEAST_LOG`: that is what comes of 0."""
    constant = _like(x)
    # No number below the normal range is left, and no -0.
    scaled = let("x", _apply("fma", x, constant(2.0**64), constant(0.0)))
    exponent = let("e", _apply("sub", _apply("exponent_of", scaled), constant(64 * 2.0**23)))
    found = let("l", _joined(let, exponent, _significand_less_one(let, scaled)))
    return _apply("select", _apply("lt", found, x), found, x)  # log(x) < x: only NaN is not above its logarithm


LEAST_LOG = -132.0


def _significand_less_one(let: Let, x: Expr) -> Expr:
    return let("m", _apply("sub", _apply("significand_of", x), Const(1.0, "f32", x.width)))


def _joined(let: Let, exponent: Expr, f: Expr) -> Expr:
    """n log(2) + log(1 + f), from 2^23 n and f in [sqrt(1/2) - 1, sqrt(2) - 1].

    log(1 + f) = 2 atanh(q) with q = f / (2 + f), which is f + q (q^2 P(q^2) - f): a division and half of the products
    of a polynomial in f, and the division has a unit of its own.
    """
    q = let("q", _apply("div", f, let("d", _apply("add", f, _like(f)(2.0)))))
    square = let("p", _apply("mul", q, q))
    rest = let("p", _apply("fma", square, _horner(let, square, ATANH), _apply("neg", f)))
    near = let("l", _apply("fma", q, rest, f))
    return _apply("fma", exponent, _like(f)(LOG_2 * 2.0**-23), near)


POLYNOMIALS: Mapping[tuple[str, str], Callable[[Let, Expr], Expr]] = {
    (function.__name__, "f32"): function
    for function in (
        exp_nonpositive, expm1_nonpositive, log1p_near, log1p_nonpositive, log_normal,
        log_unit, log_unit_clamped, tanh_reduced,
    )
}  # fmt: skip

SCALED: Mapping[str, Callable[[Let, Expr, float], Expr]] = {
    "exp_nonpositive": exp_nonpositive, "expm1_nonpositive": expm1_nonpositive, "tanh_reduced": tanh_reduced,
}  # fmt: skip
"""Those that take a factor of their operand into their constants, for nothing."""
LEAST_SCALE, LARGEST_SCALE = 2.0**-10, 2.0**10
"""Between these magnitudes all constants stay normal, and what is rounded to f32 stays as exact."""
