"""What softmax, log-softmax and every loss with one of them inside begin with."""

from __future__ import annotations

from .tensor import Tensor


def shifted_exponentials(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """x minus its maximum along `axis`, and the sum of exponentials of that.

    The maximum only moves the range: d/dx [m + log sum exp(x - m)] does not depend on m, so no gradient goes
    through it. A row of -inf alone gives NaN, a +inf anywhere too.
    """
    shifted = x - x.amax(axis).stop_gradient().insert_axis(axis, x.shape[axis])
    return shifted, shifted.exp().sum(axis)
