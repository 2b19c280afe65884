"""Losses on pairs and triples: what belongs together comes closer, what does not is pushed beyond a margin."""

from __future__ import annotations

import math

from .._softmax import shifted_exponentials
from ..diagnostics import LirError
from ..tensor import Tensor
from ..types import Type
from ._reduction import as_given, clamp_at_zero, like, reduce_loss, same_shape, with_nan
from ._scalars import check_positive, scalar

_COSINE_EPS = 1e-12
"""Added to squared norms, as torch does, so that zero vectors have a cosine (0) and a gradient."""


def cosine_embedding_loss(
    x1: Tensor, x2: Tensor, t: Tensor, *, margin: float | Tensor = 0.0, reduction: str = "mean"
) -> Tensor:
    """Pairs of vectors: 1 - cos for those that belong together (t = 1), max(0, cos - margin) for the others (t = -1).

    Formula: cos = x1.x2 / sqrt((x1.x1 + 1e-12) (x2.x2 + 1e-12)); 1 - cos if t = 1, max(0, cos - margin) if t = -1.
    Shapes: x1, x2: [N, D], t: [N], or without N; margin: a number, [] or [1]. Result: [1], or [N] unreduced.
    Rules: 0 for any other t; t of any type; reduction mean, sum or none. A zero vector has cos = 0.
    Gradient: by x1: -+(x2 / sqrt(...) - cos x1 / (x1.x1 + 1e-12)); by x2 likewise; by margin: -1 where it counts.
    Kink: at cos = margin the derivative is that of cos - margin.
    Source: torch.nn.functional.cosine_embedding_loss.
    """
    _same_vectors(x1, x2, "x1 and x2")
    if t.shape != x1.shape[:-1]:
        raise LirError(f"expected one target a pair, {Type(t.dtype, x1.shape[:-1])}, found {t.type}", code="LIR0030")
    left = x1.widen()
    right = like(x2, left)
    axis = left.rank - 1
    cosine = (left * right).sum(axis) * _inverse_norm(left, axis) * _inverse_norm(right, axis)
    target = like(t, left)
    apart = clamp_at_zero(cosine - scalar(margin, left, "margin"))
    value = (target == 1).select(1 - cosine, (target == -1).select(apart, 0))
    return as_given(reduce_loss(value, reduction), x1, reduction)


def triplet_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    margin: float | Tensor = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """An anchor is to be closer to the positive than to the negative by a margin: max(0, d(a, p) - d(a, n) + margin).

    Formula: max(0, d(a, p) - d(a, n) + margin), d(a, b) = norm_p(a - b + eps); swap: min(d(a, n), d(p, n)) for d(a, n).
    Shapes: anchor, positive, negative: [..., D]; margin: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: p > 0, infinity included; reduction mean, sum or none.
    Gradient: by a, p and n through the norms, sign(z) (|z| / norm)^(p - 1) each; by margin: 1 where the loss counts.
    Kink: max(0, .) at 0 has derivative 1, equal distances of a swap share it; a norm at 0 has 0, components of
        equal size share that of the norm of infinity.
    Source: V. Balntas et al., Learning local feature descriptors with triplets and shallow convolutional neural
        networks (2016); torch.nn.functional.triplet_margin_loss.
    """
    check_positive(p, "p")
    _same_vectors(anchor, positive, "anchor and positive")
    _same_vectors(anchor, negative, "anchor and negative")
    a = anchor.widen()
    good, bad = like(positive, a), like(negative, a)
    to_good, to_bad = _norm(a - good + eps, p), _norm(a - bad + eps, p)
    if swap:
        to_bad = to_bad.minimum(_norm(good - bad + eps, p))
    value = clamp_at_zero(to_good - to_bad + scalar(margin, a, "margin"))
    return as_given(reduce_loss(value, reduction), anchor, reduction)


def hinge_embedding_loss(x: Tensor, t: Tensor, *, margin: float | Tensor = 1.0, reduction: str = "mean") -> Tensor:
    """Distances x: x itself for pairs that belong together (t = 1), max(0, margin - x) for the others (t = -1).

    Formula: x if t = 1, max(0, margin - x) if t = -1.
    Shapes: x, t: [...]; margin: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: for any other t the sum of both, as in torch; t of any type; reduction mean, sum or none.
    Gradient: by x: 1 if t = 1, -1 if t = -1 and x <= margin; by margin: 1 there. NaN where the loss is NaN.
    Kink: at x = margin the derivative is that of margin - x.
    Source: torch.nn.functional.hinge_embedding_loss.
    """
    same_shape(x, t)
    wide = x.widen()
    target = like(t, wide)
    apart = clamp_at_zero(scalar(margin, wide, "margin") - wide)
    value = (target == -1).select(0, wide) + (target == 1).select(0, apart)
    return as_given(reduce_loss(with_nan(value), reduction), x, reduction)


