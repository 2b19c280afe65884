"""Graphs that several tests build."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lossc
from lossc.ir.interp import interpret
from lossc.ir.tensor import Tensor

SAMPLES = Path(__file__).parents[1] / "samples"


def classifier() -> lossc.Graph:
    g = lossc.Graph("classifier")
    x, labels = g.input("x", (None, 4)), g.input("labels", (None,), dtype="i32")
    weight, bias = g.param("fc.weight", (3, 4), "kaiming_uniform"), g.param("fc.bias", (3,), "zeros")
    logits = g.linear(x, weight, bias)
    g.set_outputs({"loss": g.cross_entropy_loss(logits, labels, label_smoothing=0.1), "logits": logits})
    return g


def value_of(tensor: Tensor, g: lossc.Graph, **arrays: object) -> np.ndarray:
    """What a value is, by the float64 interpreter."""
    g.set_outputs([tensor])
    inputs = {name: np.asarray(array) for name, array in arrays.items()}
    return interpret(g.to_module().entry, {**inputs, **g.parameters})[0]


HALF = """
func @half_squares(%x: f32[N]) -> f32[N] {
  %square = mul %x, %x
  %half = mul %square, 0.5
  return %half
}
func @main(%x: f32[4], %y: f32[B]) -> (%a: f32[4], %b: f32[B]) {
  %a = call @half_squares(%x)
  %b = call @half_squares(%y)
  return %a, %b
}
"""
