"""Training steps start warm: the next process compiles nothing. And how many kernels a step is made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import nn, optim

PROGRAM = """
import json, sys
import numpy as np
import lossc.compiler
import lossc
from lossc import nn, optim

calls = []
compile_module = lossc.compiler.compile_module
def counted(module, *arguments):
    calls.append(module.entry.name)
    return compile_module(module, *arguments)
lossc.compiler.compile_module = counted

g = lossc.Graph()
x, labels = g.input("x", (None, 32)), g.input("labels", (None,), dtype="i32")
g.set_outputs([g.cross_entropy_loss(nn.Mlp(g, "mlp", 32, 16, 10)(x), labels)])
step = g.compile_step(optim.AdamW(1e-2), clip_norm=1.0)
random = np.random.default_rng(0)
batch = {"x": random.standard_normal((64, 32)).astype("f4"), "labels": random.integers(0, 10, 64).astype("i4")}
losses = [float(step.accumulate(**batch)[0]), *(float(step(**batch)[0]) for _ in range(3))]
compiled = list(calls)
facts = {"losses": losses, "kernels": [kernel.name for kernel in step.kernels], "explain": step.explain()}
print(json.dumps({"compiled": compiled, **facts}))
"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(folder))
    monkeypatch.delenv("LOSSC_CACHE", raising=False)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


def test_the_next_process_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients, clipping, the sums of batches, the update: each once, in the first process."""
    first, second = run(tmp_path, monkeypatch), run(tmp_path, monkeypatch)
    assert len(first["compiled"]) == 5
    assert second["compiled"] == []
    assert {**second, "compiled": first["compiled"]} == first
    assert first["explain"].endswith("parameters and state in place")


class Centred(optim.SGD):
    """Takes the mean of the gradient off: that is read whole before the first parameter is written."""

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return super().update(parameter, gradient - gradient.mean(), state, scalars)


class Recalled(optim.SGD):
    """Keeps the old parameters times the mean of the new ones: they are read after new ones are written."""

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        changed = parameter - gradient * scalars["lr"]
        return changed, {"momentum": parameter * changed.mean()}


@pytest.mark.parametrize(("optimizer", "in_place"), [
    (optim.Adam(), True), (optim.SGD(0.1, momentum=0.9), True), (Centred(0.1), True),
    (Recalled(0.1, momentum=0.9), False),
])  # fmt: skip
def test_what_is_written_in_place(optimizer: optim.Optimizer, in_place: bool) -> None:
    (trained,) = mlp_step(optimizer)._trained.values()
    assert trained.update.in_place is in_place


def linear(optimizer: optim.Optimizer) -> tuple[lossc.Graph, Any, np.ndarray, np.ndarray]:
    """A step of sum(c w + w^2 / 2), whose gradient by w is c + w; its c, and the first w."""
    random = np.random.default_rng(3)
    c, w = random.standard_normal((2, 1024)).astype("f4")
    g = lossc.Graph()
    weight = g.param("w", w)
    g.set_outputs([(g.input("c", (1024,)) * weight + weight * weight * 0.5).sum().reshape([1])])
    return g, g.compile_step(optimizer), c, w.astype("f8")


def test_an_update_in_place_may_look_at_all_gradients_first() -> None:
    g, step, c, w = linear(Centred(0.1))
    for _ in range(3):
        step(c=c)
        gradient = c + w
        w = w - 0.1 * (gradient - gradient.mean())
        np.testing.assert_allclose(g.parameters["w"], w, rtol=1e-5, atol=1e-6)


def test_results_that_were_written_beside_come_to_their_places() -> None:
    g, step, c, w = linear(Recalled(0.1, momentum=0.9))
    for _ in range(3):
        step(c=c)
        old, w = w, w - 0.1 * (c + w)
        np.testing.assert_allclose(g.parameters["w"], w, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(step.state("w")["momentum"], old * w.mean(), rtol=1e-4, atol=1e-6)


def mlp_step(optimizer: optim.Optimizer) -> Any:
    g = lossc.Graph()
    x, labels = g.input("x", (None, 784)), g.input("labels", (None,), dtype="i32")
    g.set_outputs([g.cross_entropy_loss(nn.Mlp(g, "mlp", 784, 128, 10)(x), labels)])
    return g.compile_step(optimizer)


def test_kernels_of_a_step() -> None:
    """Two products forward, the loss with its gradient, the gradients of two biases, three products backward, and the
    update. There may be fewer of them one day, but not more."""
    names = [kernel.name for kernel in mlp_step(optim.Adam()).kernels]
    assert len(names) <= 9, names
