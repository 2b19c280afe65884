"""lossc: a compiler for loss graphs that emits OpenCL.

    g = lossc.Graph()                                  build a graph, or lossc.load("f.lir")
    x, labels = g.input("x", (None, 784)), g.input("labels", (None,), dtype="i32")
    logits = nn.Linear(g, "fc", 784, 10)(x)
    g.set_outputs([g.cross_entropy_loss(logits, labels)])
    fn = g.compile(grad=True)                          outputs, {name: gradient} of arrays by name
    step = g.compile_step(optim.Adam(lr=1e-3))         one step of training

Nothing of OpenCL is loaded before a device is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lossc.arrays import empty
from lossc.graph import Graph
from lossc.ir.builder import Tensor
from lossc.ir.diagnostics import CheckFailed, CompilerBug, DeviceError, Diagnostic, Limitation, LirError, LosscError
from lossc.losses.warnings import LossWarning
from lossc.reading import load, parse

if TYPE_CHECKING:
    from lossc.compiled import CompiledFunction
    from lossc.runtime.device import Device
    from lossc.training.step import Step

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


_LAZY = {"CompiledFunction": "lossc.compiled", "Step": "lossc.training.step"}


def __getattr__(name: str) -> Any:
    # What needs the runtime, or is not used by all, costs nothing until it is used.
    import importlib

    if name in ("nn", "optim"):
        return importlib.import_module(f"lossc.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("lossc")
    raise AttributeError(f"module 'lossc' has no attribute {name!r}")
