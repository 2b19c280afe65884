"""Running the hand-written kernels in the simulator, and what they must compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossc.ir.kernel import Kernel
from lossc.ir.program import CHECK_HOLDS
from lossc.runtime.simulate import simulate_kernel


def rows(count: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, columns)).astype(np.float32)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def integers(dtype: str, *values: int) -> np.ndarray:
    return np.array(values, dtype)


def run_cross_entropy(made: Kernel, x: np.ndarray, labels: np.ndarray, items: int | None = None) -> dict[str, Any]:
    count, columns = x.shape
    buffers = {
        "x": x.reshape(-1).copy(), "labels": labels.astype(np.int32),
        "loss": np.full(count, np.nan, np.float32), "g": np.full(x.size, np.nan, np.float32),
        "status": np.full(1, CHECK_HOLDS, np.int32),
    }  # fmt: skip
    counts = simulate_kernel(made, buffers, {"C": columns}, count if items is None else items)
    return {**buffers, "g": buffers["g"].reshape(x.shape), "counts": counts}


def cross_entropy(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row and its gradient, in float64."""
    wide = x.astype(np.float64)
    shifted = np.exp(wide - wide.max(1, keepdims=True))
    p = shifted / shifted.sum(1, keepdims=True)
    picked = np.arange(len(x)), labels
    return -np.log(p[picked]), p - np.eye(x.shape[1])[labels]
