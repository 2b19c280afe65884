"""Own elementary functions for f32, as kernel expressions: cheaper than a library's where the range is known.

Minimax polynomials; their error over all f32 of the range is held by a test. Other dtypes use the library's functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..ir.kernel import Apply, Const, Expr

Let = Callable[[str, Expr], Expr]

# Highest power first: 2^r on [-1/2, 1/2], and log(1 + x) / x on [0, 1].
EXP2 = (0.0013225703535150563, 0.009671762927499808, 0.05550891450449668, 0.2402223703596618, 0.6931468292421027, 1.0)
LOG1P = (0.005522452204099239, -0.030698692290260628, 0.08023449155610109, -0.13840810651387232,
         0.19194188805477147, -0.24867332392204988, 0.33322547636644745, -0.49999699970114053, 1.0)  # fmt: skip
LOG2_E, LOG2_E_REST = 1.4426950216293335, 1.925963033500012e-08
"""log2(e) as an f32 and what that leaves out."""
ROUND = 12583039.0
"""1.5 * 2^23 + 127: adding it rounds to a whole number and leaves its biased exponent in the low bits."""
LEAST = -88.0
"""exp(x) is below the normal range from about -87.3 on: flushed to 0."""


def _apply(op: str, *operands: Expr) -> Expr:
    return Apply(op, operands, "bool" if op == "lt" else "f32", operands[0].width)


def _horner(let: Let, variable: Expr, coefficients: Sequence[float]) -> Expr:
    result: Expr = Const(coefficients[0], "f32", variable.width)
    for coefficient in coefficients[1:]:
        result = let("p", _apply("fma", result, variable, Const(coefficient, "f32", variable.width)))
    return result


def exp_nonpositive(let: Let, x: Expr, hint: str) -> Expr:
    """exp(x) = 2^n 2^r for x <= 0, n the nearest whole number to x log2(e). NaN passes, -inf gives 0. 2 ulp."""

    def constant(value: float) -> Expr:
        return Const(value, "f32", x.width)

    least = constant(LEAST)
    t = let("t", _apply("select", _apply("lt", x, least), least, x))
    rounded = let("z", _apply("fma", t, constant(LOG2_E), constant(ROUND)))
    n = let("n", _apply("sub", rounded, constant(ROUND)))
    coarse = let("r", _apply("fma", t, constant(LOG2_E), _apply("neg", n)))
    r = let("r", _apply("fma", t, constant(LOG2_E_REST), coarse))
    return let(hint, _apply("mul", _horner(let, r, EXP2), _apply("power_of_two", rounded)))


def log1p_unit(let: Let, x: Expr, hint: str) -> Expr:
    """log(1 + x) = x P(x) for x in [0, 1]. 2 ulp."""
    return let(hint, _apply("mul", x, _horner(let, x, LOG1P)))


POLYNOMIALS: Mapping[tuple[str, str], Callable[[Let, Expr, str], Expr]] = {
    ("exp_nonpositive", "f32"): exp_nonpositive,
    ("log1p_unit", "f32"): log1p_unit,
}
