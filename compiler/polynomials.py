"""Own elementary functions for f32, as kernel expressions: cheaper than a library's where the range is known.

Minimax polynomials; their error over all f32 of the range is held by a test. Other dtypes use the library's functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..ir.kernel import Apply, Const, Expr

Let = Callable[[str, Expr], Expr]

# Highest power first: e^r on [-log(2) / 2, log(2) / 2], and log(1 + x) / x on [0, 1].
EXP = (0.008265925337849667, 0.04189901356798518, 0.16668109754932475,
       0.499991390210241, 0.9999994931554907, 1.0)  # fmt: skip
LOG1P = (0.005522452204099239, -0.030698692290260628, 0.08023449155610109, -0.13840810651387232,
         0.19194188805477147, -0.24867332392204988, 0.33322547636644745, -0.49999699970114053, 1.0)  # fmt: skip
LOG2_E, LOG_2 = 1.4426950408889634, 0.6931471805599453
ROUND, BIAS = 12582912.0, 127.0
"""1.5 * 2^23: adding it rounds to a whole number and leaves that in the low bits, or with 127 more the exponent."""
LEAST, LARGEST = -88.0, 88.3
"""exp(x) is below the normal range from about -87.3 on. Both make n = -127; the second with e^r < 1, see below."""


def _apply(op: str, *operands: Expr) -> Expr:
    return Apply(op, operands, "bool" if op == "lt" else "f32", operands[0].width)


def _horner(let: Let, variable: Expr, coefficients: Sequence[float]) -> Expr:
    result: Expr = Const(coefficients[0], "f32", variable.width)
    for coefficient in coefficients[1:]:
        result = let("p", _apply("fma", result, variable, Const(coefficient, "f32", variable.width)))
    return result


def exp_nonpositive(let: Let, x: Expr) -> Expr:
    """exp(x) = 2^n e^r for x <= 0, n the nearest whole number to x log2(e). NaN passes, -inf gives 0.

    log(2) rounded to f32 is off by 2e-9, which n <= 127 makes 2.4e-7 of r at the most: 2 ulp down to x = -40, 4 at -87.
    """

    def constant(value: float) -> Expr:
        return Const(value, "f32", x.width)

    least = constant(LEAST)
    t = let("t", _apply("select", _apply("lt", x, least), least, x))
    rounded = let("z", _apply("fma", t, constant(LOG2_E), constant(ROUND + BIAS)))
    n = let("n", _apply("sub", rounded, constant(ROUND + BIAS)))
    r = let("r", _apply("fma", n, constant(-LOG_2), t))
    return _apply("mul", _horner(let, r, EXP), _apply("power_of_two", rounded))


def exp_of_negated(let: Let, x: Expr) -> Expr:
    """exp(-x) for x >= 0, as `exp_nonpositive`; the negation costs nothing. The exponent is added as an integer,
    which leaves the multipliers free: below the normal range that gives 0 to 2^-125, and 0 from x = 88.3 on."""

    def constant(value: float) -> Expr:
        return Const(value, "f32", x.width)

    most = constant(LARGEST)
    t = let("t", _apply("select", _apply("lt", most, x), most, x))
    rounded = let("z", _apply("fma", t, constant(-LOG2_E), constant(ROUND)))
    n = let("n", _apply("sub", rounded, constant(ROUND)))
    minus_r = let("r", _apply("fma", n, constant(LOG_2), t))
    mirrored = [c if power % 2 == 0 else -c for power, c in zip(range(len(EXP) - 1, -1, -1), EXP)]
    return _apply("raise_exponent", _horner(let, minus_r, mirrored), rounded)


def log1p_unit(let: Let, x: Expr) -> Expr:
    """log(1 + x) = x P(x) for x in [0, 1]. 2 ulp."""
    return _apply("mul", x, _horner(let, x, LOG1P))


def log_from_one(let: Let, x: Expr) -> Expr:
    """log(x) = e log(2) + log(1 + (m - 1)) for x = 2^e m >= 1, m in [1, 2). NaN passes by x - x. 2 ulp."""
    exponent = let("e", _apply("exponent_of", x))
    rest = let("m", _apply("sub", _apply("significand_of", x), Const(1.0, "f32", x.width)))
    fraction = let("l", log1p_unit(let, rest))
    whole = let("l", _apply("fma", exponent, Const(LOG_2, "f32", x.width), fraction))
    return _apply("add", whole, _apply("sub", x, x))


POLYNOMIALS: Mapping[tuple[str, str], Callable[[Let, Expr], Expr]] = {
    ("exp_nonpositive", "f32"): exp_nonpositive,
    ("exp_of_negated", "f32"): exp_of_negated,
    ("log1p_unit", "f32"): log1p_unit,
    ("log_from_one", "f32"): log_from_one,
}
