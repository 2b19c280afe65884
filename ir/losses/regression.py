"""Losses on real-valued predictions. Let d = x - t."""

from __future__ import annotations

from ..builder import Tensor
from ._reduction import like, same_shape, weighted, widen


def mse_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Squared error, d^2. A weighted mean is sum(w d^2) / sum(w)."""
    same_shape(x, t)
    x = widen(x)
    d = x - like(t, x)
    return weighted(d * d, weight, reduction)


def l1_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Absolute error, |d|, with derivative 0 at d = 0. A weighted mean is sum(w |d|) / sum(w)."""
    same_shape(x, t)
    x = widen(x)
    return weighted((x - like(t, x)).abs(), weight, reduction)
