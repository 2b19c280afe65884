"""What is measured: one row a loss, with how lossc and how torch say it, its inputs, its work, and the shapes.

The float64 answer comes from torch's functions in float64, which share no code with lossc. `jax_losses.py` has the
same losses as jax says them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .draws import (
    Draw,
    Shape,
    binary,
    columns,
    count,
    label_lists,
    labels,
    log_softmax,
    mild,
    normal,
    rows,
    sign,
    softmax,
    unit,
)  # fmt: skip

SOFTCAP, Z_WEIGHT = 30.0, 1e-4


@dataclass(frozen=True)
class Loss:
    """One row of the table. `torch` takes torch.nn.functional and the tensors in the order of `inputs`. `lossc` is the
    operation of that name, or a function of a graph and values; it takes them in that order and `attributes`. `by` is
    what the gradient is taken by. Where that is a difference of numbers of like size (`cancels`), single elements may
    be off by a rounding of the largest.

    `work` is what arithmetic the loss with its gradient cannot do without, in operations of `rates.py` for each element
    of the first input: exponentials, logarithms, multiply-adds of matrix products. What is needed once a row is not
    counted. Of inputs in `picked` only the labels' elements are needed."""

    name: str
    lossc: str | Callable[..., Any]
    inputs: Mapping[str, Draw]
    torch: Callable[..., Any]
    shapes: tuple[Shape, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    by: tuple[str, ...] = ("x",)
    cancels: bool = False
    work: Mapping[str, float] = field(default_factory=dict)
    picked: tuple[str, ...] = ()


FLAT, WIDE, LONG, ODD = (1 << 24,), (16384, 1024), (2048, 32000), (8192, 1000)
PIXELS, SHORT, PAIRS, TINY = (8, 21, 256, 256), (65536, 128), (2048, 512), (64, 10)
PAIR = {"x": normal, "t": normal}
LOGITS = {"x": normal, "t": labels}
SIGNED = {"x": normal, "t": sign}

EXP = {"exp": 1}
# exp(-|x|) serves both the sigmoid of the gradient and the softplus of the loss, log1p(exp(-|x|)).
SOFTPLUS = {"exp": 1, "log1p": 1}


def own_cross_entropy(g: Any, x: Any, t: Any, w: Any) -> Any:
    """A loss that no library has: logits capped, class weights, smoothing, and a penalty on log sum exp."""
    capped = (x / SOFTCAP).tanh() * SOFTCAP
    penalty = (g.logsumexp(capped) ** 2).mean() * Z_WEIGHT
    return g.cross_entropy_loss(capped, t, w, label_smoothing=0.1) + penalty


def _own_cross_entropy(F: Any, x: Any, t: Any, w: Any) -> Any:
    capped = (x / SOFTCAP).tanh() * SOFTCAP
    return F.cross_entropy(capped, t, w, label_smoothing=0.1) + Z_WEIGHT * capped.logsumexp(-1).square().mean()


def _jensen_shannon(F: Any, x: Any, y: Any) -> Any:
    log_p, log_q = F.log_softmax(x, -1), F.log_softmax(y, -1)
    p, q = log_p.exp(), log_q.exp()
    log_m = (0.5 * (p + q)).log()
    return 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1).mean()


def _distillation(F: Any, x: Any, y: Any) -> Any:
    return 4 * F.kl_div(F.log_softmax(x / 2, -1), F.softmax(y / 2, -1), reduction="batchmean")


def _sigmoid_focal(F: Any, x: Any, t: Any) -> Any:
    p = x.sigmoid()
    hit = p * t + (1 - p) * (1 - t)
    return ((1 - hit) ** 2 * F.binary_cross_entropy_with_logits(x, t, reduction="none")).mean()


def _focal(F: Any, x: Any, t: Any) -> Any:
    loss = F.cross_entropy(x, t, reduction="none")
    return ((1 - (-loss).exp()) ** 2 * loss).mean()


