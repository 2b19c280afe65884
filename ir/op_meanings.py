"""The meaning of the primitive operations, in NumPy; floats arrive as float64.

In: an `Evaluation`, the operands as arrays. Out: the result. What is a function of NumPy is in the table of `ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .frozen import frozen
from .op_types import Attributes
from .types import is_float, numpy_dtype


@frozen
class Evaluation:
    """What an `evaluate` may ask beside its operands: attributes, and the concrete result type."""

    attributes: Attributes
    dtype: str
    shape: tuple[int, ...]


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def divide(context: Evaluation, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Integer division truncates toward zero, as in C; division by zero gives 0.
    if a.dtype.kind == "f":
        return a / b
    return np.where(b == 0, 0, np.trunc(a / np.where(b == 0, 1, b))).astype(a.dtype)


def gather(context: Evaluation, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis = context.attributes["axis"] % x.ndim
    inside = (indices >= 0) & (indices < x.shape[axis])
    if x.shape[axis] == 0:
        return np.zeros(context.shape, x.dtype)
    safe = np.where(inside, indices, 0).astype(np.int64)
    picked = np.take_along_axis(x, np.expand_dims(safe, axis), axis).squeeze(axis)
    return np.where(inside, picked, np.zeros((), x.dtype))


def broadcast(context: Evaluation, x: np.ndarray) -> np.ndarray:
    shape = [1] * len(context.shape)
    for axis, target in enumerate(context.attributes["dims"]):
        shape[target] = x.shape[axis]
    return np.broadcast_to(x.reshape(shape), context.shape)


def reduction(function: Callable[..., np.ndarray], identity: float):
    def evaluate(context: Evaluation, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f":
            info = np.iinfo(x.dtype)
            initial = {0.0: 0, -math.inf: info.min, math.inf: info.max}[identity]
            return function(x, axis=tuple(context.attributes["axes"]), initial=initial).astype(x.dtype)
        return function(x, axis=tuple(context.attributes["axes"]), initial=identity)

    return evaluate


def constant(context: Evaluation) -> np.ndarray:
    dtype = np.float64 if is_float(context.dtype) else numpy_dtype(context.dtype)
    return np.full(context.shape, context.attributes["value"], dtype)


def iota(context: Evaluation) -> np.ndarray:
    axis = context.attributes["axis"] % len(context.shape)
    shape = [1] * len(context.shape)
    shape[axis] = context.shape[axis]
    counts = np.arange(context.shape[axis], dtype=numpy_dtype(context.dtype))
    return np.broadcast_to(counts.reshape(shape), context.shape)


def matmul(context: Evaluation, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.T if context.attributes["transpose_left"] else a) @ (b.T if context.attributes["transpose_right"] else b)


def cast(context: Evaluation, x: np.ndarray) -> np.ndarray:
    # A cast rounds to its type, and the interpreter goes on in float64.
    rounded = x.astype(numpy_dtype(context.dtype))
    return rounded.astype(np.float64) if is_float(context.dtype) else rounded


def plain(function: Callable[..., np.ndarray]):
    return lambda context, *operands: function(*operands)


erf = np.vectorize(math.erf, otypes=[np.float64])
