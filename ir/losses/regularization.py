"""Penalties on weights, to be added to a loss."""

from __future__ import annotations

from ..tensor import Tensor
from ._reduction import as_given, reduce_loss


def l2_loss(w: Tensor, *, reduction: str = "mean") -> Tensor:
    """Half the square of each weight, w^2 / 2.

    Formula: w^2 / 2.
    Shapes: w: [...]. Result: [1], or [...] unreduced.
    Rules: reduction mean, sum or none.
    Gradient: by w: w.
    Kink: none.
    Source: A. E. Hoerl, R. W. Kennard, Ridge regression (1970).
    """
    wide = w.widen()
    return as_given(reduce_loss(wide * wide * 0.5, reduction), w, reduction)


def l1_regularization(w: Tensor, *, reduction: str = "mean") -> Tensor:
    """The absolute value of each weight, |w|.

    Formula: |w|.
    Shapes: w: [...]. Result: [1], or [...] unreduced.
    Rules: reduction mean, sum or none.
    Gradient: by w: sign(w).
    Kink: at w = 0 the derivative is 0.
    Source: R. Tibshirani, Regression shrinkage and selection via the lasso (1996).
    """
    return as_given(reduce_loss(w.widen().abs(), reduction), w, reduction)
