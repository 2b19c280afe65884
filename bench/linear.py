"""A layer and its cross-entropy in one: time, and the memory that it takes beside inputs and gradients.

Gradients by the hidden vectors and by the layer's weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import lossc

from .cases import Case, Loss
from .data import Arrays, Data, fewest_bytes
from .draws import normal
from .losses import Options, prepare
from .measure import interleaved, peak_memory
from .systems import Absent, Call, Setting, lossc_fresh, torch_compile, torch_eager
from .tables import Row, markdown, mebibytes, milliseconds

SHAPES = ((1024, 512, 16384), (2048, 768, 50257))
"""Rows, width of the hidden vectors, classes."""
BUDGET = 64 << 20
TURNS = 3
LINEAR = Loss("linear_cross_entropy", "linear_cross_entropy_loss", {"x": normal, "w": normal, "t": normal},
              lambda F, x, w, t: F.linear_cross_entropy(x, w, t), SHAPES, by=("x", "w"), cancels=True)  # fmt: skip
COMPOSED = Loss("linear, cross_entropy", "", LINEAR.inputs, lambda F, x, w, t: F.cross_entropy(F.linear(x, w), t),
                SHAPES, by=("x", "w"), cancels=True)  # fmt: skip


def make_inputs(shape: tuple[int, ...]) -> Arrays:
    count, width, classes = shape
    random = np.random.default_rng(0)
    found = {
        "x": random.standard_normal((count, width), np.float32),
        "w": random.standard_normal((classes, width), np.float32) * np.float32(2 / width**0.5),
        "t": random.integers(0, classes, count).astype(np.int32),
    }
    for name, array in found.items():
        found[name] = lossc.empty(array.shape, array.dtype)
        found[name][...] = array
    return found


def answer(case: Case, inputs: Arrays) -> Data:
    """Loss and gradients in float64, by NumPy, in pieces of rows."""
    x, w, t = inputs["x"].astype(np.float64), inputs["w"].astype(np.float64), inputs["t"]
    loss, by_x, by_w = 0.0, np.empty_like(x), np.zeros_like(w)
    for start in range(0, len(x), 256):
        piece = slice(start, start + 256)
        logits = x[piece] @ w.T
        logits -= logits.max(1, keepdims=True)
        own = np.arange(len(logits)), t[piece]
        loss -= logits[own].sum()
        np.exp(logits, out=logits)
        total = logits.sum(1, keepdims=True)
        loss += np.log(total).sum()
        logits /= total * len(x)
        logits[own] -= 1 / len(x)
        by_x[piece] = logits @ w
        by_w += logits.T @ x[piece]
    gradients = {"x": by_x.astype(np.float32), "w": by_w.astype(np.float32)}
    slack = {name: 2.0**-20 * float(np.abs(gradient).max()) for name, gradient in gradients.items()}
    return Data((inputs,), loss / len(x), gradients, slack, fewest_bytes(case, inputs))


def _composed(system: Callable[[Case, Data, Setting], Call]) -> Callable[[Case, Data, Setting], Call]:
    return lambda case, data, setting: system(Case(COMPOSED, case.shape), data, setting)


def jax_jit(case: Case, data: Data, setting: Setting) -> Call:
    """jax.jit of value_and_grad of the composition."""
    import jax  # pyright: ignore[reportMissingImports]

    if setting.threads == 1:
        raise Absent

    def loss_of(x: Any, w: Any, t: Any) -> Any:
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(x @ w.T), t[:, None], -1).mean()

    run = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1)))
    arrays = [jax.numpy.asarray(array) for array in data.sets[0].values()]

    def call(_: int) -> tuple[Any, Arrays]:
        loss, gradients = jax.block_until_ready(run(*arrays))
        return np.asarray(loss), {name: np.asarray(g) for name, g in zip("xw", gradients)}

    return call


SYSTEMS: Mapping[str, Callable[[Case, Data, Setting], Call]] = {
    "lossc": lossc_fresh,
    "F.linear_cross_entropy": torch_eager,
    "linear, cross_entropy": _composed(torch_eager),
    "torch.compile": _composed(torch_compile),
    "jax.jit": jax_jit,
}


def rows(options: Options) -> Iterator[Row]:
    setting = options.setting()
    for shape in SHAPES:
        case = Case(LINEAR, shape)
        if options.only not in case.name:
            continue
        data = answer(case, make_inputs(shape))
        calls, figures = prepare(case, data, dict(SYSTEMS), setting)
        for name, timing in interleaved(calls, 1, TURNS, options.clock, warmup=0, fewest=TURNS).items():
            figures[name] |= timing.figures()
        gradients = sum(gradient.nbytes for gradient in data.gradients.values())
        for name in list(calls):
            peak = peak_memory(calls, name)
            figures[name] |= {"peak_bytes": None if peak is None else peak - gradients}
        yield {"name": case.name, "gradient_bytes": gradients, "budget_bytes": BUDGET, "systems": figures}


def table(rows: Sequence[Row]) -> str:
    names = list(SYSTEMS)
    heads = ["rows x width x classes", *(f"{name}, ms" for name in names), *(f"{name}, memory" for name in names)]
    lines = []
    for row in rows:
        figures = [row["systems"].get(name, {}) for name in names]
        lines.append([row["name"], *map(milliseconds, figures), *map(mebibytes, figures)])
    gradients = " and ".join(f"{row['gradient_bytes'] / 2**20:.0f} MiB" for row in rows)
    note = f"Memory: at the peak, beside inputs and gradients ({gradients}). lossc's budget is {BUDGET >> 20} MiB."
    return markdown(heads, lines) + "\n\n" + note
