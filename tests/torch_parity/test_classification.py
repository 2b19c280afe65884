"""Margin, focal, poly and overlap losses, and cross-entropy after a layer, beside torch in float64.

Where torch has the loss, it is torch's own; else its formula in torch's operations, which torch differentiates. Value
and gradient by every float operand, under a random incoming gradient: every problem in the interpreter, every seventh
on each device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from beside_torch import REDUCTIONS, Arrays, Level, Reference, agree_in_order, labels_by_hand, reduced, torch

from lossc.runtime.device import Device

F = torch.nn.functional


@dataclass(frozen=True)
class Problem:
    """A loss, its operands and what torch makes of them. `reference` takes tensors by position."""

    loss: str
    inputs: Mapping[str, str]
    arrays: Arrays
    attributes: Mapping[str, Any]
    reference: Reference


def real(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape) * 2


def unit(*shape: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape)


def labels(shape: tuple[int, ...], classes: int = 4) -> np.ndarray:
    return np.random.default_rng(3).integers(0, classes, shape)


# --- elementwise ------------------------------------------------------------------------------------------------


def focal(alpha: float | None, gamma: float) -> Reference:
    def values(x: Any, t: Any) -> Any:
        missed = t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)
        balance = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
        return balance * missed**gamma * F.binary_cross_entropy_with_logits(x, t, reduction="none")

    return values


def soft_margin(x: Any, t: Any) -> Any:
    """torch has no derivative by the target."""
    ours = F.softplus(-t * x)
    torch.testing.assert_close(F.soft_margin_loss(x, t.detach(), reduction="none"), ours)
    return ours


ELEMENTWISE: dict[str, tuple[str, dict[str, Any], Reference]] = {
    "hinge": ("hinge_loss", {}, lambda x, t: torch.clamp(1 - x * t, min=0)),
    "squared hinge": ("squared_hinge_loss", {}, lambda x, t: torch.clamp(1 - x * t, min=0) ** 2),
    "soft margin": ("soft_margin_loss", {}, soft_margin),
    **{f"focal {alpha} {gamma}": ("sigmoid_focal_loss", {"alpha": alpha, "gamma": gamma}, focal(alpha, gamma))
       for alpha, gamma in [(None, 2.0), (0.25, 2.0), (0.25, 0.0), (None, 0.5), (0.75, 1.0), (None, 3.0), (None, 2.5)]},
}  # fmt: skip


def elementwise() -> Iterator[Problem]:
    for (name, attributes, reference), reduction in itertools.product(ELEMENTWISE.values(), REDUCTIONS):
        signed = "focal" not in name
        x, t = real(5, 7), np.sign(real(5, 7, seed=4)) if signed else unit(5, 7)
        # At the kink, at zero, and targets of exactly 0 and 1.
        x[0], t[0] = [1, -1, 1, -1, 0, 0, 0.5], [1, -1, -1, 1, 1, -1, 1]
        t[0] = t[0] if signed else t[0] > 0
        inputs, attributes = dict.fromkeys("xt", "f64[N, 7]"), {"reduction": reduction, **attributes}
        yield Problem(name, inputs, {"x": x, "t": t}, attributes,
                      lambda x, t, r=reduction, f=reference: reduced(f(x, t), r))  # fmt: skip


# --- by rows ----------------------------------------------------------------------------------------------------

SHAPES = {
    "rows": ("f64[N, C]", "i64[N]", (5, 4), (5,)),
    "long": ("f64[6, 40]", "i32[6]", (6, 40), (6,)),
    "pixels": ("f64[N, 4, H, W]", "i64[N, H, W]", (2, 4, 3, 2), (2, 3, 2)),
    "one": ("f64[4]", "i64[]", (4,), ()),
}


def with_labels(shape: str, weighted: bool, ignore: int | None = None) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    x_type, t_type, x_shape, t_shape = SHAPES[shape]
    classes = x_shape[min(1, len(x_shape) - 1)]
    t = labels(t_shape, classes)
    if ignore is not None and t_shape:
        t.reshape(-1)[1] = ignore
    inputs, arrays = {"x": x_type, "t": t_type}, {"x": real(*x_shape), "t": t}
    if weighted:
        size = "C" if "C" in x_type else str(classes)
        inputs, arrays = {**inputs, "w": f"f64[{size}]"}, {**arrays, "w": unit(classes) + 0.2}
    return inputs, arrays


def multi_margin() -> Iterator[Problem]:
    powers = [(1, 1.0), (2, 1.0), (2, 0.3), (1, -0.5)]
    for shape, (p, margin), weighted, reduction in itertools.product(SHAPES, powers, (False, True), REDUCTIONS):
        inputs, arrays = with_labels(shape, weighted)
        if shape == "rows":
            arrays["x"][0] = arrays["x"][0, arrays["t"][0]] - margin  # every other class at the kink
        attributes = {"p": p, "margin": margin, "reduction": reduction}

        def reference(x: Any, t: Any, w: Any = None, p: int = p, margin: float = margin, by: str = reduction) -> Any:
            axis = min(1, x.ndim - 1)
            rows, y = x.movedim(axis, -1).reshape(-1, x.shape[axis]), t.reshape(-1)
            theirs = F.multi_margin_loss(rows, y, p, margin, None if w is None else w.detach(), reduction="none")
            # torch does not differentiate by the weight.
            z = torch.where(torch.arange(rows.shape[1]) != y[:, None], margin - rows.gather(1, y[:, None]) + rows, 0)
            ours = (torch.where(z > 0, z, 0) ** p).sum(1) / rows.shape[1] * (1 if w is None else w[y])
            torch.testing.assert_close(theirs, ours)
            return reduced(ours.reshape(t.shape), by)

        yield Problem("multi_margin_loss", inputs, arrays, attributes, reference)


def of_rows(rows: Any, w: Any, t: Any, ignore: int, reduction: str) -> Any:
    """Weighted rows; their mean is by the number that is kept."""
    kept = t != ignore
    rows = torch.where(kept, rows, 0.0)
    if w is not None:
        rows = rows * w[torch.where(kept, t, 0)]
    return rows.sum() / kept.sum() if reduction == "mean" else reduced(rows, reduction)


def focal_cross_entropy() -> Iterator[Problem]:
    options = [(2.0, None), (0.5, None), (0.0, 1), (2.0, -100), (1.5, None)]
    for shape, (gamma, ignore), weighted, by in itertools.product(SHAPES, options, (False, True), REDUCTIONS):
        inputs, arrays = with_labels(shape, weighted, ignore)

        def reference(
            x: Any, t: Any, w: Any = None, gamma: float = gamma, ignore: int = ignore or -100, by: str = by
        ) -> Any:
            t = t.to(torch.int64)
            ce = F.cross_entropy(x, t, ignore_index=ignore, reduction="none")
            missed = 1 - torch.exp(-torch.where(t == ignore, 1.0, ce))
            return of_rows(missed**gamma * ce, w, t, ignore, by)

        attributes = {"gamma": gamma, "ignore_index": ignore, "reduction": by}
        yield Problem("focal_cross_entropy_loss", inputs, arrays, attributes, reference)


def poly_cross_entropy() -> Iterator[Problem]:
    options = [(2.0, None), (-1.0, 1), (0.0, -100)]
    for shape, (epsilon, ignore), weighted, by in itertools.product(SHAPES, options, (False, True), REDUCTIONS):
        inputs, arrays = with_labels(shape, weighted, ignore)

        def reference(
            x: Any, t: Any, w: Any = None, e: float = epsilon, ignore: int = ignore or -100, by: str = by
        ) -> Any:
            t = t.to(torch.int64)
            ce = F.cross_entropy(x, t, ignore_index=ignore, reduction="none")
            return of_rows(ce + e * (1 - torch.exp(-ce)), w, t, ignore, by)

        attributes = {"epsilon": epsilon, "ignore_index": ignore, "reduction": by}
        yield Problem("poly_cross_entropy_loss", inputs, arrays, attributes, reference)
    for (x_type, _, shape, _), by in itertools.product(SHAPES.values(), REDUCTIONS):

        def spread(x: Any, t: Any, by: str = by) -> Any:
            axis = min(1, x.ndim - 1)
            hit = (t * torch.softmax(x, axis)).sum(axis)
            return reduced(F.cross_entropy(x, t, reduction="none") + 2 * (1 - hit), by)

        arrays = {"x": real(*shape), "t": unit(*shape)}
        yield Problem("poly_cross_entropy_loss", {"x": x_type, "t": x_type}, arrays, {"reduction": by}, spread)


TARGET_LISTS = [[0, 2, -1, 1], [1, 1, -1, -1], [-1, 3, 3, 3], [0, 1, 2, 3], [3, 0, 1, -1], [2, -1, 2, 2]]


def multilabel_margin() -> Iterator[Problem]:
    types = [("f64[N, C]", "i64[N, C]"), ("f64[6, 4]", "i8[6, 4]"), ("f64[4]", "i64[4]")]
    for (x_type, y_type), reduction in itertools.product(types, REDUCTIONS):
        x, y = real(6, 4), np.array(TARGET_LISTS)
        x[3] = 0
        x[4] = [0, 1, 0, 0.5]  # 1 - (x[y] - x[i]) is 0 for one pair
        if x_type == "f64[4]":
            x, y = x[0], y[0]
        yield Problem("multilabel_margin_loss", {"x": x_type, "y": y_type}, {"x": x, "y": y}, {"reduction": reduction},
                      lambda x, y, by=reduction: F.multilabel_margin_loss(x, y, reduction=by))  # fmt: skip


def multilabel_soft_margin() -> Iterator[Problem]:
    for (x_type, _, shape, _), weighted, reduction in itertools.product(SHAPES.values(), (False, True), REDUCTIONS):
        axis = min(1, len(shape) - 1)
        inputs, arrays = {"x": x_type, "t": x_type}, {"x": real(*shape), "t": unit(*shape)}
        arrays["x"].reshape(-1)[:2] = 0
        if weighted:
            size = "C" if "C" in x_type else str(shape[axis])
            inputs, arrays = {**inputs, "w": f"f64[{size}]"}, {**arrays, "w": unit(shape[axis], seed=9)}

        def reference(x: Any, t: Any, w: Any = None, axis: int = axis, by: str = reduction) -> Any:
            # torch has the classes last, and no axis to choose.
            return F.multilabel_soft_margin_loss(x.movedim(axis, -1), t.movedim(axis, -1), w, reduction=by)

        yield Problem("multilabel_soft_margin_loss", inputs, arrays, {"reduction": reduction}, reference)


# --- regions ----------------------------------------------------------------------------------------------------

REGIONS = {
    "pixels": ("f64[N, 3, H, W]", "i64[N, H, W]", (2, 3, 5, 4)),
    "static": ("f64[2, 3, 20]", "i64[2, 20]", (2, 3, 20)),
    "classes only": ("f64[N, C]", "i64[N]", (5, 4)),
    "one class": ("f64[N, 1, 20]", "i64[N, 20]", (2, 1, 20)),
}
OVERLAPS: dict[str, tuple[dict[str, Any], float, float, float]] = {
    "dice_loss": ({}, 1.0, 0.5, 0.5),
    "tversky_loss": ({"smooth": 0.1, "alpha": 0.3, "beta": 0.6}, 0.1, 0.3, 0.6),
}


def overlap() -> Iterator[Problem]:
    choices = itertools.product(REGIONS.values(), OVERLAPS.items(), (False, True), (False, True), REDUCTIONS)
    for (x_type, t_type, shape), (name, (own, smooth, alpha, beta)), masks, from_logits, by in choices:
        x = real(*shape) if from_logits else unit(*shape)
        inputs = {"x": x_type, "t": x_type if masks else t_type}
        t = unit(*shape, seed=7) if masks else labels((shape[0], *shape[2:]), shape[1])

        def reference(
            x: Any, t: Any, from_logits: bool = from_logits, smooth: float = smooth, alpha: float = alpha,
            beta: float = beta, by: str = by,
        ) -> Any:  # fmt: skip
            p = x
            if from_logits:
                p = torch.sigmoid(x) if x.shape[1] == 1 else torch.softmax(x, 1)
            if t.ndim < x.ndim:
                t = F.one_hot(t, x.shape[1]).movedim(-1, 1).to(torch.float64)
            tp, fp, fn = (v.reshape(*v.shape[:2], -1).sum(2) for v in (p * t, p * (1 - t), (1 - p) * t))
            return reduced(1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth), by)

        attributes = {**own, "from_logits": from_logits, "reduction": by}
        yield Problem(name, inputs, {"x": x, "t": t}, attributes, reference)


# --- after a layer ----------------------------------------------------------------------------------------------


def linear_cross_entropy() -> Iterator[Problem]:
    options = [(None, 0.0), (2, 0.0), (-100, 0.1)]
    choices = itertools.product((False, True), (False, True), options, (False, True), REDUCTIONS)
    for spread, biased, (ignore, smoothing), weighted, by in choices:
        inputs = {"h": "f64[N, 6]", "w": "f64[4, 6]", "t": "f64[N, 4]" if spread else "i64[N]"}
        t = unit(5, 4) if spread else labels((5,))
        if spread:
            ignore = None
        elif ignore is not None:
            t[1] = ignore
        arrays, names = {"h": real(5, 6), "w": real(4, 6, seed=8), "t": t}, ["hidden", "weight", "target"]
        for key, name, given in (("b", "bias", biased), ("v", "class_weight", weighted)):
            if given:
                inputs, names = {**inputs, key: "f64[4]"}, [*names, name]
                arrays[key] = unit(4, seed=9) + 0.2

        def reference(
            h: Any, w: Any, t: Any, *more: Any, names: list[str] = names, ignore: int | None = ignore,
            smoothing: float = smoothing, by: str = by,
        ) -> Any:  # fmt: skip
            given = dict(zip(names[3:], more))
            logits = F.linear(h, w, given.get("bias"))
            weight = given.get("class_weight")
            if t.ndim == 1:
                ours = labels_by_hand(
                    F.log_softmax(logits, 1), t, weight, -100 if ignore is None else ignore, smoothing, by
                )
                weight = None if weight is None else weight.detach()
            else:
                ours = F.cross_entropy(logits, t, weight, reduction=by, label_smoothing=smoothing)
            theirs = F.linear_cross_entropy(h, w, t, linear_bias=given.get("bias"), weight=weight, reduction=by,
                                            ignore_index=ignore, label_smoothing=smoothing)  # fmt: skip
            torch.testing.assert_close(theirs, ours)
            return ours

        attributes = {"ignore_index": ignore, "label_smoothing": smoothing, "reduction": by, "operands": tuple(names)}
        yield Problem("linear_cross_entropy_loss", inputs, arrays, attributes, reference)


# --- numbers given at run time ----------------------------------------------------------------------------------


def run_time_numbers() -> Iterator[Problem]:
    """With a gradient by each of them."""

    def binary(x: Any, t: Any, gamma: Any) -> Any:
        return focal(None, gamma)(x, t).mean()

    def by_classes(x: Any, t: Any, gamma: Any) -> Any:
        ce = F.cross_entropy(x, t, reduction="none")
        return ((1 - torch.exp(-ce)) ** gamma * ce).mean()

    def poly(x: Any, t: Any, epsilon: Any) -> Any:
        ce = F.cross_entropy(x, t, reduction="none")
        return (ce + epsilon * (1 - torch.exp(-ce))).mean()

    def margins(x: Any, t: Any, margin: Any) -> Any:
        z = torch.where(torch.arange(x.shape[1]) != t[:, None], margin - x.gather(1, t[:, None]) + x, 0)
        return (torch.relu(z).sum(1) / x.shape[1]).mean()

    def regions(x: Any, t: Any, alpha: Any) -> Any:
        tp, fp, fn = x * t, x * (1 - t), (1 - x) * t
        return (1 - (tp + 1) / (tp + alpha * fp + 0.5 * fn + 1)).mean()

    soft, hard = unit(5, 4), labels((5,))
    cases = [
        ("sigmoid_focal_loss", ("logits", "t", "gamma"), 0.7, soft, binary),
        ("focal_cross_entropy_loss", ("logits", "y", "gamma"), 1.3, hard, by_classes),
        ("poly_cross_entropy_loss", ("logits", "t", "epsilon"), -0.5, hard, poly),
        ("multi_margin_loss", ("x", "y", "margin"), 0.3, hard, margins),
        ("tversky_loss", ("probs", "t", "alpha"), 0.2, soft, regions),
    ]
    for name, operands, number, t, reference in cases:
        inputs = {"x": "f64[N, 4]", "t": "f64[N, 4]" if t is soft else "i64[N]", "number": "f64[]"}
        arrays = {"x": unit(5, 4, seed=8) if "probs" in operands else real(5, 4), "t": t, "number": np.array(number)}
        yield Problem(name, inputs, arrays, {"reduction": "mean", "operands": operands}, reference)


# --- all of them ------------------------------------------------------------------------------------------------

GROUPS = (elementwise, multi_margin, focal_cross_entropy, poly_cross_entropy, multilabel_margin,
          multilabel_soft_margin, overlap, linear_cross_entropy, run_time_numbers)  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_interpreted(group: Callable[[], Iterator[Problem]]) -> None:
    for problem in group():
        _check(problem, "prepared")


# Seven is prime to the number of choices of each kind: all of them are met.
@pytest.mark.parametrize("group", GROUPS)
def test_on_a_device(group: Callable[[], Iterator[Problem]], device: Device) -> None:
    for problem in itertools.islice(group(), 0, None, 7):
        _check(problem, device)


def _check(problem: Problem, level: Level | Device) -> None:
    try:
        agree_in_order(problem.loss, problem.inputs, problem.arrays, problem.reference, level, **problem.attributes)
    except AssertionError as error:
        raise AssertionError(f"{problem.loss} {dict(problem.inputs)} {dict(problem.attributes)}: {error}") from error
