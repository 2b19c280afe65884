"""Divergences beside torch in float64. What torch does not have is its formula, in torch's operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from beside_torch import LEVELS, RUNS, agree, agree_twice, reduced, torch

F = torch.nn.functional

# type, size, class axis
SHAPES = {
    "rows": ("f64[N, C]", (5, 4), 1),
    "static": ("f64[5, 4]", (5, 4), 1),
    "pixels": ("f64[N, C, H]", (2, 4, 3), 1),
    "one": ("f64[4]", (4,), 0),
}
REDUCED = [("rows", "mean"), ("rows", "sum"), ("static", "none"), ("pixels", "none"), ("one", "none")]


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize(("level", "reduction"), [*RUNS, *((level, "batchmean") for level in LEVELS)])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl(log_target: bool, reduction: str, level: str) -> None:
    random = np.random.default_rng(1)
    x = F.log_softmax(torch.tensor(random.standard_normal((5, 4)) * 2), 1).numpy()
    t = random.dirichlet(np.ones(4), 5)
    t[0] = [0.5, 0.5, 1e-300, 1]

    def reference(log_probs: Any, t: Any) -> Any:
        return F.kl_div(log_probs, t, reduction=reduction, log_target=log_target)

    arrays = {"log_probs": x, "t": np.log(t) if log_target else t}
    agree("kl_div_loss", dict.fromkeys(arrays, "f64[N, 4]"), arrays, reference, level, reduction=reduction,
          log_target=log_target)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_kl_without_mass(level: str) -> None:
    """Where t = 0 the loss and both of its derivatives are 0: torch's value, and its derivative by log_probs."""
    random = np.random.default_rng(1)
    arrays = {"log_probs": -random.uniform(0.1, 4, (3, 4)), "t": random.uniform(0.1, 1, (3, 4))}
    arrays["t"][0] = 0

    def reference(log_probs: Any, t: Any) -> Any:
        theirs = F.kl_div(log_probs, t, reduction="none")
        some = t > 0
        safe = torch.where(some, t, 1.0)
        ours = torch.where(some, safe * (safe.log() - log_probs), 0.0)
        torch.testing.assert_close(ours, theirs)
        by_log_probs = torch.autograd.grad(theirs.sum(), log_probs, retain_graph=True)[0]
        torch.testing.assert_close(by_log_probs, -t)
        return ours

    agree("kl_div_loss", dict.fromkeys(arrays, "f64[N, 4]"), arrays, reference, level, reduction="none")


def kl(log_p: Any, log_q: Any, axis: int) -> Any:
    return (log_p.exp() * (log_p - log_q)).sum(axis)


def js(p: Any, q: Any, beta: float, axis: int) -> Any:
    log_p, log_q = F.log_softmax(p, axis), F.log_softmax(q, axis)
    if beta in (0, 1):
        return kl(log_p, log_q, axis) if beta == 0 else kl(log_q, log_p, axis)
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return beta * kl(log_p, log_m, axis) + (1 - beta) * kl(log_q, log_m, axis)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("shape", "reduction"), REDUCED)
@pytest.mark.parametrize("beta", [0.5, 0.1, 0.0, 1.0])
def test_js(beta: float, shape: str, reduction: str, level: str) -> None:
    type_, sizes, axis = SHAPES[shape]
    random = np.random.default_rng(2)
    arrays = {"p_logits": random.standard_normal(sizes) * 3, "q_logits": random.standard_normal(sizes) * 3}

    def reference(p_logits: Any, q_logits: Any) -> Any:
        return reduced(js(p_logits, q_logits, beta, axis), reduction)

    agree("js_div_loss", dict.fromkeys(arrays, type_), arrays, reference, level, reduction=reduction, beta=beta)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("axis", [0, 2, -1])
@pytest.mark.parametrize(("name", "operands"), [("js_div_loss", ("p_logits", "q_logits")),
                                                ("distillation_loss", ("student", "teacher"))])  # fmt: skip
def test_another_axis(name: str, operands: tuple[str, str], axis: int, level: str) -> None:
    random = np.random.default_rng(3)
    arrays = {operand: random.standard_normal((3, 5, 4)) for operand in operands}

    def reference(**tensors: Any) -> Any:
        first, second = tensors.values()
        if name == "js_div_loss":
            return js(first, second, 0.5, axis)
        return kl(F.log_softmax(second, axis), F.log_softmax(first, axis), axis)

    agree(name, dict.fromkeys(operands, "f64[3, 5, 4]"), arrays, reference, level, axis=axis, reduction="none")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("shape", "reduction"), REDUCED)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_distillation(temperature: float, shape: str, reduction: str, level: str) -> None:
    """By torch's kl_div, and its advice to multiply by T^2."""
    type_, sizes, axis = SHAPES[shape]
    random = np.random.default_rng(4)
    arrays = {"student": random.standard_normal(sizes) * 3, "teacher": random.standard_normal(sizes) * 3}

    def reference(student: Any, teacher: Any) -> Any:
        target = F.log_softmax(teacher / temperature, axis)
        rows = F.kl_div(F.log_softmax(student / temperature, axis), target, reduction="none", log_target=True).sum(axis)
        return reduced(rows, reduction) * temperature**2

    agree("distillation_loss", dict.fromkeys(arrays, type_), arrays, reference, level, reduction=reduction,
          temperature=temperature)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_a_temperature_of_the_run_time(level: str) -> None:
    random = np.random.default_rng(5)
    arrays = {"student": random.standard_normal((5, 7)), "teacher": random.standard_normal((5, 7)),
              "temperature": np.array([1.7])}  # fmt: skip

    def reference(student: Any, teacher: Any, temperature: Any) -> Any:
        log_p, log_q = F.log_softmax(teacher / temperature, 1), F.log_softmax(student / temperature, 1)
        return kl(log_p, log_q, 1).mean() * temperature.reshape(()) ** 2

    inputs = {"student": "f64[N, C]", "teacher": "f64[N, C]", "temperature": "f64[1]"}
    agree("distillation_loss", inputs, arrays, reference, level)


LOGITS = ("p_logits", "q_logits")
SECOND = [
    ("kl_div_loss", {}, ("log_probs", "t"), lambda x, t: F.kl_div(x, t)),
    ("kl_div_loss", {"log_target": True}, ("log_probs", "t"), lambda x, t: F.kl_div(x, t, log_target=True)),
    ("js_div_loss", {}, LOGITS, lambda p, q: js(p, q, 0.5, 1).mean()),
    ("js_div_loss", {"beta": 0.0}, LOGITS, lambda p, q: js(p, q, 0, 1).mean()),
    ("distillation_loss", {"temperature": 2.0}, ("student", "teacher"),
     lambda student, teacher: 4 * kl(F.log_softmax(teacher / 2, 1), F.log_softmax(student / 2, 1), 1).mean()),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize(("name", "attributes", "by", "reference"), SECOND)
def test_second_derivatives(name: str, attributes: dict[str, Any], by: tuple[str, ...], reference: Any) -> None:
    random = np.random.default_rng(8)
    arrays = {key: random.uniform(0.1, 2, (4, 5)) for key in by}

    def by_position(**tensors: Any) -> Any:
        return reference(*tensors.values())

    agree_twice(name, dict.fromkeys(by, "f64[N, 5]"), arrays, by_position, by, **attributes)
