"""Arrays to call each loss with: 6 samples of what its operands mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

ROWS, CLASSES = 6, 5
Arrays = Mapping[str, np.ndarray]


def _real(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape)


def _signs(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.choice([-1.0, 1.0], shape)


def _labels(generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, CLASSES, ROWS)


def _logs(generator: np.random.Generator) -> np.ndarray:
    x = _real(generator, ROWS, CLASSES)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def _indices(generator: np.random.Generator) -> np.ndarray:
    """For each row 0 to CLASSES different classes, ended by -1."""
    rows = np.full((ROWS, CLASSES), -1)
    for row in rows:
        count = generator.integers(0, CLASSES)
        row[:count] = generator.permutation(CLASSES)[:count]
    return rows


SHAPE = (ROWS, CLASSES)
Example = Callable[[np.random.Generator], Arrays]
EXAMPLES: Mapping[str, Example] = {
    **dict.fromkeys(
        ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "log_cosh_loss"),
        lambda r: {"x": _real(r, *SHAPE), "t": 2 * _real(r, *SHAPE)},
    ),
    "poisson_nll_loss": lambda r: {"x": _real(r, *SHAPE), "t": r.integers(0, 5, SHAPE).astype(float)},
    "gaussian_nll_loss": lambda r: {"x": _real(r, *SHAPE), "t": _real(r, *SHAPE), "var": r.uniform(0.2, 2, SHAPE)},
    "cross_entropy_loss": lambda r: {"logits": _real(r, *SHAPE), "target": _labels(r)},
    "focal_cross_entropy_loss": lambda r: {"logits": _real(r, *SHAPE), "y": _labels(r)},
    "poly_cross_entropy_loss": lambda r: {"logits": _real(r, *SHAPE), "t": _labels(r)},
    "nll_loss": lambda r: {"log_probs": _logs(r), "target": _labels(r)},
    "linear_cross_entropy_loss": lambda r: {"hidden": _real(r, ROWS, 3), "weight": _real(r, CLASSES, 3),
                                            "target": _labels(r)},
    "bce_loss": lambda r: {"pred": r.uniform(0.05, 0.95, SHAPE), "target": r.uniform(0, 1, SHAPE)},
    "bce_with_logits_loss": lambda r: {"logits": _real(r, *SHAPE), "target": r.uniform(0, 1, SHAPE)},
    "sigmoid_focal_loss": lambda r: {"logits": _real(r, *SHAPE), "t": r.integers(0, 2, SHAPE).astype(float)},
    **dict.fromkeys(
        ("hinge_loss", "squared_hinge_loss", "soft_margin_loss"),
        lambda r: {"pred": _real(r, *SHAPE), "target": _signs(r, *SHAPE)},
    ),
    "hinge_embedding_loss": lambda r: {"x": _real(r, *SHAPE), "t": _signs(r, *SHAPE)},
    "multi_margin_loss": lambda r: {"x": _real(r, *SHAPE), "y": _labels(r)},
    "multilabel_margin_loss": lambda r: {"x": _real(r, *SHAPE), "y": _indices(r)},
    "multilabel_soft_margin_loss": lambda r: {"x": _real(r, *SHAPE), "t": r.integers(0, 2, SHAPE).astype(float)},
    **dict.fromkeys(
        ("dice_loss", "tversky_loss"),
        lambda r: {"probs": r.uniform(0.05, 0.95, (ROWS, 2, 7)), "t": r.integers(0, 2, (ROWS, 2, 7)).astype(float)},
    ),
    "kl_div_loss": lambda r: {"log_probs": _logs(r), "t": np.exp(_logs(r))},
    "js_div_loss": lambda r: {"p_logits": _real(r, *SHAPE), "q_logits": _real(r, *SHAPE)},
    "distillation_loss": lambda r: {"student": _real(r, *SHAPE), "teacher": _real(r, *SHAPE)},
    "cosine_embedding_loss": lambda r: {"x1": _real(r, *SHAPE), "x2": _real(r, *SHAPE), "t": _signs(r, ROWS)},
    "triplet_loss": lambda r: {name: _real(r, *SHAPE) for name in ("anchor", "positive", "negative")},
    "margin_ranking_loss": lambda r: {"x1": _real(r, *SHAPE), "x2": _real(r, *SHAPE), "t": _signs(r, *SHAPE)},
    "info_nce_loss": lambda r: {"queries": _real(r, *SHAPE), "keys": _real(r, *SHAPE)},
    "l2_loss": lambda r: {"w": _real(r, *SHAPE)},
    "l1_regularization": lambda r: {"w": _real(r, *SHAPE)},
}  # fmt: skip


def arrays_for(operation: str, seed: int = 0) -> Arrays:
    return EXAMPLES[operation](np.random.default_rng(seed))
