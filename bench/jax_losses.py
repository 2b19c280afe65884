"""The losses as a jax program writes them: functions of jax.numpy and the arrays in the order of a case's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

from .cases import SOFTCAP, Z_WEIGHT

log_softmax, softplus, sigmoid = jax.nn.log_softmax, jax.nn.softplus, jax.nn.sigmoid


def _rows(x: Any, t: Any) -> Any:
    """The cross-entropy of each row, or of each pixel where the classes are the second axis of four."""
    x = jnp.moveaxis(x, 1, -1)
    return -jnp.take_along_axis(log_softmax(x), t[..., None], -1)[..., 0]


def _smoothed(x: Any, t: Any) -> Any:
    terms = -log_softmax(x)
    return (0.9 * jnp.take_along_axis(terms, t[:, None], -1)[:, 0] + 0.1 * terms.mean(-1)).mean()


def _ignoring(x: Any, t: Any) -> Any:
    kept = t != 0
    return jnp.where(kept, _rows(x, t), 0).sum() / kept.sum()


def _own(x: Any, t: Any, w: Any) -> Any:
    capped = jnp.tanh(x / SOFTCAP) * SOFTCAP
    terms = -log_softmax(capped)
    right = w[t] * jnp.take_along_axis(terms, t[:, None], -1)[:, 0]
    smooth = (terms * w).mean(-1)
    penalty = (jax.nn.logsumexp(capped, -1) ** 2).mean()
    return (0.9 * right + 0.1 * smooth).sum() / w[t].sum() + Z_WEIGHT * penalty


def _focal(x: Any, t: Any) -> Any:
    loss = _rows(x, t)
    return ((1 - jnp.exp(-loss)) ** 2 * loss).mean()


def _poly(x: Any, t: Any) -> Any:
    loss = _rows(x, t)
    return (loss + 2 * (1 - jnp.exp(-loss))).mean()


def _js_div(x: Any, y: Any) -> Any:
    log_p, log_q = log_softmax(x), log_softmax(y)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    log_m = jnp.log(0.5 * (p + q))
    return 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1).mean()


def _distillation(x: Any, y: Any) -> Any:
    log_s, log_t = log_softmax(x / 2), log_softmax(y / 2)
    return 4 * (jnp.exp(log_t) * (log_t - log_s)).sum() / len(x)


def _multi_margin(x: Any, t: Any) -> Any:
    own = jnp.take_along_axis(x, t[:, None], -1)
    terms = jnp.maximum(1 - own + x, 0)
    return jnp.where(jnp.arange(x.shape[1]) == t[:, None], 0, terms).mean()


def _bce_with_logits(x: Any, t: Any) -> Any:
    return softplus(x) - x * t


def _overlap(p: Any, t: Any, alpha: float, beta: float) -> Any:
    hit, extra, missed = ((v).sum((2, 3)) for v in (p * t, p * (1 - t), (1 - p) * t))
    return (1 - (hit + 1) / (hit + alpha * extra + beta * missed + 1)).mean()


def _sigmoid_focal(x: Any, t: Any) -> Any:
    p = sigmoid(x)
    hit = p * t + (1 - p) * (1 - t)
    return ((1 - hit) ** 2 * _bce_with_logits(x, t)).mean()


def _huber(x: Any, t: Any) -> Any:
    d = jnp.abs(x - t)
    return jnp.where(d < 1, 0.5 * d * d, d - 0.5).mean()


def _log_cosh(x: Any, t: Any) -> Any:
    d = x - t
    return (d + softplus(-2 * d) - math.log(2)).mean()


def _mse(x: Any, t: Any) -> Any:
    return ((x - t) ** 2).mean()


def _cosine(x: Any, y: Any) -> Any:
    return (x * y).sum(-1) / (jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1))


def _cosine_embedding(x: Any, y: Any, t: Any) -> Any:
    cosine = _cosine(x, y)
    return jnp.where(t == 1, 1 - cosine, jnp.maximum(cosine, 0)).mean()


def _triplet(x: Any, y: Any, z: Any) -> Any:
    near, far = (jnp.linalg.norm(x - other + 1e-6, axis=-1) for other in (y, z))
    return jnp.maximum(near - far + 1, 0).mean()


def _info_nce(x: Any, y: Any) -> Any:
    x, y = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
    return -jnp.diagonal(log_softmax(x @ y.T / 0.07)).mean()


JAX: Mapping[str, Callable[..., Any]] = {
    "cross_entropy": lambda x, t: _rows(x, t).mean(),
    "cross_entropy, smoothed": _smoothed,
    "cross_entropy, ignoring": _ignoring,
    "cross_entropy, weighted": lambda x, t, w: (w[t] * _rows(x, t)).sum() / w[t].sum(),
    "cross_entropy, distributions": lambda x, t: -(t * log_softmax(x)).sum(-1).mean(),
    "softcap + z + smoothing + weights": _own,
    "focal_cross_entropy": _focal,
    "poly_cross_entropy": _poly,
    "nll": lambda x, t: -jnp.take_along_axis(x, t[:, None], -1).mean(),
    "kl_div": lambda x, t: (t * (jnp.log(t) - x)).sum() / len(x),
    "js_div": _js_div,
    "distillation": _distillation,
    "multi_margin": _multi_margin,
    "multilabel_soft_margin": lambda x, t: _bce_with_logits(x, t).mean(),
    "dice": lambda x, t: _overlap(jax.nn.softmax(x, 1), jax.nn.one_hot(t, x.shape[1], axis=1), 0.5, 0.5),
    "tversky": lambda x, t: _overlap(x, t, 0.3, 0.7),
    "bce_with_logits": lambda x, t: _bce_with_logits(x, t).mean(),
    "bce": lambda x, t: -(t * jnp.log(x) + (1 - t) * jnp.log1p(-x)).mean(),
    "sigmoid_focal": _sigmoid_focal,
    "soft_margin": lambda x, t: softplus(-t * x).mean(),
    "hinge": lambda x, t: jnp.maximum(1 - x * t, 0).mean(),
    "squared_hinge": lambda x, t: (jnp.maximum(1 - x * t, 0) ** 2).mean(),
    "hinge_embedding": lambda x, t: jnp.where(t == 1, x, jnp.maximum(1 - x, 0)).mean(),
    "mse": _mse,
    "mse, by both": _mse,
    "l1": lambda x, t: jnp.abs(x - t).mean(),
    "smooth_l1": _huber,
    "huber": _huber,
    "log_cosh": _log_cosh,
    "poisson_nll": lambda x, t: (jnp.exp(x) - t * x).mean(),
    "gaussian_nll": lambda x, t, v: 0.5 * (jnp.log(v) + (x - t) ** 2 / v).mean(),
    "margin_ranking": lambda x, y, t: jnp.maximum(-t * (x - y), 0).mean(),
    "cosine_embedding": _cosine_embedding,
    "triplet": _triplet,
    "info_nce": _info_nce,
    "l2": lambda x: 0.5 * (x**2).mean(),
    "l1_regularization": lambda x: jnp.abs(x).mean(),
}
