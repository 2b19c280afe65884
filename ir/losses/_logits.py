"""Binary cross-entropy of single logits: what a binary loss and one over several labels have in common."""

from __future__ import annotations

from ..tensor import Tensor


def binary_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """softplus(x) - x t, element by element."""
    # max(x, 0) and x t nearly cancel where the prediction is right: what is left there is the logarithm.
    value = (-x.abs()).exp().log1p() + (x.maximum(0) - x * t)
    return value.with_gradient((x, x.sigmoid() - t), (t, -x))
