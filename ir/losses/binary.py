"""Binary cross-entropy, from probabilities and from logits."""

from __future__ import annotations

from ..builder import Tensor
from ._reduction import as_given, like, reduce_loss, same_shape, widen


def bce_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """-w (t log x + (1 - t) log(1 - x)) for probabilities x in [0, 1].

    Both logarithms are clamped at -100 and the derivative is (x - t) / max((1 - x) x, 1e-12), as torch has it.
    The mean divides by the number of elements. A probability outside [0, 1] refuses the run.
    """
    same_shape(x, t)
    given, x = x, widen(x)
    t = like(t, x)
    ((x >= 0) & (x <= 1)).check(x, code="probability", message="a probability must lie in [0, 1]")
    log_x, log_rest = x.log().maximum(-100), (-x).log1p().maximum(-100)
    value = -(t * log_x + (1 - t) * log_rest)
    by_x = (x - t) / ((1 - x) * x).maximum(1e-12)
    value = value.with_gradient((x, by_x), (t, log_rest - log_x))
    if weight is not None:
        value = value * like(weight, x).broadcast_to(x.shape)
    return as_given(reduce_loss(value, reduction), given, reduction)


def bce_with_logits_loss(
    x: Tensor, t: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """softplus(x) - x t; with pos_weight p: (1 - t) x + (1 + (p - 1) t) softplus(-x).

    Finite for |x| = 1e4; the derivative at x = 0 is 0.5 - t. The mean divides by the number of elements.
    """
    same_shape(x, t, "logits and target")
    given, x = x, widen(x)
    t = like(t, x)
    if pos_weight is None:
        value = x.softplus() - x * t
    else:
        extra = like(pos_weight, x).broadcast_to(x.shape) - 1
        value = (1 - t) * x + (1 + extra * t) * (-x).softplus()
    if weight is not None:
        value = value * like(weight, x).broadcast_to(x.shape)
    return as_given(reduce_loss(value, reduction), given, reduction)
