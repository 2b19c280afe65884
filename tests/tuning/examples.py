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


def arrays(rows: int = 2048) -> list[np.ndarray]:
    random = np.random.default_rng(rows)
    return [random.standard_normal((rows, 100)).astype("f4"), random.integers(0, 100, rows).astype("i4")]


def two_arrays(rows: int, elements: int) -> list[np.ndarray]:
    """Those for `TWO_KERNELS`."""
    random = np.random.default_rng(rows)
    return [random.standard_normal((rows, 96)).astype("f4"), random.standard_normal(elements).astype("f4")]


def strategy_of(compiled: Compiled) -> str:
    (choice,) = compiled.lowered.choices.values()
    return choice.strategy
