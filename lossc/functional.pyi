# ruff: noqa
"""Written by `make docs`; a test compares."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from lossc import Graph
from lossc.losses.own_arrays import OwnFunction

Loss = Callable[..., np.ndarray]

def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int | None = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    axis: int | None = None,
    empty: str = "nan",
) -> np.ndarray:
    """-log softmax(x)[y] for labels y, or -sum_c t[c] log softmax(x)[c] for distributions t.

    Formula: w[y] (lse(x) - x[y]), or sum_c w[c] t[c] (lse(x) - x[c]), with lse(x) = log sum_c exp(x[c]).
        With smoothing e: (1 - e) w[y] (lse(x) - x[y]) + (e / C) sum_c w[c] (lse(x) - x[c]) for labels that are
        not ignored; distributions become t (1 - e) + e / C.
    Shapes: logits: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; target: integers of that shape
        without the class axis, or floats of that shape; weight: [C]. Result: [1], or unreduced one element a row.
    Rules: labels: the mean divides by the sum of w[y] over the rows that are not ignored, by their number without
        weights; without such rows it is `empty`: "nan" (0/0), "zero" or "error" (refuses the run). `ignore_index`
        may be a valid class: it masks rows, not the class. A label out of range refuses the run. Distributions:
        they need not sum to 1, the mean divides by the number of rows, 0 log 0 = 0.
    Gradient: by logits: softmax(x) - onehot(y), or softmax(x) sum(t) - t, without weights and before averaging; 0 in
        ignored rows whatever they hold; by target (floats): lse(x) - x, at a logit of -inf whose target is 0
        lse(x) - max(x); by weight: what each class adds, and for a mean of labels minus the mean for each of its
        rows, over the sum of weights.
    Kink: none.
    Source: torch.nn.functional.cross_entropy; smoothing: Szegedy et al. 2016.

    This is lossc's `cross_entropy_loss`. Above `logits` input here.
    """

def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int | None = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    axis: int | None = None,
    empty: str = "nan",
) -> np.ndarray:
    """-w[y] x[y] for labels y, or -sum_c w[c] t[c] x[c] for distributions t; averaged as cross_entropy_loss.

    Formula: -w[y] x[y], or -sum_c w[c] t[c] x[c]; x are log-probabilities.
    Shapes: log_probs: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; target: integers of that
        shape without the class axis, or floats of that shape; weight: [C]. Result: [1], or unreduced one a row.
    Rules: those of cross_entropy_loss for means, ignored rows, `empty` and labels out of range; of log_softmax(x) it
        is rewritten to cross_entropy_loss of x. 0 times -inf counts as 0.
    Gradient: by log_probs: -w[y] at the label, else 0; or -w[c] t[c]; by target (floats): -w[c] x[c]; by weight:
        what each class adds, and for a mean of labels minus the mean for each of its rows, over the sum of weights.
    Kink: none.
    Source: torch.nn.functional.nll_loss.

    Above `log_probs` input here.
    """

def linear_cross_entropy(
    input: ArrayLike,
    linear_weight: ArrayLike,
    target: ArrayLike,
    *,
    linear_bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
    empty: str = "nan",
    memory_budget: int | None = 67108864,
) -> np.ndarray:
    """cross_entropy_loss of the logits hidden @ weight^T + bias, never holding more of them than `memory_budget` bytes.

    Formula: cross_entropy_loss(x, target, class_weight), with x[n, c] = sum_h hidden[n, h] weight[c, h] + bias[c].
    Shapes: hidden: [N, H] or [H]; weight: [C, H]; target: integers [N] (or [], for one row), or floats [N, C]; bias:
        [C]; class_weight: [C]. Result: [1], or unreduced [N].
    Rules: those of cross_entropy_loss. The logits and their gradient are computed for as many rows at a time as fit in
        memory_budget bytes (64 MiB; at least 16 rows), value and gradients in one turn; the gradients by weight and
        bias are added up from turn to turn. None computes all rows at once.
    Gradient: by hidden: g @ weight, by weight: g^T @ hidden, by bias: sum_n g[n], with g the gradient by the logits.
        By target and class_weight: as of cross_entropy_loss.
    Kink: none.
    Source: torch.nn.functional.linear_cross_entropy.

    This is lossc's `linear_cross_entropy_loss`. Above `hidden` input, `weight` linear_weight, `bias` linear_bias, `class_weight` weight here.
    """

def binary_cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """-w (t log x + (1 - t) log(1 - x)) for probabilities x in [0, 1].

    Formula: -w (t max(log x, -100) + (1 - t) max(log(1 - x), -100)), with x = pred and t = target.
    Shapes: pred, target: [...]; weight broadcasts to pred. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements, never by weights. A probability outside [0, 1], as NaN is,
        refuses the run. bce_loss(sigmoid(z), t) is rewritten to bce_with_logits_loss(z, t).
    Gradient: by pred: w (x - t) / max((1 - x) x, 1e-12); by target: w (log(1 - x) - log x), clamped as above; by
        weight: the unweighted loss.
    Kink: none; where a logarithm is clamped the gradient by pred is still that of the formula above.
    Source: torch.nn.functional.binary_cross_entropy.

    This is lossc's `bce_loss`. Above `pred` input here.
    """

def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> np.ndarray:
    """softplus(x) - x t; with pos_weight p: (1 - t) softplus(x) + p t softplus(-x).

    Formula: w (softplus(x) - x t), or w ((1 - t) softplus(x) + p t softplus(-x)) with pos_weight p, x = logits and
        t = target.
    Shapes: logits, target: [...]; weight and pos_weight broadcast to logits. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements, never by weights. Finite for every finite x.
    Gradient: by logits: w (sigmoid(x) - t), or w ((1 - t) sigmoid(x) - p t sigmoid(-x)); by target: -w x, or
        w (p softplus(-x) - softplus(x)); by weight: the unweighted loss; by pos_weight: w t softplus(-x).
    Kink: none; the derivative at x = 0 is 0.5 - t.
    Source: torch.nn.functional.binary_cross_entropy_with_logits.

    This is lossc's `bce_with_logits_loss`. Above `logits` input here.
    """

def mse_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: ArrayLike | None = None,
) -> np.ndarray:
    """Squared error, d^2 with d = x - t.

    Formula: d^2, with d = x - t.
    Shapes: x, t: [...]; weight broadcasts to x. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none; a weighted mean is sum(w d^2) / sum(w).
    Gradient: by x: 2 w d; by t: -2 w d; by weight: d^2, of a mean (d^2 - loss) / sum(w).
    Kink: none.
    Source: torch.nn.functional.mse_loss.

    Above `x` input, `t` target here.
    """

def l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: ArrayLike | None = None,
) -> np.ndarray:
    """Absolute error, |d| with d = x - t.

    Formula: |d|, with d = x - t.
    Shapes: x, t: [...]; weight broadcasts to x. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none; a weighted mean is sum(w |d|) / sum(w).
    Gradient: by x: w sign(d); by t: -w sign(d); by weight: |d|, of a mean (|d| - loss) / sum(w).
    Kink: at d = 0 the derivative is 0.
    Source: torch.nn.functional.l1_loss.

    Above `x` input, `t` target here.
    """

def smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> np.ndarray:
    """The absolute error, with a square of width beta in place of its kink: huber / beta.

    Formula: d^2 / (2 beta) if |d| < beta, else |d| - beta/2, with d = x - t.
    Shapes: x, t: [...]; beta: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: beta >= 0, and beta = 0 is l1_loss; t of any type; reduction mean, sum or none.
    Gradient: by x: d / beta clamped to [-1, 1]; by t: minus that; by beta: -(min(|d|, beta) / beta)^2 / 2.
    Kink: with beta = 0 at d = 0, where the derivative is 0; else none in the first derivative.
    Source: R. Girshick, Fast R-CNN (2015); torch.nn.functional.smooth_l1_loss.

    Above `x` input, `t` target here.
    """

def huber_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: ArrayLike | None = None,
) -> np.ndarray:
    """Squares near 0, straight lines far out: d^2/2 if |d| <= delta, else delta (|d| - delta/2).

    Formula: d^2/2 if |d| <= delta, else delta (|d| - delta/2), with d = x - t.
    Shapes: x, t: [...]; delta: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: delta > 0; t of any type; reduction mean, sum or none.
    Gradient: by x: d clamped to [-delta, delta]; by t: minus that; by delta: max(|d| - delta, 0).
    Kink: none in the first derivative; at |d| = delta it is that of the square.
    Source: P. J. Huber, Robust estimation of a location parameter (1964); torch.nn.functional.huber_loss.

    Above `x` input, `t` target, `delta` weight here.
    """

def kl_div(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> np.ndarray:
    """The terms of KL(t || exp(log_probs)), t (log t - x) with x = log_probs.

    Formula: t (log t - x), 0 where t = 0; with log_target exp(t) (t - x), 0 where t = -inf.
    Shapes: log_probs, t: [...]. Result: [1], or [...] unreduced.
    Rules: reduction mean (by the number of elements), batchmean (the sum by the size of the first axis), sum or none.
    Gradient: by log_probs: -t; by t: log t + 1 - x, 0 where t = 0. With log_target: -exp(t); exp(t) (t - x + 1).
    Kink: at t = 0, where the derivative by t is 0.
    Source: S. Kullback, R. A. Leibler, On information and sufficiency (1951); torch.nn.functional.kl_div.

    This is lossc's `kl_div_loss`. Above `log_probs` input, `t` target here.
    """

def poisson_nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-08,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """Negative log-likelihood of counts t, of a Poisson distribution of rate exp(x), or x without log_input.

    Formula: exp(x) - t x, or x - t log(x + eps); full adds t log t - t + log(2 pi t) / 2 where t > 1.
    Shapes: x, t: [...]. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none. The term of full is Stirling's approximation of log t!.
    Gradient: by x: exp(x) - t, or 1 - t / (x + eps); by t: -x or -log(x + eps), and log t + 1 / (2 t) of full.
    Kink: full jumps at t = 1, where its derivative is 0.
    Source: torch.nn.functional.poisson_nll_loss.

    Above `x` input, `t` target here.
    """

def gaussian_nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    var: ArrayLike,
    full: bool = False,
    eps: float = 1e-06,
    reduction: str = "mean",
) -> np.ndarray:
    """Negative log-likelihood of t, of a normal distribution with mean x and variance var.

    Formula: (log v + d^2 / v) / 2, with d = x - t and v = max(var, eps); full adds log(2 pi) / 2.
    Shapes: x, t, var: [...]. Result: [1], or [...] unreduced.
    Rules: var is a float, a negative one refuses the run; eps > 0; t of any type; reduction mean, sum or none.
    Gradient: by x: d / v; by t: -d / v; by var: (1 - d^2 / v) / (2 v), also where var < eps.
    Kink: at var = eps; the clamp passes the gradient, as in torch.
    Source: D. A. Nix, A. S. Weigend, Estimating the mean and variance of the target probability distribution (1994);
        torch.nn.functional.gaussian_nll_loss.

    Above `x` input, `t` target here.
    """

def cosine_embedding_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """Pairs of vectors: 1 - cos for those that belong together (t = 1), max(0, cos - margin) for the others (t = -1).

    Formula: cos = x1.x2 / sqrt((x1.x1 + 1e-12) (x2.x2 + 1e-12)); 1 - cos if t = 1, max(0, cos - margin) if t = -1.
    Shapes: x1, x2: [N, D], t: [N], or without N; margin: a number, [] or [1]. Result: [1], or [N] unreduced.
    Rules: 0 for any other t; t of any type; reduction mean, sum or none. A zero vector has cos = 0.
    Gradient: by x1: -+(x2 / sqrt(...) - cos x1 / (x1.x1 + 1e-12)); by x2 likewise; by margin: -1 where it counts.
    Kink: at cos = margin the derivative is that of cos - margin.
    Source: torch.nn.functional.cosine_embedding_loss.

    Above `x1` input1, `x2` input2, `t` target here.
    """

def hinge_embedding_loss(
    input: ArrayLike,
    target: ArrayLike,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """Distances x: x itself for pairs that belong together (t = 1), max(0, margin - x) for the others (t = -1).

    Formula: x if t = 1, max(0, margin - x) if t = -1.
    Shapes: x, t: [...]; margin: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: for any other t the sum of both, as in torch; t of any type; reduction mean, sum or none.
    Gradient: by x: 1 if t = 1, -1 if t = -1 and x <= margin; by margin: 1 there. NaN where the loss is NaN.
    Kink: at x = margin the derivative is that of margin - x.
    Source: torch.nn.functional.hinge_embedding_loss.

    Above `x` input, `t` target here.
    """

def margin_ranking_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """The first is to rank higher than the second (t = 1) or lower (t = -1): max(0, -t (x1 - x2) + margin).

    Formula: max(0, -t (x1 - x2) + margin).
    Shapes: x1, x2, t: [...]; margin: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none.
    Gradient: where the loss counts, by x1: -t; by x2: t; by t: x2 - x1; by margin: 1. NaN where the loss is NaN.
    Kink: max(0, .) at 0 has derivative 1.
    Source: torch.nn.functional.margin_ranking_loss.

    Above `x1` input1, `x2` input2, `t` target here.
    """

def soft_margin_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """log(1 + exp(-t x)), for targets of -1 and 1, without overflow.

    Formula: softplus(-t x), with x = pred and t = target.
    Shapes: pred, target: [...]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. Finite where exp(-t x) is not.
    Gradient: by pred: -t sigmoid(-t x); by target: -x sigmoid(-t x).
    Kink: none.
    Source: torch.nn.functional.soft_margin_loss.

    Above `pred` input here.
    """

def multi_margin_loss(
    input: ArrayLike,
    target: ArrayLike,
    p: int = 1,
    margin: float = 1.0,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    axis: int | None = None,
) -> np.ndarray:
    """The mean over classes of max(0, margin - x[y] + x[c])^p for c other than the label y.

    Formula: w[y] / C sum_{c != y} max(0, margin - x[y] + x[c])^p.
    Shapes: x: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; y: integers of that shape
        without the class axis; weight: [C]; margin: a number, [] or [1]. Result: [1], or unreduced one element a row.
    Rules: p is 1 or 2. The mean divides by the number of rows, also with weights. A label out of range refuses the
        run.
    Gradient: by x[c]: w[y] / C p max(0, margin - x[y] + x[c])^(p - 1) where that is positive, by x[y] minus their sum;
        by margin the sum; by weight: the sum of the unweighted rows of each class.
    Kink: where margin - x[y] + x[c] = 0 the derivative is 0.
    Source: torch.nn.functional.multi_margin_loss.

    Above `x` input, `y` target here.
    """

def multilabel_margin_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """The mean over classes of max(0, 1 - (x[y_j] - x[i])) for every target y_j and every class i that is no target.

    Formula: 1 / C sum_j sum_{i is no target} max(0, 1 - (x[y_j] - x[i])).
    Shapes: x: [N, C] or [C]; y: integers of that shape. Result: [1], or unreduced one element a row.
    Rules: the targets of a row are its y up to the first -1; what comes after counts for nothing. One that is named
        twice counts twice. The mean divides by the number of rows. A number outside [-1, C) refuses the run.
    Gradient: by x[i]: 1 / C for each pair with a positive term; by x[y_j]: -1 / C for each.
    Kink: where 1 - (x[y_j] - x[i]) = 0 the derivative is 0.
    Source: torch.nn.functional.multilabel_margin_loss.

    Above `x` input, `y` target here.
    """

def multilabel_soft_margin_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """The mean over classes of binary cross-entropy with logits.

    Formula: 1 / C sum_c w[c] (softplus(x[c]) - x[c] t[c]).
    Shapes: x, t: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; weight: [C]. Result: [1], or
        unreduced one element a row.
    Rules: the mean divides by the number of rows, the mean over classes by C, never by weights.
    Gradient: by x: w[c] (sigmoid(x[c]) - t[c]) / C; by t: -w[c] x[c] / C; by weight: the mean of its class.
    Kink: none.
    Source: torch.nn.functional.multilabel_soft_margin_loss.

    Above `x` input, `t` target here.
    """

def triplet_margin_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-06,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """An anchor is to be closer to the positive than to the negative by a margin: max(0, d(a, p) - d(a, n) + margin).

    Formula: max(0, d(a, p) - d(a, n) + margin), d(a, b) = norm_p(a - b + eps); swap: min(d(a, n), d(p, n)) for d(a, n).
    Shapes: anchor, positive, negative: [..., D]; margin: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: p > 0, infinity included; reduction mean, sum or none.
    Gradient: by a, p and n through the norms, sign(z) (|z| / norm)^(p - 1) each; by margin: 1 where the loss counts.
    Kink: max(0, .) at 0 has derivative 1, equal distances of a swap share it; a norm at 0 has 0, components of
        equal size share that of the norm of infinity.
    Source: V. Balntas et al., Learning local feature descriptors with triplets and shallow convolutional neural
        networks (2016); torch.nn.functional.triplet_margin_loss.

    This is lossc's `triplet_loss`.
    """

def softmax(
    input: ArrayLike,
    dim: int | None = None,
    _stacklevel: Any = 3,
    dtype: Any = None,
) -> np.ndarray:
    """exp(x) / sum(exp(x)) along `axis`.

    Above `x` input here.
    """

def log_softmax(
    input: ArrayLike,
    dim: int | None = None,
    _stacklevel: Any = 3,
    dtype: Any = None,
) -> np.ndarray:
    """x - log(sum(exp(x))) along `axis`, without overflow.

    Above `x` input here.
    """

def hinge_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
) -> np.ndarray:
    """max(0, 1 - x t), for targets of -1 and 1.

    Formula: max(0, 1 - x t), with x = pred and t = target.
    Shapes: pred, target: [...]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. Targets of 0 and 1 are not converted.
    Gradient: by pred: -t where x t <= 1, NaN where it is NaN, else 0; by target: -x there.
    Kink: at x t = 1 the derivative of the linear side, as torch.clamp(1 - x t, min=0) has it.
    Source: Cortes and Vapnik 1995.

    Above `pred` input here.
    """

def squared_hinge_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
) -> np.ndarray:
    """max(0, 1 - x t)^2, for targets of -1 and 1.

    Formula: max(0, 1 - x t)^2, with x = pred and t = target.
    Shapes: pred, target: [...]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. Targets of 0 and 1 are not converted.
    Gradient: by pred: -2 t max(0, 1 - x t); by target: -2 x max(0, 1 - x t).
    Kink: none.
    Source: Lee and Mangasarian 2001 (smooth support vector machines).

    Above `pred` input here.
    """

def log_cosh_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
) -> np.ndarray:
    """The logarithm of cosh d, a square near 0 and |d| - log 2 far out, without overflow.

    Formula: log cosh d = |d| + log1p(exp(-2 |d|)) - log 2, with d = x - t.
    Shapes: x, t: [...]. Result: [1], or [...] unreduced.
    Rules: t of any type; reduction mean, sum or none.
    Gradient: by x: tanh d; by t: -tanh d.
    Kink: none.
    Source: R. Neuneier, H. G. Zimmermann, How to train neural networks (1998).

    Above `x` input, `t` target here.
    """

def sigmoid_focal_loss(
    input: ArrayLike,
    target: ArrayLike,
    alpha: float | None = None,
    gamma: float = 2.0,
    reduction: str = "mean",
) -> np.ndarray:
    """(1 - p_t)^gamma times binary cross-entropy with logits, with p_t the probability given to the target.

    Formula: a (1 - p_t)^gamma (t softplus(-x) + (1 - t) softplus(x)), with p = sigmoid(x),
        1 - p_t = t (1 - p) + (1 - t) p, and a = alpha t + (1 - alpha) (1 - t), or 1 without alpha.
    Shapes: logits, t: [...]; gamma: a number, [] or [1]. Result: [1], or [...] unreduced.
    Rules: the mean divides by the number of elements. t may lie between 0 and 1. A number gamma < 0 is refused.
    Gradient: by logits: a ((1 - p_t)^gamma (p - t) + gamma (1 - p_t)^(gamma - 1) (1 - 2 t) p (1 - p) bce); by t
        likewise; by gamma: loss log(1 - p_t). Finite for every finite logit, 0 where 1 - p_t underflows.
    Kink: none.
    Source: Lin, Goyal, Girshick, He, Dollar 2017; torchvision.ops.sigmoid_focal_loss.

    Above `logits` input, `t` target here.
    """

def focal_cross_entropy_loss(
    input: ArrayLike,
    target: ArrayLike,
    gamma: float = 2.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    reduction: str = "mean",
    *,
    axis: int | None = None,
    empty: str = "nan",
) -> np.ndarray:
    """(1 - p_y)^gamma times cross-entropy, with p = softmax(x).

    Formula: w[y] (1 - p_y)^gamma l, with l = lse(x) - x[y] and 1 - p_y = -expm1(-l).
    Shapes: logits: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; y: integers of that shape
        without the class axis; weight: [C]; gamma: a number, [] or [1]. Result: [1], or unreduced one element a row.
    Rules: the mean divides by the number of rows that are not ignored, also with weights; without such rows it is
        `empty`: "nan" (0/0), "zero" or "error". A label out of range and a number gamma < 0 are refused.
    Gradient: by logits: w[y] ((1 - p_y)^gamma + gamma (1 - p_y)^(gamma - 1) p_y l) (p - onehot(y)), 0 in ignored rows;
        by weight: the sum of the unweighted rows of each class; by gamma: loss log(1 - p_y).
    Kink: none.
    Source: Lin, Goyal, Girshick, He, Dollar 2017, over classes.

    Above `logits` input, `y` target here.
    """

def poly_cross_entropy_loss(
    input: ArrayLike,
    target: ArrayLike,
    epsilon: float = 2.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    reduction: str = "mean",
    *,
    axis: int | None = None,
    empty: str = "nan",
) -> np.ndarray:
    """Cross-entropy plus epsilon (1 - p_y), with p = softmax(x): the first term of its series in 1 - p_y counts more.

    Formula: w[y] (l + epsilon (1 - p_y)), with l = lse(x) - x[y], for labels y = t; for distributions t
        sum_c w[c] t[c] (lse(x) - x[c]) + epsilon (1 - sum_c t[c] p[c]).
    Shapes: logits: [C], [N, C] or [N, C, d...], the class axis elsewhere with `axis`; t: integers of that shape
        without the class axis, or floats of that shape; weight: [C], with labels only; epsilon: a number, [] or
        [1]. Result: [1], or unreduced one element a row.
    Rules: labels: the mean divides by the number of rows that are not ignored, also with weights; without such rows
        it is `empty`: "nan" (0/0), "zero" or "error". Distributions: the mean divides by the number of rows.
    Gradient: by logits: w[y] (1 + epsilon p_y) (p - onehot(y)), 0 in ignored rows; for distributions
        p sum(t) - t - epsilon p (t - sum_c t[c] p[c]); by t (floats): lse(x) - x - epsilon p; by weight: the sum
        of the unweighted rows of each class; by epsilon: 1 - p_y.
    Kink: none.
    Source: PolyLoss (Poly-1), Leng et al. 2022.

    Above `logits` input, `t` target here.
    """

def dice_loss(
    input: ArrayLike,
    target: ArrayLike,
    smooth: float = 1.0,
    from_logits: bool = False,
    reduction: str = "mean",
) -> np.ndarray:
    """1 - (tp + s) / (tp + fp / 2 + fn / 2 + s): one minus the Dice coefficient, for each sample and class.

    Formula: 1 - (tp + s) / (tp + fp / 2 + fn / 2 + s), with tp = sum p t, fp = sum p (1 - t), fn = sum (1 - p) t over
        d..., and s = smooth.
    Shapes: probs: [N, C, d...]; t: floats or truth values of that shape, or integer labels [N, d...]; smooth: a
        number, [] or [1]. Result: [1], or [N, C] unreduced.
    Rules: the mean divides by N C. With `from_logits` p = softmax over C, sigmoid if C = 1. A label out of range
        refuses the run. Without smoothing a class that neither occurs nor is predicted gives 0/0.
    Gradient: by probs: -(t - (t + 1) / 2 (1 - loss)) / (tp + fp / 2 + fn / 2 + s), through softmax or sigmoid with
        `from_logits`; by t (floats): likewise with p and t exchanged.
    Kink: none.
    Source: Milletari, Navab, Ahmadi 2016 (V-Net), with linear terms in the denominator.

    Above `probs` input, `t` target here.
    """

def tversky_loss(
    input: ArrayLike,
    target: ArrayLike,
    smooth: float = 1.0,
    alpha: float = 0.5,
    beta: float = 0.5,
    from_logits: bool = False,
    reduction: str = "mean",
) -> np.ndarray:
    """1 - (tp + s) / (tp + alpha fp + beta fn + s): false positives and negatives weigh apart.

    Formula: 1 - (tp + s) / (tp + alpha fp + beta fn + s), with tp = sum p t, fp = sum p (1 - t), fn = sum (1 - p) t
        over d..., and s = smooth. alpha = beta = 0.5 is dice_loss, alpha = beta = 1 one minus the Jaccard index.
    Shapes: probs: [N, C, d...]; t: floats or truth values of that shape, or integer labels [N, d...]; smooth, alpha,
        beta: a number each, [] or [1]. Result: [1], or [N, C] unreduced.
    Rules: the mean divides by N C. With `from_logits` p = softmax over C, sigmoid if C = 1. A label out of range
        refuses the run. Without smoothing a class that neither occurs nor is predicted gives 0/0.
    Gradient: by probs: -(t - (alpha + (1 - alpha - beta) t) (1 - loss)) / (tp + alpha fp + beta fn + s), through
        softmax or sigmoid with `from_logits`; by t (floats): likewise with p, t and alpha, beta exchanged.
    Kink: none.
    Source: Salehi, Erdogmus, Gholipour 2017.

    Above `probs` input, `t` target here.
    """

def js_div_loss(
    p_logits: ArrayLike,
    q_logits: ArrayLike,
    beta: float = 0.5,
    reduction: str = "mean",
    *,
    axis: int | None = None,
) -> np.ndarray:
    """Generalised Jensen-Shannon divergence of P = softmax(p_logits) and Q = softmax(q_logits), one a row.

    Formula: beta KL(P, M) + (1 - beta) KL(Q, M), with M = beta P + (1 - beta) Q; beta = 0 is KL(P, Q), 1 is KL(Q, P).
    Shapes: p_logits, q_logits: [N, C, ...] or [C]. Result: [1], or without the class axis unreduced.
    Rules: 0 <= beta <= 1; axis: the class axis, 0 for rank 1, else 1; reduction mean (over rows), sum or none.
        A class with a logit of -inf on both sides adds nothing.
    Gradient: by p_logits: beta P (log(P / M) - KL(P, M)); by q_logits: (1 - beta) Q (log(Q / M) - KL(Q, M)).
    Kink: none.
    Source: J. Lin, Divergence measures based on the Shannon entropy (1991).
    """

def distillation_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    temperature: float = 1.0,
    reduction: str = "mean",
    *,
    axis: int | None = None,
) -> np.ndarray:
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

def info_nce_loss(
    queries: ArrayLike,
    keys: ArrayLike,
    temperature: float = 0.07,
    reduction: str = "mean",
) -> np.ndarray:
    """Each query is to find its key among all keys: cross-entropy over the cosines, its own row's key the label.

    Formula: -log softmax(s[i])[i], with s[i, j] = cos(queries[i], keys[j]) / temperature.
    Shapes: queries, keys: [N, D]; temperature: a number, [] or [1]. Result: [1], or [N] unreduced.
    Rules: temperature > 0; reduction mean (over rows), sum or none. Norms as in cosine_embedding_loss: a zero vector
        has cosine 0 with everything.
    Gradient: by s: softmax(s) - 1 on the diagonal; by queries and keys through the cosines; by temperature.
    Kink: none.
    Source: A. van den Oord, Y. Li, O. Vinyals, Representation learning with contrastive predictive coding (2018).
    """

def l2_loss(
    input: ArrayLike,
    reduction: str = "mean",
) -> np.ndarray:
    """Half the square of each weight, w^2 / 2.

    Formula: w^2 / 2.
    Shapes: w: [...]. Result: [1], or [...] unreduced.
    Rules: reduction mean, sum or none.
    Gradient: by w: w.
    Kink: none.
    Source: A. E. Hoerl, R. W. Kennard, Ridge regression (1970).

    Above `w` input here.
    """

def l1_regularization(
    input: ArrayLike,
    reduction: str = "mean",
) -> np.ndarray:
    """The absolute value of each weight, |w|.

    Formula: |w|.
    Shapes: w: [...]. Result: [1], or [...] unreduced.
    Rules: reduction mean, sum or none.
    Gradient: by w: sign(w).
    Kink: at w = 0 the derivative is 0.
    Source: R. Tibshirani, Regression shrinkage and selection via the lasso (1996).

    Above `w` input here.
    """

def triplet_margin_with_distance_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    distance_function: Loss | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> np.ndarray:
    """max(0, d(a, p) - d(a, n) + margin) with a distance of your own, by default the Euclidean one.

    `distance_function` takes two of what this takes and gives one of distances; torch differentiates it. With
    `swap` the distance of positive and negative counts where it is smaller than that of anchor and negative.
    """

def ctc_loss(*arguments: Any, **keywords: Any) -> NoReturn:
    """Not there yet: lossc has no CTC loss. Raises Unsupported."""

def function(loss: Graph | str | Callable[..., Any]) -> OwnFunction: ...
def value_and_grad(
    function: Loss,
    argnums: int | Sequence[int] = 0,
) -> Callable[..., tuple[np.ndarray, Any]]: ...
