"""Distances between distributions: Kullback-Leibler, Jensen-Shannon, and a student's from its teacher."""

from __future__ import annotations

import math

from .._softmax import shifted_exponentials
from ..diagnostics import LirError
from ..op_types import class_axis
from ..tensor import Tensor
from ._reduction import REDUCTIONS, WEIGHTS, as_given, check_reduction, like, reduce_loss, same_shape, total
from ._scalars import check_positive, scalar


def kl_div_loss(log_probs: Tensor, t: Tensor, *, log_target: bool = False, reduction: str = "mean") -> Tensor:
    """The terms of KL(t || exp(log_probs)), t (log t - x) with x = log_probs.

    Formula: t (log t - x), 0 where t = 0; with log_target exp(t) (t - x), 0 where t = -inf.
    Shapes: log_probs, t: [...]. Result: [1], or [...] unreduced.
    Rules: reduction mean (by the number of elements), batchmean (the sum by the size of the first axis), sum or none.
    Gradient: by log_probs: -t; by t: log t + 1 - x, 0 where t = 0. With log_target: -exp(t); exp(t) (t - x + 1).
    Kink: at t = 0, where the derivative by t is 0.
    Source: S. Kullback, R. A. Leibler, On information and sufficiency (1951); torch.nn.functional.kl_div.
    """
    same_shape(log_probs, t, "log-probabilities and target")
    x = log_probs.widen()
    target = like(t, x)
    empty = target == (-math.inf if log_target else 0)
    present = empty.select(0 if log_target else 1, target)
    # An outcome without mass adds nothing, even where its log-probability is -inf.
    x = (empty & (x == -math.inf)).select(0, x)
    if log_target:
        value = target.exp() * (present - x)
    else:
        value = target * (present.log() - x)
        value = value.with_gradient((x, -target), (target, empty.select(0, present.log() + 1 - x)))
    if reduction != WEIGHTS:
        check_reduction(reduction, (*REDUCTIONS, "batchmean"))
    if reduction == "batchmean":
        return total(value) / _batch_size(value)
    return as_given(reduce_loss(value, reduction), log_probs, reduction)


def js_div_loss(
    p_logits: Tensor, q_logits: Tensor, *, beta: float = 0.5, axis: int | None = None, reduction: str = "mean"
) -> Tensor:
    """Generalised Jensen-Shannon divergence of P = softmax(p_logits) and Q = softmax(q_logits), one a row.

    Formula: beta KL(P, M) + (1 - beta) KL(Q, M), with M = beta P + (1 - beta) Q; beta = 0 is KL(P, Q), 1 is KL(Q, P).
    Shapes: p_logits, q_logits: [N, C, ...] or [C]. Result: [1], or without the class axis unreduced.
    Rules: 0 <= beta <= 1; axis: the class axis, 0 for rank 1, else 1; reduction mean (over rows), sum or none.
        A class with a logit of -inf on both sides adds nothing.
    Gradient: by p_logits: beta P (log(P / M) - KL(P, M)); by q_logits: (1 - beta) Q (log(Q / M) - KL(Q, M)).
    Kink: none.
    Source: J. Lin, Divergence measures based on the Shannon entropy (1991).
    """
    if not 0.0 <= beta <= 1.0:
        raise LirError(f"beta must lie in [0, 1], found {beta}")
    axis = _class_axis(p_logits, q_logits, axis)
    p = p_logits.widen()
    q = like(q_logits, p)
    if beta in (0.0, 1.0):
        rows = _kl_of_logits(p, q, axis) if beta == 0 else _kl_of_logits(q, p, axis)
    else:
        (p, log_p), (q, log_q) = _distribution(p, axis), _distribution(q, axis)
        middle = p * beta + q * (1 - beta)
        log_middle = middle.maximum(_LEAST_MASS).log()
        rows = _mean_ratio(p, log_p - log_middle, axis) * beta + _mean_ratio(q, log_q - log_middle, axis) * (1 - beta)
    return as_given(reduce_loss(rows, reduction), p_logits, reduction)


def distillation_loss(
    student: Tensor, teacher: Tensor, *, temperature: float | Tensor = 1.0, axis: int | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """How far a student's distribution is from its teacher's, both softened by a temperature, one a row.

    Formula: T^2 KL(softmax(teacher / T) || softmax(student / T)), with T = temperature.
    Shapes: student, teacher: logits [N, C, ...] or [C]; temperature: a number, [] or [1]. Result: [1], or without the
        class axis unreduced.
    Rules: T > 0; axis: the class axis, 0 for rank 1, else 1; reduction mean (over rows), sum or none.
        A class with a logit of -inf on both sides adds nothing.
    Gradient: with S and R the softened student's and teacher's, by student: T (S - R); by teacher:
        T R (log(R / S) - KL(R || S)).
    Kink: none.
    Source: G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network (2015).
    """
    check_positive(temperature, "temperature")
    axis = _class_axis(student, teacher, axis)
    wide = student.widen()
    temper = scalar(temperature, wide, "temperature")
    rows = _kl_of_logits(like(teacher, wide) / temper, wide / temper, axis) * (temper * temper)
    return as_given(reduce_loss(rows, reduction), student, reduction)


def _kl_of_logits(p: Tensor, q: Tensor, axis: int) -> Tensor:
    """KL(P, Q) of P = softmax(p), Q = softmax(q): sum_c P[c] (p[c] - q[c]) - log sum exp(p) + log sum exp(q)."""
    p, sum_p = shifted_exponentials(p, axis)
    q, sum_q = shifted_exponentials(q, axis)
    # What has no mass adds nothing, nor do its derivatives: they need no choice of their own.
    difference = (p == -math.inf).select(0, p - q).with_gradient((p, p.constant(1)), (q, p.constant(-1)))
    return (p.exp() * difference).sum(axis) / sum_p - sum_p.log() + sum_q.log()


def _mean_ratio(p: Tensor, log_ratio: Tensor, axis: int) -> Tensor:
    """sum_c P[c] log_ratio[c]. Its derivative leaves out that of the logarithms, which adds up to nothing:
    sum_c P[c] d log P[c] = d sum_c P[c] = 0, and over both sums of js_div_loss the same holds for M."""
    return (p * log_ratio).with_gradient((p, log_ratio)).sum(axis)


def _distribution(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """softmax(x) and its logarithm, that far below all others where x is -inf."""
    shifted, sum_of_exp = shifted_exponentials(x, axis)
    size = x.shape[axis]
    log = shifted.maximum(_LEAST_LOG) - sum_of_exp.log().insert_axis(axis, size)
    return shifted.exp() * (1 / sum_of_exp).insert_axis(axis, size), log


_LEAST_MASS = 2.0**-126
_LEAST_LOG = -1e30
"""What stands for 0 and -inf in logarithms that are multiplied by a probability of 0: no NaN comes of it."""


def _class_axis(x: Tensor, other: Tensor, axis: int | None) -> int:
    same_shape(x, other, "the logits of both distributions")
    axis = class_axis(x.rank, axis)
    if x.shape[axis] == 0:
        raise LirError(f"logits {x.type} have no classes", code="LIR0030")
    return axis


def _batch_size(values: Tensor) -> Tensor | float:
    if values.rank == 0:
        raise LirError('reduction "batchmean" needs a batch axis, found a scalar', code="LIR0030")
    return values.count([0])
