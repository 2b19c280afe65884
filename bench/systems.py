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

from .cases import Arrays, Case, Data

Call = Callable[[int], tuple[Any, Arrays]]
PAGE = 4096


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
    g.set_outputs({"loss": getattr(g, case.loss.function)(*values, **case.loss.attributes)})
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
    return block[start : start + array.nbytes].view(array.dtype).reshape(array.shape)


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


def _torch_call(case: Case, data: Data, setting: Setting, compiled: bool) -> Call:
    import torch
    from torch.nn import functional

    torch.set_num_threads(setting.threads)
    sets = [
        {name: torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "i" else array)
         for name, array in inputs.items()}
        for inputs in data.sets
    ]  # fmt: skip
    for tensors in sets:
        for name in case.loss.by:
            tensors[name].requires_grad_()

    def loss_of(*tensors: Any) -> Any:
        return case.loss.torch(functional, *tensors)

    if compiled:
        # Else the functions of earlier cases count as recompilations of this one, and after eight it runs eagerly.
        torch._dynamo.reset()
    run = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def call(number: int) -> tuple[Any, Arrays]:
        tensors = sets[number]
        loss = run(*tensors.values())
        gradients = torch.autograd.grad(loss, [tensors[name] for name in case.loss.by])
        return loss.detach().numpy(), {name: g.numpy() for name, g in zip(case.loss.by, gradients)}

    return call


def torch_eager(case: Case, data: Data, setting: Setting) -> Call:
    """loss(x) and autograd.grad, eager."""
    return _torch_call(case, data, setting, compiled=False)


def torch_compile(case: Case, data: Data, setting: Setting) -> Call:
    """The same through torch.compile, for exactly this shape."""
    return _torch_call(case, data, setting, compiled=True)


def jax_jit(case: Case, data: Data, setting: Setting) -> Call:
    """jax.jit of value_and_grad, for the losses that are written for it below."""
    import jax  # pyright: ignore[reportMissingImports]

    if case.loss.name not in JAX:
        raise Absent
    names = list(case.loss.inputs)
    wrt = tuple(names.index(name) for name in case.loss.by)
    run = jax.jit(jax.value_and_grad(lambda *arrays: JAX[case.loss.name](jax, *arrays), argnums=wrt))
    sets = [[jax.numpy.asarray(array) for array in inputs.values()] for inputs in data.sets]

    def call(number: int) -> tuple[Any, Arrays]:
        loss, gradients = jax.block_until_ready(run(*sets[number]))
        return np.asarray(loss), {name: np.asarray(g) for name, g in zip(case.loss.by, gradients)}

    return call


def _jax_cross_entropy(jax: Any, x: Any, t: Any) -> Any:
    if x.ndim > 2:
        x = jax.numpy.moveaxis(x, 1, -1)
    return -jax.numpy.take_along_axis(jax.nn.log_softmax(x), t[..., None], -1).mean()


JAX: Mapping[str, Callable[..., Any]] = {
    "cross_entropy": _jax_cross_entropy,
    "bce_with_logits": lambda jax, x, t: (jax.nn.softplus(x) - x * t).mean(),
    "mse": lambda jax, x, t: ((x - t) ** 2).mean(),
    "l1": lambda jax, x, t: jax.numpy.abs(x - t).mean(),
    "kl_div": lambda jax, x, t: (t * (jax.numpy.log(t) - x)).sum() / x.shape[0],
}

SYSTEMS: Mapping[str, Callable[[Case, Data, Setting], Call]] = {
    "handwritten": handwritten,
    "lossc": lossc_reused,
    "lossc fresh": lossc_fresh,
    "torch.compile": torch_compile,
    "torch eager": torch_eager,
    "jax.jit": jax_jit,
}