def margin_ranking_loss(
    x1: Tensor, x2: Tensor, t: Tensor, *, margin: float | Tensor = 0.0, reduction: str = "mean"
) -> Tensor:
    """The first is to rank higher than the second (t = 1) or lower (t = -1): max(0, -t (x1 - x2) + margin).

    Formula: max(0, -t (x1 - x2) + margin).
    Shapes: x1, x2, t: [...]; margin: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none.
    Gradient: where the loss counts, by x1: -t; by x2: t; by t: x2 - x1; by margin: 1. NaN where the loss is NaN.
    Kink: max(0, .) at 0 has derivative 1.
    Source: torch.nn.functional.margin_ranking_loss.
    """
    same_shape(x1, x2, "x1 and x2")
    same_shape(x1, t)
    wide = x1.widen()
    value = clamp_at_zero(scalar(margin, wide, "margin") - like(t, wide) * (wide - like(x2, wide)))
    return as_given(reduce_loss(with_nan(value), reduction), x1, reduction)


def info_nce_loss(
    queries: Tensor, keys: Tensor, *, temperature: float | Tensor = 0.07, reduction: str = "mean"
) -> Tensor:
    """Each query is to find its key among all keys: cross-entropy over the cosines, its own row's key the label.

    Formula: -log softmax(s[i])[i], with s[i, j] = cos(queries[i], keys[j]) / temperature.
    Shapes: queries, keys: [N, D]; temperature: a number, [] or [1]. Result: [1], or [N] unreduced.
    Rules: temperature > 0; reduction mean (over rows), sum or none. Norms as in cosine_embedding_loss: a zero vector
        has cosine 0 with everything.
    Gradient: by s: softmax(s) - 1 on the diagonal; by queries and keys through the cosines; by temperature.
    Kink: none.
    Source: A. van den Oord, Y. Li, O. Vinyals, Representation learning with contrastive predictive coding (2018).
    """
    check_positive(temperature, "temperature")
    _same_vectors(queries, keys, "queries and keys")
    if queries.rank != 2:
        raise LirError(f"info_nce_loss takes queries[N, D] and keys[N, D], found {queries.type}", code="LIR0030")
    left = queries.widen()
    right = like(keys, left)
    left, right = (v * _inverse_norm(v, 1).insert_axis(1, v.shape[1]) for v in (left, right))
    cosines = left.apply("matmul", right, transpose_right=True)
    shifted, sum_of_exp = shifted_exponentials(cosines / scalar(temperature, left, "temperature"), 1)
    own = sum_of_exp.iota(0, "i32")
    return as_given(reduce_loss(sum_of_exp.log() - shifted.gather(own, 1), reduction), queries, reduction)


def _same_vectors(x: Tensor, other: Tensor, names: str) -> None:
    same_shape(x, other, names)
    if x.rank == 0:
        raise LirError(f"{names} are vectors along their last axis, found {x.type}", code="LIR0030")


def _inverse_norm(x: Tensor, axis: int) -> Tensor:
    return 1 / ((x * x).sum(axis) + _COSINE_EPS).sqrt()


def _norm(z: Tensor, p: float) -> Tensor:
    """(sum |z|^p)^(1/p) along the last axis, with gradient 0 where it is 0."""
    axis = z.rank - 1
    if p == 1:
        return z.abs().sum(axis)
    if p == math.inf:
        return z.abs().amax(axis)
    power = (z * z).sum(axis) if p == 2 else _power(z.abs(), p).sum(axis)
    nothing = power == 0
    power = nothing.select(1, power)
    return nothing.select(0, power.sqrt() if p == 2 else power.binary("pow", 1 / p))


def _power(x: Tensor, p: float) -> Tensor:
    """x^p for x >= 0, with gradient 0 at 0: below p = 1 it is infinite there, which torch leaves out, too."""
    nothing = x == 0
    return nothing.select(0, nothing.select(1, x).binary("pow", p))
