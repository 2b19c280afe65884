"""Targets that are distributions over the classes, in place of labels. In: the logits, and targets of their shape."""

from __future__ import annotations

import math

from .._softmax import shifted_exponentials
from ..tensor import Tensor
from ._labels import along_classes


def weigh_classes(t: Tensor, weight: Tensor | None, axis: int) -> Tensor:
    return t if weight is None else t * along_classes(weight, t, axis)


def distribution_rows(x: Tensor, t: Tensor, weight: Tensor | None, smoothing: float, axis: int) -> Tensor:
    """-sum_c w[c] t[c] log softmax(x)[c] of every row, with t smoothed."""
    if smoothing:
        t = t * (1 - smoothing) + smoothing / x.count([axis])
    t = weigh_classes(t, weight, axis)
    shifted, sum_of_exp = shifted_exponentials(x, axis)
    # 0 * log 0 = 0: a masked logit with no target mass contributes nothing.
    masked = ((t == 0) & (shifted == -math.inf)).select(0, shifted)
    return sum_of_exp.log() * t.sum(axis) - (t * masked).sum(axis)
