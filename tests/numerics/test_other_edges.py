"""The other losses and layers where numbers are at their edge. Expected values are worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import run

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def elementwise(loss: str, attributes: str = 'reduction = "none"', *operands: str) -> str:
    """The loss of f32[N] and its gradient by the first operand."""
    inputs = ", ".join(f"%{name}: f32[N]" for name in ("x", "t", *operands))
    names = ", ".join(f"%{name}" for name in ("x", "t", *operands))
    result = "f32[N]" if "none" in attributes else "f32[1]"
    return f"""func @f({inputs}) -> (%loss: {result}, %grad: f32[N]) {{
      %loss = {loss} {names} {{{attributes}}}
      %grad = grad %loss, %x
      return %loss, %grad
    }}"""


# x, t, value, derivative by x
BCE = [
    (0.0, 0.0, 0.0, 0.0),
    (1.0, 1.0, 0.0, 0.0),
    # Logarithms are clamped at -100, the derivative is (x - t) / max((1 - x) x, 1e-12).
    (0.0, 1.0, 100.0, -1e12),
    (1.0, 0.0, 100.0, 1e12),
    (0.0, 0.5, 50.0, -0.5e12),
    (0.5, 0.5, math.log(2), 0.0),
    (0.5, 1.0, math.log(2), -2.0),
    (1e-30, 1.0, 30 * math.log(10), -1e12),
    (1e-44, 1.0, 100.0, -1e12),
    (0.25, 0.0, -math.log(0.75), 0.25 / (0.75 * 0.25)),
]


def test_bce_at_zero_and_one(device: Device) -> None:
    x, t, value, derivative = (np.array(column) for column in zip(*BCE))
    found = run(elementwise("bce_loss"), device, x=x.astype(np.float32), t=t.astype(np.float32))
    # log(1e-44) as f32: 1e-44 is 7 times the smallest denormal, its logarithm -100.9 is clamped.
    np.testing.assert_allclose(found["loss"], value, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found["grad"], derivative, rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1e-7, 1.0000001, INF, -INF])
def test_bce_refuses_what_is_no_probability(device: Device, wrong: float) -> None:
    x, t = f32(0.5, 1.0, wrong, 0.5), f32(1, 1, 1, 1)
    with pytest.raises(LirError, match=r"probability must lie in \[0, 1\].* at row 2"):
        run(elementwise("bce_loss"), device, x=x, t=t)


def _log1p_exp(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


# x, t, value, derivative
BCE_WITH_LOGITS = [
    (0.0, 0.0, math.log(2), 0.5),
    (0.0, 1.0, math.log(2), -0.5),
    (0.0, 0.25, math.log(2), 0.25),
    (-0.0, 1.0, math.log(2), -0.5),
    (1e4, 0.0, 1e4, 1.0),
    (1e4, 1.0, 0.0, 0.0),
    (-1e4, 0.0, 0.0, 0.0),
    (-1e4, 1.0, 1e4, -1.0),
    (3e38, 0.0, 3e38, 1.0),
    (-3e38, 1.0, 3e38, -1.0),
    (100.0, 1.0, 0.0, 0.0),
    (16.0, 0.0, _log1p_exp(16), 1 / (1 + math.exp(-16))),
    (-16.0, 0.0, _log1p_exp(-16), math.exp(-16) / (1 + math.exp(-16))),
    (1e-20, 0.0, math.log(2), 0.5),
    (NAN, 0.0, NAN, NAN),
    # inf * 0 and inf - inf are no numbers, the derivative sigmoid(x) - t is one.
    (INF, 0.0, NAN, 1.0),
    (INF, 1.0, NAN, 0.0),
    (-INF, 0.0, NAN, 0.0),
    (-INF, 1.0, INF, -1.0),
]


@pytest.mark.parametrize("strategy", [None, "row-group"])
def test_bce_with_logits(device: Device, strategy: str | None) -> None:
    x, t, value, derivative = (np.array(column, np.float32) for column in zip(*BCE_WITH_LOGITS))
    found = run(elementwise("bce_with_logits_loss"), device, strategy, x=x, t=t)
    np.testing.assert_allclose(found["loss"], value, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(found["grad"], derivative, rtol=1e-6, atol=2e-7)
    np.testing.assert_array_equal(found["grad"][:4], [0.5, -0.5, 0.25, -0.5])


def test_bce_with_logits_of_an_infinite_logit_is_torchs() -> None:
    """softplus(-inf) - (-inf) 1 = 0 + inf, and softplus(inf) - inf 0 has inf * 0 in it."""
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.logaddexp(0, np.inf) - np.float64(np.inf) * 0.0)
        assert np.logaddexp(0, -np.inf) - np.float64(-np.inf) * 1.0 == np.inf


def test_pos_weight_far_out(device: Device) -> None:
    """(1 - t) x + (1 + (p - 1) t) softplus(-x), for x > 0 as for x < 0."""
    source = """func @f(%x: f32[N], %t: f32[N], %p: f32[N]) -> (%loss: f32[N], %grad: f32[N]) {
      %loss = bce_with_logits_loss %x, %t, pos_weight = %p {reduction = "none"}
      %grad = grad %loss, %x
      return %loss, %grad
    }"""
    x, t, p = f32(2, -2, 1e4, -1e4, 1e4, 0), f32(1, 1, 1, 1, 0, 1), f32(3, 3, 3, 3, 3, 3)
    found = run(source, device, x=x, t=t, p=p)
    soft = math.log1p(math.exp(-2))
    np.testing.assert_allclose(found["loss"], [3 * soft, 3 * (soft + 2), 0, 3e4, 1e4, 3 * math.log(2)], rtol=1e-6)
    sigmoid = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(found["grad"], [3 * (sigmoid - 1), -3 * sigmoid, 0, -3, 1, -1.5], rtol=1e-6, atol=1e-12)


def test_squares_and_differences(device: Device) -> None:
    """Overflow is infinite, a difference of equal infinities no number, |d| at 0 has derivative 0."""
    x, t = f32(1, 1, 3e38, 3e20, INF, INF, NAN, -0.0, 1e-30), f32(1, 3, -3e38, 0, 0, INF, 0, 0.0, 0)
    squares = run(elementwise("mse_loss"), device, x=x, t=t)
    np.testing.assert_array_equal(squares["loss"], f32(0, 4, INF, INF, INF, NAN, NAN, 0, 0))
    np.testing.assert_array_equal(squares["grad"], f32(0, -4, INF, 6e20, INF, NAN, NAN, 0, 2e-30))
    differences = run(elementwise("l1_loss"), device, x=x, t=t)
    np.testing.assert_array_equal(differences["loss"], f32(0, 2, INF, 3e20, INF, NAN, NAN, 0, 1e-30))
    np.testing.assert_array_equal(differences["grad"], f32(0, -1, 1, 1, 1, NAN, NAN, 0, 1))


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "bce_loss", "bce_with_logits_loss"])
@pytest.mark.parametrize(("reduction", "expected"), [("mean", [NAN]), ("sum", [0.0]), ("none", [])])
def test_empty_batch(device: Device, loss: str, reduction: str, expected: list[float]) -> None:
    found = run(elementwise(loss, f'reduction = "{reduction}"'), device, x=f32(), t=f32())
    np.testing.assert_array_equal(found["loss"], expected)
    assert found["grad"].shape == (0,)


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss"])
def test_a_weighted_mean_divides_by_the_weights(device: Device, loss: str) -> None:
    x, t, w = f32(1, 2, 4), f32(0, 0, 0), f32(1, 0, 3)
    found = run(elementwise(loss, "", "w"), device, x=x, t=t, w=w)
    values = x**2 if loss == "mse_loss" else x
    np.testing.assert_allclose(found["loss"], [(w * values).sum() / 4], rtol=1e-6)
    zero = run(elementwise(loss, "", "w"), device, x=x, t=t, w=f32(0, 0, 0))
    assert np.isnan(zero["loss"]).all()


NLL = """func @f(%x: f32[N, 3], %t: {t}) -> (%loss: f32[N], %grad: f32[N, 3]) {{
  %loss = nll_loss %x, %t {{reduction = "none"}}
  %grad = grad %loss, %x
  return %loss, %grad
}}"""


def test_nll_of_minus_infinity(device: Device) -> None:
    x = np.array([[-INF, -1, -2], [-INF, -1, -2], [NAN, -1, -2]], np.float32)
    labels = run(NLL.format(t="i32[N]"), device, x=x, t=np.array([0, 1, 2], np.int32))
    np.testing.assert_array_equal(labels["loss"], [INF, 1, 2])
    np.testing.assert_array_equal(labels["grad"], [[-1, 0, 0], [0, -1, 0], [0, 0, -1]])
    t = np.array([[0.5, 0.5, 0], [0, 0.25, 0.75], [0, 1, 0]], np.float32)
    spread = run(NLL.format(t="f32[N, 3]"), device, x=x, t=t)
    np.testing.assert_array_equal(spread["loss"], [INF, 1.75, NAN])
    np.testing.assert_array_equal(spread["grad"], -t)


LAYERS = """func @f(%x: f32[N, 5]) -> (%p: f32[N, 5], %l: f32[N, 5], %s: f32[N], %a: i32[N]) {
  %p = softmax %x
  %l = log_softmax %x
  %s = logsumexp %x
  %a = argmax %x
  return %p, %l, %s, %a
}"""


def test_softmax_and_its_relatives(device: Device) -> None:
    x = np.array([
        [1e4, -1e4, 0, 1e4, 0],
        [-INF, 2, -INF, 2, -INF],
        [-INF] * 5,
        [0, 0, NAN, 0, 0],
        [0, INF, 0, 0, 0],
        [-3e38, 0, 3e38, 0, 0],
    ], np.float32)  # fmt: skip
    found = run(LAYERS, device, x=x)
    np.testing.assert_array_equal(found["p"][0], [0.5, 0, 0, 0.5, 0])
    np.testing.assert_array_equal(found["p"][1], [0, 0.5, 0, 0.5, 0])
    assert np.isnan(found["p"][[2, 3]]).all()
    np.testing.assert_array_equal(found["p"][5], [0, 0, 1, 0, 0])
    half = math.log(2)
    np.testing.assert_allclose(found["l"][0], [-half, -2e4 - half, -1e4 - half, -half, -1e4 - half], rtol=1e-6)
    np.testing.assert_allclose(found["l"][1], [-INF, -half, -INF, -half, -INF], rtol=1e-6)
    assert np.isnan(found["l"][[2, 3]]).all()
    np.testing.assert_allclose(found["s"], [1e4 + half, 2 + half, -INF, NAN, INF, 3e38], rtol=1e-6)
    np.testing.assert_array_equal(found["a"], [0, 1, 0, 2, 1, 2])


def test_the_gradient_of_logsumexp_is_nan_only_where_nothing_else_is_meant(device: Device) -> None:
    """As torch's, exp(x - logsumexp(x)): what is below an infinity has no share in it."""
    source = """func @f(%x: f32[N, 3]) -> (%s: f32[N], %g: f32[N, 3]) {
      %s = logsumexp %x
      %g = grad %s, %x
      return %s, %g
    }"""
    x = np.array([[1, INF, 2], [INF, INF, -INF], [-INF] * 3, [-INF, 0, 0], [NAN, 0, INF]], np.float32)
    found = run(source, device, x=x)
    np.testing.assert_allclose(found["s"], [INF, INF, -INF, math.log(2), NAN], rtol=1e-6)
    expected = [[0, NAN, 0], [NAN, NAN, 0], [NAN] * 3, [0, 0.5, 0.5], [NAN] * 3]
    np.testing.assert_allclose(found["g"], expected, rtol=1e-6)


