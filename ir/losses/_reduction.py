"""What every loss does around its own formula: 16-bit input, casting targets, averaging; max(0, z) at its kink."""

from __future__ import annotations

from ..diagnostics import LirError
from ..op_types import repetition
from ..tensor import Tensor

REDUCTIONS = ("mean", "sum", "none")
WEIGHTS = "weights"
"""Every loss has it, too, for `sample_weight`: what the mean divides by, element by element."""

EMPTY = ("nan", "zero", "error")
"""What the mean of a loss can be where nothing counts."""


def like(target: Tensor, x: Tensor) -> Tensor:
    """`target` (any integer, truth value or float) in the element type of `x`."""
    return target.cast(x.dtype)


def as_given(loss: Tensor, x: Tensor, reduction: str) -> Tensor:
    """An unreduced loss in the element type of the input `x`; a reduced one as it is, f32 for 16-bit input."""
    return loss.cast(x.dtype) if reduction == "none" else loss


def check_reduction(reduction: str, accepted: tuple[str, ...] = REDUCTIONS, where: str = "") -> None:
    if reduction not in accepted:
        raise LirError(f"unknown reduction {reduction!r}{where and ' '}{where}",
                       f"expected one of {', '.join(accepted)}")  # fmt: skip


def same_shape(x: Tensor, target: Tensor, names: str = "prediction and target") -> None:
    if x.shape != target.shape:
        raise LirError(f"{names} must have the same shape, found {x.type} and {target.type}",
                       f"write {repetition(x.type, target.type)} where one is meant to repeat",
                       code="LIR0030")  # fmt: skip


def total(values: Tensor) -> Tensor:
    """The sum of everything, of shape [1]."""
    return values.sum().reshape([1])


def reduce_loss(values: Tensor, reduction: str, each: Tensor | None = None, empty: str = "nan") -> Tensor:
    """Average, add up, or keep. The mean divides by the sum of `each`, what every element counts as: 1 by default.
    Truth values say which elements count. Where nothing does, the mean is what `empty` says."""
    if reduction != WEIGHTS:
        check_reduction(reduction)
    if empty not in EMPTY:
        raise LirError(f"unknown value {empty!r} for empty", 'expected "nan", "zero" or "error"')
    if reduction == "none":
        return values
    if reduction == WEIGHTS:
        return values.constant(1) if each is None else each.cast(values.dtype)
    if reduction == "sum":
        return total(values)
    divisor = values.count() if each is None else _added(each, values.dtype)
    return divide(total(values), divisor, empty)


def _added(each: Tensor, dtype: str) -> Tensor:
    """The sum of what elements count as, exact where they only count or not."""
    return total(each.cast("i64")).cast(dtype) if each.dtype == "bool" else total(each)


def divide(whole: Tensor, divisor: Tensor | float, empty: str) -> Tensor:
    """whole / divisor, of shape [1]; where nothing counts, what `empty` says."""
    if empty == "nan":
        return whole / divisor
    divisor = divisor.reshape([1]) if isinstance(divisor, Tensor) else whole.constant(divisor)
    some = divisor != 0
    if empty == "error":
        some.check(code="empty", message="the mean of a loss needs at least one row that is not ignored")
    return some.select(whole / some.select(divisor, 1), 0)


def weighted(values: Tensor, weight: Tensor | None, reduction: str, by_weight: bool = False) -> Tensor:
    """Reduce `weight * values`, the weight repeated to their shape; the mean divides by their number, `by_weight` by
    the sum of the weight."""
    if weight is None:
        return reduce_loss(values, reduction)
    weight = repeated(like(weight, values), values, "weight")
    return reduce_loss(weight * values, reduction, each=weight if by_weight else None)


def repeated(weight: Tensor, x: Tensor, name: str) -> Tensor:
    """A weight in the shape of what it weighs."""
    try:
        return weight.broadcast_to(x.shape)
    except LirError:
        shape = ", ".join(map(str, x.shape))
        raise LirError(f"`{name}` of type {weight.type} does not repeat to the shape [{shape}] of what it weighs",
                       code="LIR0030") from None  # fmt: skip


def with_nan(values: Tensor) -> Tensor:
    """Values of a loss that is linear in pieces: where one is NaN its gradient is, too, not the slope of a piece."""
    return values.with_gradient((values, values.isnan().select(values, 1)))


def clamp_at_zero(z: Tensor) -> Tensor:
    """max(0, z), with derivative 1 at 0 as torch.clamp has it; NaN stays NaN."""
    return (z < 0).select(0, z)
