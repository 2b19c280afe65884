"""Programs to be tuned, and their arrays."""

from __future__ import annotations

import numpy as np

from lossc.compiler import Compiled

CROSS_ENTROPY = """
func @f(%x: f32[B, 100], %labels: i32[B]) -> (%loss: f32[1], %g: f32[B, 100]) {
  %loss = cross_entropy_loss %x, %labels
  %g = grad %loss, %x
  return %loss, %g
}"""

TWO_KERNELS = """
func @f(%x: f32[B, 96], %y: f32[N]) -> (f32[B, 96], f32[N]) {
  %a = softmax %x
  %b = exp %y
  return %a, %b
}"""

RNG = np.random.default_rng(3)


def arrays(rows: int = 2048) -> list[np.ndarray]:
    return [RNG.standard_normal((rows, 100)).astype("f4"), RNG.integers(0, 100, rows).astype("i4")]


def strategy_of(compiled: Compiled) -> str:
    (choice,) = compiled.lowered.choices.values()
    return choice.strategy