def _poly(F: Any, x: Any, t: Any) -> Any:
    loss = F.cross_entropy(x, t, reduction="none")
    return (loss + 2 * (1 - (-loss).exp())).mean()


def _overlap(p: Any, t: Any, alpha: float, beta: float) -> Any:
    hit, extra, missed = ((v).sum((2, 3)) for v in (p * t, p * (1 - t), (1 - p) * t))
    return (1 - (hit + 1) / (hit + alpha * extra + beta * missed + 1)).mean()


def _dice(F: Any, x: Any, t: Any) -> Any:
    return _overlap(F.softmax(x, 1), F.one_hot(t, x.shape[1]).movedim(-1, 1).to(x.dtype), 0.5, 0.5)


def _log_cosh(F: Any, x: Any, t: Any) -> Any:
    d = x - t
    return (d + F.softplus(-2 * d) - math.log(2)).mean()


def _info_nce(F: Any, x: Any, y: Any) -> Any:
    similar = F.normalize(x) @ F.normalize(y).T / 0.07
    return F.cross_entropy(similar, similar.new_tensor(range(len(x))).long())


LOSSES = (
    Loss("cross_entropy", "cross_entropy_loss", LOGITS, lambda F, x, t: F.cross_entropy(x, t),
         (ODD, WIDE, LONG, PIXELS), work=EXP),
    Loss("cross_entropy, smoothed", "cross_entropy_loss", LOGITS,
         lambda F, x, t: F.cross_entropy(x, t, label_smoothing=0.1), (WIDE,), {"label_smoothing": 0.1}, cancels=True,
         work=EXP),
    Loss("cross_entropy, ignoring", "cross_entropy_loss", LOGITS,
         lambda F, x, t: F.cross_entropy(x, t, ignore_index=0), (WIDE,), {"ignore_index": 0}, work=EXP),
    Loss("cross_entropy, weighted", "cross_entropy_loss", {**LOGITS, "w": columns(unit)},
         lambda F, x, t, w: F.cross_entropy(x, t, w), (WIDE,), work=EXP),
    Loss("cross_entropy, distributions", "cross_entropy_loss", {"x": normal, "t": softmax},
         lambda F, x, t: F.cross_entropy(x, t), (WIDE,), cancels=True, work=EXP),
    Loss("softcap + z + smoothing + weights", own_cross_entropy, {**LOGITS, "w": columns(unit)}, _own_cross_entropy,
         (LONG,), cancels=True, work={"exp": 2}),  # tanh is one, the softmax the other
    Loss("focal_cross_entropy", "focal_cross_entropy_loss", LOGITS, _focal, (WIDE,), cancels=True, work=EXP),
    Loss("poly_cross_entropy", "poly_cross_entropy_loss", LOGITS, _poly, (WIDE,), cancels=True, work=EXP),
    Loss("nll", "nll_loss", {"x": log_softmax, "t": labels}, lambda F, x, t: F.nll_loss(x, t), (WIDE,), picked=("x",)),
    Loss("kl_div", "kl_div_loss", {"x": log_softmax, "t": softmax},
         lambda F, x, t: F.kl_div(x, t, reduction="batchmean"), (WIDE,), {"reduction": "batchmean"}, work={"log": 1}),
    Loss("js_div", "js_div_loss", {"x": mild, "y": mild}, _jensen_shannon, (WIDE,), cancels=True,
         work={"exp": 2, "log": 1}),  # two softmaxes; of their mean the logarithm
    Loss("distillation", "distillation_loss", {"x": normal, "y": normal}, _distillation, (WIDE, LONG),
         {"temperature": 2.0}, cancels=True, work={"exp": 2}),
    Loss("multi_margin", "multi_margin_loss", LOGITS, lambda F, x, t: F.multi_margin_loss(x, t), (WIDE,)),
    Loss("multilabel_margin", "multilabel_margin_loss", {"x": normal, "t": label_lists},
         lambda F, x, t: F.multilabel_margin_loss(x, t), ((65536, 16),)),
    Loss("multilabel_soft_margin", "multilabel_soft_margin_loss", {"x": normal, "t": binary},
         lambda F, x, t: F.multilabel_soft_margin_loss(x, t), (WIDE,), cancels=True, work=SOFTPLUS),
    Loss("dice", "dice_loss", LOGITS, _dice, (PIXELS,), {"from_logits": True}, cancels=True, work=EXP),
    Loss("tversky", "tversky_loss", {"x": unit, "t": binary}, lambda F, x, t: _overlap(x, t, 0.3, 0.7), (PIXELS,),
         {"alpha": 0.3, "beta": 0.7}, cancels=True),
    Loss("bce_with_logits", "bce_with_logits_loss", {"x": normal, "t": unit},
         lambda F, x, t: F.binary_cross_entropy_with_logits(x, t), (FLAT,), cancels=True, work=SOFTPLUS),
    Loss("bce", "bce_loss", {"x": unit, "t": unit}, lambda F, x, t: F.binary_cross_entropy(x, t),
         (FLAT,), cancels=True, work={"log": 2}),  # log x and log (1 - x)
    Loss("sigmoid_focal", "sigmoid_focal_loss", {"x": normal, "t": binary}, _sigmoid_focal, (FLAT,), cancels=True,
         work=SOFTPLUS),
    Loss("soft_margin", "soft_margin_loss", SIGNED, lambda F, x, t: F.soft_margin_loss(x, t), (FLAT,), work=SOFTPLUS),
    Loss("hinge", "hinge_loss", SIGNED, lambda F, x, t: F.relu(1 - x * t).mean(), (FLAT,)),
    Loss("squared_hinge", "squared_hinge_loss", SIGNED, lambda F, x, t: F.relu(1 - x * t).square().mean(), (FLAT,)),
    Loss("hinge_embedding", "hinge_embedding_loss", SIGNED, lambda F, x, t: F.hinge_embedding_loss(x, t), (FLAT,)),
    Loss("mse", "mse_loss", PAIR, lambda F, x, t: F.mse_loss(x, t), (FLAT,), cancels=True),
    Loss("mse, by both", "mse_loss", PAIR, lambda F, x, t: F.mse_loss(x, t), (FLAT,), by=("x", "t"), cancels=True),
    Loss("l1", "l1_loss", PAIR, lambda F, x, t: F.l1_loss(x, t), (FLAT,)),
    Loss("smooth_l1", "smooth_l1_loss", PAIR, lambda F, x, t: F.smooth_l1_loss(x, t), (FLAT,), cancels=True),
    Loss("huber", "huber_loss", PAIR, lambda F, x, t: F.huber_loss(x, t), (FLAT,), cancels=True),
    Loss("log_cosh", "log_cosh_loss", PAIR, _log_cosh, (FLAT,), cancels=True, work=SOFTPLUS),
    Loss("poisson_nll", "poisson_nll_loss", {"x": normal, "t": count}, lambda F, x, t: F.poisson_nll_loss(x, t),
         (FLAT,), cancels=True, work=EXP),
    Loss("gaussian_nll", "gaussian_nll_loss", {"x": normal, "t": normal, "var": unit},
         lambda F, x, t, v: F.gaussian_nll_loss(x, t, v), (FLAT,), by=("x", "var"), cancels=True, work={"log": 1}),
    Loss("margin_ranking", "margin_ranking_loss", {"x": normal, "y": normal, "t": sign},
         lambda F, x, y, t: F.margin_ranking_loss(x, y, t), (FLAT,), by=("x", "y")),
    Loss("cosine_embedding", "cosine_embedding_loss", {"x": normal, "y": normal, "t": rows(sign)},
         lambda F, x, y, t: F.cosine_embedding_loss(x, y, t), (SHORT, WIDE), by=("x", "y"), cancels=True),
    Loss("triplet", "triplet_loss", {"x": normal, "y": normal, "z": normal},
         lambda F, x, y, z: F.triplet_margin_loss(x, y, z), (SHORT,), by=("x", "y", "z"), cancels=True),
    # 2048 x 2048 cosines of vectors of 512: for each element of x 2048 multiply-adds, twice as many for the gradients.
    Loss("info_nce", "info_nce_loss", {"x": normal, "y": normal}, _info_nce, (PAIRS,), by=("x", "y"), cancels=True,
         work={"fma": 3 * 2048, "exp": 4}),
    Loss("l2", "l2_loss", {"x": normal}, lambda F, x: 0.5 * x.square().mean(), (FLAT,)),
    Loss("l1_regularization", "l1_regularization", {"x": normal}, lambda F, x: x.abs().mean(), (FLAT,)),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A loss at one shape."""

    loss: Loss
    shape: Shape

    @property
    def name(self) -> str:
        return f"{self.loss.name} {'x'.join(map(str, self.shape))}"


CASES = tuple(Case(loss, shape) for loss in LOSSES for shape in loss.shapes)

# Why a row takes more than 1 / 0.85 of its floor. Printed only below a table in which it does. Cycles and slots are
# those of one core for 16 elements, with the arrays in L1: Zen 4 begins one 512-bit product, comparison or half a
# division a cycle, and chains of operations fill about 0.8 of these slots.
REASONS: Mapping[str, str] = {
    "cross_entropy 8192x1000": "rows start inside cache lines: a ragged vector and a shared line in each.",
    "cross_entropy 8x21x256x256": "exponentials and bytes, about as long each, overlap only in part.",
    "cross_entropy, distributions 16384x1024": "15 multiplier slots a vector, 16 cycles, beside a copy's 18.",
    "sigmoid_focal 16777216": "29 multiplier slots a vector (a division is 2), 34 cycles; a copy takes 18 to 30.",
    "log_cosh 16777216": "26 multiplier slots a vector (expm1 8, series near 0: 6); a copy takes 18 to 30 cycles.",
    "soft_margin 16777216": "21 multiplier slots a vector (a division is 2), 25 cycles; a copy takes 18 to 30.",
    "bce_with_logits 16777216": "19 multiplier slots a vector (a division is 2), 23 cycles; a copy takes 18 to 30.",
    "multilabel_soft_margin 16384x1024": "a division, which no floor counts, beside exponential and logarithm.",
    "bce 16777216": "27 multiplier slots a vector (3 divisions are 6), 33 cycles; the logarithms take 30.",
    "info_nce 2048x512": "three products are 0.97 of it, at 0.91 to 0.93 of the peak; then softmax and norms.",
    "js_div 16384x1024": "two exponentials and a logarithm are 29 cycles a vector, all of it is 47.",
    "distillation 2048x32000": "24 multiplier slots a vector (two exponentials are 18), 27 cycles; a copy takes 17.",
    "softcap + z + smoothing + weights 2048x32000": "26 multiplier slots a vector (tanh: 11); a copy takes 11 cycles.",
    "gaussian_nll 16777216": "three arrays in, two out: 1.07 of a copy without arithmetic, the row 1.0 to 1.1 of it.",
    "margin_ranking 16777216": "three arrays in, two out: 1.07 of a copy without arithmetic, the row 1.01 of that.",
    "squared_hinge 16777216": "two arrays in, one out: 1.12 of a copy without arithmetic, the row 1.01 of that.",
    "poisson_nll 16777216": "two arrays in, one out: 1.12 of a copy without arithmetic, the row 1.17 of that.",
    "cosine_embedding 16384x1024": "two arrays in, two out, as long as a copy; rows are read twice, which takes 1.1.",
    "multilabel_margin 65536x16": "three times 3 to 7 vector operations a pair of label and score, not in the floor.",
    "tversky 8x21x256x256": "targets are read again, from the second-level cache: 4 cycles a vector; a copy takes 18.",
    "dice 8x21x256x256": "the gradient waits for sums over a sample: logits are read twice, 2 exponentials an element.",
}


def case_of(name: str, shape: Shape) -> Case:
    """The loss of that name at another shape."""
    return Case(next(loss for loss in LOSSES if loss.name == name), shape)
