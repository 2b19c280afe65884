"""Layers and activations as functions over primitives. Each public function is an operation of that name."""

from __future__ import annotations

import math

from .builder import Tensor
from .diagnostics import LirError
from .ops import check_axis
from .types import multiply_dims


def relu(x: Tensor) -> Tensor:
    """max(x, 0), with derivative 0 at 0; NaN stays NaN."""
    return (x <= 0).select(0, x)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight^T + bias, for x[..., in], weight[out, in], bias[out]."""
    if x.rank == 0 or weight.rank != 2:
        raise LirError(f"linear takes x[..., in] and weight[out, in], found {x.type} and {weight.type}",
                       code="LIR0030")  # fmt: skip
    rows = x.reshape([multiply_dims(x.shape[:-1]), x.shape[-1]])
    product = rows._emit("matmul", weight.value, transpose_right=True)
    if bias is not None:
        product = product + bias
    return product.reshape([*x.shape[:-1], weight.shape[0]])


def _shifted(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """x minus its maximum along `axis`, and the sum of exponentials of that.

    The maximum only moves the range: d/dx [m + log sum exp(x - m)] does not depend on m, so no gradient goes
    through it. A row of -inf alone gives NaN, a +inf anywhere too.
    """
    shifted = x - x.amax(axis).stop_gradient().insert_axis(axis, x.shape[axis])
    return shifted, shifted.exp().sum(axis)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`."""
    axis = check_axis(axis, x.rank)
    shifted, total = _shifted(x, axis)
    return shifted.exp() * (1 / total).insert_axis(axis, x.shape[axis])


def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `axis`, without overflow."""
    axis = check_axis(axis, x.rank)
    shifted, total = _shifted(x, axis)
    return shifted - total.log().insert_axis(axis, x.shape[axis])


def logsumexp(x: Tensor, *, axis: int = -1) -> Tensor:
    """log(sum(exp(x))) along `axis`, without overflow; -inf where every element is."""
    axis = check_axis(axis, x.rank)
    largest = x.amax(axis).stop_gradient()
    finite = (largest.abs() == math.inf).select(0, largest)
    return (x - finite.insert_axis(axis, x.shape[axis])).exp().sum(axis).log() + finite


def argmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """The index of the largest element along `axis`, as i32; of equal ones the first, of NaNs the first NaN."""
    axis = check_axis(axis, x.rank)
    largest = x.amax(axis).insert_axis(axis, x.shape[axis])
    hit = (x == largest) | (x != x)
    return hit.select(x.iota(axis, "i32"), 2**31 - 1).amin(axis)
