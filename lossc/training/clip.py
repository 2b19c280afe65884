"""Clipping by the norm of all gradients together, on the device.

In: the gradient arenas of all element types, and the number that updates multiply gradients by. Out: that number,
smaller where the gradients are too long, in the memory that the update reads it from. One reduction over the arenas;
nothing comes back to the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lossc.arrays import to_dtype
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Function, Module
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, named
from lossc.ready import ready_program
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument, argument_for, send
from lossc.training.arena import Arena

if TYPE_CHECKING:
    from lossc.compiler import Compiled

SCALE = "scale"
LEAST = 1e-6
"""Added to the norm, as torch's clip_grad_norm_ does: gradients that are all 0 divide nothing by 0."""


def check_limits(norm: float | None, value: float | None) -> None:
    """Raise LirError for limits that mean nothing."""
    for name, limit in (("clip_norm", norm), ("clip_value", value)):
        if limit is not None and not (hasattr(limit, "__float__") and limit > 0):
            raise LirError(f"{name} must be positive, found {limit!r}")
    if norm is not None and value is not None:
        raise LirError("gradients are clipped by their norm or by value, not by both", "give clip_norm or clip_value")


def clip_function(norm: float, dtypes: tuple[str, ...]) -> Function:
    """scale min(1, norm / (scale |g| + 1e-6)) for each element type, with |g| over the gradients of all of them."""
    build = Builder()
    wide = "f64" if "f64" in dtypes else "f32"
    gradients = [Tensor(build.input(f"gradients_{d}", Type(d, (named(f"P_{d}"),))), build) for d in dtypes]
    scale = Tensor(build.input(SCALE, Type(wide)), build)
    total = None
    for part in gradients:
        squares = (part * part).sum().cast(wide)
        total = squares if total is None else total + squares
    assert total is not None
    clip = norm / (scale * total.sqrt() + LEAST)
    # Not a minimum by numbers: a norm that is NaN shall be seen in the parameters.
    result = (clip > 1).select(scale, scale * clip)
    return build.function("clip", [result.cast(d).value for d in dtypes], tuple(f"{SCALE}_{d}" for d in dtypes))


class Clip:
    """Executables that write the number which gradients are multiplied by to `results`."""

    def __init__(self, device: Device, norm: float, results: Mapping[str, Argument]) -> None:
        self.device, self._results = device, dict(results)
        function = clip_function(norm, tuple(results))
        self._ready = ready_program(Module({function.name: function}, function.name), device)
        wide = dict(self._ready.program.inputs)[SCALE].dtype
        self._scale = argument_for(device, np.zeros((), to_dtype(wide)), "readwrite")
        self._executables: dict[tuple[int, ...], Executable] = {}

    @cached_property
    def compiled(self) -> Compiled:
        """The clipping at every level below its module."""
        return self._ready.levels

    def clipping(self, sources: Mapping[str, Arena], scale: float) -> Executable:
        """What clips `scale` times the gradients in `sources`, to be run after what makes them."""
        self._scale.array[()] = scale
        send(self.device, self._scale)
        key = tuple(id(arena) for arena in sources.values())
        if key not in self._executables:
            read = {f"gradients_{dtype}": arena.argument for dtype, arena in sources.items()}
            written = {f"{SCALE}_{dtype}": argument for dtype, argument in self._results.items()}
            self._executables[key] = Executable(
                self._ready.program, self.device, self._ready.sources, self._ready.options,
                {**read, SCALE: self._scale}, written,
            )  # fmt: skip
        return self._executables[key]
