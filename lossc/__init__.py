"""lossc: a compiler for loss graphs that emits OpenCL.

    g = lossc.Graph()                                  build a graph, or lossc.load("f.lir")
    x, labels = g.input("x", (None, 784)), g.input("labels", (None,), dtype="i32")
    logits = nn.Linear(g, "fc", 784, 10)(x)
    g.set_outputs([g.cross_entropy_loss(logits, labels)])
    fn = g.compile(grad=True)                          outputs, {name: gradient} of arrays by name
    step = g.compile_step(optim.Adam(lr=1e-3))         one step of training

Nothing is loaded before it is used, and nothing of OpenCL before a device is.
"""

from __future__ import annotations

import typing as _typing

if _typing.TYPE_CHECKING:
    from lossc import functional as functional
    from lossc import nn as nn
    from lossc import optim as optim
    from lossc import torch as torch
    from lossc.arrays import empty
    from lossc.compiled import CompiledFunction
    from lossc.graph import Graph
    from lossc.ir.diagnostics import (
        CheckFailed,
        CompilerBug,
        DeviceError,
        Diagnostic,
        Limitation,
        LirError,
        LosscError,
    )
    from lossc.ir.tensor import Tensor
    from lossc.reading import load, parse
    from lossc.runtime.device import Device
    from lossc.training.step import Step
    from lossc.warnings import LossWarning

__all__ = [
    "CheckFailed",
    "CompiledFunction",
    "CompilerBug",
    "DeviceError",
    "Diagnostic",
    "Graph",
    "Limitation",
    "LirError",
    "LossWarning",
    "LosscError",
    "Step",
    "Tensor",
    "devices",
    "empty",
    "load",
    "parse",
]


def devices() -> list[Device]:
    """Every OpenCL device of this machine, the one that is taken without a name first."""
    from lossc.runtime.device import devices as found

    return found()


_MODULES = ("functional", "nn", "optim", "torch")

_HOMES = {
    "CheckFailed": "ir.diagnostics",
    "CompiledFunction": "compiled",
    "CompilerBug": "ir.diagnostics",
    "DeviceError": "ir.diagnostics",
    "Diagnostic": "ir.diagnostics",
    "Graph": "graph",
    "Limitation": "ir.diagnostics",
    "LirError": "ir.diagnostics",
    "LossWarning": "warnings",
    "LosscError": "ir.diagnostics",
    "Step": "training.step",
    "Tensor": "ir.tensor",
    "empty": "arrays",
    "load": "reading",
    "parse": "reading",
}


def __getattr__(name: str) -> _typing.Any:
    import importlib

    if name in _MODULES:
        try:
            return importlib.import_module(f"lossc.{name}")
        except ImportError as error:
            # What asks whether there is such an attribute, as `hasattr` and `help`, takes no other error.
            raise AttributeError(f"lossc.{name} cannot be imported: {error}") from error
    if name in _HOMES:
        found = globals()[name] = getattr(importlib.import_module(f"lossc.{_HOMES[name]}"), name)
        return found
    if name == "__version__":
        from importlib.metadata import version

        return version("lossc")
    raise AttributeError(f"module 'lossc' has no attribute {name!r}{_hint(name)}")


_FOUND_ELSEWHERE = {
    "function": "it is lossc.functional.function",
    "value_and_grad": "it is lossc.functional.value_and_grad",
    "grad": "gradients come from g.compile(grad=True) or lossc.functional.value_and_grad(loss)",
    "compile": "a graph compiles: g.compile(), a Python function by lossc.functional.function(loss)",
    "jit": "a Python function is compiled by lossc.functional.function(loss)",
    "set_device": "a device is chosen by g.compile(device=...) or the environment variable LOSSC_DEVICE",
}


def _hint(name: str) -> str:
    """Where something is that there is elsewhere, or the nearest name."""
    from lossc.ir.diagnostics import did_you_mean
    from lossc.losses.table import LOSSES

    if name in LOSSES:
        return f"; it is lossc.functional.{name}, and lossc.torch.{name} for tensors"
    notes = (_FOUND_ELSEWHERE[name],) if name in _FOUND_ELSEWHERE else did_you_mean(name, [*__all__, *_MODULES])
    return "".join(f"; {note}" for note in notes)


def __dir__() -> list[str]:
    from importlib.util import find_spec

    modules = [name for name in _MODULES if name != "torch" or find_spec("torch") is not None]
    return sorted([*__all__, *modules, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"])
