"""Regression losses and penalties beside torch in float64: values and gradients, at kinks too, first and second."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from beside_torch import LEVELS, RUNS, agree, agree_twice, reduced, torch

F = torch.nn.functional


def differences() -> dict[str, np.ndarray]:
    """x and t that differ by 0, by 1/2 and 1 (where losses change their form), by much and by little."""
    random = np.random.default_rng(6)
    x = random.standard_normal((6, 5)) * 2
    t = random.standard_normal((6, 5))
    x[0] = np.arange(5) / 4
    t[0] = x[0] - [0, 1, -1, 0.5, -0.5]
    x[1] = t[1] + [1e3, -1e3, 1e-6, -1e-6, 30]
    return {"x": x, "t": t}


def log_cosh(x: Any, t: Any) -> Any:
    d = x - t
    return d.abs() + torch.log1p(torch.exp(-2 * d.abs())) - math.log(2)


# name, attributes, reference of x and t without reduction
ELEMENTWISE = [
    ("mse_loss", {}, lambda x, t: F.mse_loss(x, t, reduction="none")),
    ("l1_loss", {}, lambda x, t: F.l1_loss(x, t, reduction="none")),
    ("huber_loss", {}, lambda x, t: F.huber_loss(x, t, reduction="none")),
    ("huber_loss", {"delta": 0.5}, lambda x, t: F.huber_loss(x, t, reduction="none", delta=0.5)),
    ("smooth_l1_loss", {}, lambda x, t: F.smooth_l1_loss(x, t, reduction="none")),
    ("smooth_l1_loss", {"beta": 0.5}, lambda x, t: F.smooth_l1_loss(x, t, reduction="none", beta=0.5)),
    ("smooth_l1_loss", {"beta": 0.0}, lambda x, t: F.smooth_l1_loss(x, t, reduction="none", beta=0.0)),
    ("poisson_nll_loss", {}, lambda x, t: F.poisson_nll_loss(x, t, reduction="none")),
]
IDS = [f"{name} {attributes}" for name, attributes, _ in ELEMENTWISE]


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize(("name", "attributes", "reference"), ELEMENTWISE, ids=IDS)
def test_of_a_difference(name: str, attributes: dict[str, Any], reference: Any, reduction: str, level: str) -> None:
    arrays = differences()
    if name == "poisson_nll_loss":
        arrays["x"] = np.clip(arrays["x"], -20, 20)
    agree(name, {"x": "f64[N, 5]", "t": "f64[N, 5]"}, arrays, lambda x, t: reduced(reference(x, t), reduction), level,
          reduction=reduction, **attributes)  # fmt: skip


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
def test_weighted(name: str, reduction: str, level: str) -> None:
    """torch's own weighted mean divides by the sum of the weights."""
    arrays = {**differences(), "weight": np.random.default_rng(1).uniform(0.2, 2, (6, 5))}

    def reference(x: Any, t: Any, weight: Any) -> Any:
        ours = weight * getattr(F, name)(x, t, reduction="none")
        ours = ours.sum() / weight.sum() if reduction == "mean" else reduced(ours, reduction)
        theirs = getattr(F, name)(x, t, reduction=reduction, weight=weight.detach())
        torch.testing.assert_close(ours, theirs)
        return ours

    inputs = {"x": "f64[N, 5]", "t": "f64[N, 5]", "weight": "f64[N, 5]"}
    agree(name, inputs, arrays, reference, level, reduction=reduction)


@pytest.mark.parametrize("level", LEVELS)
def test_a_weight_that_is_broadcast(level: str) -> None:
    arrays = {**differences(), "weight": np.random.default_rng(1).uniform(0.2, 2, (5,))}

    def reference(x: Any, t: Any, weight: Any) -> Any:
        spread = weight.expand(6, 5)
        return (spread * F.mse_loss(x, t, reduction="none")).sum() / spread.sum()

    agree("mse_loss", {"x": "f64[N, 5]", "t": "f64[N, 5]", "weight": "f64[5]"}, arrays, reference, level)


