"""Cross-entropy over classes, from logits and from log-probabilities.

The dtype of the target decides: integers are class labels, floats are distributions over the classes.
"""

from __future__ import annotations

import math

import numpy as np

from ..builder import Tensor
from ..diagnostics import LirError
from ..layers import _shifted
from ..ops import check_axis
from ..types import Type, is_float, is_integer, numpy_dtype
from ._reduction import as_given, check_reduction, like, reduce_loss, total, widen


def cross_entropy_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, *,
    ignore_index: int | None = None, label_smoothing: float = 0.0, axis: int | None = None,
    reduction: str = "mean", empty: str = "nan",
) -> Tensor:  # fmt: skip
    """-log softmax(x)[y] for labels y, or -sum_c t[c] log softmax(x)[c] for distributions t.

    Labels: the mean divides by the sum of w[y] over the rows that are not ignored (their number without
    weights); `empty` says what it is without such rows: "nan", "zero" or "error". With smoothing e the loss is
    (1 - e) w[y] nll + (e / C) sum_c w[c] (-log p[c]). Distributions: t becomes t (1 - e) + e / C, the mean divides
    by the number of rows. The gradient of the plain form is softmax(x) - onehot(y).
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise LirError(f"label_smoothing must lie in [0, 1], found {label_smoothing}")
    x, axis = _one_batch(widen(logits), target, axis)
    target = _one_batch_target(logits, target)
    if is_float(target.dtype):
        loss = _distribution_rows(x, target, weight, label_smoothing, axis, ignore_index)
        return _as_given(logits, loss, reduction)
    labels = _Labels(x, target, weight, axis, ignore_index)
    shifted, sum_of_exp = _shifted(labels.masked(x), axis)
    log_sum = sum_of_exp.log()
    rows = labels.weigh(log_sum - shifted.gather(target, axis))
    if label_smoothing:
        # sum_c w[c] (log_sum - shifted[c]), with the sums of w and of w * shifted taken apart so that they need
        # nothing of the row's sum of exponentials.
        class_weights = labels.class_weights(x)
        if class_weights is None:
            smooth = log_sum * _class_count(x, axis) - shifted.sum(axis)
        else:
            smooth = log_sum * class_weights.sum(axis) - (class_weights * shifted).sum(axis)
        rows = rows * (1 - label_smoothing) + labels.drop_ignored(smooth) * (label_smoothing / _class_count(x, axis))
    return labels.reduce(logits, rows, reduction, empty)


def nll_loss(
    log_probs: Tensor, target: Tensor, weight: Tensor | None = None, *,
    ignore_index: int | None = None, axis: int | None = None, reduction: str = "mean", empty: str = "nan",
) -> Tensor:  # fmt: skip
    """-w[y] x[y] for labels y, or -sum_c w[c] t[c] x[c] for distributions t; averaged as cross_entropy_loss."""
    x, axis = _one_batch(widen(log_probs), target, axis)
    target = _one_batch_target(log_probs, target)
    if is_float(target.dtype):
        _refuse_ignore_index(ignore_index)
        t = _weigh_classes(like(target, x), weight, axis)
        masked = ((t == 0) & (x == -math.inf)).select(0, x)
        return _as_given(log_probs, -(t * masked).sum(axis), reduction)
    labels = _Labels(x, target, weight, axis, ignore_index)
    rows = labels.weigh(-labels.masked(x).gather(target, axis))
    return labels.reduce(log_probs, rows, reduction, empty)


def _one_batch(x: Tensor, target: Tensor, axis: int | None) -> tuple[Tensor, int]:
    """The logits with at least one batch axis, and the class axis in them. One row of logits is a batch of 1."""
    if x.rank == 0:
        raise LirError("logits need a class axis, found a scalar")
    class_axis = check_axis(axis, x.rank) if axis is not None else min(1, x.rank - 1)
    if x.shape[class_axis] == 0:
        raise LirError(f"logits {x.type} have no classes")
    expected = x.shape[:class_axis] + x.shape[class_axis + 1 :]
    if is_float(target.dtype):
        if target.shape != x.shape:
            raise LirError(f"a distribution target must have the logits' shape {x.type}, found {target.type}",
                           "class labels are integers: cast the target")  # fmt: skip
    elif not is_integer(target.dtype):
        raise LirError(f"a target is integer labels or a float distribution, found {target.type}")
    elif target.shape != expected:
        one_hot = ("is it one-hot? cast it to float",) if target.shape == x.shape else ()
        raise LirError(f"labels for logits {x.type} (class axis {class_axis}) must have type "
                       f"{Type(target.dtype, expected)}, found {target.type}", *one_hot)  # fmt: skip
    return (x.reshape([1, *x.shape]), 1) if x.rank == 1 else (x, class_axis)


def _one_batch_target(logits: Tensor, target: Tensor) -> Tensor:
    return target.reshape([1, *target.shape]) if logits.rank == 1 else target


def _as_given(logits: Tensor, rows: Tensor, reduction: str) -> Tensor:
    rows = rows.reshape([]) if logits.rank == 1 and reduction == "none" else rows
    return as_given(reduce_loss(rows, reduction), logits, reduction)


def _class_count(x: Tensor, axis: int) -> Tensor | float:
    return x.count([axis])


def _refuse_ignore_index(ignore_index: int | None) -> None:
    if ignore_index is not None and ignore_index >= 0:
        raise LirError(f"ignore_index = {ignore_index} needs integer labels, the target is a distribution")


def _weigh_classes(t: Tensor, weight: Tensor | None, axis: int) -> Tensor:
    return t if weight is None else t * _along_classes(weight, t, axis)


def _along_classes(weight: Tensor, x: Tensor, axis: int) -> Tensor:
    """weight[C], repeated to the shape of x."""
    if weight.shape != (x.shape[axis],):
        raise LirError(f"expected one weight a class, {Type(x.dtype, (x.shape[axis],))}, found {weight.type}")
    return like(weight, x)._emit("broadcast", dims=(axis,), shape=x.shape)


def _distribution_rows(
    x: Tensor, target: Tensor, weight: Tensor | None, smoothing: float, axis: int, ignore_index: int | None
) -> Tensor:
    _refuse_ignore_index(ignore_index)
    t = like(target, x)
    if smoothing:
        t = t * (1 - smoothing) + smoothing / _class_count(x, axis)
    t = _weigh_classes(t, weight, axis)
    shifted, sum_of_exp = _shifted(x, axis)
    # 0 * log 0 = 0: a masked logit with no target mass contributes nothing.
    masked = ((t == 0) & (shifted == -math.inf)).select(0, shifted)
    return sum_of_exp.log() * t.sum(axis) - (t * masked).sum(axis)


class _Labels:
    """Integer labels with their range check, weights and ignored rows."""

    def __init__(self, x: Tensor, target: Tensor, weight: Tensor | None, axis: int, ignore_index: int | None):
        self.target, self.weight, self.axis = target, weight, axis
        self.kept = None if ignore_index is None else _not_equal(target, ignore_index)
        inside = _in_range(x, target, axis)
        ok = inside if self.kept is None else inside | ~self.kept
        ok.check(target, code="label", message=f"a label must lie in [0, {x.shape[axis]})"
                 + ("" if ignore_index is None else f" or be ignore_index = {ignore_index}"))  # fmt: skip
        self.row_weight = None if weight is None else _along_classes(weight, x, axis).gather(target, axis)
        if self.row_weight is not None:
            self.row_weight = self.drop_ignored(self.row_weight)

    def masked(self, x: Tensor) -> Tensor:
        """x with ignored rows set to 0 before any arithmetic, so that a NaN there stays there."""
        return x if self.kept is None else self.kept.insert_axis(self.axis, x.shape[self.axis]).select(x, 0)

    def drop_ignored(self, rows: Tensor) -> Tensor:
        return rows if self.kept is None else self.kept.select(rows, 0)

    def weigh(self, rows: Tensor) -> Tensor:
        return self.drop_ignored(rows if self.row_weight is None else rows * self.row_weight)

    def class_weights(self, x: Tensor) -> Tensor | None:
        return None if self.weight is None else _along_classes(self.weight, x, self.axis)

    def reduce(self, given: Tensor, rows: Tensor, reduction: str, empty: str) -> Tensor:
        check_reduction(reduction)
        if empty not in ("nan", "zero", "error"):
            raise LirError(f"unknown value {empty!r} for empty", 'expected "nan", "zero" or "error"')
        if reduction != "mean":
            return _as_given(given, rows, reduction)
        if self.row_weight is not None:
            divisor = total(self.row_weight)
        elif self.kept is not None:
            divisor = total(self.kept.cast("i64")).cast(rows.dtype)
        else:
            count = rows.count()
            divisor = count.reshape([1]) if isinstance(count, Tensor) else rows.sum().reshape([1]).constant(count)
        if empty == "nan":
            return total(rows) / divisor
        some = divisor != 0
        if empty == "error":
            some.check(code="empty", message="the mean of a loss needs at least one row that is not ignored")
        return some.select(total(rows) / some.select(divisor, 1), 0)


def _not_equal(target: Tensor, value: int) -> Tensor:
    """target != value, in i64 so that no label type wraps the value."""
    return target.cast("i64") != value


def _in_range(x: Tensor, target: Tensor, axis: int) -> Tensor:
    """0 <= target < C, in i64 where C is only known later, so that no label type wraps it."""
    classes, above = x.shape[axis], target >= 0
    if not isinstance(classes, int):
        return above & (target.cast("i64") < x._emit("dim", axis=axis))
    if classes > np.iinfo(numpy_dtype(target.dtype)).max:
        return above
    return above & (target < classes)
