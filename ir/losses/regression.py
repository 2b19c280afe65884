"""Losses on real-valued predictions. Let d = x - t."""

from __future__ import annotations

import math

from ..diagnostics import LirError
from ..tensor import Tensor
from ..types import is_float
from ._reduction import as_given, like, reduce_loss, same_shape, weighted
from ._scalars import check_positive, scalar

# log cosh d = d^2 / 2 - d^4 / 12 + ...: the integral of the series of tanh.
LOG_COSH_SERIES = (1 / 2, -1 / 12, 1 / 45, -17 / 2520, 31 / 14175, -691 / 935550)


def mse_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Squared error, d^2 with d = x - t.

    Formula: d^2, with d = x - t.
    Shapes: x, t: [...]; weight broadcasts to x. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none; a weighted mean is sum(w d^2) / sum(w).
    Gradient: by x: 2 w d; by t: -2 w d; by weight: d^2, of a mean (d^2 - loss) / sum(w).
    Kink: none.
    Source: torch.nn.functional.mse_loss.
    """
    d = _difference(x, t)
    return as_given(weighted(d * d, weight, reduction, by_weight=True), x, reduction)


def l1_loss(x: Tensor, t: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Absolute error, |d| with d = x - t.

    Formula: |d|, with d = x - t.
    Shapes: x, t: [...]; weight broadcasts to x. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none; a weighted mean is sum(w |d|) / sum(w).
    Gradient: by x: w sign(d); by t: -w sign(d); by weight: |d|, of a mean (|d| - loss) / sum(w).
    Kink: at d = 0 the derivative is 0.
    Source: torch.nn.functional.l1_loss.
    """
    d = _difference(x, t)
    return as_given(weighted(d.abs(), weight, reduction, by_weight=True), x, reduction)


def huber_loss(x: Tensor, t: Tensor, *, delta: float | Tensor = 1.0, reduction: str = "mean") -> Tensor:
    """Squares near 0, straight lines far out: d^2/2 if |d| <= delta, else delta (|d| - delta/2).

    Formula: d^2/2 if |d| <= delta, else delta (|d| - delta/2), with d = x - t.
    Shapes: x, t: [...]; delta: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: delta > 0; t of any type; reduction mean, sum or none.
    Gradient: by x: d clamped to [-delta, delta]; by t: minus that; by delta: max(|d| - delta, 0).
    Kink: none in the first derivative; at |d| = delta it is that of the square.
    Source: P. J. Huber, Robust estimation of a location parameter (1964); torch.nn.functional.huber_loss.
    """
    check_positive(delta, "delta")
    d = _difference(x, t)
    limit = scalar(delta, d, "delta")
    slope = (d > limit).select(limit, (d < -limit).select(-limit, d))
    # Both arms at once, without a square that overflows where the other arm is taken.
    return as_given(reduce_loss(slope * (d - slope * 0.5), reduction), x, reduction)


def smooth_l1_loss(x: Tensor, t: Tensor, *, beta: float | Tensor = 1.0, reduction: str = "mean") -> Tensor:
    """The absolute error, with a square of width beta in place of its kink: huber / beta.

    Formula: d^2 / (2 beta) if |d| < beta, else |d| - beta/2, with d = x - t.
    Shapes: x, t: [...]; beta: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: beta >= 0, and beta = 0 is l1_loss; t of any type; reduction mean, sum or none.
    Gradient: by x: d / beta clamped to [-1, 1]; by t: minus that; by beta: -(min(|d|, beta) / beta)^2 / 2.
    Kink: with beta = 0 at d = 0, where the derivative is 0; else none in the first derivative.
    Source: R. Girshick, Fast R-CNN (2015); torch.nn.functional.smooth_l1_loss.
    """
    check_positive(beta, "beta", or_zero=True)
    if not isinstance(beta, Tensor) and beta == 0:
        return l1_loss(x, t, reduction=reduction)
    d = _difference(x, t)
    width = scalar(beta, d, "beta")
    divisor = (width == 0).select(1, width) if isinstance(width, Tensor) else width
    slope = (d > width).select(1, (d < -width).select(-1, d / divisor))
    return as_given(reduce_loss(slope * (d - slope * width * 0.5), reduction), x, reduction)


