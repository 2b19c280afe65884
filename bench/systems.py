"""Who is measured: each system is a function from a case and its data to a call that returns loss and gradient.

Every call computes the mean loss and its gradient from arrays in memory to arrays in memory and waits for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import lossc

from .cases import Case, Data

Call = Callable[[], tuple[np.ndarray, np.ndarray]]


def compiled_loss(case: Case, device: str | None) -> Any:
    """The loss with its gradient by the logits, rows named, columns known."""
    g = lossc.Graph()
    if case.loss == "cross_entropy":
        logits, targets = g.input("logits", (None, case.columns)), g.input("targets", (None,), dtype="i32")
        loss = g.cross_entropy_loss(logits, targets)
    else:
        logits, targets = g.input("logits", (None,)), g.input("targets", (None,))
        loss = g.bce_with_logits_loss(logits, targets)
    g.set_outputs({"loss": loss})
    return g.compile(grad=["logits"], device=device)


def lossc_fresh(case: Case, data: Data, device: str | None) -> Call:
    """As users call it: results are new arrays every time."""
    compiled = compiled_loss(case, device)

    def call() -> tuple[np.ndarray, np.ndarray]:
        (loss,), gradients = compiled(logits=data.logits, targets=data.targets)
        return loss, gradients["logits"]

    return call


def lossc_reused(case: Case, data: Data, device: str | None) -> Call:
    """Into arrays that are there: what the hand-written kernel does too."""
    compiled = compiled_loss(case, device)
    out = {"loss": lossc.empty((1,), np.float32), "grad_logits": lossc.empty(data.logits.shape, np.float32)}

    def call() -> tuple[np.ndarray, np.ndarray]:
        (loss,), gradients = compiled(logits=data.logits, targets=data.targets, out=out)
        return loss, gradients["logits"]

    return call


def handwritten(case: Case, data: Data, device: str | None) -> Call:
    """The kernel in bench/handwritten, on the same device."""
    from lossc.runtime.device import select

    from .handwritten import kernels

    chosen = select(device)
    make = {"cross_entropy": lambda c, q: kernels.cross_entropy(c, q, case.rows, case.columns),
            "bce_with_logits": lambda c, q: kernels.bce_with_logits(c, q, case.elements)}[case.loss]  # fmt: skip
    kernel = make(chosen.context, chosen.queue)
    loss, gradient = lossc.empty((1,), np.float32), lossc.empty(data.logits.shape, np.float32)

    def call() -> tuple[np.ndarray, np.ndarray]:
        kernel.run(data.logits, data.targets, loss, gradient)
        return loss, gradient

    return call


def _torch_loss(case: Case, data: Data) -> tuple[Any, Any, Callable[[Any], Any]]:
    import torch
    from torch.nn import functional

    torch.set_num_threads(2)
    logits = torch.from_numpy(data.logits).requires_grad_()
    if case.loss == "cross_entropy":
        targets = torch.from_numpy(data.targets.astype(np.int64))
        return torch, logits, lambda x: functional.cross_entropy(x, targets)
    targets = torch.from_numpy(data.targets)
    return torch, logits, lambda x: functional.binary_cross_entropy_with_logits(x, targets)


def _torch_call(torch: Any, logits: Any, loss_of: Callable[[Any], Any]) -> Call:
    def call() -> tuple[np.ndarray, np.ndarray]:
        loss = loss_of(logits)
        (gradient,) = torch.autograd.grad(loss, logits)
        return loss.detach().numpy(), gradient.numpy()

    return call


def torch_eager(case: Case, data: Data, device: str | None) -> Call:
    """loss(x) and autograd.grad, eager."""
    return _torch_call(*_torch_loss(case, data))


def torch_compile(case: Case, data: Data, device: str | None) -> Call:
    """The same through torch.compile, for exactly this shape."""
    torch, logits, loss_of = _torch_loss(case, data)
    return _torch_call(torch, logits, torch.compile(loss_of, dynamic=False))


SYSTEMS: Mapping[str, Callable[[Case, Data, str | None], Call]] = {
    "handwritten": handwritten,
    "lossc": lossc_reused,
    "lossc fresh": lossc_fresh,
    "torch.compile": torch_compile,
    "torch eager": torch_eager,
}
