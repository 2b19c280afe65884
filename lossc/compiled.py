"""Compiled functions: arrays by name in, arrays out.

In: a module (from a graph), the parameters that it reads, a device. Out: `CompiledFunction`, to be called any number
of times, with any sizes of the named dimensions, from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from lossc.arrays import convert
from lossc.compiler import Compiled, compile_module
from lossc.explain import KernelReport, explanation, kernel_reports
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.function import Module
from lossc.ir.types import Type
from lossc.parameters import Parameters
from lossc.runtime.device import Device, from_context, from_queue, select
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument

Result = list[np.ndarray] | tuple[list[np.ndarray], dict[str, np.ndarray]]


def as_device(device: Any) -> Device:
    """The device that is meant: a name, a number, a Device, a pyopencl context or queue, or None for the one that
    `LOSSC_DEVICE` names, else the best. Raises DeviceError, LirError."""
    if device is None or isinstance(device, str):
        return select(device)
    if isinstance(device, Device):
        return device
    if type(device) is int:
        return select(str(device))
    if type(device).__module__.partition(".")[0] == "pyopencl":
        kind = {cls.__name__ for cls in type(device).__mro__}
        if "CommandQueue" in kind:
            return from_queue(device)
        if "Context" in kind:
            return from_context(device)
    raise LirError(f"expected a device, found {type(device).__module__}.{type(device).__qualname__}",
                   "a device is a name, a number, a Device, or a pyopencl context or queue")  # fmt: skip


class Inputs:
    """Conversion of what callers pass, to what a program takes."""

    def __init__(self, types: Iterable[tuple[str, Type]], accepted: Iterable[str] = ()) -> None:
        self.types = dict(types)
        # Known to the graph though this program does not need them: one batch serves several functions.
        self.unused = frozenset(accepted) - set(self.types)
        self.conversions: dict[str, str] = {}

    def __call__(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays of the declared dtypes, by name. Raises LirError for an unknown name or what cannot be converted."""
        arrays = {}
        for name, value in given.items():
            type_ = self.types.get(name)
            if type_ is None:
                if name in self.unused:
                    continue
                known = ", ".join(f"{n}: {t}" for n, t in self.types.items())
                raise LirError(f"no input `{name}`", *did_you_mean(name, self.types), f"inputs: {known or 'none'}")
            array, done = convert(name, value, type_)
            if done is not None:
                self.conversions[name] = done
            arrays[name] = array
        return arrays


class CompiledFunction:
    """A compiled function. `fn(x=...)` takes arrays by name and gives a list of arrays, one an output; compiled with
    gradients it gives that list and a dictionary of gradients by name.

    Parameters come from the graph's store at each call; one passed by name is taken instead. Results are new arrays
    that nothing changes later; `out={"loss": array}` has outputs written to arrays of your own (`lossc.empty`).
    Gradients are called `grad_<name>` there. `sizes={"B": 32}` binds dimensions that no input has.
    """

    def __init__(
        self, module: Module, parameters: Parameters, *, outputs: int | None = None, gradients: tuple[str, ...] = (),
        accepted: Iterable[str] = (), device: Any = None, strategy: str | None = None,
    ) -> None:  # fmt: skip
        self.device = as_device(device)
        self.compiled: Compiled = compile_module(module, self.device.info, strategy)
        self.gradients = gradients
        self._outputs = len(self.compiled.program.outputs) if outputs is None else outputs
        self._parameters = parameters
        self._of_store = [name for name, _ in self.compiled.program.inputs if name in parameters]
        self._inputs = Inputs(self.compiled.program.inputs, accepted)
        self._executable = Executable(
            self.compiled.program, self.device, self.compiled.sources(), self.compiled.build_options
        )

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        return f"<CompiledFunction @{self.compiled.program.name}({inputs}) on {self.device}>"

    @property
    def inputs(self) -> dict[str, Type]:
        """What a call must be given: the inputs that are not in the parameter store."""
        return {name: type_ for name, type_ in self._inputs.types.items() if name not in self._parameters}

    @property
    def outputs(self) -> dict[str, Type]:
        """All results by name, gradients as `grad_<name>`."""
        return dict(self.compiled.program.outputs)

    def __call__(self, *, out: Any = None, sizes: Any = None, **inputs: Any) -> Any:
        """Run. Raises LirError for inputs that are missing, unknown or do not fit, and where a check fails."""
        if out is not None and "out" in self._inputs.types:
            inputs["out"], out = out, None
        if sizes is not None and "sizes" in self._inputs.types:
            inputs["sizes"], sizes = sizes, None
        return self.run(inputs, out, sizes)

    def run(
        self, inputs: Mapping[str, Any], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Result:  # fmt: skip
        """The same as a call, with the inputs in one mapping."""
        arrays: dict[str, np.ndarray | Argument] = dict(self._inputs(inputs))
        for name in self._of_store:
            if name not in arrays:
                arrays[name] = self._parameters.argument(name, self.device)
        if len(arrays) < len(self._inputs.types):
            missing = [f"`{name}`: {type_}" for name, type_ in self._inputs.types.items() if name not in arrays]
            raise LirError(f"missing input {', '.join(missing)}")
        results = self._executable(arrays, out, sizes)
        if not self.gradients:
            return results
        return results[: self._outputs], dict(zip(self.gradients, results[self._outputs :]))

    # --- looking inside ---

    @property
    def kernels(self) -> tuple[KernelReport, ...]:
        """The fused kernels, in order."""
        return kernel_reports(self.compiled)

    @property
    def sources(self) -> Mapping[str, str]:
        """OpenCL C of every kernel by its name; a fused kernel has several variants."""
        return self.compiled.sources()

    @property
    def source(self) -> str:
        """OpenCL C of all kernels."""
        return "\n".join(self.sources.values())

    def explain(self) -> str:
        """What was rewritten and fused, what was not and why, what each kernel does, how much memory it moves."""
        return explanation(self.compiled, self._inputs.conversions)

    def dump(self, folder: str | PathLike[str]) -> None:
        """Write every level, the kernels and a manifest that says how they are launched."""
        from lossc.dump import dump

        dump(self.compiled, folder)
