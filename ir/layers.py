"""Layers and activations as functions over primitives. Each public function is an operation of that name."""

from __future__ import annotations

import math

from ._softmax import shifted_exponentials
from .diagnostics import LirError
from .op_types import check_axis
from .tensor import Tensor
from .types import Type, multiply_dims


def relu(x: Tensor) -> Tensor:
    """max(x, 0), with derivative 0 at 0; NaN stays NaN."""
    return (x <= 0).select(0, x)


def leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope x; at 0 the derivative is negative_slope."""
    return (x > 0).select(x, x * negative_slope)


def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1) (Clevert, Unterthiner, Hochreiter, 2015); at 0 the derivative is alpha."""
    # The exponential of what is not taken would overflow, and its gradient with it.
    return (x > 0).select(x, (x > 0).select(0, x).expm1() * alpha)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), also called swish (Ramachandran, Zoph, Le, 2017)."""
    return x * x.sigmoid()


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x Phi(x) with Phi of the normal distribution (Hendrycks, Gimpel, 2016).

    approximate = "none" is x (1 + erf(x / sqrt 2)) / 2, "tanh" is x (1 + tanh u) / 2 with
    u = sqrt(2 / pi) (x + 0.044715 x^3).
    """
    if approximate == "none":
        return x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1)
    if approximate == "tanh":
        # (1 + tanh(u)) / 2 = sigmoid(2 u), which does not cancel where u is far below 0.
        return x * ((x + x**3 * 0.044715) * math.sqrt(8 / math.pi)).sigmoid()
    raise LirError(f"unknown approximation {approximate!r} of gelu", 'expected "none" or "tanh"')


def dropout(x: Tensor, key: Tensor, *, p: float = 0.5, stream: int = 0) -> Tensor:
    """0 with probability p, else x / (1 - p), independently at each element (Srivastava et al., 2014).

    Which elements are dropped depends on `key` (an i64), `stream` and the element's position alone: the gradient
    draws the same mask again, and nothing is stored. A new key is a new mask. Masks of one key with different
    streams, 0 to 2^22 - 1, are independent. Where p = 0 the result is x; a dropped NaN is 0.
    """
    if not 0.0 <= p <= 1.0:
        raise LirError(f"dropout: p must lie in [0, 1], found {p}")
    if not 0 <= stream < 2**22:
        raise LirError(f"dropout: stream must lie in [0, {2**22}), found {stream}")
    if key.type != Type("i64"):
        raise LirError(f"dropout: expected a key of type {Type('i64')}, found {key.type}", code="LIR0031")
    if p == 0:
        return x
    if p == 1:
        return x.constant(0)
    counter = _positions(x) + stream * _STREAM
    bits = key.broadcast_to(x.shape).apply("random_bits", counter)
    # Of 2^32 equally likely words the lowest p 2^32 drop.
    return (bits < min(round(p * 2**32), 2**32 - 1) - 2**31).select(0, x * (1 / (1 - p)))


_STREAM = 2**40
"""The counters of a stream: more than the elements of any tensor."""


def _positions(x: Tensor) -> Tensor:
    """The number of each element, in the order of memory, as i64."""
    position, stride = Tensor(x.builder.constant(0, "i64", x.shape), x.builder), None
    for axis in reversed(range(x.rank)):
        along = x.iota(axis, "i64")
        position = position + (along if stride is None else along * stride)
        size = x.apply("dim", axis=axis)
        stride = size if stride is None else stride * size
    return position


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, memory_budget: int | None = None) -> Tensor:
    """x @ weight^T + bias, for x[..., in], weight[out, in], bias[out].

    With `memory_budget` the result, and what is computed from it row by row, is never held for more rows at a time
    than fit in so many bytes; `split-rows` says what it needs for that.
    """
    if x.rank == 0 or weight.rank != 2:
        raise LirError(f"linear takes x[..., in] and weight[out, in], found {x.type} and {weight.type}",
                       code="LIR0030")  # fmt: skip
    if x.shape[-1] != weight.shape[1]:
        raise LirError(f"linear: x, {x.type}, has {x.shape[-1]} features, and the weight, {weight.type}, takes "
                       f"{weight.shape[1]}", "a weight is [out, in]", code="LIR0030")  # fmt: skip
    rows = x.reshape([multiply_dims(x.shape[:-1]), x.shape[-1]])
    product = rows.apply("matmul", weight, transpose_right=True, memory_budget=memory_budget)
    if bias is not None:
        product = product + bias
    return product.reshape([*x.shape[:-1], weight.shape[0]])


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`."""
    axis = check_axis(axis, x.rank)
    shifted, total = shifted_exponentials(x, axis)
    return shifted.exp() * (1 / total).insert_axis(axis, x.shape[axis])


def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `axis`, without overflow."""
    axis = check_axis(axis, x.rank)
    shifted, total = shifted_exponentials(x, axis)
    return shifted - total.log().insert_axis(axis, x.shape[axis])


def logsumexp(x: Tensor, *, axis: int = -1) -> Tensor:
    """log(sum(exp(x))) along `axis`, without overflow; -inf where every element is."""
    axis = check_axis(axis, x.rank)
    # The same shift as in softmax, so that both come from one pass; where it is infinite, it is the result.
    largest = x.amax(axis).stop_gradient()
    _, total = shifted_exponentials(x, axis)
    is_infinite = largest.abs() == math.inf
    # The sum is NaN then: not taken inside either, it makes no gradient NaN but that of the infinite elements.
    return is_infinite.select(largest, is_infinite.select(1, total).log() + largest)


def argmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """The index of the largest element along `axis`, as i32; of equal ones the first, of NaNs the first NaN."""
    axis = check_axis(axis, x.rank)
    largest = x.amax(axis).insert_axis(axis, x.shape[axis])
    hit = (x == largest) | (x != x)
    return hit.select(x.iota(axis, "i32"), 2**31 - 1).amin(axis)
