"""A module at every level below it: what compiling gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..ir.function import Module
from ..ir.program import Program
from ..ir.target import DeviceInfo
from .fusion.outline import Outlined, outline
from .lower import Lowered, lower
from .opencl.printer import BUILD_OPTIONS, kernel_source
from .pipeline import run_passes
from .strategies import Decision, sums_across


@dataclass(frozen=True)
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
        return replace(self, lowered=lower(self.outlined, self.device, self.strategy, decisions))


def compile_module(module: Module, device: DeviceInfo, strategy: str | None = None) -> Compiled:
    """Compile the entry of `module` for a device. Needs no driver."""
    prepared = run_passes(module, ("prepare",))
    split = run_passes(prepared, ("split-rows",))
    outlined = outline(split, sums_across(device))
    return Compiled(module, prepared, split, outlined, lower(outlined, device, strategy), device, strategy)
