"""Losses on real-valued predictions. Let d = x - t."""

from __future__ import annotations

from ..builder import Tensor
from ._reduction import as_given, like, same_shape, weighted, widen


def mse_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Squared error, d^2. A weighted mean is sum(w d^2) / sum(w)."""
    same_shape(x, t)
    wide = widen(x)
    d = wide - like(t, wide)
    return as_given(weighted(d * d, weight, reduction), x, reduction)


def l1_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Absolute error, |d|, with derivative 0 at d = 0. A weighted mean is sum(w |d|) / sum(w)."""
    same_shape(x, t)
    wide = widen(x)
    return as_given(weighted((wide - like(t, wide)).abs(), weight, reduction), x, reduction)
