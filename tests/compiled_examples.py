"""Graphs that the tests of compiled functions share, arrays for them, and what they give in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lossc
from lossc.ir.interp import interpret

SAMPLES = Path(__file__).parents[1] / "samples"
RNG = np.random.default_rng(7)
X = RNG.standard_normal((5, 4)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0], np.int32)


def classifier(**losses: Any) -> lossc.Graph:
    """3 classes from 4 features; outputs loss and logits."""
    g = lossc.Graph("classifier", seed=3)
    x, labels = g.input("x", (None, 4)), g.input("labels", (None,), dtype="i32")
    weight = g.param("fc.weight", (3, 4), "kaiming_uniform")
    logits = g.linear(x, weight, g.param("fc.bias", np.array([0.5, -0.5, 0.25])))
    g.set_outputs({"loss": g.cross_entropy_loss(logits, labels, **losses), "logits": logits})
    return g


def squares(dtype: str = "f32", shape: Any = (None, 2)) -> lossc.CompiledFunction:
    g = lossc.Graph()
    x = g.input("x", shape, dtype)
    g.set_outputs({"y": x * x if dtype != "bool" else ~x})
    return g.compile()


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-6) -> bool:
    scale = max(1e-30, float(np.linalg.norm(expected)))
    return found.shape == expected.shape and float(np.linalg.norm(found - expected)) <= tolerance * scale


def expected_of(fn: lossc.CompiledFunction, g: lossc.Graph, **arrays: np.ndarray) -> list[np.ndarray]:
    return interpret(fn.compiled.prepared.entry, {**arrays, **g.parameters})
