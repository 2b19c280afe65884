"""Divergences where logits and probabilities are at their edge, on devices in f32. Expected values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import run

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan
LOG_2 = math.log(2)

KL = """func @f(%x: f32[N], %t: f32[N]) -> (%loss: f32[N], %by_x: f32[N], %by_t: f32[N]) {{
  %loss = kl_div_loss %x, %t {{reduction = "none", log_target = {log_target}}}
  %by_x, %by_t = grad %loss, %x, %t
  return %loss, %by_x, %by_t
}}"""

# log-probability, target, value, derivative by both
KL_ROWS = [
    (-1, 0, 0, 0, 0), (-INF, 0, 0, 0, 0), (-1e4, 0, 0, 0, 0), (-3e38, 0, 0, 0, 0),
    (0, 1, 0, -1, 1), (-1, 0.5, 0.5 * (1 - LOG_2), -0.5, 2 - LOG_2), (-INF, 0.5, INF, -0.5, INF),
    (-1e4, 1, 1e4, -1, 1e4 + 1), (NAN, 0.5, NAN, -0.5, NAN), (-1, NAN, NAN, NAN, NAN),
]  # fmt: skip
KL_OF_LOGARITHMS = [
    (-1, -INF, 0, 0, 0), (-INF, -INF, 0, 0, 0), (-3e38, -INF, 0, 0, 0), (0, 0, 0, -1, 1),
    (-1, -LOG_2, 0.5 * (1 - LOG_2), -0.5, 0.5 * (2 - LOG_2)), (-INF, -1, INF, -math.exp(-1), INF),
    (-1e4, 0, 1e4, -1, 1e4 + 1), (-1, -1e4, 0, 0, 0), (NAN, -1, NAN, -math.exp(-1), NAN), (-1, NAN, NAN, NAN, NAN),
]  # fmt: skip


@pytest.mark.parametrize(("log_target", "rows"), [("false", KL_ROWS), ("true", KL_OF_LOGARITHMS)])
def test_kl_without_mass(log_target: str, rows: list[tuple[float, ...]], device: Device) -> None:
    """0 * log 0 = 0, whatever the prediction is there: 0 * -inf as well."""
    x, t, value, by_x, by_t = (np.array(column, np.float32) for column in zip(*rows))
    found = run(KL.format(log_target=log_target), device, x=x, t=t)
    np.testing.assert_allclose(found["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(found["by_x"], by_x, rtol=1e-6)
    np.testing.assert_allclose(found["by_t"], by_t, rtol=1e-6)


def rows_source(loss: str, attributes: str = "", columns: int | str = "C", result: str = "f32[N]") -> str:
    return f"""func @f(%p: f32[N, {columns}], %q: f32[N, {columns}])
        -> (%loss: {result}, %by_p: f32[N, {columns}], %by_q: f32[N, {columns}]) {{
      %loss = {loss} %p, %q {{{attributes}}}
      %by_p, %by_q = grad %loss, %p, %q
      return %loss, %by_p, %by_q
    }}"""


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


P = np.array([
    [1e4, -1e4, 0, 0],  # all of P on one class, all of Q on another
    [3e38, -3e38, 0, 0],
    [1, 2, 3, 4],  # equal
    [1, 2, -INF, -INF],  # masked on both sides
    [-INF, 0, 0, -INF],  # masked on one side
    [0, 0, 0, 0],  # uniform against a point
    [-INF, -INF, -INF, -INF],  # no distribution
    [NAN, 0, 0, 0],
    [INF, 0, 0, 0],
], np.float32)  # fmt: skip
Q = np.array([
    [-1e4, 1e4, 0, 0], [-3e38, 3e38, 0, 0], [1, 2, 3, 4], [2, 1, -INF, -INF], [0, 0, 0, 0], [1e4, 0, 0, 0],
    [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0],
], np.float32)  # fmt: skip
HALF = 0.5 * LOG_2


def js_by_hand(p: np.ndarray, q: np.ndarray, beta: float) -> float:
    def kl(a: np.ndarray, b: np.ndarray) -> float:
        with np.errstate(divide="ignore"):
            return float(sum(x * (np.log(x) - np.log(y)) for x, y in zip(a, b) if x > 0))

    if beta in (0, 1):
        return kl(p, q) if beta == 0 else kl(q, p)
    middle = beta * p + (1 - beta) * q
    return beta * kl(p, middle) + (1 - beta) * kl(q, middle)


@pytest.mark.parametrize("beta", [0.5, 0.1, 0.0, 1.0])
def test_js(beta: float, device: Device) -> None:
    found = run(rows_source("js_div_loss", f'beta = {beta}, reduction = "none"'), device, p=P, q=Q)
    for row in range(6):
        if beta in (0, 1) and row in (0, 1, 4, 5):
            continue  # one-sided, below
        p, q = softmax(P[row].astype(np.float64)), softmax(Q[row].astype(np.float64))
        np.testing.assert_allclose(found["loss"][row], js_by_hand(p, q, beta), rtol=1e-6, atol=1e-7, err_msg=str(row))
    for name in ("by_p", "by_q"):
        assert np.isfinite(found[name][[0, 2, 3]]).all()
    np.testing.assert_array_equal(found["by_p"][3, 2:], [0, 0])
    np.testing.assert_array_equal(found["by_q"][3, 2:], [0, 0])
    np.testing.assert_allclose(found["by_p"][2], 0, atol=1e-7)
    for name in ("loss", "by_p", "by_q"):
        assert np.isnan(found[name][6:]).all()


def test_js_of_disjoint_distributions(device: Device) -> None:
    """The entropy of beta where nothing is shared. One-sided infinite, but for classes that the first has not."""
    both = run(rows_source("js_div_loss", 'reduction = "none"'), device, p=P[:2], q=Q[:2])
    np.testing.assert_allclose(both["loss"], LOG_2, rtol=1e-6)
    np.testing.assert_array_equal(both["by_p"], 0)
    text = rows_source("js_div_loss", 'beta = 0.0, reduction = "none"')
    one_sided = run(text, device, p=P[[0, 4, 5]], q=Q[[0, 4, 5]])
    # KL of a point at class 0 from one at class 1, 2e4 logits lower; of a half on two of four; of the uniform one.
    np.testing.assert_allclose(one_sided["loss"], [2e4, LOG_2, 7500 - 2 * LOG_2], rtol=1e-6)
    other = run(rows_source("js_div_loss", 'beta = 1.0, reduction = "none"'), device, p=P[[4]], q=Q[[4]])
    np.testing.assert_array_equal(other["loss"], [INF])


def test_distillation(device: Device) -> None:
    """Student first. T^2 KL(teacher || student), by the student T (S - R)."""
    attributes = 'temperature = 2.0, reduction = "none"'
    found = run(rows_source("distillation_loss", attributes), device, p=P, q=Q)
    for row in (2, 3):
        s, r = softmax(P[row].astype(np.float64) / 2), softmax(Q[row].astype(np.float64) / 2)
        np.testing.assert_allclose(found["loss"][row], 4 * js_by_hand(r, s, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["by_p"][row], 2 * (s - r), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["loss"][0], 4e4, rtol=1e-6)
    # A student that rules out what its teacher does not is infinitely far; its gradient is finite.
    assert found["loss"][4] == INF
    np.testing.assert_allclose(found["by_p"][4], [-0.5, 0.5, 0.5, -0.5], rtol=1e-6)
    np.testing.assert_array_equal(found["by_p"][3, 2:], [0, 0])
    np.testing.assert_array_equal(found["by_q"][3, 2:], [0, 0])
    for name in ("loss", "by_p", "by_q"):
        assert np.isnan(found[name][6:]).all()


LOSSES = ["js_div_loss", "distillation_loss"]


@pytest.mark.parametrize("loss", LOSSES)
def test_one_class_and_no_rows(loss: str, device: Device) -> None:
    one = run(rows_source(loss, 'reduction = "none"', 1), device, p=P[:3, :1].copy(), q=Q[:3, :1].copy())
    np.testing.assert_array_equal(one["loss"], [0, 0, 0])
    np.testing.assert_array_equal(one["by_p"], np.zeros((3, 1)))
    for reduction, expected in (("mean", [NAN]), ("sum", [0.0])):
        text = rows_source(loss, f'reduction = "{reduction}"', 4, "f32[1]")
        nothing = run(text, device, p=P[:0], q=Q[:0])
        np.testing.assert_array_equal(nothing["loss"], expected)
        assert nothing["by_q"].shape == (0, 4)


@pytest.mark.parametrize(("loss", "attributes", "complaint"), [
    ("js_div_loss", "beta = 1.5", r"beta must lie in \[0, 1\]"), ("js_div_loss", "beta = nan", r"beta must lie"),
    ("distillation_loss", "temperature = 0.0", "temperature must be positive"),
    ("distillation_loss", "axis = 2", "axis"), ("js_div_loss", 'reduction = "batchmean"', "unknown reduction"),
])  # fmt: skip
def test_parameters_without_a_meaning(loss: str, attributes: str, complaint: str) -> None:
    with pytest.raises(LirError, match=complaint):
        run(rows_source(loss, attributes, result="f32[1]"), None)


@pytest.mark.parametrize(("loss", "columns"), [("js_div_loss", 4099), ("distillation_loss", 4099)])
def test_long_rows_of_large_logits(loss: str, columns: int, device: Device) -> None:
    random = np.random.default_rng(3)
    p, q = (random.normal(scale=30, size=(3, columns)).astype(np.float32) for _ in range(2))
    found = run(rows_source(loss, 'reduction = "none"'), device, p=p, q=q)
    for row in range(3):
        a, b = (softmax(x[row].astype(np.float64)) for x in (p, q))
        value = js_by_hand(a, b, 0.5) if loss == "js_div_loss" else js_by_hand(b, a, 0)
        np.testing.assert_allclose(found["loss"][row], value, rtol=1e-5)
