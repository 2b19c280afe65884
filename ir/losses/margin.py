"""Losses that ask for a margin: of a score against its sign, of the right class against the others."""

from __future__ import annotations

from ..diagnostics import LirError
from ..op_types import class_axis
from ..tensor import Tensor
from ..types import is_integer
from ._labels import Labels, along_classes, class_batch, in_range, is_label, only_labels, reduce_rows
from ._logits import binary_cross_entropy
from ._reduction import as_given, clamp_at_zero, like, reduce_loss, same_shape, with_nan
from ._scalars import scalar


def hinge_loss(pred: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """max(0, 1 - x t), for targets of -1 and 1.

    Formula: max(0, 1 - x t), with x = pred and t = target.
    Shapes: pred, target: [...]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. Targets of 0 and 1 are not converted.
    Gradient: by pred: -t where x t <= 1, NaN where it is NaN, else 0; by target: -x there.
    Kink: at x t = 1 the derivative of the linear side, as torch.clamp(1 - x t, min=0) has it.
    Source: Cortes and Vapnik 1995.
    """
    return _of_margin(pred, target, reduction, squared=False)


def squared_hinge_loss(pred: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """max(0, 1 - x t)^2, for targets of -1 and 1.

    Formula: max(0, 1 - x t)^2, with x = pred and t = target.
    Shapes: pred, target: [...]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. Targets of 0 and 1 are not converted.
    Gradient: by pred: -2 t max(0, 1 - x t); by target: -2 x max(0, 1 - x t).
    Kink: none.
    Source: Lee and Mangasarian 2001 (smooth support vector machines).
    """
    return _of_margin(pred, target, reduction, squared=True)


def _of_margin(given: Tensor, t: Tensor, reduction: str, squared: bool) -> Tensor:
    same_shape(given, t)
    x = given.widen()
    hinge = clamp_at_zero(1 - x * like(t, x))
    return as_given(reduce_loss(hinge**2 if squared else with_nan(hinge), reduction), given, reduction)


def soft_margin_loss(pred: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t x)), for targets of -1 and 1, without overflow.

    Formula: softplus(-t x), with x = pred and t = target.
    Shapes: pred, target: [...]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. Finite where exp(-t x) is not.
    Gradient: by pred: -t sigmoid(-t x); by target: -x sigmoid(-t x).
    Kink: none.
    Source: torch.nn.functional.soft_margin_loss.
    """
    same_shape(pred, target)
    x = pred.widen()
    return as_given(reduce_loss((-(like(target, x) * x)).softplus(), reduction), pred, reduction)


def multi_margin_loss(
    x: Tensor, y: Tensor, weight: Tensor | None = None, *,
    p: int = 1, margin: float | Tensor = 1.0, axis: int | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over classes of max(0, margin - x[y] + x[c])^p for c other than the label y.

    Formula: w[y] / C sum_{c != y} max(0, margin - x[y] + x[c])^p.
    Shapes: x: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; y: integers of that shape
        without the class axis; weight: [C]; margin: a number, [] or [1]. Result: [1], or unreduced one element a row.
    Rules: p is 1 or 2. The mean divides by the number of rows, also with weights. A label out of range refuses the
        run.
    Gradient: by x[c]: w[y] / C p max(0, margin - x[y] + x[c])^(p - 1) where that is positive, by x[y] minus their sum;
        by margin the sum; by weight: the sum of the unweighted rows of each class.
    Kink: where margin - x[y] + x[c] = 0 the derivative is 0.
    Source: torch.nn.functional.multi_margin_loss.
    """
    if p not in (1, 2):
        raise LirError(f"p must be 1 or 2, found {p}")
    given = x
    x, target, axis = class_batch(x.widen(), y, axis)
    only_labels(target)
    labels = Labels(x, target, weight, axis)
    z = x - x.gather(target, axis).insert_axis(axis, x.shape[axis]) + scalar(margin, x, "margin")
    missing = (is_label(x, target, axis) | (z <= 0)).select(0, z)
    return reduce_rows(given, labels.weigh((missing**p).sum(axis) / x.count([axis])), reduction)


def multilabel_margin_loss(x: Tensor, y: Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean over classes of max(0, 1 - (x[y_j] - x[i])) for every target y_j and every class i that is no target.

    Formula: 1 / C sum_j sum_{i is no target} max(0, 1 - (x[y_j] - x[i])).
    Shapes: x: [N, C] or [C]; y: integers of that shape. Result: [1], or unreduced one element a row.
    Rules: the targets of a row are its y up to the first -1; what comes after counts for nothing. One that is named
        twice counts twice. The mean divides by the number of rows. A number outside [-1, C) refuses the run.
    Gradient: by x[i]: 1 / C for each pair with a positive term; by x[y_j]: -1 / C for each.
    Kink: where 1 - (x[y_j] - x[i]) = 0 the derivative is 0.
    Source: torch.nn.functional.multilabel_margin_loss.
    """
    if x.rank not in (1, 2):
        raise LirError(f"multilabel_margin_loss takes x[N, C] or x[C], found {x.type}")
    if not is_integer(y.dtype):
        raise LirError(f"the targets are lists of class indices, integers, found {y.type}")
    same_shape(x, y, "scores and lists of targets")
    given, x = x, x.widen()
    if x.rank == 1:
        x, y = x.reshape([1, *x.shape]), y.reshape([1, *y.shape])
    classes = x.shape[1]
    in_range(x, y, 1, least=-1).check(
        y, code="label", message=f"a target must lie in [0, {classes}), the list ends with -1"
    )
    places = y.iota(1, "i32")
    listed = places < (y < 0).select(places, 2**31 - 1).amin(1).insert_axis(1, classes)
    # Pairs are [N, place in the list, class]; nothing of that shape is stored.
    scores = x.insert_axis(1, classes)
    ahead = scores.gather(y, 2).insert_axis(2, classes) - scores
    of_class = (listed.insert_axis(2, classes) & ~(ahead >= 1)).select(1 - ahead, 0).sum(1)
    hits = listed.insert_axis(2, classes) & is_label(scores, y, 2)
    is_target = hits.cast("i32").sum(1) > 0
    return reduce_rows(given, is_target.select(0, of_class).sum(1) / x.count([1]), reduction)


def multilabel_soft_margin_loss(
    x: Tensor, t: Tensor, weight: Tensor | None = None, *, axis: int | None = None, reduction: str = "mean"
) -> Tensor:
    """The mean over classes of binary cross-entropy with logits.

    Formula: 1 / C sum_c w[c] (softplus(x[c]) - x[c] t[c]).
    Shapes: x, t: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; weight: [C]. Result: [1], or
        unreduced one element a row.
    Rules: the mean divides by the number of rows, the mean over classes by C, never by weights.
    Gradient: by x: w[c] (sigmoid(x[c]) - t[c]) / C; by t: -w[c] x[c] / C; by weight: the mean of its class.
    Kink: none.
    Source: torch.nn.functional.multilabel_soft_margin_loss.
    """
    same_shape(x, t, "logits and target")
    given, x = x, x.widen()
    t = like(t, x)
    axis = class_axis(x.rank, axis)
    values = binary_cross_entropy(x, t)
    if weight is not None:
        values = values * along_classes(weight, x, axis)
    return as_given(reduce_loss(values.sum(axis) / x.count([axis]), reduction), given, reduction)
