"""What every loss does around its own formula: 16-bit input, casting targets, averaging; max(0, z) at its kink."""

from __future__ import annotations

from ..builder import Tensor
from ..diagnostics import LirError
from ..types import is_short

REDUCTIONS = ("mean", "sum", "none", "weights")
"""Besides the three that averages are known by: "weights" is what the mean divides by, element by element."""


def widen(x: Tensor) -> Tensor:
    """16-bit floats are storage: arithmetic is in f32."""
    return x.cast("f32") if is_short(x.dtype) else x


def like(target: Tensor, x: Tensor) -> Tensor:
    """`target` (any integer, truth value or float) in the element type of `x`."""
    return target.cast(x.dtype)


def as_given(loss: Tensor, x: Tensor, reduction: str) -> Tensor:
    """An unreduced loss in the element type of the input `x`; a reduced one as it is, f32 for 16-bit input."""
    return loss.cast(x.dtype) if reduction == "none" else loss


def check_reduction(reduction: str, accepted: tuple[str, ...] = REDUCTIONS) -> None:
    if reduction not in accepted:
        raise LirError(f"unknown reduction {reduction!r}", f"expected one of {', '.join(accepted)}")


def same_shape(x: Tensor, target: Tensor, names: str = "prediction and target") -> None:
    if x.shape != target.shape:
        raise LirError(f"{names} must have the same shape, found {x.type} and {target.type}",
                       "write `broadcast` where one is meant to repeat", code="LIR0030")  # fmt: skip


def total(values: Tensor) -> Tensor:
    """The sum of everything, of shape [1]."""
    return values.sum().reshape([1])


def reduce_loss(values: Tensor, reduction: str, divisor: Tensor | float | None = None,
                each: Tensor | None = None) -> Tensor:  # fmt: skip
    """Average, add up, or keep. The mean divides by `divisor`; by default by the sum of `each`, what every element
    counts as; without that by the number of elements."""
    check_reduction(reduction)
    if reduction == "none":
        return values
    if reduction == "weights":
        return values.constant(1) if each is None else each
    whole = total(values)
    if reduction == "sum":
        return whole
    if divisor is None:
        divisor = values.count() if each is None else total(each)
    return whole / divisor


def weighted(values: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce `weight * values`; the mean divides by the sum of the broadcast weight."""
    if weight is None:
        return reduce_loss(values, reduction)
    weight = like(weight, values).broadcast_to(values.shape)
    return reduce_loss(weight * values, reduction, each=weight)


def clamp_at_zero(z: Tensor) -> Tensor:
    """max(0, z), with derivative 1 at 0 as torch.clamp has it; NaN stays NaN."""
    return (z < 0).select(0, z)
