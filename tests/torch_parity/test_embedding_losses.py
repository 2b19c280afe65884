"""Losses on pairs and triples beside torch in float64, at margins and for zero vectors, too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from beside_torch import LEVELS, RUNS, agree, agree_twice, torch

F = torch.nn.functional


def signs(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.choice([-1.0, 1.0], shape)


def clamp(z: Any) -> Any:
    return z.clamp_min(0)


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("margin", [0.0, 0.3, -0.5])
def test_cosine(reduction: str, margin: float, level: str) -> None:
    """Also zero vectors, the same vector twice, cos = margin exactly, and a target that is neither 1 nor -1.

    torch's 1e-12 is an f32: derivatives at zero vectors differ by 2e-9.
    """
    random = np.random.default_rng(1)
    x1, x2 = random.standard_normal((9, 6)), random.standard_normal((9, 6))
    t = np.array([1, -1, 1, -1, 1, -1, -1, 0, -1.0])
    x1[2] = 0
    x1[3] = x2[3] = 0
    x2[4] = x1[4]
    x1[5], x2[5] = [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]
    x2[6] *= 1e4

    def reference(x1: Any, x2: Any, t: Any) -> Any:
        return F.cosine_embedding_loss(x1, x2, t, margin, reduction=reduction)

    agree("cosine_embedding_loss", {"x1": "f64[N, D]", "x2": "f64[N, D]", "t": "f64[N]"}, {"x1": x1, "x2": x2, "t": t},
          reference, level, rtol=1e-8, reduction=reduction, margin=margin)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("target", [1, -1])
def test_cosine_of_one_pair(target: int, level: str) -> None:
    random = np.random.default_rng(2)
    arrays = {"x1": random.standard_normal(6), "x2": random.standard_normal(6), "t": np.array(target)}
    agree("cosine_embedding_loss", {"x1": "f64[6]", "x2": "f64[6]", "t": "i64[]"}, arrays,
          lambda x1, x2, t: F.cosine_embedding_loss(x1, x2, t, reduction="none"), level, reduction="none")  # fmt: skip


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, 1.5, 0.5, math.inf])
@pytest.mark.parametrize("swap", [False, True])
def test_triplet(reduction: str, swap: bool, p: float, level: str) -> None:
    random = np.random.default_rng(3)
    arrays = {name: random.standard_normal((8, 5)) for name in ("anchor", "positive", "negative")}
    arrays["positive"][0] = arrays["anchor"][0]
    arrays["negative"][1] = arrays["anchor"][1]
    arrays["negative"][2] = arrays["positive"][2]
    for array in arrays.values():
        array[3] = 0

    def reference(anchor: Any, positive: Any, negative: Any) -> Any:
        return F.triplet_margin_loss(anchor, positive, negative, p=p, swap=swap, reduction=reduction)

    agree("triplet_loss", dict.fromkeys(arrays, "f64[N, D]"), arrays, reference, level, reduction=reduction, p=p,
          swap=swap)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, 1.5, 0.5, math.inf])
def test_triplet_where_norms_are_zero(p: float, level: str) -> None:
    """Without eps, so that a distance of 0 is one."""
    arrays = {"anchor": np.array([[1.0, 2], [1, 2], [0, 1]]), "positive": np.array([[1.0, 2], [3, 2], [0, 1]]),
              "negative": np.array([[1.5, 2], [1, 2], [0, 1]])}  # fmt: skip

    def reference(anchor: Any, positive: Any, negative: Any) -> Any:
        return F.triplet_margin_loss(anchor, positive, negative, margin=2, p=p, eps=0, reduction="none")

    agree("triplet_loss", dict.fromkeys(arrays, "f64[3, 2]"), arrays, reference, level, reduction="none", p=p,
          eps=0.0, margin=2.0)  # fmt: skip


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("margin", [1.0, 0.25])
def test_hinge_embedding(reduction: str, margin: float, level: str) -> None:
    random = np.random.default_rng(4)
    arrays = {"x": random.standard_normal((5, 6)), "t": signs(random, 5, 6)}
    arrays["x"][0] = margin
    arrays["t"][1] = 0.5

    def reference(x: Any, t: Any) -> Any:
        return F.hinge_embedding_loss(x, t, margin, reduction=reduction)

    agree("hinge_embedding_loss", dict.fromkeys(arrays, "f64[N, 6]"), arrays, reference, level, reduction=reduction,
          margin=margin)  # fmt: skip


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_margin_ranking(reduction: str, margin: float, level: str) -> None:
    random = np.random.default_rng(5)
    arrays = {"x1": random.standard_normal((5, 6)), "x2": random.standard_normal((5, 6)), "t": signs(random, 5, 6)}
    arrays["x1"][0] = arrays["x2"][0] = 0.5
    arrays["x1"][1] = arrays["x2"][1] + margin * arrays["t"][1]

    def reference(x1: Any, x2: Any, t: Any) -> Any:
        return F.margin_ranking_loss(x1, x2, t, margin, reduction=reduction)

    agree("margin_ranking_loss", dict.fromkeys(arrays, "f64[N, 6]"), arrays, reference, level, reduction=reduction,
          margin=margin)  # fmt: skip


def info_nce(queries: Any, keys: Any, temperature: Any, reduction: str) -> Any:
    left, right = (v / torch.sqrt((v * v).sum(1, keepdim=True) + 1e-12) for v in (queries, keys))
    return F.cross_entropy(left @ right.T / temperature, torch.arange(len(queries)), reduction=reduction)


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("type_", ["f64[N, D]", "f64[9, 6]"])
def test_info_nce(reduction: str, type_: str, level: str) -> None:
    random = np.random.default_rng(6)
    arrays = {"queries": random.standard_normal((9, 6)), "keys": random.standard_normal((9, 6))}
    arrays["queries"][0] = 0
    arrays["keys"][2] = 0
    agree("info_nce_loss", dict.fromkeys(arrays, type_), arrays,
          lambda queries, keys: info_nce(queries, keys, 0.07, reduction), level, reduction=reduction)  # fmt: skip


RUN_TIME = [
    ("cosine_embedding_loss", "margin", {"x1": "f64[N, D]", "x2": "f64[N, D]", "t": "f64[N]"},
     lambda x1, x2, t, margin: torch.where(t == 1, 1 - F.cosine_similarity(x1, x2),
                                           clamp(F.cosine_similarity(x1, x2) - margin)).mean()),
    ("triplet_loss", "margin", {"anchor": "f64[N, D]", "positive": "f64[N, D]", "negative": "f64[N, D]"},
     lambda anchor, positive, negative, margin: clamp(F.pairwise_distance(anchor, positive)
                                                      - F.pairwise_distance(anchor, negative) + margin).mean()),
    ("hinge_embedding_loss", "margin", {"x": "f64[N, D]", "t": "f64[N, D]"},
     lambda x, t, margin: torch.where(t == 1, x, clamp(margin - x)).mean()),
    ("margin_ranking_loss", "margin", {"x1": "f64[N, D]", "x2": "f64[N, D]", "t": "f64[N, D]"},
     lambda x1, x2, t, margin: clamp(margin - t * (x1 - x2)).mean()),
    ("info_nce_loss", "temperature", {"queries": "f64[N, D]", "keys": "f64[N, D]"},
     lambda queries, keys, temperature: info_nce(queries, keys, temperature, "mean")),
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize(("name", "parameter", "inputs", "reference"), RUN_TIME, ids=[name for name, *_ in RUN_TIME])
def test_a_parameter_of_the_run_time(
    name: str, parameter: str, inputs: dict[str, str], reference: Any, shape: tuple[int, ...], level: str
) -> None:
    random = np.random.default_rng(7)
    sizes = {"f64[N, D]": (8, 5), "f64[N]": (8,)}
    arrays = {key: random.standard_normal(sizes[type_]) for key, type_ in inputs.items()}
    if "t" in arrays:
        arrays["t"] = signs(random, *arrays["t"].shape)
    arrays[parameter] = np.full(shape, 0.4)
    inputs = {**inputs, parameter: "f64[1]" if shape else "f64[]"}

    def scalar(**tensors: Any) -> Any:
        return reference(**{**tensors, parameter: tensors[parameter].reshape(())})

    agree(name, inputs, arrays, scalar, level)


SECOND = [
    ("cosine_embedding_loss", {}, {"x1": (6, 4), "x2": (6, 4)}, lambda x1, x2, t: F.cosine_embedding_loss(x1, x2, t)),
    ("triplet_loss", {}, {"anchor": (6, 4), "positive": (6, 4), "negative": (6, 4)}, lambda anchor, positive, negative:
        F.triplet_margin_loss(anchor, positive, negative)),
    ("triplet_loss", {"p": 3.0}, {"anchor": (6, 4), "positive": (6, 4), "negative": (6, 4)},
     lambda anchor, positive, negative: F.triplet_margin_loss(anchor, positive, negative, p=3)),
    ("info_nce_loss", {"temperature": 0.5}, {"queries": (6, 4), "keys": (6, 4)}, lambda queries, keys:
        info_nce(queries, keys, 0.5, "mean")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attributes", "shapes", "reference"), SECOND)
def test_second_derivatives(name: str, attributes: dict[str, Any], shapes: dict[str, Any], reference: Any) -> None:
    random = np.random.default_rng(8)
    arrays = {key: random.standard_normal(shape) for key, shape in shapes.items()}
    inputs = dict.fromkeys(arrays, "f64[6, 4]")
    if name == "cosine_embedding_loss":
        arrays["t"], inputs["t"] = signs(random, 6), "f64[6]"
    agree_twice(name, inputs, arrays, reference, tuple(shapes), **attributes)
