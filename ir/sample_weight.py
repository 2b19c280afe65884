"""A weight for each sample, beside any loss.

In: a loss as a function of its operands and a reduction, and weights. Out: the loss whose unreduced values are each
multiplied by the weight of their sample. The mean divides by the sum of what the plain mean divides by, element by
element, times the weight of the sample: sum(s e) / sum(s), sum(s w e) / sum(s w) where the mean is a weighted one, and
without what is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .diagnostics import LirError
from .losses._reduction import WEIGHTS, check_reduction, divide, total
from .tensor import Tensor
from .types import is_integer

Operands = Mapping[str, Tensor]
REDUCTIONS = ("mean", "sum", "none", "batchmean")


def weigh_samples(
    loss: Callable[[Operands, str], Tensor], operands: Operands, weight: Tensor, attributes: Mapping[str, Any]
) -> Tensor:
    """The loss with `attributes` under `weight`, whose axes are the first ones of the unreduced loss."""
    reduction = attributes.get("reduction", "mean")
    check_reduction(reduction, REDUCTIONS, "beside sample_weight")
    stored = next(iter(operands.values())).dtype
    wide = {name: value.widen() for name, value in operands.items()}
    rows = loss(wide, "none")
    weight = weight.cast(rows.dtype)
    each = _without_ignored(_over_samples(weight, rows), wide, attributes)
    if reduction == "none":
        return (rows * each).cast(stored)
    whole = total(rows * each)
    if reduction == "sum":
        return whole
    if reduction == "batchmean":
        if weight.rank > 1:
            raise LirError(f"batchmean takes one sample_weight for each sample, found {weight.type}")
        return whole / total(weight.broadcast_to(rows.shape[:1]))
    return divide(whole, total(loss(wide, WEIGHTS) * each), attributes.get("empty", "nan"))


def _over_samples(weight: Tensor, rows: Tensor) -> Tensor:
    """`weight` in the shape of the unreduced loss."""
    if weight.rank in (0, rows.rank):
        return weight.broadcast_to(rows.shape)
    if weight.rank > rows.rank or any(a not in (1, b) for a, b in zip(weight.shape, rows.shape)):
        raise LirError(f"sample_weight {weight.type} does not fit its unreduced loss {rows.type}",
                       "it has the shape of that, or of its first axes", code="LIR0030")  # fmt: skip
    return weight.apply("broadcast", dims=tuple(range(weight.rank)), shape=rows.shape)


def _without_ignored(weight: Tensor, operands: Operands, attributes: Mapping[str, Any]) -> Tensor:
    """0 for samples that are ignored, so that a NaN there does not matter."""
    ignored, labels = attributes.get("ignore_index"), [o for o in operands.values() if is_integer(o.dtype)]
    if ignored is None or not labels:
        return weight
    return (labels[0].cast("i64") == ignored).reshape(weight.shape).select(0, weight)
