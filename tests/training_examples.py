"""A small network with its batch, and how its parameters are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

import lossc
from lossc import nn

RNG = np.random.default_rng(5)
X = RNG.standard_normal((12, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12).astype(np.int32)


def network(seed: int = 0, **losses: Any) -> lossc.Graph:
    g = lossc.Graph("network", seed)
    x, labels = g.input("x", (None, 6)), g.input("labels", (None,), dtype="i32")
    g.set_outputs({"loss": g.cross_entropy_loss(nn.Mlp(g, "net", 6, 9, 3)(x), labels, **losses)})
    return g


def values(g: lossc.Graph) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in g.parameters.items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
