"""Cross-entropy over classes: from logits, from log-probabilities, from a layer before the logits.

The dtype of the target decides: integers are class labels, floats are distributions over the classes.
"""

from __future__ import annotations

import math

from .._softmax import shifted_exponentials
from ..diagnostics import LirError
from ..layers import linear
from ..tensor import Tensor
from ..types import is_float
from ._distributions import distribution_rows, weigh_classes
from ._labels import Labels, class_batch, not_equal, reduce_rows
from ._reduction import like


def cross_entropy_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, *,
    ignore_index: int | None = None, label_smoothing: float = 0.0, axis: int | None = None,
    reduction: str = "mean", empty: str = "nan",
) -> Tensor:  # fmt: skip
    """-log softmax(x)[y] for labels y, or -sum_c t[c] log softmax(x)[c] for distributions t.

    Formula: w[y] (lse(x) - x[y]), or sum_c w[c] t[c] (lse(x) - x[c]), with lse(x) = log sum_c exp(x[c]).
        With smoothing e: (1 - e) w[y] (lse(x) - x[y]) + (e / C) sum_c w[c] (lse(x) - x[c]) for labels that are
        not ignored; distributions become t (1 - e) + e / C.
    Shapes: logits: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; target: integers of that shape
        without the class axis, or floats of that shape; weight: [C]. Result: [1], or unreduced one element a row.
    Rules: labels: the mean divides by the sum of w[y] over the rows that are not ignored, by their number without
        weights; without such rows it is `empty`: "nan" (0/0), "zero" or "error" (refuses the run). `ignore_index`
        may be a valid class: it masks rows, not the class. A label out of range refuses the run. Distributions:
        they need not sum to 1, the mean divides by the number of rows, 0 log 0 = 0.
    Gradient: by logits: softmax(x) - onehot(y), or softmax(x) sum(t) - t, without weights and before averaging; 0 in
        ignored rows whatever they hold; by target (floats): lse(x) - x, at a logit of -inf whose target is 0
        lse(x) - max(x); by weight: what each class adds, and for a mean of labels minus the mean for each of its
        rows, over the sum of weights.
    Kink: none.
    Source: torch.nn.functional.cross_entropy; smoothing: Szegedy et al. 2016.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise LirError(f"label_smoothing must lie in [0, 1], found {label_smoothing}")
    x, target, axis = class_batch(logits.widen(), target, axis)
    if is_float(target.dtype):
        _refuse_ignore_index(ignore_index)
        rows = distribution_rows(x, like(target, x), weight, label_smoothing, axis)
        return reduce_rows(logits, rows, reduction)
    labels = Labels(x, target, weight, axis, ignore_index)
    shifted, sum_of_exp = shifted_exponentials(labels.masked(x), axis)
    log_sum = sum_of_exp.log()
    rows = labels.weigh(log_sum - shifted.gather(target, axis))
    if label_smoothing:
        # sum_c w[c] (log_sum - shifted[c]), with the sums of w and of w * shifted taken apart so that they need
        # nothing of the row's sum of exponentials.
        class_weights = labels.class_weights(x)
        if class_weights is None:
            smooth = log_sum * x.count([axis]) - shifted.sum(axis)
        else:
            smooth = log_sum * class_weights.sum(axis) - (class_weights * shifted).sum(axis)
        rows = rows * (1 - label_smoothing) + labels.drop_ignored(smooth) * (label_smoothing / x.count([axis]))
    return labels.reduce(logits, rows, reduction, empty, by_weight=True)


def nll_loss(
    log_probs: Tensor, target: Tensor, weight: Tensor | None = None, *,
    ignore_index: int | None = None, axis: int | None = None, reduction: str = "mean", empty: str = "nan",
) -> Tensor:  # fmt: skip
    """-w[y] x[y] for labels y, or -sum_c w[c] t[c] x[c] for distributions t; averaged as cross_entropy_loss.

    Formula: -w[y] x[y], or -sum_c w[c] t[c] x[c]; x are log-probabilities.
    Shapes: log_probs: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; target: integers of that
        shape without the class axis, or floats of that shape; weight: [C]. Result: [1], or unreduced one a row.
    Rules: those of cross_entropy_loss for means, ignored rows, `empty` and labels out of range; of log_softmax(x) it
        is rewritten to cross_entropy_loss of x. 0 times -inf counts as 0.
    Gradient: by log_probs: -w[y] at the label, else 0; or -w[c] t[c]; by target (floats): -w[c] x[c]; by weight:
        what each class adds, and for a mean of labels minus the mean for each of its rows, over the sum of weights.
    Kink: none.
    Source: torch.nn.functional.nll_loss.
    """
    x, target, axis = class_batch(log_probs.widen(), target, axis)
    if is_float(target.dtype):
        _refuse_ignore_index(ignore_index)
        t = weigh_classes(like(target, x), weight, axis)
        masked = ((t == 0) & (x == -math.inf)).select(0, x)
        return reduce_rows(log_probs, -(t * masked).sum(axis), reduction)
    labels = Labels(x, target, weight, axis, ignore_index)
    rows = labels.weigh(-labels.masked(x).gather(target, axis))
    return labels.reduce(log_probs, rows, reduction, empty, by_weight=True)


def linear_cross_entropy_loss(
    hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None, class_weight: Tensor | None = None, *,
    ignore_index: int | None = None, label_smoothing: float = 0.0, reduction: str = "mean", empty: str = "nan",
    memory_budget: int | None = 67108864,
) -> Tensor:  # fmt: skip
    """cross_entropy_loss of the logits hidden @ weight^T + bias, never holding more of them than `memory_budget` bytes.

    Formula: cross_entropy_loss(x, target, class_weight), with x[n, c] = sum_h hidden[n, h] weight[c, h] + bias[c].
    Shapes: hidden: [N, H] or [H]; weight: [C, H]; target: integers [N] (or [], for one row), or floats [N, C]; bias:
        [C]; class_weight: [C]. Result: [1], or unreduced [N].
    Rules: those of cross_entropy_loss. The logits and their gradient are computed for as many rows at a time as fit in
        memory_budget bytes (64 MiB; at least 16 rows), value and gradients in one turn; the gradients by weight and
        bias are added up from turn to turn. None computes all rows at once.
    Gradient: by hidden: g @ weight, by weight: g^T @ hidden, by bias: sum_n g[n], with g the gradient by the logits.
        By target and class_weight: as of cross_entropy_loss.
    Kink: none.
    Source: torch.nn.functional.linear_cross_entropy.
    """
    if hidden.rank not in (1, 2):
        raise LirError(f"linear_cross_entropy_loss takes hidden[N, H] or hidden[H], found {hidden.type}")
    if weight.rank != 2 or weight.shape[1] != hidden.shape[-1]:
        raise LirError(f"the weight for hidden {hidden.type} has type {hidden.dtype}[C, {hidden.shape[-1]}], found "
                       f"{weight.type}", "weights are [out, in]", code="LIR0030")  # fmt: skip
    wide = _without_ignored(hidden.widen(), target, ignore_index)
    logits = linear(wide, like(weight, wide), None if bias is None else like(bias, wide),
                    memory_budget=memory_budget)  # fmt: skip
    loss = cross_entropy_loss(logits, target, class_weight, ignore_index=ignore_index,
                              label_smoothing=label_smoothing, reduction=reduction, empty=empty)  # fmt: skip
    return loss.cast(hidden.dtype) if reduction == "none" else loss


def _without_ignored(hidden: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    """0 in the rows that are ignored: in g^T @ hidden 0 times what they hold would be NaN where that is no number."""
    if ignore_index is None or is_float(target.dtype) or target.shape != hidden.shape[:-1]:
        return hidden
    return not_equal(target, ignore_index).insert_axis(target.rank, hidden.shape[-1]).select(hidden, 0)


def _refuse_ignore_index(ignore_index: int | None) -> None:
    if ignore_index is not None and ignore_index >= 0:
        raise LirError(f"ignore_index = {ignore_index} needs integer labels, the target is a distribution")
