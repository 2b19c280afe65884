"""Regression losses and penalties where numbers are at their edge, on devices in f32. Expected values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import run

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan
LOG_2 = math.log(2)


def source(loss: str, operands: str = "x t", attributes: str = 'reduction = "none"') -> str:
    """The loss of f32[N] operands and its gradient by each."""
    names = operands.split()
    result = "f32[N]" if '"none"' in attributes else "f32[1]"
    inputs = ", ".join(f"%{name}: f32[N]" for name in names)
    given = ", ".join(f"%{name}" for name in names)
    gradients = ", ".join(f"%by_{name}" for name in names)
    return f"""func @f({inputs}) -> (%loss: {result}, {", ".join(f"%by_{name}: f32[N]" for name in names)}) {{
      %loss = {loss} {given} {{{attributes}}}
      {gradients} = grad %loss, {given}
      return %loss, {gradients}
    }}"""


def columns(rows: list[tuple[float, ...]]) -> list[np.ndarray]:
    return [np.array(column, np.float32) for column in zip(*rows)]


# x, t, value, derivative by x
DIFFERENCES = {
    "huber_loss": [
        (0, 0, 0, 0), (1, 0, 0.5, 1), (-1, 0, 0.5, -1), (1.5, 0, 1, 1), (0, 3, 2.5, -1), (1e4, 0, 9999.5, 1),
        (3e38, 0, 3e38, 1), (-3e38, 0, 3e38, -1), (3e38, -3e38, INF, 1), (INF, 0, INF, 1), (0, INF, INF, -1),
        (INF, INF, NAN, NAN), (NAN, 0, NAN, NAN), (1e-30, 0, 0, 1e-30), (0.5, 0.25, 0.03125, 0.25),
    ],
    "smooth_l1_loss": [
        (0, 0, 0, 0), (1, 0, 0.5, 1), (-1, 0, 0.5, -1), (1.5, 0, 1, 1), (0, 3, 2.5, -1), (1e4, 0, 9999.5, 1),
        (3e38, 0, 3e38, 1), (3e38, -3e38, INF, 1), (-INF, 0, INF, -1), (NAN, 0, NAN, NAN), (1e-30, 0, 0, 1e-30),
    ],
    "log_cosh_loss": [
        (0, 0, 0, 0), (-0.0, 0, 0, 0), (1, 0, math.log(math.cosh(1)), math.tanh(1)),
        (0, 1, math.log(math.cosh(1)), -math.tanh(1)), (1e4, 0, 1e4 - LOG_2, 1), (-1e4, 0, 1e4 - LOG_2, -1),
        (3e38, 0, 3e38, 1), (3e38, -3e38, INF, 1), (INF, 0, INF, 1), (-INF, 0, INF, -1), (NAN, 0, NAN, NAN),
        (1e-4, 0, 5e-9, 1e-4), (-1e-3, 0, 5e-7, -1e-3), (1e-20, 0, 0, 1e-20), (20, 0, 20 - LOG_2, 1),
    ],
    "poisson_nll_loss": [
        (0, 0, 1, 1), (0, 1, 1, 0), (1, 2, math.e - 2, math.e - 2), (100, 3, INF, INF), (-1e4, 3, 3e4, -3),
        (-INF, 0, NAN, 0), (-INF, 1, INF, -1), (NAN, 0, NAN, NAN), (50, 0, math.exp(50), math.exp(50)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("loss", DIFFERENCES)
def test_far_out_and_near_zero(loss: str, device: Device) -> None:
    x, t, value, derivative = columns(DIFFERENCES[loss])
    found = run(source(loss), device, x=x, t=t)
    # log cosh near 0: 2 eps |d| of the sum |d| + log1p(...).
    np.testing.assert_allclose(found["loss"], value, rtol=1e-6, atol=2e-10 if loss == "log_cosh_loss" else 0)
    np.testing.assert_allclose(found["by_x"], derivative, rtol=1e-6)
    if loss != "poisson_nll_loss":
        np.testing.assert_array_equal(found["by_t"], -found["by_x"])


def test_a_narrow_square(device: Device) -> None:
    """smooth_l1 with a width far below the differences is l1, derivative +-1 and 0 at 0; beta = 0 is exactly l1."""
    x = np.array([0, 1e-30, -1e-30, 5e-31, 2, -3e38, NAN], np.float32)
    t = np.zeros_like(x)
    narrow = run(source("smooth_l1_loss", "x t", 'beta = 1e-30, reduction = "none"'), device, x=x, t=t)
    np.testing.assert_allclose(narrow["loss"], [0, 5e-31, 5e-31, 1.25e-31, 2, 3e38, NAN], rtol=1e-6)
    np.testing.assert_allclose(narrow["by_x"], [0, 1, -1, 0.5, 1, -1, NAN], rtol=1e-6)
    none = run(source("smooth_l1_loss", "x t", 'beta = 0.0, reduction = "none"'), device, x=x, t=t)
    np.testing.assert_array_equal(none["loss"], np.abs(x))
    np.testing.assert_array_equal(none["by_x"], np.sign(x))


@pytest.mark.parametrize(("loss", "attributes", "complaint"), [
    ("huber_loss", "delta = 0.0", "delta must be positive"), ("huber_loss", "delta = -1.0", "delta must be positive"),
    ("smooth_l1_loss", "beta = -0.5", "beta must be at least 0"), ("gaussian_nll_loss", "eps = 0.0", "eps must be"),
    ("huber_loss", "reduction = \"batchmean\"", "unknown reduction"),
])  # fmt: skip
def test_parameters_without_a_meaning(loss: str, attributes: str, complaint: str) -> None:
    with pytest.raises(LirError, match=complaint):
        run(source(loss, "x t var" if "gauss" in loss else "x t", attributes), None, x=np.zeros(1, np.float32))


def test_poisson_of_rates(device: Device) -> None:
    """x - t log(x + 1e-8), with Stirling's term where t > 1."""
    x = np.array([0, 0, 2, 2, 1e4, 3e38], np.float32)
    t = np.array([0, 1, 1, 3, 0, 0], np.float32)
    attributes = 'log_input = false, full = true, reduction = "none"'
    found = run(source("poisson_nll_loss", "x t", attributes), device, x=x, t=t)
    stirling = 3 * math.log(3) - 3 + 0.5 * math.log(2 * math.pi * 3)
    value = [0, -math.log(1e-8), 2 - LOG_2, 2 - 3 * LOG_2 + stirling, 1e4, 3e38]
    np.testing.assert_allclose(found["loss"], value, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["by_x"], [1, 1 - 1e8, 0.5, -0.5, 1, 1], rtol=1e-6)
    by_t = [-math.log(1e-8), -math.log(1e-8), -LOG_2, -LOG_2 + math.log(3) + 1 / 6, -math.log(1e4), -math.log(3e38)]
    np.testing.assert_allclose(found["by_t"], by_t, rtol=1e-6)


