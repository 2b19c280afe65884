"""Binary cross-entropy, from probabilities and from logits."""

from __future__ import annotations

from ..tensor import Tensor
from ._logits import binary_cross_entropy
from ._reduction import as_given, like, repeated, same_shape, weighted


def bce_loss(pred: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """-w (t log x + (1 - t) log(1 - x)) for probabilities x in [0, 1].

    Formula: -w (t max(log x, -100) + (1 - t) max(log(1 - x), -100)), with x = pred and t = target.
    Shapes: pred, target: [...]; weight broadcasts to pred. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements, never by weights. A probability outside [0, 1], as NaN is,
        refuses the run. bce_loss(sigmoid(z), t) is rewritten to bce_with_logits_loss(z, t).
    Gradient: by pred: w (x - t) / max((1 - x) x, 1e-12); by target: w (log(1 - x) - log x), clamped as above; by
        weight: the unweighted loss.
    Kink: none; where a logarithm is clamped the gradient by pred is still that of the formula above.
    Source: torch.nn.functional.binary_cross_entropy.
    """
    same_shape(pred, target)
    x = pred.widen()
    t = like(target, x)
    ((x >= 0) & (x <= 1)).check(x, code="probability", message="a probability must lie in [0, 1]")
    # Declared for second derivatives: 0 / 0, as the derivative of a clamped logarithm of 0 would be, is no number.
    log_x = x.log().maximum(-100).with_gradient((x, 1 / x.maximum(1e-12)))
    log_rest = (-x).log1p().maximum(-100).with_gradient((x, -1 / (1 - x).maximum(1e-12)))
    value = -(t * log_x + (1 - t) * log_rest)
    by_x = (x - t) / ((1 - x) * x).maximum(1e-12)
    value = value.with_gradient((x, by_x), (t, log_rest - log_x))
    return as_given(weighted(value, weight, reduction), pred, reduction)


def bce_with_logits_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, *,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """softplus(x) - x t; with pos_weight p: (1 - t) softplus(x) + p t softplus(-x).

    Formula: w (softplus(x) - x t), or w ((1 - t) softplus(x) + p t softplus(-x)) with pos_weight p, x = logits and
        t = target.
    Shapes: logits, target: [...]; weight and pos_weight broadcast to logits. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements, never by weights. Finite for every finite x.
    Gradient: by logits: w (sigmoid(x) - t), or w ((1 - t) sigmoid(x) - p t sigmoid(-x)); by target: -w x, or
        w (p softplus(-x) - softplus(x)); by weight: the unweighted loss; by pos_weight: w t softplus(-x).
    Kink: none; the derivative at x = 0 is 0.5 - t.
    Source: torch.nn.functional.binary_cross_entropy_with_logits.
    """
    same_shape(logits, target, "logits and target")
    x = logits.widen()
    t = like(target, x)
    if pos_weight is None:
        value = binary_cross_entropy(x, t)
    else:
        # The shorter (1 - t) x + (1 + (p - 1) t) softplus(-x) loses the small gradients of confident negatives.
        positive = repeated(like(pos_weight, x), x, "pos_weight")
        value = (1 - t) * x.softplus() + positive * t * (-x).softplus()
    return as_given(weighted(value, weight, reduction), logits, reduction)
