"""Hyper-parameters of losses that are numbers in the program, or values given to it at run time.

In: what a parameter of type `float | Tensor` was given. Out: something to calculate with beside a tensor.
"""

from __future__ import annotations

from ..diagnostics import LirError
from ..tensor import Tensor

Scalar = Tensor | float


def scalar(value: Scalar, x: Tensor, name: str) -> Scalar:
    """A number as it is; a value of shape [] or [1] as a scalar of the element type of `x`."""
    if not isinstance(value, Tensor):
        return value
    if value.shape not in ((), (1,)):
        raise LirError(f"`{name}` is one number, of shape [] or [1], found {value.type}", code="LIR0030")
    return value.reshape([]).cast(x.dtype)


def check_positive(value: Scalar, name: str, or_zero: bool = False) -> None:
    """Refuse a number that is not positive. A value of the run time is taken as it is."""
    if not isinstance(value, Tensor) and not (value >= 0 if or_zero else value > 0):
        raise LirError(f"{name} must be {'at least 0' if or_zero else 'positive'}, found {value}")
