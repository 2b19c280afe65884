"""Compiled functions: arrays by name in, arrays out.

In: a module (from a graph), the parameters that it reads, a device. Out: `CompiledFunction`, to be called any number
of times, with any sizes of the named dimensions, from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from lossc.inplace import check_overwritable, overwrite
from lossc.inputs import Inputs, refuse_positions
from lossc.ir.diagnostics import DeviceError, LirError
from lossc.ir.function import Module
from lossc.ir.program import Program
from lossc.ir.target import PRESETS
from lossc.ir.types import Type
from lossc.other_words import missing
from lossc.parameters import Parameters
from lossc.ready import ready_program
from lossc.runtime.device import Device, from_context, from_queue, select
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument
from lossc.warnings import LossWarning, warn

if TYPE_CHECKING:
    from lossc.compiler import Compiled
    from lossc.reports.kernels import KernelReport

Result = list[Any] | tuple[list[Any], dict[str, Any]]
"""Arrays: NumPy's, or pyopencl's with `device_results`."""


def as_device(device: Any) -> Device:
    """The device that is meant: a name, a number, a Device, a pyopencl context or queue, or None for the one that
    `LOSSC_DEVICE` names, else the best. Raises DeviceError, LirError."""
    if device is None or isinstance(device, str):
        try:
            return select(device)
        except DeviceError:
            if device is not None and (device.replace("-", "_") in PRESETS or device.endswith(".json")):
                raise DeviceError(f"`{device}` is a description to compile for, not a device that can run",
                                  "`lossc compile --device` takes it; lossc.devices() are those of this "
                                  "machine") from None  # fmt: skip
            raise
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


def warn_of_strategy(program: Program, strategy: str | None, compiled: Callable[[], Compiled]) -> None:
    """A LossWarning where the strategy that was asked for applies to no kernel of a program."""
    if strategy is None or any(v.strategy == strategy for step in program.steps for v in step.variants):
        return
    from lossc.reports.forced import unused_strategy

    finding = unused_strategy(compiled())
    if finding is not None:
        warn(finding.render(), LossWarning)


class CompiledFunction:
    """A compiled function. `fn(x=...)` takes arrays by name and gives a list of arrays, one an output; compiled with
    gradients it gives that list and a dictionary of gradients by name.

    Parameters come from the graph's store at each call; one passed by name is taken instead. Results are new arrays
    that nothing changes later; `out={"loss": array}` has outputs written to arrays of your own (`lossc.empty`).
    Gradients are called `grad_<name>` there. `sizes={"B": 32}` binds dimensions that no input has.

    Inputs may be pyopencl arrays in the context of the device. `device_results=True` gives pyopencl arrays, too; where
    all inputs are such arrays the call does not wait, and what fails in it is raised when a result is read by its
    `get` or waited for, or by the next call. While a graph has a step, a call that reads its parameters waits.
    """

    def __init__(
        self, module: Module, parameters: Parameters, *, outputs: int | None = None, gradients: tuple[str, ...] = (),
        inplace: tuple[str, ...] = (), accepted: Mapping[str, Type] | None = None, device: Any = None,
        strategy: str | None = None,
    ) -> None:  # fmt: skip
        self.device = as_device(device)
        # What another process can be asked for as well: there None is the device that is the best one there.
        self._asked = device if device is None or isinstance(device, (int, str)) else self.device
        ready = ready_program(module, self.device, strategy)
        self._ready = ready
        self._program = ready.program
        self.gradients = gradients
        self._inplace = inplace
        self._outputs = len(self._program.outputs) if outputs is None else outputs
        self._parameters = parameters
        self._of_store = [name for name, _ in self._program.inputs if name in parameters]
        self._inputs = Inputs(self._program.inputs, accepted, self.device)
        self._executable = Executable(self._program, self.device, ready.sources, ready.options)
        warn_of_strategy(self._program, strategy, lambda: self.compiled)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        return f"<CompiledFunction @{self._program.name}({inputs}) on {self.device}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """What a copy is made of, or a pickle: it is compiled again, or found on disk. A deep copy has parameters of
        its own, those that the graph has now."""
        asked, settings = self._ready.asked, {
            "outputs": self._outputs, "gradients": self.gradients, "inplace": self._inplace,
            "accepted": self._inputs.accepted, "device": self._asked,
        }  # fmt: skip
        return partial(type(self), **settings, strategy=asked.strategy), (asked.module, self._parameters)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(type(self), name)

    @property
    def inputs(self) -> dict[str, Type]:
        """What a call must be given: the inputs that are not in the parameter store."""
        return {name: type_ for name, type_ in self._inputs.types.items() if name not in self._parameters}

    @property
    def outputs(self) -> dict[str, Type]:
        """All results by name, gradients as `grad_<name>`."""
        return dict(self._program.outputs)

    def __call__(
        self, *unnamed: Any, out: Any = None, sizes: Any = None, device_results: Any = False, **inputs: Any
    ) -> Any:  # fmt: skip
        """Run. Raises LirError for inputs that are missing, unknown or do not fit, and CheckFailed where the data
        break a rule of the program, such as a label out of range."""
        types = self._inputs.types
        if unnamed:
            refuse_positions("fn", unnamed, self.inputs)
        # An input may be called like an option: then the option is there in `run` alone.
        if out is not None and "out" in types:
            inputs["out"], out = out, None
        if sizes is not None and "sizes" in types:
            inputs["sizes"], sizes = sizes, None
        if device_results is not False and "device_results" in types:
            inputs["device_results"], device_results = device_results, False
        return self.run(inputs, out, sizes, device_results)

    def run(
        self, inputs: Mapping[str, Any], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None, device_results: bool = False,
    ) -> Result:  # fmt: skip
        """The same as a call, with the inputs in one mapping."""
        arrays = self._inputs(inputs)
        if not self._of_store:
            return self._run(inputs, arrays, out, sizes, device_results)
        parameters = self._parameters
        with parameters.lock:
            for name in self._of_store:
                if name not in arrays:
                    arrays[name] = parameters.argument(name, self.device)
            if parameters.is_trained:
                # In another thread a step may be about to change some of them.
                results = self._run(inputs, arrays, out, sizes, device_results)
                if device_results:
                    self.device.queue.finish()
                return results
        # Where there was no step, none will write to these arrays: the first one takes copies.
        return self._run(inputs, arrays, out, sizes, device_results)

    def _run(
        self, inputs: Mapping[str, Any], arrays: Mapping[str, np.ndarray | Argument],
        out: Mapping[str, np.ndarray] | None, sizes: Mapping[str, int] | None, device_results: bool,
    ) -> Result:  # fmt: skip
        """Run on `arrays`, which the program takes for the `inputs` and for the parameters."""
        if sizes is not None:
            self._inputs.check_sizes(sizes)
        executable = self._executable_for(arrays, sizes)
        given = self._inputs.in_order(arrays, executable.free_inputs)
        if self._inplace:
            check_overwritable(inputs, {name: arrays[name] for name in self._inplace})
        if out is not None and not isinstance(out, Mapping):
            raise LirError(f"out names the outputs, found {type(out).__name__}",
                           f"write out={{{self._program.outputs[0][0]!r}: array}}")  # fmt: skip
        if device_results:
            if out is not None:
                raise LirError("out takes NumPy arrays: it does not go with device_results")
            results = executable.start(given, sizes)
        else:
            results = executable.run(given, out, sizes)
        if not self.gradients:
            return results
        gradients = dict(zip(self.gradients, results[self._outputs :]))
        if self._inplace:
            # Only now: where a check fails the input is still what it was.
            executable.settle()
            for name in self._inplace:
                gradients[name] = overwrite(self.device, arrays[name], gradients[name])
        return results[: self._outputs], gradients

    def _executable_for(
        self, arrays: Mapping[str, np.ndarray | Argument], sizes: Mapping[str, int] | None
    ) -> Executable:  # fmt: skip
        """What runs the program on these arrays."""
        return self._executable

    # --- looking inside ---

    @property
    def compiled(self) -> Compiled:
        """The module at every level below it; a program that was found on disk is compiled for this."""
        return self._ready.levels

    @property
    def kernels(self) -> tuple[KernelReport, ...]:
        """The fused kernels, in order."""
        from lossc.reports.kernels import kernel_reports

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
        from lossc.reports.explain import explanation

        text = explanation(self.compiled, self._inputs.conversions)
        beside = [f"the gradient of {name} is computed beside it, then copied over it" for name in self._inplace]
        return "\n\n".join([text, *beside])

    def dump(self, folder: str | PathLike[str]) -> None:
        """Write every level, the kernels and a manifest that says how they are launched."""
        from lossc.reports.dump import dump

        dump(self.compiled, folder)
