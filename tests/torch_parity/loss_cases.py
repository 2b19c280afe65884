"""Calls of losses, for tests beside torch: names, tensors, settings, and which tensors torch differentiates by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One call. `make` draws the tensors by name; `by` are those that torch differentiates by."""

    loss: str
    make: Callable[[np.random.Generator], Arrays]
    settings: dict[str, Any] = field(default_factory=dict)
    by: str = "input"
    label: str = ""

    @property
    def id(self) -> str:
        shown = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return "-".join(part for part in (self.loss, self.label, shown) if part)


def _normal(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda random: random.standard_normal(shape)


def _unit(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda random: random.uniform(0.05, 0.95, shape)


def _positive(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda random: random.uniform(0.3, 2.5, shape)


def _labels(count: int, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda random: random.integers(0, count, shape)


def _signs(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda random: random.choice([-1.0, 1.0], shape)


def _fixed(values: Any) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda random: np.array(values)


def _log_probabilities(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    def draw(random: np.random.Generator) -> np.ndarray:
        x = random.standard_normal(shape)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    return draw


def _case(
    loss: str, by: str = "input", label: str = "", settings: dict[str, Any] | None = None, **tensors: Any
) -> Case:
    def make(random: np.random.Generator) -> Arrays:
        return {name: draw(random) for name, draw in tensors.items()}

    return Case(loss, make, settings or {}, by, label)


_LISTS = [[0, -1, 1, 2], [1, 2, -1, 0], [-1, 0, 0, 0], [3, 2, 1, 0], [2, -1, -1, -1]]

CASES = (
    _case("cross_entropy", input=_normal(5, 4), target=_labels(4, 5)),
    _case("cross_entropy", label="weight", input=_normal(5, 4), target=_labels(4, 5), weight=_positive(4),
          settings={"label_smoothing": 0.2}),
    _case("cross_entropy", label="ignored", input=_normal(5, 4), target=_fixed([1, -100, 3, 0, -100])),
    _case("cross_entropy", label="a class is ignored", input=_normal(5, 4), target=_fixed([1, 2, 3, 2, 0]),
          weight=_positive(4), settings={"ignore_index": 2, "label_smoothing": 0.1}),
    _case("cross_entropy", label="pixels", input=_normal(2, 4, 3, 2), target=_labels(4, 2, 3, 2), weight=_positive(4)),
    _case("cross_entropy", label="one row", input=_normal(4), target=_labels(4)),
    _case("cross_entropy", "input target", "distribution", input=_normal(5, 4), target=_unit(5, 4),
          settings={"label_smoothing": 0.1}),
    _case("cross_entropy", "input target", "weighted distribution of pixels", input=_normal(2, 4, 3),
          target=_unit(2, 4, 3), weight=_positive(4)),
    _case("nll_loss", input=_log_probabilities(5, 4), target=_labels(4, 5), weight=_positive(4)),
    _case("nll_loss", label="pixels", input=_normal(2, 4, 3, 2), target=_labels(4, 2, 3, 2),
          settings={"ignore_index": 1}),
    _case("linear_cross_entropy", "input linear_weight linear_bias", input=_normal(5, 3), linear_weight=_normal(4, 3),
          target=_labels(4, 5), linear_bias=_normal(4), weight=_positive(4)),
    _case("linear_cross_entropy", "input linear_weight", "one row", input=_normal(3), linear_weight=_normal(4, 3),
          target=_labels(4)),
    _case("linear_cross_entropy", "input linear_weight linear_bias", "places", input=_normal(5, 3),
          linear_weight=_normal(4, 2, 3), target=_labels(4, 5, 2), linear_bias=_normal(4, 2)),
    _case("binary_cross_entropy", "input target", input=_unit(5, 3), target=_unit(5, 3)),
    _case("binary_cross_entropy", "input target", "weight", input=_unit(5, 3), target=_unit(5, 3), weight=_positive(3)),
    _case("binary_cross_entropy_with_logits", "input target", input=_normal(5, 3), target=_unit(5, 3)),
    _case("binary_cross_entropy_with_logits", "input target", "weights", input=_normal(5, 3), target=_unit(5, 3),
          weight=_positive(5, 1), pos_weight=_positive(3)),
    _case("mse_loss", "input target", input=_normal(5, 3), target=_normal(5, 3)),
    _case("mse_loss", "input target weight", "weight", input=_normal(5, 3), target=_normal(5, 3),
          weight=_positive(5, 3)),
    _case("mse_loss", "input target weight", "broadcast", input=_normal(1, 3), target=_normal(5, 1),
          weight=_positive(1, 3)),
    _case("l1_loss", "input target", input=_normal(5, 3), target=_normal(5, 3)),
    _case("l1_loss", "input target weight", "weight", input=_normal(5, 3), target=_normal(5, 3),
          weight=_positive(5, 3)),
    _case("smooth_l1_loss", "input target", input=_normal(5, 3), target=_normal(5, 3), settings={"beta": 0.7}),
    _case("smooth_l1_loss", "input target", input=_normal(2, 3), target=_normal(2, 3), settings={"beta": 0.0}),
    _case("huber_loss", "input target", input=_normal(5, 3), target=_normal(5, 3), settings={"delta": 0.7}),
    _case("huber_loss", "input target weight", "weight", input=_normal(5, 3), target=_normal(5, 3),
          weight=_positive(5, 3)),
    _case("kl_div", "input target", input=_log_probabilities(5, 4), target=_unit(5, 4)),
    _case("kl_div", "input target", input=_log_probabilities(5, 4), target=_log_probabilities(5, 4),
          settings={"log_target": True}),
    _case("poisson_nll_loss", "input target", input=_normal(5, 3), target=_positive(5, 3), settings={"full": True}),
    _case("poisson_nll_loss", "input target", input=_positive(5, 3), target=_positive(5, 3),
          settings={"log_input": False}),
    _case("gaussian_nll_loss", "input target var", input=_normal(5, 3), target=_normal(5, 3), var=_positive(5, 3),
          settings={"full": True}),
    _case("gaussian_nll_loss", "input target var", "one variance a row", input=_normal(5, 3), target=_normal(5, 3),
          var=_positive(5)),
    _case("cosine_embedding_loss", "input1 input2", input1=_normal(5, 4), input2=_normal(5, 4), target=_signs(5),
          settings={"margin": 0.1}),
    _case("cosine_embedding_loss", "input1 input2", "one pair", input1=_normal(4), input2=_normal(4), target=_signs()),
    _case("hinge_embedding_loss", input=_normal(5, 3), target=_signs(5, 3), settings={"margin": 0.8}),
    _case("margin_ranking_loss", "input1 input2 target", input1=_normal(6), input2=_normal(6), target=_signs(6),
          settings={"margin": 0.3}),
    _case("soft_margin_loss", input=_normal(5, 3), target=_signs(5, 3)),
    _case("multi_margin_loss", input=_normal(5, 4), target=_labels(4, 5), weight=_positive(4)),
    _case("multi_margin_loss", input=_normal(5, 4), target=_labels(4, 5), settings={"p": 2, "margin": 0.6}),
    _case("multi_margin_loss", label="one row", input=_normal(4), target=_labels(4)),
    _case("multilabel_margin_loss", input=_normal(5, 4), target=_fixed(_LISTS)),
    _case("multilabel_margin_loss", label="one row", input=_normal(4), target=_fixed(_LISTS[1])),
    _case("multilabel_soft_margin_loss", "input target weight", input=_normal(5, 3), target=_unit(5, 3),
          weight=_positive(3)),
    _case("multilabel_soft_margin_loss", "input target", "broadcast", input=_normal(2, 5, 3), target=_unit(5, 1)),
    _case("triplet_margin_loss", "anchor positive negative", anchor=_normal(5, 4), positive=_normal(5, 4),
          negative=_normal(5, 4), settings={"swap": True}),
    _case("triplet_margin_loss", "anchor positive negative", "broadcast", anchor=_normal(2, 3, 4),
          positive=_normal(2, 1, 4), negative=_normal(2, 3, 4), settings={"p": 3, "margin": 0.5}),
    _case("triplet_margin_loss", "anchor positive negative", "one triple", anchor=_normal(4), positive=_normal(4),
          negative=_normal(4), settings={"p": 1}),
)  # fmt: skip

AXES = (
    _case("softmax", input=_normal(5, 4), settings={"dim": 1}),
    _case("softmax", input=_normal(2, 3, 4), settings={"dim": 1}),
    _case("log_softmax", input=_normal(5, 4), settings={"dim": -1}),
    _case("log_softmax", input=_normal(2, 3, 4), settings={"dim": 0}),
)  # fmt: skip

OWN = (
    _case("hinge_loss", "input target", input=_normal(5, 3), target=_signs(5, 3)),
    _case("squared_hinge_loss", "input target", input=_normal(5, 3), target=_signs(5, 3)),
    _case("log_cosh_loss", "input target", input=_normal(5, 3), target=_normal(5, 3)),
    _case("sigmoid_focal_loss", "input target", input=_normal(5, 3), target=_unit(5, 3), settings={"alpha": 0.3}),
    _case("focal_cross_entropy_loss", "input weight", input=_normal(5, 4), target=_labels(4, 5), weight=_positive(4)),
    _case("poly_cross_entropy_loss", input=_normal(5, 4), target=_labels(4, 5)),
    _case("dice_loss", "input target", input=_unit(3, 4, 5), target=_unit(3, 4, 5)),
    _case("tversky_loss", input=_normal(3, 4, 5), target=_labels(4, 3, 5),
          settings={"alpha": 0.3, "from_logits": True}),
    _case("js_div_loss", "p_logits q_logits", p_logits=_normal(5, 4), q_logits=_normal(5, 4), settings={"beta": 0.3}),
    _case("distillation_loss", "student teacher", student=_normal(5, 4), teacher=_normal(5, 4),
          settings={"temperature": 2.0}),
    _case("info_nce_loss", "queries keys", queries=_normal(5, 4), keys=_normal(5, 4), settings={"temperature": 0.5}),
    _case("l2_loss", input=_normal(5, 3)),
    _case("l1_regularization", input=_normal(5, 3)),
)  # fmt: skip
