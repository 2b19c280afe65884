"""Optimizers against their formulas in NumPy, in float64, over several steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import optim
from lossc.ir.interp import interpret
from lossc.runtime.device import Device
from lossc.training.update import GRADIENT_SCALE, update_module


def sgd(p: Any, g: Any, s: dict, t: int, lr: float, momentum: float = 0, nesterov: bool = False, wd: float = 0) -> Any:
    g = g + wd * p
    if momentum:
        s["b"] = g if t == 1 else momentum * s["b"] + g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(p: Any, g: Any, s: dict, t: int, lr: float, betas: Any = (0.9, 0.999), eps: float = 1e-8, wd: float = 0,
         decoupled: bool = False) -> Any:  # fmt: skip
    p, g = (p * (1 - lr * wd), g) if decoupled else (p, g + wd * p)
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    m, v = s["m"] / (1 - betas[0] ** t), s["v"] / (1 - betas[1] ** t)
    return p - lr * m / (np.sqrt(v) + eps)


CASES: dict[str, tuple[Any, Any]] = {
    "sgd": (optim.SGD(0.1), lambda *now: sgd(*now, lr=0.1)),
    "sgd momentum": (optim.SGD(0.1, momentum=0.9), lambda *now: sgd(*now, lr=0.1, momentum=0.9)),
    "sgd nesterov": (
        optim.SGD(0.1, momentum=0.9, nesterov=True),
        lambda *now: sgd(*now, lr=0.1, momentum=0.9, nesterov=True),
    ),
    "sgd decay": (
        optim.SGD(0.1, momentum=0.5, weight_decay=0.3),
        lambda *now: sgd(*now, lr=0.1, momentum=0.5, wd=0.3),
    ),
    "adam": (optim.Adam(0.05), lambda *now: adam(*now, lr=0.05)),
    "adam decay": (
        optim.Adam(0.05, (0.8, 0.9), 1e-3, 0.1),
        lambda *now: adam(*now, lr=0.05, betas=(0.8, 0.9), eps=1e-3, wd=0.1),
    ),
    "adamw": (optim.AdamW(0.05, weight_decay=0.1), lambda *now: adam(*now, lr=0.05, wd=0.1, decoupled=True)),
    "annealed": (optim.Adam(lambda step: 0.1 / (step + 1)), lambda *now: adam(*now, lr=0.1 / now[-1])),
}


def quadratic(device: Device, optimizer: Any) -> tuple[lossc.Graph, Any, np.ndarray]:
    """Minimise sum(c w^2) / 2, whose gradient is c w: the input c makes every step another."""
    g = lossc.Graph()
    w = g.param("w", np.linspace(-2, 3, 37))
    c = g.input("c", (37,))
    g.set_outputs([(c * w * w).sum().reshape([1]) * 0.5])
    return g, g.compile_step(optimizer, device=device), np.linspace(-2, 3, 37)


@pytest.mark.parametrize("case", CASES)
def test_steps_follow_the_formula(device: Device, case: str) -> None:
    optimizer, formula = CASES[case]
    g, step, w = quadratic(device, optimizer)
    generator, state = np.random.default_rng(0), {}
    for count in range(1, 8):
        c = generator.standard_normal(37).astype("f4")
        loss = step(c=c)
        assert loss == pytest.approx([(c * w * w).sum() / 2], rel=1e-4, abs=1e-4)
        w = formula(w, c * w, state, count)
        assert np.allclose(g.parameters["w"], w, rtol=2e-5, atol=2e-5)


def test_an_optimizer_of_ones_own(device: Device) -> None:
    class SignDescent:
        state = ()

        def scalars(self, step: int, group: str) -> dict[str, float]:
            return {"rate": 0.5}

        def update(self, parameter, gradient, state, scalars):
            return parameter - gradient.sign() * scalars["rate"], {}

    g, step, w = quadratic(device, SignDescent())
    step(c=np.ones(37, "f4"))
    assert np.allclose(g.parameters["w"], w - 0.5 * np.sign(w), atol=1e-6)


def test_an_update_that_reads_what_it_has_written_is_still_right(device: Device) -> None:
    """The state needs the old parameters after the new ones are known: the step notices, and writes beside."""

    class Looking:
        state = ("distance",)

        def scalars(self, step: int, group: str) -> dict[str, float]:
            return {}

        def update(self, parameter, gradient, state, scalars):
            changed = parameter - gradient * 0.25
            return changed, {"distance": state["distance"] + parameter * changed.amax()}

    g, step, w = quadratic(device, Looking())
    distance = np.zeros(37)
    for _ in range(3):
        step(c=np.ones(37, "f4"))
        distance += w * (0.75 * w).max()
        w = 0.75 * w
        assert np.allclose(g.parameters["w"], w, rtol=1e-5, atol=1e-6)
        assert np.allclose(step.state("w")["distance"], distance, rtol=1e-5, atol=1e-5)
    assert "beside, then copied" in step.explain()


def test_an_update_may_look_at_all_elements_first(device: Device) -> None:
    class Scaled:
        state = ()

        def scalars(self, step: int, group: str) -> dict[str, float]:
            return {}

        def update(self, parameter, gradient, state, scalars):
            return parameter / parameter.abs().amax(), {}

    g, step, w = quadratic(device, Scaled())
    step(c=np.ones(37, "f4"))
    assert np.allclose(g.parameters["w"], w / 3, rtol=1e-6)


WRONG: Any = lambda step: 0.1  # noqa: E731
"""Only a learning rate may be a function."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(-1.0), "lr must be a number from 0, found -1.0"),
        (lambda: optim.Adam(math.nan), "found nan"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), r"betas must be two numbers in \[0, 1\)"),
        (lambda: optim.Adam(betas=0.9), r"betas must be two numbers in \[0, 1\), found 0.9"),  # pyright: ignore
        (lambda: optim.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: optim.AdamW(groups={"a": {"eps": 1.0}}), "group `a` sets `eps`"),
        (lambda: optim.SGD(0.1, groups={"a": {"lr": -1.0}}), "lr of group `a` must be a number from 0, found -1.0"),
        (lambda: optim.AdamW(groups={"a": {"weight_decay": math.nan}}), "weight_decay of group `a` .* found nan"),
        (lambda: optim.AdamW(groups={"a": {"weight_decay": WRONG}}), "must be a number from 0, found <func"),
        (lambda: optim.Adam("fast"), "lr must be a number from 0, found 'fast'"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(make, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        make()


def test_a_learning_rate_must_be_a_number(device: Device) -> None:
    _, step, _ = quadratic(device, optim.SGD(lambda step: "fast" if step else 0.1))  # type: ignore[arg-type]
    step(c=np.ones(37, "f4"))
    with pytest.raises(lossc.LirError, match="the learning rate at step 1 is no number: 'fast'"):
        step(c=np.ones(37, "f4"))


def test_an_update_must_keep_the_shape() -> None:
    class Wrong:
        state = ()

        def scalars(self, step: int, group: str) -> dict[str, float]:
            return {}

        def update(self, parameter, gradient, state, scalars):
            return parameter.sum(), {}

    with pytest.raises(lossc.LirError, match=r"must give a new `parameter` of type f32\[P\], found f32\[\]"):
        update_module(Wrong(), "f32", ())


@pytest.mark.parametrize("case", CASES)
def test_the_update_is_lir_and_one_kernel_in_place(device: Device, case: str) -> None:
    optimizer, formula = CASES[case]
    names = tuple(optimizer.scalars(0, "default"))
    entry = update_module(optimizer, "f32", names).entry
    generator = np.random.default_rng(1)
    arrays = {"parameter": generator.standard_normal(5), "gradient": generator.standard_normal(5),
              **{name: np.zeros(5) for name in optimizer.state},
              **{name: np.float64(value) for name, value in optimizer.scalars(0, "default").items()},
              GRADIENT_SCALE: np.float64(0.5)}  # fmt: skip
    expected = formula(arrays["parameter"], arrays["gradient"] * 0.5, {}, 1)
    assert np.allclose(interpret(entry, arrays)[0], expected, rtol=1e-6)
    _, step, _ = quadratic(device, optimizer)
    assert [kernel.name for kernel in step.kernels if kernel.name.startswith("update")] == ["update_0"]
    assert "writes parameters and state in place" in step.explain()


def test_a_group_without_parameters_is_refused() -> None:
    g = lossc.Graph()
    w = g.param("w", np.ones(3))
    g.parameters.set_group("weights", "w")
    g.set_outputs([(w * w).sum().reshape([1])])
    with pytest.raises(lossc.LirError, match=r"no parameter is in the group `weight`\n.*did you mean `weights`"):
        g.compile_step(optim.SGD(0.1, groups={"weight": {"lr": 0.01}}))
