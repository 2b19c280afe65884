"""Whole training steps: loss, gradients and Adam's update of a multi-layer perceptron, milliseconds a step.

Every system starts from the same parameters and sees the same batch; after three steps its loss is compared with
float64. torch has torch.optim.Adam with its defaults; under torch.compile model and loss are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import lossc

from .losses import Options
from .measure import interleaved
from .rates import measure_rates
from .systems import Absent, Setting, dynamo_counters, left_uncompiled
from .tables import Row, markdown, milliseconds

RATE, STEPS, TOLERANCE = 1e-3, 3, 1e-4
StepCall = Callable[[int], float]


@dataclass(frozen=True)
class Training:
    """A network and a batch."""

    name: str
    widths: tuple[int, ...]
    rows: int
    batch: int
    """Steps that are timed together."""

    @property
    def flops(self) -> int:
        """Of the matrix products: forward, by the weights, and by the inputs in all layers but the first."""
        products = [2 * self.rows * inner * outer for inner, outer in pairwise(self.widths)]
        return 3 * sum(products) - products[0]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """A batch of inputs and labels, and the first parameters."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.rows, self.widths[0]), np.float32)
        labels = random.integers(0, self.widths[-1], self.rows)
        pairs = list(pairwise(self.widths))
        weights = [
            random.uniform(-1, 1, (outer, inner)).astype("f4") / np.sqrt(inner, dtype="f4") for inner, outer in pairs
        ]
        return x, labels, [(w, np.zeros(len(w), np.float32)) for w in weights]


TRAININGS = (
    Training("MLP 784-128-10, batch 256", (784, 128, 10), 256, 10),
    Training("MLP 1024-1024-1024-1024-1024, batch 512", (1024,) * 5, 512, 2),
)


def lossc_step(training: Training, setting: Setting) -> StepCall:
    from lossc import nn, optim

    x, labels, parameters = training.arrays()
    g = lossc.Graph()
    images, digits = g.input("x", (None, x.shape[1])), g.input("labels", (None,), dtype="i32")
    net = nn.Mlp(g, "mlp", training.widths[0], training.widths[1:-1], training.widths[-1])
    g.set_outputs({"loss": g.cross_entropy_loss(net(images), digits)})
    for number, (weight, bias) in enumerate(parameters):
        g.parameters[f"mlp.{number}.weight"], g.parameters[f"mlp.{number}.bias"] = weight, bias
    step = g.compile_step(optim.Adam(lr=RATE), device=setting.device)
    narrow = labels.astype(np.int32)
    return lambda _: float(step(x=x, labels=narrow)[0])


def torch_step(training: Training, setting: Setting, compiled: bool = False, dtype: Any = np.float32) -> StepCall:
    import torch
    from torch.nn import functional

    torch.set_num_threads(setting.threads)
    x, labels, parameters = training.arrays()
    layers = []
    for weight, bias in parameters:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = (torch.from_numpy(a.astype(dtype)) for a in (weight, bias))
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    batch, targets = torch.from_numpy(x.astype(dtype)), torch.from_numpy(labels)

    def loss_of(images: Any, digits: Any) -> Any:
        return functional.cross_entropy(model(images), digits)

    if compiled:
        torch._dynamo.reset()
        dynamo_counters().clear()
    run = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def step(_: int) -> float:
        optimizer.zero_grad()
        loss = run(batch, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def jax_step(training: Training, setting: Setting) -> StepCall:
    """jax.jit of value_and_grad and optax.adam, the parameters donated."""
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
    import optax  # pyright: ignore[reportMissingImports]

    if setting.threads == 1:
        raise Absent
    x, labels, parameters = training.arrays()
    batch, targets = jnp.asarray(x), jnp.asarray(labels)
    optimizer = optax.adam(RATE)
    first = [(jnp.asarray(w), jnp.asarray(b)) for w, b in parameters]
    state: list[Any] = [first, optimizer.init(first)]

    def loss_of(layers: Any, images: Any, digits: Any) -> Any:
        for number, (weight, bias) in enumerate(layers):
            images = images @ weight.T + bias
            images = jax.nn.relu(images) if number < len(layers) - 1 else images
        return optax.softmax_cross_entropy_with_integer_labels(images, digits).mean()

    def update(layers: Any, moments: Any, images: Any, digits: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(layers, images, digits)
        changes, moments = optimizer.update(gradients, moments)
        return loss, optax.apply_updates(layers, changes), moments

    run = jax.jit(update, donate_argnums=(0, 1))

    def step(_: int) -> float:
        loss, *state[:] = run(*state, batch, targets)
        return float(loss)

    return step


SYSTEMS: Mapping[str, Callable[[Training, Setting], StepCall]] = {
    "lossc": lossc_step,
    "torch eager": torch_step,
    "torch.compile": lambda training, setting: torch_step(training, setting, compiled=True),
    "jax.jit": jax_step,
}


def rows(options: Options) -> Iterator[Row]:
    setting = options.setting()
    peak = 2 * measure_rates(setting.device, options.clock)["fma"]
    for training in TRAININGS:
        if options.only not in training.name:
            continue
        exact = torch_step(training, setting, dtype=np.float64)
        wanted = [exact(0) for _ in range(STEPS)][-1]
        steps: dict[str, StepCall] = {}
        figures: dict[str, dict[str, Any]] = {}
        for name, system in SYSTEMS.items():
            try:
                step = system(training, setting)
                found = [step(0) for _ in range(STEPS)][-1]
            except Absent:
                continue
            except ModuleNotFoundError as error:
                figures[name] = {"fault": f"not installed: {error.name}"}
                continue
            error = abs(found - wanted) / abs(wanted)
            figures[name] = {"error_of_loss": error}
            if not error <= TOLERANCE:
                figures[name]["fault"] = f"incorrect: loss {found} in place of {wanted} after {STEPS} steps"
                continue
            if name == "torch.compile" and (left := left_uncompiled(dynamo_counters())):
                figures[name]["note"] = left
            steps[name] = step
        for name, timing in interleaved(steps, 1, options.repetitions, options.clock, options.limit,
                                        training.batch).items():  # fmt: skip
            figures[name] |= timing.figures() | {"of_peak": training.flops / timing.median / peak}
        yield {"name": training.name, "flops": training.flops, "peak_flops": peak, "systems": figures}


def table(rows: Sequence[Row]) -> str:
    names = list(SYSTEMS)
    heads = ["one step with Adam, f32", *(f"{name}, ms" for name in names), *(f"{name}, of peak" for name in names)]
    lines = []
    for row in rows:
        figures = [row["systems"].get(name, {}) for name in names]
        shares = [f"{found['of_peak']:.2f}" if "of_peak" in found else "" for found in figures]
        lines.append([row["name"], *map(milliseconds, figures), *shares])
    peak = rows[0]["peak_flops"] / 1e9
    return markdown(heads, lines) + f"\n\n*of peak*: all matrix products over the whole step, of {peak:.0f} GFLOP/s."