def test_relu_sigmoid_tanh(device: Device) -> None:
    source = """func @f(%x: f32[N]) -> (%r: f32[N], %s: f32[N], %h: f32[N], %gr: f32[N], %gs: f32[N], %gh: f32[N]) {
      %r = relu %x
      %s = sigmoid %x
      %h = tanh %x
      %gr = grad %r, %x
      %gs = grad %s, %x
      %gh = grad %h, %x
      return %r, %s, %h, %gr, %gs, %gh
    }"""
    x = f32(0, -0.0, 1, -1, INF, -INF, NAN, 1e4, -1e4, -90)
    found = run(source, device, x=x)
    np.testing.assert_array_equal(found["r"], [0, 0, 1, 0, INF, 0, NAN, 1e4, 0, 0])
    one = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(found["s"], [0.5, 0.5, one, 1 - one, 1, 0, NAN, 1, 0, 0], rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(found["h"], np.tanh(x.astype(np.float64)), rtol=1e-6)
    np.testing.assert_array_equal(found["gr"][:6], [0, 0, 1, 0, 1, 0])
    np.testing.assert_allclose(found["gs"][:6], [0.25, 0.25, one * (1 - one), one * (1 - one), 0, 0], rtol=2e-6)
    np.testing.assert_allclose(found["gh"][:2], [1, 1])
    assert np.isnan([found["s"][6], found["h"][6], found["gs"][6], found["gh"][6]]).all()


def test_large_sums(device: Device) -> None:
    """Equal numbers round the same way at every step: the worst that can happen to a sum. No chain of additions is
    longer than 256 (the 16,384 elements of an item, in 4 accumulators of 16 lanes), whatever the length."""
    n = 3_000_001
    x = np.full(n, 1.1, np.float32)
    found = run(elementwise("l1_loss", ""), device, x=x, t=np.zeros(n, np.float32))
    np.testing.assert_allclose(found["loss"], [np.float64(np.float32(1.1))], rtol=256 * 2.0**-24)
    np.testing.assert_allclose(found["grad"], np.full(n, 1 / n), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_16_bit_storage(device: Device, dtype: str) -> None:
    """Arithmetic is in f32: no overflow in between, and results are rounded once, to the nearest even."""
    import ml_dtypes

    kind = np.float16 if dtype == "f16" else ml_dtypes.bfloat16
    source = f"""func @f(%x: {dtype}[N], %t: {dtype}[N]) -> (%loss: f32[1], %each: {dtype}[N], %grad: {dtype}[N]) {{
      %loss = mse_loss %x, %t
      %each = mse_loss %x, %t {{reduction = "none"}}
      %grad = grad %each, %x
      return %loss, %each, %grad
    }}"""
    x = np.array([300, 1.5, -2, 0.1, 5e-8, 65504], np.float32).astype(kind)
    found = run(source, device, x=x, t=np.zeros(6, np.float32).astype(kind))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(found["loss"], [(wide**2).mean()], rtol=1e-6)
    with np.errstate(over="ignore"):
        for name, exact in (("each", wide**2), ("grad", 2 * wide)):
            expected = exact.astype(np.float32).astype(kind)
            np.testing.assert_array_equal(found[name].astype(np.float32), expected.astype(np.float32))
