"""Who is measured: each system is a function from a case, its data and the setting to a call.

A call takes the number of a set of inputs, computes the mean loss and its gradients from arrays in memory to arrays in
memory, and waits for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import lossc

from .cases import Case
from .data import Arrays, Data, as_tensors

Call = Callable[[int], tuple[Any, Arrays]]
PAGE = 4096
COPY_ITEM = 64 * 64
"""Bytes that a work-item of the copy moves."""


class Absent(Exception):
    """There is no such system for this case."""


@dataclass(frozen=True)
class Setting:
    """The device, and threads for what runs on the host: one where the time of the calling thread is measured."""

    device: Any
    threads: int


def compiled_loss(case: Case, data: Data, device: Any) -> Any:
    """The loss with its gradients, the first axis named, the others known."""
    g = lossc.Graph()
    values = []
    for name, array in data.sets[0].items():
        has_rows = array.shape[:1] == case.shape[:1]
        values.append(g.input(name, (None, *array.shape[1:]) if has_rows else array.shape, dtype=array.dtype))
    said = case.loss.lossc
    loss = getattr(g, said)(*values, **case.loss.attributes) if isinstance(said, str) else said(g, *values)
    g.set_outputs({"loss": loss})
    return g.compile(grad=list(case.loss.by), device=device)


def lossc_fresh(case: Case, data: Data, setting: Setting) -> Call:
    """As users call it: results are new arrays every time."""
    compiled = compiled_loss(case, data, setting.device)

    def call(number: int) -> tuple[Any, Arrays]:
        (loss,), gradients = compiled(**data.sets[number])
        return loss, gradients

    return call


def lossc_reused(case: Case, data: Data, setting: Setting) -> Call:
    """Into arrays that are there: what the hand-written kernel does too."""
    compiled = compiled_loss(case, data, setting.device)
    outs = [
        {"loss": lossc.empty((1,), np.float32), **{f"grad_{name}": _beside(inputs[name]) for name in case.loss.by}}
        for inputs in data.sets
    ]

    def call(number: int) -> tuple[Any, Arrays]:
        (loss,), gradients = compiled(**data.sets[number], out=outs[number])
        return loss, gradients

    return call


def _beside(array: np.ndarray) -> np.ndarray:
    """An array of the same shape, half a page further in its page: a load whose low 12 address bits are those of a
    store still under way waits for it."""
    block = lossc.empty((array.nbytes + PAGE,), np.uint8)
    start = (array.ctypes.data + PAGE // 2 - block.ctypes.data) % PAGE
    found = block[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = 0
    return found


def copy(data: Data, setting: Setting) -> Callable[[int], None]:
    """A copy that moves as many bytes as the loss must: half of them read, half written past the cache."""
    from .handwritten.kernels import device_copy

    floats = max(data.fewest_bytes // 2 // COPY_ITEM, 1) * COPY_ITEM // 4
    sources = [lossc.empty((floats,), np.float32) for _ in data.sets]
    for source in sources:
        source[...] = 1
    targets = [_beside(source) for source in sources]
    run = device_copy(setting.device.context, setting.device.queue, 1, True)
    return lambda number: run(sources[number], targets[number])


def handwritten(case: Case, data: Data, setting: Setting) -> Call:
    """The kernel in bench/handwritten, on the same device."""
    from .handwritten import kernels

    device = setting.device
    match case.name.split():
        case ["cross_entropy", shape] if shape.count("x") == 1:
            kernel = kernels.cross_entropy(device.context, device.queue, *case.shape)
        case ["bce_with_logits", _]:
            kernel = kernels.bce_with_logits(device.context, device.queue, case.shape[0])
        case _:
            raise Absent
    outs = [(lossc.empty((1,), np.float32), _beside(inputs["x"])) for inputs in data.sets]

    def call(number: int) -> tuple[Any, Arrays]:
        loss, gradient = outs[number]
        kernel.run(data.sets[number]["x"], data.sets[number]["t"], loss, gradient)
        return loss, {"x": gradient}

    return call


def torch_call(case: Case, data: Data, setting: Setting, functional: Any, compiled: bool = False) -> Call:
    """The loss by the functions of `functional`, torch's own or lossc.torch, and torch.autograd.grad."""
    import torch

    torch.set_num_threads(setting.threads)
    sets = [as_tensors(inputs) for inputs in data.sets]
    for tensors in sets:
        for name in case.loss.by:
            tensors[name].requires_grad_()

    def loss_of(*tensors: Any) -> Any:
        return case.loss.torch(functional, *tensors)

    if compiled:
        # Else the functions of earlier cases count as recompilations of this one, and after eight it runs eagerly.
        torch._dynamo.reset()
        dynamo_counters().clear()
    run = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def call(number: int) -> tuple[Any, Arrays]:
        tensors = sets[number]
        loss = run(*tensors.values())
        gradients = torch.autograd.grad(loss, [tensors[name] for name in case.loss.by])
        return loss.detach().numpy(), {name: g.numpy() for name, g in zip(case.loss.by, gradients)}

    return call


def torch_eager(case: Case, data: Data, setting: Setting) -> Call:
    """loss(x) and autograd.grad, eager."""
    from torch.nn import functional

    return torch_call(case, data, setting, functional)


def torch_compile(case: Case, data: Data, setting: Setting) -> Call:
    """The same through torch.compile, for exactly this shape."""
    from torch.nn import functional

    return torch_call(case, data, setting, functional, compiled=True)


def left_uncompiled(counters: Mapping[str, Mapping[Any, int]]) -> str | None:
    """What torch.compile did not compile of the function that was last given to it, by its own `counters`; None if
    all of it became one graph."""
    breaks = [str(reason).strip().splitlines()[0] for reason in counters.get("graph_break", {})]
    graphs = counters.get("stats", {}).get("unique_graphs", 0)
    return None if graphs == 1 and not breaks else f"{graphs} graphs compiled; breaks: {'; '.join(breaks) or 'none'}"


def dynamo_counters() -> Any:
    from torch._dynamo.utils import counters

    return counters


def jax_jit(case: Case, data: Data, setting: Setting) -> Call:
    """jax.jit of value_and_grad, for the losses that are written for it."""
    import jax  # pyright: ignore[reportMissingImports]

    from .jax_losses import JAX

    if case.loss.name not in JAX or setting.threads == 1:
        raise Absent  # jax computes in threads of its own: their time is not the calling thread's
    names = list(case.loss.inputs)
    wrt = tuple(names.index(name) for name in case.loss.by)
    run = jax.jit(jax.value_and_grad(JAX[case.loss.name], argnums=wrt))
    sets = [[jax.numpy.asarray(array) for array in inputs.values()] for inputs in data.sets]

    def call(number: int) -> tuple[Any, Arrays]:
        loss, gradients = jax.block_until_ready(run(*sets[number]))
        return np.asarray(loss), {name: np.asarray(g) for name, g in zip(case.loss.by, gradients)}

    return call


SYSTEMS: Mapping[str, Callable[[Case, Data, Setting], Call]] = {
    "handwritten": handwritten,
    "lossc fresh": lossc_fresh,  # before the other: its first result is that of a cold compile
    "lossc": lossc_reused,
    "torch.compile": torch_compile,
    "torch eager": torch_eager,
    "jax.jit": jax_jit,
}
OURS = ("handwritten", "lossc", "lossc fresh", "lossc, out=", "lossc.functional", "lossc.torch")
INTO_OLD = ("lossc", "handwritten")
"""Write their results into arrays that are there; all others make new ones."""
PEERS = ("torch.compile", "torch eager", "jax.jit")