@pytest.mark.parametrize(("level", "reduction"), RUNS)
def test_log_cosh(reduction: str, level: str) -> None:
    """torch differentiates |d| to 0 at 0, as tanh is there. Near 0 its value cancels: 1e-16 is all that is left."""
    arrays = differences()
    agree("log_cosh_loss", {"x": "f64[N, 5]", "t": "f64[N, 5]"}, arrays,
          lambda x, t: reduced(log_cosh(x, t), reduction), level, reduction=reduction, atol=1e-15)  # fmt: skip


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("log_input", [False, True])
def test_poisson(reduction: str, log_input: bool, full: bool, level: str) -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal((6, 5)) if log_input else random.uniform(0, 4, (6, 5))
    t = random.poisson(3, (6, 5)).astype(np.float64)
    t[0] = [1e-3, 1, 1.001, 2, 100]
    x[1] = 0

    def reference(x: Any, t: Any) -> Any:
        # torch's own gradient by a target of 0 is 0 * log 0; ours is that of the other terms.
        safe = torch.where(t == 0, 1.0, t)
        ours = F.poisson_nll_loss(x, safe, log_input, full, reduction="none")
        without = torch.exp(x) if log_input else x
        ours = torch.where(t == 0, without - t * (x if log_input else torch.log(x + 1e-8)), ours)
        torch.testing.assert_close(ours, F.poisson_nll_loss(x, t, log_input, full, reduction="none"))
        return reduced(ours, reduction)

    agree("poisson_nll_loss", {"x": "f64[N, 5]", "t": "f64[N, 5]"}, {"x": x, "t": t}, reference, level,
          reduction=reduction, log_input=log_input, full=full)  # fmt: skip


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("full", [False, True])
def test_gaussian(reduction: str, full: bool, level: str) -> None:
    arrays = {**differences(), "var": np.random.default_rng(3).uniform(0.1, 3, (6, 5))}
    arrays["var"][2] = [0, 1e-9, 1e-6, 2e-6, -0.0]

    def reference(x: Any, t: Any, var: Any) -> Any:
        return F.gaussian_nll_loss(x, t, var, full=full, reduction=reduction)

    inputs = {"x": "f64[N, 5]", "t": "f64[N, 5]", "var": "f64[N, 5]"}
    agree("gaussian_nll_loss", inputs, arrays, reference, level, reduction=reduction, full=full)


@pytest.mark.parametrize(("level", "reduction"), RUNS)
@pytest.mark.parametrize("name", ["l2_loss", "l1_regularization"])
def test_penalties(name: str, reduction: str, level: str) -> None:
    w = np.random.default_rng(4).standard_normal((7, 3))
    w[0] = 0
    values = (lambda w: w * w / 2) if name == "l2_loss" else torch.abs
    agree(name, {"w": "f64[7, 3]"}, {"w": w}, lambda w: reduced(values(w), reduction), level, reduction=reduction)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", ["f64[]", "f64[1]"])
@pytest.mark.parametrize(("name", "parameter"), [("huber_loss", "delta"), ("smooth_l1_loss", "beta")])
def test_a_parameter_of_the_run_time(name: str, parameter: str, shape: str, level: str) -> None:
    """The same as the attribute, and it has a gradient."""
    random = np.random.default_rng(6)
    arrays = {"x": random.standard_normal((6, 5)) * 2, "t": random.standard_normal((6, 5))}
    arrays[parameter] = np.full((1,) if "1" in shape else (), 0.75)
    theirs = getattr(F, name)

    def reference(x: Any, t: Any, **parameters: Any) -> Any:
        # Both forms in operations that torch differentiates by the width.
        width, d = parameters[parameter].reshape(()), (x - t).abs()
        ours = torch.where(d <= width, d * d / 2, width * (d - width / 2))
        ours = (ours if name == "huber_loss" else ours / width).mean()
        torch.testing.assert_close(ours, theirs(x, t, **{parameter: 0.75}))
        return ours

    agree(name, {"x": "f64[N, 5]", "t": "f64[N, 5]", parameter: shape}, arrays, reference, level)


@pytest.mark.parametrize("level", LEVELS)
def test_a_width_of_zero_at_run_time(level: str) -> None:
    arrays = {**differences(), "beta": np.zeros(())}

    def reference(x: Any, t: Any, beta: Any) -> Any:
        # The limit of the derivative by beta, which is 0 at x = t.
        return F.l1_loss(x, t) - beta / 2 * (x != t).double().mean()

    agree("smooth_l1_loss", {"x": "f64[N, 5]", "t": "f64[N, 5]", "beta": "f64[]"}, arrays, reference, level)


SECOND = [
    ("mse_loss", {}, lambda x, t: F.mse_loss(x, t)),
    ("huber_loss", {}, lambda x, t: F.huber_loss(x, t)),
    ("smooth_l1_loss", {"beta": 0.5}, lambda x, t: F.smooth_l1_loss(x, t, beta=0.5)),
    ("poisson_nll_loss", {}, lambda x, t: F.poisson_nll_loss(x, t)),
    ("log_cosh_loss", {}, lambda x, t: torch.cosh(x - t).log().mean()),
]


@pytest.mark.parametrize(("name", "attributes", "reference"), SECOND, ids=[name for name, *_ in SECOND])
def test_second_derivatives(name: str, attributes: dict[str, Any], reference: Any) -> None:
    """At x = t, too, where squares meet |.|."""
    random = np.random.default_rng(8)
    arrays = {"x": random.standard_normal((6, 5)) * 2, "t": random.standard_normal((6, 5))}
    arrays["x"][0] = arrays["t"][0]
    agree_twice(name, {"x": "f64[N, 5]", "t": "f64[N, 5]"}, arrays, reference, ("x", "t"), **attributes)


def test_second_derivatives_of_a_variance() -> None:
    random = np.random.default_rng(8)
    arrays = {"x": random.standard_normal((6, 5)), "t": random.standard_normal((6, 5)),
              "var": random.uniform(0.1, 2, (6, 5))}  # fmt: skip
    inputs = dict.fromkeys(arrays, "f64[N, 5]")
    agree_twice("gaussian_nll_loss", inputs, arrays, lambda x, t, var: F.gaussian_nll_loss(x, t, var),
                ("x", "t", "var"))  # fmt: skip
