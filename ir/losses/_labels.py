"""Integer class labels: their shape and range, the rows that are ignored, weights by class, and the mean over rows.

In: logits (or other scores) with a class axis, and labels without it. What a loss does with a row is its own affair.
"""

from __future__ import annotations

import numpy as np

from ..diagnostics import LirError
from ..op_types import class_axis
from ..tensor import Tensor
from ..types import Type, is_float, is_integer, numpy_dtype
from ._reduction import WEIGHTS, as_given, like, reduce_loss


def class_batch(x: Tensor, target: Tensor, axis: int | None) -> tuple[Tensor, Tensor, int]:
    """Scores and target with at least one batch axis, and the class axis. One row of scores is a batch of 1.

    The target is labels, of the shape of `x` without the class axis, or a float distribution of the shape of `x`.
    """
    if not is_float(x.dtype) and is_float(target.dtype):
        raise LirError(f"logits are floats, found {x.type}", f"the target is {target.type}: are the two swapped?",
                       code="LIR0031")  # fmt: skip
    axis = class_axis(x.rank, axis)
    if x.shape[axis] == 0:
        raise LirError(f"logits {x.type} have no classes", code="LIR0030")
    expected = x.shape[:axis] + x.shape[axis + 1 :]
    if is_float(target.dtype):
        if target.shape != x.shape:
            raise LirError(f"a distribution target must have the logits' shape {x.type}, found {target.type}",
                           "class labels are integers: cast the target")  # fmt: skip
    elif not is_integer(target.dtype):
        raise LirError(f"a target is integer labels or a float distribution, found {target.type}")
    elif target.shape != expected:
        one_hot = ("is it one-hot? cast it to float",) if target.shape == x.shape else ()
        raise LirError(f"labels for logits {x.type} (class axis {axis}) must have type "
                       f"{Type(target.dtype, expected)}, found {target.type}", *one_hot)  # fmt: skip
    if x.rank > 1:
        return x, target, axis
    return x.reshape([1, *x.shape]), target.reshape([1, *target.shape]), 1


def only_labels(target: Tensor) -> None:
    """Refuse a distribution where only labels have a meaning."""
    if is_float(target.dtype):
        raise LirError(f"this loss takes integer class labels, found {target.type}", "cast the target to i32")


def reduce_rows(given: Tensor, rows: Tensor, reduction: str, each: Tensor | None = None, empty: str = "nan") -> Tensor:
    """`reduce_loss` of rows, in the shape and element type that `given` leads to."""
    loss = reduce_loss(rows, reduction, each, empty)
    loss = loss.reshape([]) if given.rank == 1 and reduction in ("none", WEIGHTS) else loss
    return as_given(loss, given, reduction)


def along_classes(weight: Tensor, x: Tensor, axis: int) -> Tensor:
    """weight[C], repeated to the shape of x."""
    if weight.shape != (x.shape[axis],):
        raise LirError(f"expected one weight a class, {Type(x.dtype, (x.shape[axis],))}, found {weight.type}")
    return like(weight, x).apply("broadcast", dims=(axis,), shape=x.shape)


def is_label(x: Tensor, labels: Tensor, axis: int) -> Tensor:
    """Whether the class of an element of `x` is the label of its row, in the shape of `x`."""
    return x.iota(axis, "i32") == _as_i32(labels).insert_axis(axis, x.shape[axis])


def _as_i32(labels: Tensor) -> Tensor:
    """Labels in 32 bits; what does not fit becomes -1, which is no class either."""
    if labels.dtype != "i64":
        return labels.cast("i32")
    outside = (labels < 0) | (labels > 2**31 - 1)
    return outside.select(-1, labels).cast("i32")


class Labels:
    """Labels with their range check, weights and ignored rows, for scores `x`."""

    def __init__(
        self, x: Tensor, target: Tensor, weight: Tensor | None, axis: int, ignore_index: int | None = None
    ) -> None:
        self.target, self.weight, self.axis = target, weight, axis
        self.kept = None if ignore_index is None else not_equal(target, ignore_index)
        inside = in_range(x, target, axis)
        ok = inside if self.kept is None else inside | ~self.kept
        ok.check(target, code="label", message=f"a label must lie in [0, {x.shape[axis]})"
                 + ("" if ignore_index is None else f" or be ignore_index = {ignore_index}"))  # fmt: skip
        self.row_weight = None if weight is None else along_classes(weight, x, axis).gather(target, axis)
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
        return None if self.weight is None else along_classes(self.weight, x, self.axis)

    def reduce(
        self, given: Tensor, rows: Tensor, reduction: str, empty: str = "nan", by_weight: bool = False
    ) -> Tensor:
        """The loss of `rows`, those of ignored labels being 0. The mean divides by the number of rows that are not
        ignored, `by_weight` by the sum of their labels' weights."""
        each = self.row_weight if by_weight and self.row_weight is not None else self.kept
        return reduce_rows(given, rows, reduction, each, empty)


def not_equal(target: Tensor, value: int) -> Tensor:
    """target != value, in i64 so that no label type wraps the value."""
    return target.cast("i64") != value


def in_range(x: Tensor, target: Tensor, axis: int, least: int = 0) -> Tensor:
    """least <= target < C, in i64 where C is only known later, so that no label type wraps it."""
    classes, limits = x.shape[axis], np.iinfo(numpy_dtype(target.dtype))
    above = target >= max(least, int(limits.min))
    if not isinstance(classes, int):
        return above & (target.cast("i64") < x.apply("dim", axis=axis))
    return above if classes > limits.max else above & (target < classes)
