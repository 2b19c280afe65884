"""Programs for the rows of the loss table: a loss, its gradients, their gradients, compiled when first run.

In: a row with the element types, the layout and the settings of a call. Out: `LossProgram`s. One is a function of the
IR from tensors to tensors; `gradient` and `with_gradient` of it are programs again, so gradients of gradients need
nothing of their own. Programs are kept, the least recently used ones are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lossc.errors import RefusedArgument, RefusedElementType
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.function import Function, Module, Value
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, is_float
from lossc.losses.row import Row
from lossc.losses.shapes import Layout, Types

MOST_PROGRAMS = 512


@lru_cache(maxsize=1)
def default_device() -> Any:
    """The device that losses run on: the one of `LOSSC_DEVICE`, else the best. Chosen when first needed, for good:
    programs and their plans are kept for it, and to look at the environment in each call would take time."""
    from lossc.runtime.device import select

    return select(None)


class LossProgram:
    """A function of the IR, compiled when it is first run. Its inputs are in the order of `function.inputs`; it may
    call the functions `callees`."""

    def __init__(self, function: Function, callees: Sequence[Function] = ()) -> None:
        self.function = function
        self.callees = tuple(callees)
        self.floats = tuple(i for i, value in enumerate(function.inputs) if is_float(value.type.dtype))
        # A signal handler may call while we compile.
        self._lock = threading.RLock()
        self._executable: Any = None
        self._derived: dict[tuple[str, tuple[int, ...]], LossProgram] = {}

    @property
    def module(self) -> Module:
        functions = {function.name: function for function in (*self.callees, self.function)}
        return Module(functions, self.function.name)

    def executable(self) -> Any:
        """The compiled program on the default device."""
        found = self._executable
        if found is None:
            if default_device().is_forked:
                # The lock may be that of a thread which has no copy in this process.
                default_device().refuse_after_fork()
            with self._lock:
                if self._executable is None:
                    self._executable = _compiled(self)
                found = self._executable
        return found

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for these arrays, which have exactly the types of the inputs."""
        return self.executable().run(arrays)

    def gradient(self, wanted: tuple[int, ...]) -> LossProgram:
        """The program of the inputs, and then one incoming gradient an output, that gives the gradients by the inputs
        at the positions `wanted`."""
        return self._derive("gradient", wanted)

    def with_gradient(self, wanted: tuple[int, ...]) -> LossProgram:
        """The program that gives the outputs and then the gradients of their sum by the inputs `wanted`."""
        return self._derive("with_gradient", wanted)

    def _derive(self, kind: str, wanted: tuple[int, ...]) -> LossProgram:
        found = self._derived.get((kind, wanted))
        if found is None:
            changed = _gradient(self.function, wanted, upstream=kind == "gradient")
            found = self._derived.setdefault((kind, wanted), LossProgram(changed, self.callees))
        return found


def _gradient(function: Function, wanted: Sequence[int], upstream: bool) -> Function:
    build = Builder()
    build.inputs, build.ops = list(function.inputs), list(function.ops)
    asked = tuple(function.inputs[position] for position in wanted)
    sums: list[Tensor] | None = None
    for position, output in enumerate(function.outputs):
        incoming: tuple[Value, ...] = ()
        if upstream:
            incoming = (build.input(f"upstream{len(function.inputs)}_{position}", output.type),)
        parts = build.emit_many("grad", (output, *incoming, *asked), {"upstream": upstream})
        tensors = [Tensor(part, build) for part in parts]
        sums = tensors if sums is None else [a + b for a, b in zip(sums, tensors)]
    assert sums is not None
    names = tuple(f"grad_{value.name}" for value in asked)
    gradients = tuple(tensor.value for tensor in sums)
    if upstream:
        return function.with_(inputs=tuple(build.inputs), ops=tuple(build.ops), outputs=gradients, output_names=names)
    return function.with_(
        inputs=tuple(build.inputs), ops=tuple(build.ops), outputs=(*function.outputs, *gradients),
        output_names=(*function.names_of_outputs, *names),
    )  # fmt: skip


def _compiled(program: LossProgram) -> Any:
    from lossc.ready import ready_program
    from lossc.runtime.execute import Executable

    device = default_device()
    ready, function = ready_program(program.module, device), program.function
    executable = Executable(ready.program, device, ready.sources, ready.options)
    if executable.free_inputs != tuple(value.name for value in function.inputs):
        raise CompilerBug(f"@{function.name} lost inputs while it was compiled: {executable.free_inputs} are left")
    return executable


def result_dtype(row: Row, types: Types) -> str:
    """The element type that the loss is computed in and returned as. Raises RefusedElementType where there is none."""
    floats = {types[name].dtype for name in row.decided_by if name in types and is_float(types[name].dtype)}
    if not floats or not (row.whole or is_float(types[row.tensors[0]].dtype)):
        shown = ", ".join(f"{name}: {types[name].dtype}" for name in row.decided_by if name in types)
        raise RefusedElementType(f"{row.name} takes floats, found {shown}", "convert one to floats",
                                 code="LIR0031")  # fmt: skip
    if len(floats) == 1:
        return next(iter(floats))
    return "f64" if "f64" in floats else "f32"


def loss_program(row: Row, types: Types, layout: Layout, settings: Mapping[str, Any], narrow: bool) -> LossProgram:
    """The program of a row. A reduced loss of 16-bit floats is f32, with `narrow` it is 16-bit as torch's."""
    inputs = tuple((name, Type(type_.dtype, layout.types[name])) for name, type_ in types.items())
    dtype = result_dtype(row, types)
    # The layout has put the classes where the operation looks for them: one program for every axis.
    chosen = tuple((name, value) for name, value in settings.items() if name != "axis")
    try:
        return _program(row, inputs, dtype, chosen, narrow)
    except LirError as error:
        # Values of settings are refused by the operation: torch raises RuntimeError or ValueError, and this is both.
        raise RefusedArgument(error.diagnostics) from None


@lru_cache(maxsize=MOST_PROGRAMS)
def _program(
    row: Row, inputs: tuple[tuple[str, Type], ...], dtype: str, settings: tuple[tuple[str, Any], ...], narrow: bool
) -> LossProgram:
    build = Builder()
    tensors = {name: Tensor(build.input(name, type_), build) for name, type_ in inputs}
    # The operation takes its element type from its first operand; other floats it casts itself.
    first = row.tensors[0]
    arithmetic = {**tensors, first: tensors[first].cast(dtype)}
    chosen = dict(settings)
    loss = row.body(row.operation, arithmetic, row.tensors, chosen)
    if narrow or chosen.get("reduction") in (None, "none"):
        loss = loss.cast(dtype)
    if "reduction" in chosen and chosen["reduction"] != "none":
        loss = loss.reshape(())
    return LossProgram(build.function(row.name, (loss.value,), ("loss",)))
