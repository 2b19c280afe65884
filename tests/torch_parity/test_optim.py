"""Training steps beside torch.optim: the same network, the same batches, the same parameters after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import nn, optim
from lossc.runtime.device import Device

torch = pytest.importorskip("torch")

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
    ("name", "clip"), [*((name, None) for name in OPTIMIZERS), ("momentum", 0.05), ("adamw decay", 0.05)]
)
def test_ten_steps_are_those_of_torch(device: Device, name: str, clip: float | None) -> None:
    ours, theirs = OPTIMIZERS[name]
    g = lossc.Graph()
    x, labels = g.input("x", (None, 8)), g.input("labels", (None,), dtype="i64")
    g.set_outputs([g.cross_entropy_loss(nn.Mlp(g, "net", 8, 16, 5)(x), labels)])
    step = g.compile_step(ours, clip_norm=clip, device=device)
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
        optimizer.step()
        assert float(found[0]) == pytest.approx(loss.item(), rel=2e-4)
        state = model.state_dict()
        for here, there in names.items():
            assert np.allclose(g.parameters[here], state[there].numpy(), rtol=2e-3, atol=2e-4), here


def test_linear_draws_from_the_same_distribution_as_torch() -> None:
    g = lossc.Graph()
    nn.Linear(g, "fc", 300, 500)
    layer = torch.nn.Linear(300, 500)
    for here, there in (("fc.weight", layer.weight), ("fc.bias", layer.bias)):
        expected = there.detach().numpy()
        assert g.parameters[here].std() == pytest.approx(float(expected.std()), rel=0.1)
        assert abs(g.parameters[here]).max() == pytest.approx(float(abs(expected).max()), rel=0.02)
