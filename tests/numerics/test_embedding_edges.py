"""Losses on pairs and triples where numbers are at their edge, on devices in f32. Expected values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import run

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan

COSINE = """func @f(%a: f32[N, 4], %b: f32[N, 4], %t: i8[N]) -> (%loss: f32[N], %by_a: f32[N, 4], %by_b: f32[N, 4]) {
  %loss = cosine_embedding_loss %a, %b, %t {reduction = "none"}
  %by_a, %by_b = grad %loss, %a, %b
  return %loss, %by_a, %by_b
}"""


def test_cosine_of_zero_vectors(device: Device) -> None:
    """The cosine is 0 with everything, its gradient finite: b / sqrt(1e-12 b.b)."""
    a = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    b = np.array([[3, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [3, 4, 0, 0]], np.float32)
    found = run(COSINE, device, a=a, b=b, t=np.array([1, 1, 1, -1], np.int8))
    np.testing.assert_array_equal(found["loss"], [1, 1, 1, 0])
    np.testing.assert_allclose(found["by_a"][0], [-6e5, -8e5, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(found["by_b"][0], [0, 0, 0, 0])
    np.testing.assert_array_equal(found["by_a"][1], [0, 0, 0, 0])
    np.testing.assert_allclose(found["by_b"][2], [-1e6, 0, 0, 0], rtol=1e-6)
    # At cos = margin the derivative is that of cos - margin.
    np.testing.assert_allclose(found["by_a"][3], [6e5, 8e5, 0, 0], rtol=1e-6)


def test_cosine_of_long_and_short_vectors(device: Device) -> None:
    a = np.array([[1e4, 0, 0, 0], [1e18, 1e18, 0, 0], [1e-4, 0, 0, 0], [2, 1, 0, 0], [NAN, 0, 0, 0]], np.float32)
    b = np.array([[1e4, 1e4, 0, 0], [1e18, -1e18, 0, 0], [3e4, 0, 0, 0], [-2, -1, 0, 0], [1, 0, 0, 0]], np.float32)
    found = run(COSINE, device, a=a, b=b, t=np.array([1, 1, 1, 1, 1], np.int8))
    # The third: 1 / sqrt(1 + 1e-12 / 1e-8).
    expected = [1 - math.sqrt(0.5), 1, 1 - 1 / math.sqrt(1 + 1e-4), 2, NAN]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6, atol=1e-7)
    for name in ("by_a", "by_b"):
        assert np.isfinite(found[name][:4]).all()
    np.testing.assert_allclose(found["by_a"][3], 0, atol=1e-7)


def triplet(attributes: str) -> str:
    return f"""func @f(%a: f32[N, 3], %p: f32[N, 3], %n: f32[N, 3])
        -> (%loss: f32[N], %by_a: f32[N, 3], %by_p: f32[N, 3], %by_n: f32[N, 3]) {{
      %loss = triplet_loss %a, %p, %n {{{attributes}, reduction = "none"}}
      %by_a, %by_p, %by_n = grad %loss, %a, %p, %n
      return %loss, %by_a, %by_p, %by_n
    }}"""


@pytest.mark.parametrize(("p", "distance"), [("2.0", 5.0), ("1.0", 7.0), ("inf", 4.0), ("3.0", 91 ** (1 / 3))])
def test_triplet(p: str, distance: float, device: Device) -> None:
    """A distance of 0 has gradient 0, a loss of exactly 0 still counts, one beyond the margin does not."""
    zero, far = [0, 0, 0], [3, 0, -4]
    a = np.array([zero, zero, zero, [1e4, 0, 0]], np.float32)
    positive = np.array([far, zero, zero, zero], np.float32)
    negative = np.array([zero, zero, far, [1e4, 0, 0]], np.float32)
    found = run(triplet(f"p = {p}, eps = 0.0"), device, a=a, p=positive, n=negative)
    np.testing.assert_allclose(found["loss"], [distance + 1, 1, 0, 1e4 + 1], rtol=1e-6)
    np.testing.assert_array_equal([found[name][1] for name in ("by_a", "by_p", "by_n")], np.zeros((3, 3)))
    np.testing.assert_array_equal(found["by_a"][2], [0, 0, 0])
    size = 7 if p == "1.0" else distance
    exponent = {"inf": None, "1.0": 0, "2.0": 1, "3.0": 2}[p]
    slope = [0, 0, -1] if exponent is None else [(3 / size) ** exponent, 0, -((4 / size) ** exponent)]
    np.testing.assert_allclose(found["by_p"][0], slope, rtol=2e-6)
    np.testing.assert_allclose(found["by_a"][0], np.negative(slope), rtol=2e-6)
    np.testing.assert_allclose(found["by_a"][3], [1, 0, 0], rtol=1e-6)


def test_triplet_of_a_loss_that_is_just_zero(device: Device) -> None:
    """max(0, z) at z = 0 has derivative 1, as torch's clamp."""
    a, p, n = (np.array([row], np.float32) for row in ([0, 0, 0], [1, 0, 0], [0, 2, 0]))
    found = run(triplet("eps = 0.0, margin = 1.0"), device, a=a, p=p, n=n)
    np.testing.assert_array_equal(found["loss"], [0])
    np.testing.assert_array_equal(found["by_p"], [[1, 0, 0]])
    np.testing.assert_array_equal(found["by_n"], [[0, -1, 0]])
    np.testing.assert_array_equal(found["by_a"], [[-1, 1, 0]])


