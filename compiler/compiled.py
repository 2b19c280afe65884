"""A module at every level below it: what compiling gives."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ..ir.frozen import frozen
from ..ir.function import Module
from ..ir.program import Program
from ..ir.target import DeviceInfo
from .decisions import Decision
from .fusion.outline import Outlined, outline
from .lower import Lowered, lower
from .opencl.printer import BUILD_OPTIONS, kernel_source
from .pipeline import run_passes
from .strategies import sums_across


@frozen
class Compiled:
    """A module at every level below it."""

    module: Module
    prepared: Module
    split: Module
    outlined: Outlined
    lowered: Lowered
    device: DeviceInfo
    strategy: str | None = None

    @property
    def program(self) -> Program:
        return self.lowered.program

    def sources(self) -> Mapping[str, str]:
        """OpenCL C of every kernel, by kernel name."""
        return {kernel.name: kernel_source(kernel) for kernel in self.program.kernels}

    @property
    def build_options(self) -> str:
        return BUILD_OPTIONS

    def decided(self, decisions: Mapping[str, Decision]) -> Compiled:
        """The same with other choices for some fused kernels, by their names."""
        with _without_looking_for_cycles():
            return replace(self, lowered=lower(self.outlined, self.device, self.strategy, decisions))


def compile_module(module: Module, device: DeviceInfo, strategy: str | None = None) -> Compiled:
    """Compile the entry of `module` for a device. Needs no driver."""
    with _without_looking_for_cycles():
        prepared = run_passes(module, ("prepare",))
        split = run_passes(prepared, ("split-rows",))
        outlined = outline(split, sums_across(device))
        return Compiled(module, prepared, split, outlined, lower(outlined, device, strategy), device, strategy)


@contextmanager
def _without_looking_for_cycles() -> Iterator[None]:
    """What is compiled is many small objects and no cycles: the collector looks at all of them again and again, a
    third of the time of a long program. Where two threads compile at once, it looks again as soon as the one that
    stopped it is done."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
