"""Losses on the overlap of a predicted region with the true one, for segmentation."""

from __future__ import annotations

from ..diagnostics import LirError
from ..layers import softmax
from ..tensor import Tensor
from ..types import is_integer
from ._labels import Labels, class_batch, is_label
from ._reduction import as_given, like, reduce_loss, same_shape
from ._scalars import Scalar, scalar


def dice_loss(
    probs: Tensor, t: Tensor, *, smooth: float | Tensor = 1.0, from_logits: bool = False, reduction: str = "mean"
) -> Tensor:
    """1 - (tp + s) / (tp + fp / 2 + fn / 2 + s): one minus the Dice coefficient, for each sample and class.

    Formula: 1 - (tp + s) / (tp + fp / 2 + fn / 2 + s), with tp = sum p t, fp = sum p (1 - t), fn = sum (1 - p) t over
        d..., and s = smooth.
    Shapes: probs: [N, C, d...]; t: floats or truth values of that shape, or integer labels [N, d...]; smooth: a
        number, [] or [1]. Result: [1], or [N, C] unreduced.
    Rules: the mean divides by N C. With `from_logits` p = softmax over C, sigmoid if C = 1. A label out of range
        refuses the run. Without smoothing a class that neither occurs nor is predicted gives 0/0.
    Gradient: by probs: -(t - (t + 1) / 2 (1 - loss)) / (tp + fp / 2 + fn / 2 + s), through softmax or sigmoid with
        `from_logits`; by t (floats): likewise with p and t exchanged.
    Kink: none.
    Source: Milletari, Navab, Ahmadi 2016 (V-Net), with linear terms in the denominator.
    """
    return _overlap(probs, t, smooth, 0.5, 0.5, from_logits, reduction)


def tversky_loss(
    probs: Tensor, t: Tensor, *, smooth: float | Tensor = 1.0, alpha: float | Tensor = 0.5, beta: float | Tensor = 0.5,
    from_logits: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - (tp + s) / (tp + alpha fp + beta fn + s): false positives and negatives weigh apart.

    Formula: 1 - (tp + s) / (tp + alpha fp + beta fn + s), with tp = sum p t, fp = sum p (1 - t), fn = sum (1 - p) t
        over d..., and s = smooth. alpha = beta = 0.5 is dice_loss, alpha = beta = 1 one minus the Jaccard index.
    Shapes: probs: [N, C, d...]; t: floats or truth values of that shape, or integer labels [N, d...]; smooth, alpha,
        beta: a number each, [] or [1]. Result: [1], or [N, C] unreduced.
    Rules: the mean divides by N C. With `from_logits` p = softmax over C, sigmoid if C = 1. A label out of range
        refuses the run. Without smoothing a class that neither occurs nor is predicted gives 0/0.
    Gradient: by probs: -(t - (alpha + (1 - alpha - beta) t) (1 - loss)) / (tp + alpha fp + beta fn + s), through
        softmax or sigmoid with `from_logits`; by t (floats): likewise with p, t and alpha, beta exchanged.
    Kink: none.
    Source: Salehi, Erdogmus, Gholipour 2017.
    """
    return _overlap(probs, t, smooth, alpha, beta, from_logits, reduction)


def _overlap(
    given: Tensor, t: Tensor, smooth: Scalar, alpha: Scalar, beta: Scalar, from_logits: bool, reduction: str
) -> Tensor:
    if given.rank < 2:
        raise LirError(f"expected probabilities [N, C, d...], found {given.type}")
    x = given.widen()
    if is_integer(t.dtype):
        _, labels, _ = class_batch(x, t, 1)
        Labels(x, labels, None, 1)
        t = is_label(x, labels, 1).cast(x.dtype)
    else:
        same_shape(x, t, "probabilities and target")
        t = like(t, x)
    p = _probabilities(x) if from_logits else x
    smooth = scalar(smooth, x, "smooth")
    alpha, beta = scalar(alpha, x, "alpha"), scalar(beta, x, "beta")
    inside = range(2, x.rank)
    # tp + alpha fp + beta fn = sum(alpha p + beta t) + (1 - alpha - beta) tp
    hit = (p * t).sum(inside)
    spread = (p * alpha + t * beta).sum(inside) + hit * (1 - alpha - beta)
    return as_given(reduce_loss(1 - (hit + smooth) / (spread + smooth), reduction), given, reduction)


def _probabilities(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x.sigmoid()
    p = softmax(x, axis=1)
    return p if isinstance(x.shape[1], int) else (x.size(1) == 1).select(x.sigmoid(), p)