PAIRS = """func @f(%x: f32[N], %y: f32[N], %t: i8[N])
    -> (%hinge: f32[N], %by_hinge: f32[N], %rank: f32[N], %by_x: f32[N], %by_y: f32[N]) {
  %hinge = hinge_embedding_loss %x, %t {reduction = "none"}
  %rank = margin_ranking_loss %x, %y, %t {reduction = "none", margin = 1.0}
  %by_hinge = grad %hinge, %x
  %by_x, %by_y = grad %rank, %x, %y
  return %hinge, %by_hinge, %rank, %by_x, %by_y
}"""


def test_hinges(device: Device) -> None:
    x = np.array([2, 2, 1, 0.5, 3e38, -3e38, INF, -INF, NAN], np.float32)
    y = np.array([0, 0, 0, 0, -3e38, 0, 0, 0, 0], np.float32)
    t = np.array([1, -1, -1, -1, -1, -1, 1, -1, -1], np.int8)
    found = run(PAIRS, device, x=x, y=y, t=t)
    np.testing.assert_array_equal(found["hinge"], np.array([2, 0, 0, 0.5, 0, 3e38, INF, INF, NAN], np.float32))
    np.testing.assert_array_equal(found["by_hinge"], [1, 0, -1, -1, 0, -1, 1, -1, NAN])
    np.testing.assert_array_equal(found["rank"], np.array([0, 3, 2, 1.5, INF, 0, 0, 0, NAN], np.float32))
    np.testing.assert_array_equal(found["by_x"], [0, 1, 1, 1, 1, 0, 0, 0, NAN])
    np.testing.assert_array_equal(found["by_y"], -found["by_x"])


INFO_NCE = """func @f(%q: f32[N, 3], %k: f32[N, 3]) -> (%loss: f32[N], %by_q: f32[N, 3], %by_k: f32[N, 3]) {
  %loss = info_nce_loss %q, %k {reduction = "none", temperature = 0.01}
  %by_q, %by_k = grad %loss, %q, %k
  return %loss, %by_q, %by_k
}"""


def test_info_nce(device: Device) -> None:
    """Orthogonal keys; a zero query sees all keys alike. Cosines of +-1 over 0.01 are logits of +-100."""
    q = np.array([[5, 0, 0], [0, -1e4, 0], [0, 0, 0]], np.float32)
    k = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1e-3]], np.float32)
    found = run(INFO_NCE, device, q=q, k=k)
    np.testing.assert_allclose(found["loss"], [0, 100 + math.log(2), math.log(3)], rtol=1e-6, atol=1e-12)
    for name in ("by_q", "by_k"):
        assert np.isfinite(found[name]).all()


def test_info_nce_of_one_and_of_nothing(device: Device) -> None:
    one = run(INFO_NCE, device, q=np.ones((1, 3), np.float32), k=np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(one["loss"], [0])
    np.testing.assert_array_equal(one["by_q"], np.zeros((1, 3)))
    none = run(INFO_NCE, device, q=np.ones((0, 3), np.float32), k=np.ones((0, 3), np.float32))
    assert (none["loss"].shape, none["by_k"].shape) == ((0,), (0, 3))


EMPTY = [
    "cosine_embedding_loss %x, %y, %r", "triplet_loss %x, %y, %y", "hinge_embedding_loss %x, %y",
    "margin_ranking_loss %x, %y, %y", "info_nce_loss %x, %y",
]  # fmt: skip


@pytest.mark.parametrize("call", EMPTY)
@pytest.mark.parametrize(("reduction", "expected"), [("mean", NAN), ("sum", 0.0)])
def test_empty_batches(call: str, reduction: str, expected: float, device: Device) -> None:
    text = f"""func @f(%x: f32[N, 3], %y: f32[N, 3], %r: f32[N]) -> (%loss: f32[1], %grad: f32[N, 3]) {{
      %loss = {call} {{reduction = "{reduction}"}}
      %grad = grad %loss, %x
      return %loss, %grad
    }}"""
    nothing = np.zeros((0, 3), np.float32)
    found = run(text, device, x=nothing, y=nothing, r=np.zeros(0, np.float32))
    np.testing.assert_array_equal(found["loss"], [expected])
    assert found["grad"].shape == (0, 3)


@pytest.mark.parametrize(("call", "complaint"), [
    ("triplet_loss %x, %y, %y {p = 0.0}", "p must be positive"),
    ("triplet_loss %x, %y, %r", "anchor and negative must have the same shape"),
    ("cosine_embedding_loss %x, %y, %y", "expected one target a pair"),
    ("info_nce_loss %x, %y {temperature = -1.0}", "temperature must be positive"),
    ("info_nce_loss %r, %r", "info_nce_loss takes"),
    ("margin_ranking_loss %x, %y, %y, margin = %r", "`margin` is one number"),
    ("margin_ranking_loss %x, %y, %y, margin = %one {margin = 2.0}", "given `margin` twice"),
])  # fmt: skip
def test_what_is_refused(call: str, complaint: str) -> None:
    with pytest.raises(LirError, match=complaint):
        run(f"""func @f(%x: f32[N, 3], %y: f32[N, 3], %r: f32[N], %one: f32[1]) -> (%loss: f32[1]) {{
          %loss = {call}
          return %loss
        }}""", None)  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "expected"), [("triplet_loss %a, %b, %b", 1.0), ("info_nce_loss %a, %b", math.log(2))]
)
def test_vectors_of_no_elements(loss: str, expected: float, device: Device) -> None:
    text = f"""func @f(%a: f32[N, 0], %b: f32[N, 0]) -> (%loss: f32[1], %by_a: f32[N, 0]) {{
      %loss = {loss}
      %by_a = grad %loss, %a
      return %loss, %by_a
    }}"""
    empty = np.empty((2, 0), np.float32)
    found = run(text, device, a=empty, b=empty)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
    assert found["by_a"].shape == (2, 0)
