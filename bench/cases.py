"""What is measured: one row a loss, with how lossc and how torch say it, random inputs, and the shapes.

The float64 answer comes from torch's eager functions in float64, which share no code with lossc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lossc

Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], np.ndarray]


def _normal(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.standard_normal(shape, np.float32) * np.float32(3)


def _unit(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.random(shape, np.float32) * np.float32(0.98) + np.float32(0.01)


def _sign(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, 2, shape).astype(np.float32) * 2 - 1


def _binary(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, 2, shape).astype(np.float32)


def _count(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, 9, shape).astype(np.float32)


def _rows(draw: Draw) -> Draw:
    """One number a row in place of one an element."""
    return lambda random, shape: draw(random, shape[:1])


def _columns(draw: Draw) -> Draw:
    """One number a class."""
    return lambda random, shape: draw(random, shape[1:2])


def _labels(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)


def _label_lists(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """A few labels a row, then -1."""
    found = np.argsort(random.random(shape, np.float32), 1).astype(np.int32)
    found[np.arange(shape[1]) >= random.integers(1, 5, (shape[0], 1))] = -1
    return found


def _softmax(random: np.random.Generator, shape: Shape) -> np.ndarray:
    power = np.exp(_normal(random, shape))
    return power / power.sum(1, keepdims=True)


def _log_softmax(random: np.random.Generator, shape: Shape) -> np.ndarray:
    x = _normal(random, shape)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@dataclass(frozen=True)
class Loss:
    """One row of the table. `torch` takes torch.nn.functional and the tensors in the order of `inputs`; lossc's
    function takes values in that order and `attributes`. `by` is what the gradient is taken by. Where that is a
    difference of numbers of like size (`cancels`), single elements may be off by a rounding of the largest."""

    name: str
    function: str
    inputs: Mapping[str, Draw]
    torch: Callable[..., Any]
    shapes: tuple[Shape, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    by: tuple[str, ...] = ("x",)
    cancels: bool = False


FLAT, WIDE, LONG, ODD = (1 << 24,), (16384, 1024), (2048, 32000), (8192, 1000)
PIXELS, SHORT = (8, 21, 256, 256), (65536, 128)
PAIR = {"x": _normal, "t": _normal}
LOGITS = {"x": _normal, "t": _labels}

LOSSES = (
    Loss("cross_entropy", "cross_entropy_loss", LOGITS, lambda F, x, t: F.cross_entropy(x, t),
         (ODD, WIDE, LONG, PIXELS)),
    Loss("cross_entropy, smoothed", "cross_entropy_loss", LOGITS,
         lambda F, x, t: F.cross_entropy(x, t, label_smoothing=0.1), (WIDE,), {"label_smoothing": 0.1}, cancels=True),
    Loss("cross_entropy, ignoring", "cross_entropy_loss", LOGITS,
         lambda F, x, t: F.cross_entropy(x, t, ignore_index=0), (WIDE,), {"ignore_index": 0}),
    Loss("cross_entropy, weighted", "cross_entropy_loss", {**LOGITS, "w": _columns(_unit)},
         lambda F, x, t, w: F.cross_entropy(x, t, w), (WIDE,)),
    Loss("cross_entropy, distributions", "cross_entropy_loss", {"x": _normal, "t": _softmax},
         lambda F, x, t: F.cross_entropy(x, t), (WIDE,), cancels=True),
    Loss("nll", "nll_loss", {"x": _log_softmax, "t": _labels}, lambda F, x, t: F.nll_loss(x, t), (WIDE,)),
    Loss("kl_div", "kl_div_loss", {"x": _log_softmax, "t": _softmax},
         lambda F, x, t: F.kl_div(x, t, reduction="batchmean"), (WIDE,), {"reduction": "batchmean"}),
    Loss("multi_margin", "multi_margin_loss", LOGITS, lambda F, x, t: F.multi_margin_loss(x, t), (WIDE,)),
    Loss("multilabel_margin", "multilabel_margin_loss", {"x": _normal, "t": _label_lists},
         lambda F, x, t: F.multilabel_margin_loss(x, t), ((65536, 16),)),
    Loss("multilabel_soft_margin", "multilabel_soft_margin_loss", {"x": _normal, "t": _binary},
         lambda F, x, t: F.multilabel_soft_margin_loss(x, t), (WIDE,), cancels=True),
    Loss("bce_with_logits", "bce_with_logits_loss", {"x": _normal, "t": _unit},
         lambda F, x, t: F.binary_cross_entropy_with_logits(x, t), (FLAT,), cancels=True),
    Loss("bce", "bce_loss", {"x": _unit, "t": _unit}, lambda F, x, t: F.binary_cross_entropy(x, t),
         (FLAT,), cancels=True),
    Loss("mse", "mse_loss", PAIR, lambda F, x, t: F.mse_loss(x, t), (FLAT,), cancels=True),
    Loss("mse, by both", "mse_loss", PAIR, lambda F, x, t: F.mse_loss(x, t), (FLAT,), by=("x", "t"), cancels=True),
    Loss("l1", "l1_loss", PAIR, lambda F, x, t: F.l1_loss(x, t), (FLAT,)),
    Loss("smooth_l1", "smooth_l1_loss", PAIR, lambda F, x, t: F.smooth_l1_loss(x, t), (FLAT,), cancels=True),
    Loss("huber", "huber_loss", PAIR, lambda F, x, t: F.huber_loss(x, t), (FLAT,), cancels=True),
    Loss("poisson_nll", "poisson_nll_loss", {"x": _normal, "t": _count}, lambda F, x, t: F.poisson_nll_loss(x, t),
         (FLAT,), cancels=True),
    Loss("gaussian_nll", "gaussian_nll_loss", {"x": _normal, "t": _normal, "var": _unit},
         lambda F, x, t, v: F.gaussian_nll_loss(x, t, v), (FLAT,), by=("x", "var"), cancels=True),
    Loss("soft_margin", "soft_margin_loss", {"x": _normal, "t": _sign}, lambda F, x, t: F.soft_margin_loss(x, t),
         (FLAT,)),
    Loss("hinge_embedding", "hinge_embedding_loss", {"x": _normal, "t": _sign},
         lambda F, x, t: F.hinge_embedding_loss(x, t), (FLAT,)),
    Loss("margin_ranking", "margin_ranking_loss", {"x": _normal, "y": _normal, "t": _sign},
         lambda F, x, y, t: F.margin_ranking_loss(x, y, t), (FLAT,), by=("x", "y")),
    Loss("cosine_embedding", "cosine_embedding_loss", {"x": _normal, "y": _normal, "t": _rows(_sign)},
         lambda F, x, y, t: F.cosine_embedding_loss(x, y, t), (SHORT, (16384, 1024)), by=("x", "y"), cancels=True),
    Loss("triplet", "triplet_loss", {"x": _normal, "y": _normal, "z": _normal},
         lambda F, x, y, z: F.triplet_margin_loss(x, y, z), (SHORT,), by=("x", "y", "z"), cancels=True),
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


@dataclass(frozen=True)
class Data:
    """Sets of inputs, used in turn; of the first one, from float64, the loss and its gradients. `slack` is what a
    single element of a gradient may be off by beside its relative error."""

    sets: tuple[Arrays, ...]
    loss: float
    gradients: Arrays
    slack: dict[str, float]

    @property
    def fewest_bytes(self) -> int:
        """Every input read once, every gradient written once."""
        arrays = [*self.sets[0].values(), *self.gradients.values()]
        return sum(array.nbytes for array in arrays)


def make_data(case: Case, cache_bytes: int = 128 * 2**20, seed: int = 0) -> Data:
    """So many sets that what one call leaves in the caches is gone when its turn comes again."""
    random = np.random.default_rng(seed)
    first = _draw(case, random)
    count = max(1, -(-cache_bytes // (2 * sum(array.nbytes for array in first.values()))))
    sets = (first, *(_draw(case, random) for _ in range(count - 1)))
    loss, gradients = _answer(case, first)
    slack = {name: 2.0**-22 * float(np.abs(g).max()) if case.loss.cancels else 1e-35 for name, g in gradients.items()}
    return Data(sets, loss, gradients, slack)


def _draw(case: Case, random: np.random.Generator) -> Arrays:
    found = {}
    for name, draw in case.loss.inputs.items():
        values = draw(random, case.shape)
        found[name] = lossc.empty(values.shape, values.dtype)
        found[name][...] = values
    return found


def _answer(case: Case, arrays: Arrays) -> tuple[float, Arrays]:
    import torch
    from torch.nn import functional

    tensors = {name: torch.from_numpy(array.astype(np.int64 if array.dtype.kind == "i" else np.float64))
               for name, array in arrays.items()}  # fmt: skip
    wanted = [tensors[name].requires_grad_() for name in case.loss.by]
    loss = case.loss.torch(functional, *tensors.values())
    gradients = torch.autograd.grad(loss, wanted)
    return float(loss), {name: g.numpy().astype(np.float32) for name, g in zip(case.loss.by, gradients)}
