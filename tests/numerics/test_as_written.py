"""Rewrites follow the graph as it is written: where there is nothing to sum, and where 16-bit gradients are rounded."""

from __future__ import annotations

import numpy as np
import pytest

from lossc.compiler.pipeline import run_passes
from lossc.ir.interp import interpret
from lossc.ir.parser import parse

AS_WRITTEN = ("inline", "expand", "autodiff", "inline", "expand")

NETWORK = """func @main(%x: f32[B, 7], %t: {target}, %w: f32[5, 7], %b: f32[5])
    -> (%loss: f32[1], %gw: f32[5, 7], %gb: f32[5], %gx: f32[B, 7]) {{
  %y = linear %x, %w, %b
  %loss = {loss}
  %gw, %gb, %gx = grad %loss, %w, %b, %x
  return %loss, %gw, %gb, %gx
}}"""


def both(text: str, **arrays: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    module = parse(text)
    plain, rewritten = (run_passes(module, passes).entry for passes in (AS_WRITTEN, ("prepare",)))
    return interpret(plain, arrays), interpret(rewritten, arrays)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("cross_entropy_loss %y, %t", "i32[B]"),
        ("cross_entropy_loss %y, %t {label_smoothing = 0.1}", "i32[B]"),
        ("cross_entropy_loss %y, %t {ignore_index = 2}", "i32[B]"),
        ("cross_entropy_loss %y, %t", "f32[B, 5]"),
        ("mse_loss %y, %t", "f32[B, 5]"),
        ("l1_loss %y, %t", "f32[B, 5]"),
        ("bce_with_logits_loss %y, %t", "f32[B, 5]"),
    ],
)
def test_the_gradient_of_a_mean_over_nothing(loss: str, target: str) -> None:
    """The mean is 0/0; what it hands back, infinities times nothing, adds up to 0."""
    shape, dtype = ((0, 5), np.float32) if target == "f32[B, 5]" else ((0,), np.int32)
    arrays = {"x": np.zeros((0, 7)), "t": np.zeros(shape, dtype), "w": np.ones((5, 7)), "b": np.ones(5)}
    plain, rewritten = both(NETWORK.format(loss=loss, target=target), **arrays)
    assert np.isnan(plain[0]).all()
    np.testing.assert_array_equal(plain[1], np.zeros((5, 7)))
    for expected, found in zip(plain, rewritten):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_sums_of_what_repeats(count: int) -> None:
    """sum(broadcast g) = g * size and sum(x * c) = sum(x) * c, for factors that are not finite."""
    plain, rewritten = both(
        """func @main(%g: f32[4], %x: f32[N, 4]) -> (f32[4], f32[4]) {
          %b = broadcast %g {dims = [1], shape = [N, 4]}
          %sum = reduce_sum %b {axes = [0]}
          %scaled = mul %x, %b
          %product = reduce_sum %scaled {axes = [0]}
          return %sum, %product
        }""",
        g=np.array([1.0, np.inf, -np.inf, np.nan]),
        x=np.ones((count, 4)),
    )
    for expected, found in zip(plain, rewritten):
        np.testing.assert_array_equal(found, expected)


SIXTEEN_BITS = {
    "two losses": """%a = mse_loss %x, %t
      %b = l1_loss %x, %t
      %loss = add %a, %b""",
    "two casts": """%wide = cast %x {dtype = f32}
      %again = cast %x {dtype = f32}
      %a = exp %wide
      %b = tanh %again
      %sum = add %a, %b
      %all = reduce_sum %sum {axes = [0, 1]}
      %loss = reshape %all {shape = [1]}""",
    "a cast of what repeats": """%row = reduce_max %x {axes = [0]}
      %rows = broadcast %row {dims = [1], shape = [B, 7]}
      %wide = cast %rows {dtype = f32}
      %a = mul %wide, %wide
      %b = exp %a
      %all = reduce_sum %b {axes = [0, 1]}
      %loss = reshape %all {shape = [1]}""",
    "cross-entropy and its logits": """%a = cross_entropy_loss %x, %t {reduction = "sum"}
      %b = mse_loss %x, %t {reduction = "sum"}
      %loss = add %a, %b""",
}


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_casts_round_where_they_stand(name: str, dtype: str) -> None:
    """A cast is not moved past the sum of two gradients: that would be rounded once and not twice."""
    text = f"""func @main(%x: {dtype}[B, 7], %t: {dtype}[B, 7]) -> (%loss: f32[1], %g: {dtype}[B, 7]) {{
      {SIXTEEN_BITS[name]}
      %g = grad %loss, %x
      return %loss, %g
    }}"""
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(9, 7)), "t": generator.random((9, 7))}
    plain, rewritten = both(text, **arrays)
    last_bit = {"f16": 2**-11, "bf16": 2**-8}[dtype]
    # The same roundings of numbers that differ in the last bits of f64: seldom another neighbour, never two.
    off = np.abs(rewritten[1] - plain[1]) > 1e-9 * np.abs(plain[1])
    assert off.mean() <= 0.02
    np.testing.assert_allclose(rewritten[1], plain[1], rtol=2 * last_bit)
