"""Cross-entropies that weigh an example by how far its prediction is off: focal and poly losses."""

from __future__ import annotations

import math

from .._softmax import shifted_exponentials
from ..diagnostics import LirError
from ..tensor import Tensor
from ..types import is_float
from ._distributions import distribution_rows
from ._labels import Labels, class_batch, only_labels, reduce_rows
from ._logits import binary_cross_entropy
from ._reduction import as_given, like, reduce_loss, same_shape
from ._scalars import Scalar, scalar


def sigmoid_focal_loss(
    logits: Tensor, t: Tensor, *, alpha: float | None = None, gamma: float | Tensor = 2.0, reduction: str = "mean"
) -> Tensor:
    """(1 - p_t)^gamma times binary cross-entropy with logits, with p_t the probability given to the target.

    Formula: a (1 - p_t)^gamma (t softplus(-x) + (1 - t) softplus(x)), with p = sigmoid(x),
        1 - p_t = t (1 - p) + (1 - t) p, and a = alpha t + (1 - alpha) (1 - t), or 1 without alpha.
    Shapes: logits, t: [...]; gamma: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. t may lie between 0 and 1. A number gamma < 0 is refused.
    Gradient: by logits: a ((1 - p_t)^gamma (p - t) + gamma (1 - p_t)^(gamma - 1) (1 - 2 t) p (1 - p) bce); by t
        likewise; by gamma: loss log(1 - p_t). Finite for every finite logit, 0 where 1 - p_t underflows.
    Kink: none.
    Source: Lin, Goyal, Girshick, He, Dollar 2017; torchvision.ops.sigmoid_focal_loss.
    """
    same_shape(logits, t, "logits and target")
    x = logits.widen()
    t = like(t, x)
    # 1 - p from sigmoid(-x): exact also where p rounds to 1.
    rest, p = (-x).sigmoid(), x.sigmoid()
    low, high = t * rest, (1 - t) * p
    missed = (low + high).with_gradient((x, high * rest - low * p), (t, rest - p))
    loss = binary_cross_entropy(x, t).with_gradient((x, high - low), (t, -x))
    value = _focused(missed, loss, gamma)
    if alpha is not None:
        value = (t * alpha + (1 - t) * (1 - alpha)) * value
    return as_given(reduce_loss(value, reduction), logits, reduction)


def focal_cross_entropy_loss(
    logits: Tensor, y: Tensor, weight: Tensor | None = None, *,
    gamma: float | Tensor = 2.0, ignore_index: int | None = None, axis: int | None = None,
    reduction: str = "mean", empty: str = "nan",
) -> Tensor:  # fmt: skip
    """(1 - p_y)^gamma times cross-entropy, with p = softmax(x).

    Formula: w[y] (1 - p_y)^gamma l, with l = lse(x) - x[y] and 1 - p_y = -expm1(-l).
    Shapes: logits: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; y: integers of that shape
        without the class axis; weight: [C]; gamma: a number, [] or [1]. Result: [1], or unreduced one element a row.
    Rules: the mean divides by the number of rows that are not ignored, also with weights; without such rows it is
        `empty`: "nan" (0/0), "zero" or "error". A label out of range and a number gamma < 0 are refused.
    Gradient: by logits: w[y] ((1 - p_y)^gamma + gamma (1 - p_y)^(gamma - 1) p_y l) (p - onehot(y)), 0 in ignored rows;
        by weight: the sum of the unweighted rows of each class; by gamma: loss log(1 - p_y).
    Kink: none.
    Source: Lin, Goyal, Girshick, He, Dollar 2017, over classes.
    """
    x, target, axis = class_batch(logits.widen(), y, axis)
    only_labels(target)
    labels = Labels(x, target, weight, axis, ignore_index)
    loss = _label_rows(x, labels)
    return labels.reduce(logits, labels.weigh(_focused(_missed(loss), loss, gamma)), reduction, empty)


def poly_cross_entropy_loss(
    logits: Tensor, t: Tensor, weight: Tensor | None = None, *,
    epsilon: float | Tensor = 2.0, ignore_index: int | None = None, axis: int | None = None,
    reduction: str = "mean", empty: str = "nan",
) -> Tensor:  # fmt: skip
    """Cross-entropy plus epsilon (1 - p_y), with p = softmax(x): the first term of its series in 1 - p_y counts more.

    Formula: w[y] (l + epsilon (1 - p_y)), with l = lse(x) - x[y], for labels y = t; for distributions t
        sum_c w[c] t[c] (lse(x) - x[c]) + epsilon (1 - sum_c t[c] p[c]).
    Shapes: logits: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; t: integers of that shape
        without the class axis, or floats of that shape; weight: [C], with labels only; epsilon: a number, [] or
        [1]. Result: [1], or unreduced one element a row.
    Rules: labels: the mean divides by the number of rows that are not ignored, also with weights; without such rows
        it is `empty`: "nan" (0/0), "zero" or "error". Distributions: the mean divides by the number of rows.
    Gradient: by logits: w[y] (1 + epsilon p_y) (p - onehot(y)), 0 in ignored rows; for distributions
        p sum(t) - t - epsilon p (t - sum_c t[c] p[c]); by t (floats): lse(x) - x - epsilon p; by weight: the sum
        of the unweighted rows of each class; by epsilon: 1 - p_y.
    Kink: none.
    Source: PolyLoss (Poly-1), Leng et al. 2022.
    """
    x, target, axis = class_batch(logits.widen(), t, axis)
    factor = scalar(epsilon, x, "epsilon")
    if is_float(target.dtype):
        if weight is not None or ignore_index is not None:
            raise LirError("weight and ignore_index need integer labels, the target is a distribution")
        target = like(target, x)
        shifted, sum_of_exp = shifted_exponentials(x, axis)
        hit = (target * shifted.exp()).sum(axis) / sum_of_exp
        return reduce_rows(logits, distribution_rows(x, target, None, 0.0, axis) + (1 - hit) * factor, reduction)
    labels = Labels(x, target, weight, axis, ignore_index)
    loss = _label_rows(x, labels)
    return labels.reduce(logits, labels.weigh(loss + _missed(loss) * factor), reduction, empty)


def _label_rows(x: Tensor, labels: Labels) -> Tensor:
    """lse(x) - x[y], of ignored rows a finite number."""
    shifted, sum_of_exp = shifted_exponentials(labels.masked(x), labels.axis)
    return sum_of_exp.log() - shifted.gather(labels.target, labels.axis)


def _missed(loss: Tensor) -> Tensor:
    """1 - p_y = 1 - exp(-loss)."""
    return -(-loss).expm1()


def _focused(missed: Tensor, loss: Tensor, gamma: Scalar) -> Tensor:
    """missed^gamma loss, for a probability `missed`."""
    factor = _power(missed, scalar(gamma, missed, "gamma"))
    # Where a loss is that large, its factor is 1 and stays so: no inf * 0 comes of it.
    return (factor * loss).with_gradient((factor, loss.minimum(1e30)), (loss, factor))


def _power(missed: Tensor, gamma: Scalar) -> Tensor:
    """missed^gamma, with a finite derivative at 0 for every gamma >= 0."""
    if not isinstance(gamma, Tensor):
        if not 0 <= gamma < math.inf:
            raise LirError(f"gamma must be a number from 0, found {gamma}")
        if gamma == 0:
            return missed.constant(1)
        if gamma in (1, 2, 3):
            return missed**gamma
    least = 1e-37
    return ((missed < least).select(least, missed).log() * gamma).exp()