def log_cosh_loss(x: Tensor, t: Tensor, *, reduction: str = "mean") -> Tensor:
    """The logarithm of cosh d, a square near 0 and |d| - log 2 far out, without overflow.

    Formula: log cosh d = |d| + log1p(exp(-2 |d|)) - log 2, with d = x - t.
    Shapes: x, t: [...]. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none.
    Gradient: by x: tanh d; by t: -tanh d.
    Kink: none.
    Source: R. Neuneier, H. G. Zimmermann, How to train neural networks (1998).
    """
    d = _difference(x, t)
    # A sign that is not 0 at 0, so that second derivatives there are right, too.
    sign = (d < 0).select(d.constant(-1), 1)
    distance = sign * d
    # (exp(-2 |d|) - 1) / 2: nothing cancels near d = 0 in tanh |d| = -half / (1 + half).
    half = (distance * -2).expm1() * 0.5
    # In |d| + log1p(half) |d| does: near 0 the series is as exact, to 10^-6 of the loss, or 10^-14 in f64.
    terms, bound = (6, 0.05) if d.dtype == "f64" else (3, 0.2)
    square = d * d
    near = square * LOG_COSH_SERIES[terms - 1]
    for coefficient in LOG_COSH_SERIES[terms - 2 :: -1]:
        near = square * (near + coefficient)
    value = (distance < bound).select(near, distance + half.log1p())
    value = value.with_gradient((d, sign * (-half / (half + 1))))
    return as_given(reduce_loss(value, reduction), x, reduction)


def poisson_nll_loss(
    x: Tensor, t: Tensor, *, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of counts t, of a Poisson distribution of rate exp(x), or x without log_input.

    Formula: exp(x) - t x, or x - t log(x + eps); full adds t log t - t + log(2 pi t) / 2 where t > 1.
    Shapes: x, t: [...]. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none. The term of full is Stirling's approximation of log t!.
    Gradient: by x: exp(x) - t, or 1 - t / (x + eps); by t: -x or -log(x + eps), and log t + 1 / (2 t) of full.
    Kink: full jumps at t = 1, where its derivative is 0.
    Source: torch.nn.functional.poisson_nll_loss.
    """
    same_shape(x, t)
    wide = x.widen()
    target = like(t, wide)
    value = wide.exp() - target * wide if log_input else wide - target * (wide + eps).log()
    if full:
        many = target > 1
        count = many.select(target, 1)
        logarithm = count.log()
        stirling = count * logarithm - count + (logarithm + math.log(2 * math.pi)) * 0.5
        value = value + many.select(stirling, 0)
    return as_given(reduce_loss(value, reduction), x, reduction)


def gaussian_nll_loss(
    x: Tensor, t: Tensor, var: Tensor, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of t, of a normal distribution with mean x and variance var.

    Formula: (log v + d^2 / v) / 2, with d = x - t and v = max(var, eps); full adds log(2 pi) / 2.
    Shapes: x, t, var: [...]. Result: [1], or [...] unreduced.
    Rules: var is a float, a negative one refuses the run; eps > 0; t of any type; reduction mean, sum or none.
    Gradient: by x: d / v; by t: -d / v; by var: (1 - d^2 / v) / (2 v), also where var < eps.
    Kink: at var = eps; the clamp passes the gradient, as in torch.
    Source: D. A. Nix, A. S. Weigend, Estimating the mean and variance of the target probability distribution (1994);
        torch.nn.functional.gaussian_nll_loss.
    """
    check_positive(eps, "eps")
    d = _difference(x, t)
    same_shape(x, var, "prediction and variance")
    if not is_float(var.dtype):
        raise LirError(f"a variance is a float, found {var.type}", "cast it", code="LIR0031")
    variance = like(var, d)
    (~(variance < 0)).check(variance, code="variance", message="a variance must not be negative")
    clamped = variance.maximum(eps).with_gradient((variance, variance.constant(1)))
    value = (clamped.log() + d * d / clamped) * 0.5
    if full:
        value = value + 0.5 * math.log(2 * math.pi)
    return as_given(reduce_loss(value, reduction), x, reduction)


def _difference(x: Tensor, t: Tensor) -> Tensor:
    """x - t, in the element type of the arithmetic."""
    same_shape(x, t)
    wide = x.widen()
    return wide - like(t, wide)
