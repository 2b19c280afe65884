"""What is measured: a loss, a shape, random data, and the float64 answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import lossc


@dataclass(frozen=True)
class Case:
    """One row of the table. `passes` counts the tensors of logits size that must move: read once, written once."""

    name: str
    loss: str
    rows: int
    columns: int
    passes: int

    @property
    def elements(self) -> int:
        return self.rows * self.columns


CASES = (
    Case("cross_entropy 8192x1000", "cross_entropy", 8192, 1000, 2),
    Case("cross_entropy 16384x1024", "cross_entropy", 16384, 1024, 2),
    Case("cross_entropy 2048x32000", "cross_entropy", 2048, 32000, 2),
    Case("bce_with_logits 16777216", "bce_with_logits", 1, 1 << 24, 3),
)


@dataclass(frozen=True)
class Data:
    """Inputs on 64-byte boundaries and, from float64, the mean loss and its gradient by the logits. `slack` is what a
    single element of the gradient may be off by beside its relative error."""

    logits: np.ndarray
    targets: np.ndarray
    loss: float
    gradient: np.ndarray
    slack: float


def make_data(case: Case, seed: int = 0) -> Data:
    """Normal logits of deviation 3, uniform labels or targets."""
    generator = np.random.default_rng(seed)
    logits = lossc.empty(_shape(case), np.float32)
    logits[...] = generator.standard_normal(logits.shape, np.float32) * 3
    if case.loss == "cross_entropy":
        targets = lossc.empty((case.rows,), np.int32)
        targets[...] = generator.integers(0, case.columns, case.rows)
    else:
        targets = lossc.empty(_shape(case), np.float32)
        targets[...] = generator.random(targets.shape, np.float32)
    loss, gradient = ANSWERS[case.loss](logits, targets)
    # sigmoid(x) - t loses what the two have in common: two roundings of numbers up to 1, over the number of elements.
    slack = 1e-35 if case.loss == "cross_entropy" else 2.0**-22 / case.elements
    return Data(logits, targets, loss, gradient, slack)


def _shape(case: Case) -> tuple[int, ...]:
    return (case.elements,) if case.rows == 1 else (case.rows, case.columns)


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = np.empty(logits.shape, np.float32)
    total = 0.0
    for start in range(0, len(logits), 1024):  # float64 copies of everything would be 2 GB
        x, y = logits[start : start + 1024].astype(np.float64), labels[start : start + 1024]
        x -= x.max(1, keepdims=True)
        power = np.exp(x)
        total += float((np.log(power.sum(1)) - x[np.arange(len(y)), y]).sum())
        power /= power.sum(1, keepdims=True)
        power[np.arange(len(y)), y] -= 1
        gradient[start : start + 1024] = power / len(logits)
    return total / len(logits), gradient


def _bce_with_logits(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    x, t = logits.astype(np.float64), targets.astype(np.float64)
    loss = float((np.logaddexp(0.0, x) - x * t).mean())
    return loss, ((1 / (1 + np.exp(-x)) - t) / x.size).astype(np.float32)


ANSWERS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]] = {
    "cross_entropy": _cross_entropy,
    "bce_with_logits": _bce_with_logits,
}
