"""Our elementary functions against float64, over the f32 numbers of their ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lossc.compiler.polynomials import POLYNOMIALS
from lossc.ir.kernel import Apply, Const, Expr, Var
from lossc.runtime.arithmetic import pointwise

ULP = 2.0**-23


def compute(name: str, x: np.ndarray) -> np.ndarray:
    """The polynomial as kernels evaluate it: every operation rounded to f32."""
    values: dict[str, Any] = {"x": x}

    def value(expression: Expr) -> Any:
        match expression:
            case Const(value=constant):
                return np.float32(constant)
            case Var(name=variable):
                return values[variable]
            case Apply(op=op, operands=operands, dtype=dtype):
                return pointwise(op, dtype, 1)(*np.broadcast_arrays(*map(value, operands)))
        raise AssertionError(expression)

    def let(hint: str, expression: Expr) -> Expr:
        variable = Var(f"{hint}{len(values)}", expression.dtype)
        values[variable.name] = value(expression)
        return variable

    with np.errstate(all="ignore"):
        return value(POLYNOMIALS[name, "f32"](let, Var("x", "f32")))


def numbers(low: float, high: float, step: int = 97) -> np.ndarray:
    """Every `step`-th f32 from `low` to `high`, both of them positive, and both ends."""
    bits = [int(np.float32(end).view(np.int32)) for end in (low, high)]
    return np.append(np.arange(bits[0], bits[1], step, dtype=np.int32), bits[1]).astype(np.int32).view(np.float32)


@pytest.mark.parametrize(
    ("name", "x", "exact", "ulps"),
    [
        ("exp_nonpositive", -numbers(1e-9, 40), np.exp, 2.5),
        ("exp_nonpositive", -numbers(40, 87.3), np.exp, 4.5),
        ("exp_of_negated", numbers(1e-9, 40), lambda x: np.exp(-x), 2.5),
        ("exp_of_negated", numbers(40, 87.3), lambda x: np.exp(-x), 4.5),
        ("log1p_unit", numbers(1e-30, 1), np.log1p, 3),
        ("log_from_one", numbers(1, 3e38), np.log, 3),
    ],
)
def test_errors(name: str, x: np.ndarray, exact: Callable[[np.ndarray], np.ndarray], ulps: float) -> None:
    wanted = exact(x.astype(np.float64))
    found = compute(name, x)
    near = np.abs(found - wanted) <= ulps * ULP * np.abs(wanted)
    assert near.all(), (x[~near][:3], found[~near][:3], wanted[~near][:3])


def test_ends() -> None:
    infinity, nan = np.float32(np.inf), np.float32(np.nan)
    zeros = compute("exp_nonpositive", np.array([-infinity, -1e9, -90, 0], np.float32))
    np.testing.assert_array_equal(zeros, [0, 0, 0, 1])
    zeros = compute("exp_of_negated", np.array([infinity, 1e9, 90, 88.3, 0], np.float32))
    np.testing.assert_array_equal(zeros, [0, 0, 0, 0, 1])
    tiny = compute("exp_of_negated", numbers(87.3, 88.3))
    assert ((tiny >= 0) & (tiny <= 2.0**-125)).all()
    np.testing.assert_array_equal(compute("log_from_one", np.array([1], np.float32)), [0])
    for name, _ in POLYNOMIALS:
        assert np.isnan(compute(name, np.array([nan], np.float32))).all()
