"""Training steps beside torch.optim: the same network, the same batches, the same parameters after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import nn, optim
from lossc.optim import schedules
from lossc.runtime.device import Device

torch = pytest.importorskip("torch")
rates = torch.optim.lr_scheduler

OPTIMIZERS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "sgd": (optim.SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (
        optim.SGD(0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        optim.SGD(0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ),
    "adam": (optim.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam decay": (
        optim.Adam(0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    ),
    "adamw": (optim.AdamW(0.01), lambda p: torch.optim.AdamW(p, lr=0.01)),
    "adamw decay": (
        optim.AdamW(0.01, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize(
    ("name", "clip", "limit"),
    [*((name, None, None) for name in OPTIMIZERS), ("momentum", 0.05, None), ("adamw decay", 0.05, None),
     ("nesterov", None, 0.003)],
)  # fmt: skip
def test_ten_steps_are_those_of_torch(device: Device, name: str, clip: float | None, limit: float | None) -> None:
    ours, theirs = OPTIMIZERS[name]
    g = lossc.Graph()
    x, labels = g.input("x", (None, 8)), g.input("labels", (None,), dtype="i64")
    g.set_outputs([g.cross_entropy_loss(nn.Mlp(g, "net", 8, 16, 5)(x), labels)])
    step = g.compile_step(ours, clip_norm=clip, clip_value=limit, device=device)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5))
    names = {"net.0.weight": "0.weight", "net.0.bias": "0.bias", "net.1.weight": "2.weight", "net.1.bias": "2.bias"}
    model.load_state_dict({there: torch.tensor(g.parameters[here]) for here, there in names.items()})
    optimizer = theirs(model.parameters())
    generator = np.random.default_rng(0)
    for _ in range(10):
        batch, y = generator.standard_normal((20, 8)).astype("f4"), generator.integers(0, 5, 20)
        found = step(x=batch, labels=y)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(batch)), torch.from_numpy(y))
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        if limit is not None:
            torch.nn.utils.clip_grad_value_(model.parameters(), limit)
        optimizer.step()
        assert float(found[0]) == pytest.approx(loss.item(), rel=2e-4)
        state = model.state_dict()
        for here, there in names.items():
            assert np.allclose(g.parameters[here], state[there].numpy(), rtol=2e-3, atol=2e-4), here


def long_run(name: str, dtype: Any) -> Callable[[int], Any]:
    """Torch's parameters after n steps on a valley, sum(c (w - 1)^2) / 2 with c from 0.01 to 1, in `dtype`."""
    w = torch.zeros(50, dtype=dtype, requires_grad=True)
    c = torch.linspace(0.01, 1, 50).to(dtype)
    optimizer = OPTIMIZERS[name][1]([w])

    def after(steps: int) -> Any:
        for _ in range(steps):
            optimizer.zero_grad()
            (0.5 * c * (w - 1) ** 2).sum().backward()
            optimizer.step()
        return w.detach().numpy().copy()

    return after


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_hundred_steps_stay_as_close_to_float64_as_torch_does(device: Device, name: str) -> None:
    g = lossc.Graph()
    w, c = g.param("w", np.zeros(50)), g.input("c", (50,))
    g.set_outputs([(c * (w - 1) ** 2 * 0.5).sum().reshape([1])])
    step = g.compile_step(OPTIMIZERS[name][0], device=device)
    exact, single = long_run(name, torch.float64), long_run(name, torch.float32)
    curvature = torch.linspace(0.01, 1, 50).numpy()
    for _ in range(3):
        for _ in range(100):
            step(c=curvature)
        expected, theirs = exact(100), single(100)
        error, of_torch = (np.abs(found - expected).max() for found in (g.parameters["w"], theirs))
        assert error <= 4 * of_torch + 2e-6


SCHEDULES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "step": (schedules.step_decay(0.1, 7, 0.3), lambda o: rates.StepLR(o, 7, 0.3)),
    "multistep": (schedules.multistep(0.1, (3, 11), 0.5), lambda o: rates.MultiStepLR(o, [3, 11], 0.5)),
    "exponential": (schedules.exponential(0.1, 0.9), lambda o: rates.ExponentialLR(o, 0.9)),
    "linear": (schedules.linear(0.02, 0.1, 8), lambda o: rates.LinearLR(o, 0.2, 1.0, 8)),
    "polynomial": (schedules.polynomial(0.1, 20, 2.0), lambda o: rates.PolynomialLR(o, 20, 2.0)),
    "cosine": (schedules.cosine(0.1, 30, 0.01), lambda o: rates.CosineAnnealingLR(o, 30, 0.01)),
    "restarts": (
        schedules.cosine_restarts(0.1, 4, 2, 0.01),
        lambda o: rates.CosineAnnealingWarmRestarts(o, 4, 2, 0.01),
    ),
    "one cycle": (schedules.one_cycle(0.3, 30), lambda o: rates.OneCycleLR(o, 0.3, 30)),
    "warmup": (
        schedules.warmup(schedules.exponential(0.1, 0.9), 5, first=0.01),
        lambda o: rates.SequentialLR(o, [rates.LinearLR(o, 0.1, 1.0, 5), rates.ExponentialLR(o, 0.9)], [5]),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_torch(name: str) -> None:
    ours, theirs = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = theirs(optimizer)
    for step in range(30):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        if step < 29:
            schedule.step()


def test_linear_draws_from_the_same_distribution_as_torch() -> None:
    g = lossc.Graph()
    nn.Linear(g, "fc", 300, 500)
    layer = torch.nn.Linear(300, 500)
    for here, there in (("fc.weight", layer.weight), ("fc.bias", layer.bias)):
        expected = there.detach().numpy()
        assert g.parameters[here].std() == pytest.approx(float(expected.std()), rel=0.1)
        assert abs(g.parameters[here]).max() == pytest.approx(float(abs(expected).max()), rel=0.02)