def test_gaussian_at_its_clamp(device: Device) -> None:
    """v = max(var, 1e-6); the derivative by var is (1 - d^2 / v) / (2 v) on both sides."""
    x = np.array([0, 0, 1e-3, 2, 1e4, 0, INF], np.float32)
    var = np.array([0, 1e-12, 1e-6, 4, 1, NAN, 1], np.float32)
    found = run(source("gaussian_nll_loss", "x t var"), device, x=x, t=np.zeros_like(x), var=var)
    v = np.maximum(var.astype(np.float64), 1e-6)
    d = x.astype(np.float64)
    np.testing.assert_allclose(found["loss"], (np.log(v) + d * d / v) / 2, rtol=1e-6)
    np.testing.assert_allclose(found["by_x"], d / v, rtol=1e-6)
    by_var = (1 - d * d / v) / (2 * v)
    # At d^2 = v the derivative is 0, of terms of 5e5.
    np.testing.assert_allclose(found["by_var"], by_var, rtol=1e-6, atol=0.1)


def test_a_negative_variance_is_refused(device: Device) -> None:
    zeros = np.zeros(4, np.float32)
    with pytest.raises(LirError, match=r"a variance must not be negative.* at row 2"):
        run(source("gaussian_nll_loss", "x t var"), device, x=zeros, t=zeros, var=np.array([1, 0, -1e-30, -1], "f4"))
    found = run(source("gaussian_nll_loss", "x t var"), device, x=zeros, t=zeros, var=np.ones(4, np.float32))
    np.testing.assert_array_equal(found["loss"], zeros)


def test_a_variance_is_a_float() -> None:
    text = "func @f(%x: f32[3], %v: i32[3]) -> (f32[1]) {\n  %l = gaussian_nll_loss %x, %x, %v\n  return %l\n}"
    with pytest.raises(LirError, match="a variance is a float, found i32"):
        run(text, None)


LOSSES = {"huber_loss": "x t", "smooth_l1_loss": "x t", "log_cosh_loss": "x t", "poisson_nll_loss": "x t",
          "gaussian_nll_loss": "x t var", "l2_loss": "w", "l1_regularization": "w"}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_of_nothing_and_of_one(loss: str, device: Device) -> None:
    names = LOSSES[loss].split()
    for reduction, expected in (("mean", [NAN]), ("sum", [0.0]), ("none", [])):
        text = source(loss, LOSSES[loss], f'reduction = "{reduction}"')
        nothing = run(text, device, None, **dict.fromkeys(names, np.zeros(0, np.float32)))
        np.testing.assert_array_equal(nothing["loss"], expected)
        assert all(nothing[f"by_{name}"].shape == (0,) for name in names)
        one = run(text, device, None, **dict.fromkeys(names, np.ones(1, np.float32)))
        value = {"poisson_nll_loss": math.e - 1, "l2_loss": 0.5, "l1_regularization": 1}.get(loss, 0)
        np.testing.assert_allclose(one["loss"], [value], rtol=1e-6)


def test_penalties(device: Device) -> None:
    w = np.array([0, -0.0, 2, -3, 1e4, -3e38, INF, NAN], np.float32)
    squares = run(source("l2_loss", "w"), device, w=w)
    np.testing.assert_array_equal(squares["loss"], np.array([0, 0, 2, 4.5, 5e7, INF, INF, NAN], np.float32))
    np.testing.assert_array_equal(squares["by_w"], w)
    sizes = run(source("l1_regularization", "w"), device, w=w)
    np.testing.assert_array_equal(sizes["loss"], np.abs(w))
    np.testing.assert_array_equal(sizes["by_w"], np.array([0, 0, 1, -1, 1, -1, 1, NAN], np.float32))


@pytest.mark.parametrize("target", ["i8", "u8", "i64", "bool", "f64"])
def test_targets_of_other_types(target: str, device: Device) -> None:
    """They are cast in registers."""
    text = f"""func @f(%x: f32[N], %t: {target}[N]) -> (%loss: f32[N], %grad: f32[N]) {{
      %loss = huber_loss %x, %t {{reduction = "none"}}
      %grad = grad %loss, %x
      return %loss, %grad
    }}"""
    t = np.array([0, 1, 1, 0], {"i8": "i1", "u8": "u1", "i64": "i8", "bool": "?", "f64": "f8"}[target])
    found = run(text, device, x=np.array([0.5, 3, 1, -2], np.float32), t=t)
    np.testing.assert_array_equal(found["loss"], [0.125, 1.5, 0, 1.5])
    np.testing.assert_array_equal(found["grad"], [0.5, 1, 0, -1])
