"""Our elementary functions against float64, over all f32 numbers of their ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest

from lossc.compiler.emission.folding import scaled
from lossc.compiler.emission.polynomials import LARGEST_SCALE, LEAST_LOG, LEAST_SCALE, POLYNOMIALS, SCALED
from lossc.ir.kernel import Apply, Const, Expr, Var
from lossc.runtime.arithmetic import pointwise

ULP = 2.0**-23


def compute(name: str, x: np.ndarray, division_off: float = 0.0, scale: float | None = None) -> np.ndarray:
    """The polynomial as kernels evaluate it: every operation rounded to f32, quotients off by so many ulps. With a
    `scale`, of that many times x."""
    values: dict[str, Any] = {"x": x}

    def value(expression: Expr) -> Any:
        match expression:
            case Const(value=constant):
                return np.float32(constant)
            case Var(name=variable):
                return values[variable]
            case Apply(op=op, operands=operands, dtype=dtype):
                found = pointwise(op, dtype, 1)(*np.broadcast_arrays(*map(value, operands)))
                return (found * (1 + division_off * ULP)).astype(np.float32) if op == "div" else found
        raise AssertionError(expression)

    def let(hint: str, expression: Expr) -> Expr:
        variable = Var(f"{hint}{len(values)}", expression.dtype)
        values[variable.name] = value(expression)
        return variable

    with np.errstate(all="ignore"):
        if scale is not None:
            return value(SCALED[name](let, Var("x", "f32"), scale))
        return value(POLYNOMIALS[name, "f32"](let, Var("x", "f32")))


def numbers(low: float, high: float, step: int = 1) -> Iterator[np.ndarray]:
    """Every f32 (every `step`-th) from `low` to `high`, both of them positive, by pieces."""
    first, last = (int(np.float32(end).view(np.int32)) for end in (low, high))
    for start in range(first, last + 1, PIECE * step):
        yield np.arange(start, min(start + PIECE * step, last + 1), step, dtype=np.int32).view(np.float32)


def negative(*parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    return map(np.negative, chain(*parts))


PIECE = 2**16
SMALL = 2.0**-7
"""Below that the functions that are x near 0 are x (1 + c x): a sample of those is as good as all."""
SAMPLE = 13

Exact = Callable[[np.ndarray], np.ndarray]

# Function, numbers, float64, ulps. Of what a function is reduced to every f32 from SMALL on: |x| up to log(2) / 2 for
# exponentials, one binade around 1 for logarithms; where only the exponent differs, a sample.
CASES: dict[str, tuple[str, Callable[[], Iterator[np.ndarray]], Exact, float]] = {
    "exp": ("exp_nonpositive", lambda: negative(numbers(SMALL, 0.4), numbers(0.4, 40, SAMPLE)), np.exp, 2.2),
    "exp, small": ("exp_nonpositive", lambda: negative(numbers(40, 87.3)), np.exp, 3.3),
    "expm1": ("expm1_nonpositive", lambda: negative(numbers(SMALL, 1.1), numbers(1.1, 100, SAMPLE)), np.expm1, 1.1),
    "tanh": ("tanh_reduced", lambda: chain(numbers(SMALL, 0.6), numbers(0.6, 20, SAMPLE)), np.tanh, 2),
    "log1p": ("log1p_near", lambda: numbers(SMALL, 1), np.log1p, 1.25),
    "log1p, below 0": ("log1p_near", lambda: negative(numbers(SMALL, 0.5)), np.log1p, 1.25),
    "log1p, negative": ("log1p_nonpositive", lambda: negative(numbers(SMALL, 1 - 2.0**-24)), np.log1p, 0.7),
    "log near 1": ("log_normal", lambda: numbers(0.5, 2), np.log, 0.7),
    "log": ("log_normal", lambda: numbers(2.0**-126, 3.4e38, 97), np.log, 0.7),
    "log of a probability": ("log_unit", lambda: chain(numbers(0.5, 1), numbers(2.0**-126, 0.5, 97)), np.log, 0.7),
    "log below the normal range": ("log_unit", lambda: numbers(2.0**-149, 2.0**-126), np.log, 0.7),
    "log of a probability, clamped": ("log_unit_clamped", lambda: numbers(0.5, 1), np.log, 0.7),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_errors(case: str) -> None:
    name, pieces, exact, ulps = CASES[case]
    for x in pieces():
        wanted = exact(x.astype(np.float64))
        found = compute(name, x)
        near = np.abs(found - wanted) <= ulps * ULP * np.abs(wanted)
        assert near.all(), (x[~near][:3], found[~near][:3], wanted[~near][:3])


@pytest.mark.parametrize(
    ("case", "sign"), [("expm1", -1), ("tanh", 1), ("log1p", 1), ("log1p, below 0", -1), ("log1p, negative", -1)]
)
def test_near_0(case: str, sign: int) -> None:
    """There they are x, to within a rounding and what the next term of the series adds."""
    name, _, exact, ulps = CASES[case]
    x = sign * np.concatenate(list(numbers(2.0**-126, SMALL, 97)))
    wanted = exact(x.astype(np.float64))
    assert (np.abs(compute(name, x) - wanted) <= ulps * ULP * np.abs(wanted)).all()


@pytest.mark.parametrize(("case", "ulps"), [("log1p", 2.7), ("log1p, below 0", 2.7), ("tanh", 4.6)])
@pytest.mark.parametrize("off", [-2.5, 2.5])
def test_division_that_is_not_rounded_correctly(case: str, ulps: float, off: float) -> None:
    """OpenCL allows 2.5 ulp in a quotient; on CPUs it is rounded correctly."""
    name, pieces, exact, _ = CASES[case]
    for x in islice(pieces(), 0, None, 7):
        wanted = exact(x.astype(np.float64))
        assert (np.abs(compute(name, x, off) - wanted) <= ulps * ULP * np.abs(wanted)).all()


def test_exponential_near_0() -> None:
    x = -np.concatenate(list(numbers(2.0**-126, SMALL, 97)))
    assert (np.abs(compute("exp_nonpositive", x) - np.exp(x.astype(np.float64))) <= ULP).all()


SCALES = (LEAST_SCALE, 0.07, 1 / 30, 0.5, 1 / 3, 1.7, 30.0, LARGEST_SCALE, -LEAST_SCALE, -1.0, -2.0, -LARGEST_SCALE)


@pytest.mark.parametrize("scale", [float(np.float32(scale)) for scale in SCALES])
@pytest.mark.parametrize("case", ["exp", "expm1", "tanh"])
def test_with_a_scale(case: str, scale: float) -> None:
    """No more is lost than where scale x is rounded first: half an ulp near 0, of exp half an ulp times scale x."""
    name, pieces, exact, ulps = CASES[case]
    for x in islice(pieces(), 0, None, 13):
        x = (x / np.float32(scale)).astype(np.float32)
        scaled = scale * x.astype(np.float64)
        wanted = exact(scaled)
        allowed = ulps + (0.5 * np.abs(scaled) if case == "exp" else 0.5)
        assert (np.abs(compute(name, x, scale=scale) - wanted) <= allowed * ULP * np.abs(wanted)).all()
    ends = np.array([0, np.inf, np.nan], np.float32) * (1 if case == "tanh" else -1)
    np.testing.assert_array_equal(compute(name, ends * np.float32(math.copysign(1, scale)), scale=scale), exact(ends))


def test_a_scale_is_one_that_the_functions_take() -> None:
    """Of a product of two constants, as a mask that is known leaves it, either may be the scale."""
    small, zero, x = Const(0.3, "f32"), Const(0.0, "f32"), Var("x", "f32")
    assert scaled(Apply("mul", (small, zero), "f32")) == (zero, 0.3)
    assert scaled(Apply("mul", (zero, small), "f32")) == (zero, 0.3)
    too_large = Apply("mul", (x, Const(2 * LARGEST_SCALE, "f32")), "f32")
    assert scaled(too_large) == (too_large, 1.0)


def test_ends() -> None:
    infinity = np.float32(np.inf)
    zeros = compute("exp_nonpositive", np.array([-infinity, -1e9, -90, 0], np.float32))
    np.testing.assert_array_equal(zeros, [0, 0, 0, 1])
    found = compute("expm1_nonpositive", np.array([-infinity, -1e9, -0.0, 0], np.float32))
    np.testing.assert_array_equal(found, [-1, -1, 0, 0])
    np.testing.assert_array_equal(compute("log_normal", np.array([1, infinity], np.float32)), [0, infinity])
    np.testing.assert_array_equal(compute("log1p_nonpositive", np.array([-1, -0.0, 0], np.float32)), [-infinity, 0, 0])
    np.testing.assert_array_equal(compute("log1p_near", np.array([-0.0, 0], np.float32)), [0, 0])
    np.testing.assert_array_equal(compute("log_unit", np.array([0, -0.0, 1], np.float32)), [-infinity, -infinity, 0])
    signs = compute("tanh_reduced", np.array([-0.0, 0, -infinity, infinity], np.float32))
    np.testing.assert_array_equal(np.copysign(1, signs), [-1, 1, -1, 1])
    clamped = compute("log_unit_clamped", np.array([0, -0.0], np.float32))
    assert (clamped <= LEAST_LOG).all()


@pytest.mark.parametrize("name", [name for name, _ in POLYNOMIALS])
@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_nan(name: str, bits: int) -> None:
    """With either sign (inf - inf has one on x86) and whatever its lower bits are (all are set on some GPUs)."""
    assert np.isnan(compute(name, np.array([bits], np.uint32).view(np.float32))).all()


def test_every_function_is_tried() -> None:
    assert {name for name, *_ in CASES.values()} == {name for name, _ in POLYNOMIALS}
