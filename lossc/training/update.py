"""The update of a training step: an optimizer's formula, compiled to one kernel that runs over whole arenas.

In: an optimizer, the arenas of parameters, gradients and state. Out: `Update`, which changes parameters and state in
place. Groups of parameters are ranges of the arenas: one launch each, with scalars of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lossc.arrays import to_dtype
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import LirError
from lossc.ir.frozen import frozen
from lossc.ir.function import Module
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, named
from lossc.ir.verify import check_module
from lossc.optim import Optimizer
from lossc.ready import ready_program
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument, argument_for, copy, send
from lossc.runtime.status import StatusWords
from lossc.training.arena import Arena, arena_alignment, segments_of
from lossc.training.guard import GRADIENT_STATUS, Guard

if TYPE_CHECKING:
    from lossc.compiler import Compiled

PARAMETER, GRADIENT, GRADIENT_SCALE = "parameter", "gradient", "gradient_scale"


@frozen
class GroupRange:
    """The elements of one group in an arena."""

    group: str
    start: int
    stop: int


def update_module(
    optimizer: Optimizer, dtype: str, scalar_names: Sequence[str], clip_value: float | None = None, checks: int = 0
) -> Module:  # fmt: skip
    """The optimizer's update of P elements: parameter, gradient, state and scalars in, `new_...` of the first and of
    the state out; the old ones where one of so many `checks` has failed. Gradients lie in [-clip_value, clip_value].
    Raises LirError where the optimizer returns something else."""
    build = Builder()
    flat, scalar = Type(dtype, (named("P"),)), Type(dtype)
    parameter, gradient = (Tensor(build.input(name, flat), build) for name in (PARAMETER, GRADIENT))
    state = {name: Tensor(build.input(name, flat), build) for name in optimizer.state}
    scalars = {name: Tensor(build.input(name, scalar), build) for name in (*scalar_names, GRADIENT_SCALE)}
    where_checks_hold = Guard(build, checks)
    scaled = gradient * scalars[GRADIENT_SCALE]
    if clip_value is not None:
        scaled = scaled.maximum(-clip_value).minimum(clip_value)
    changed, new_state = optimizer.update(parameter, scaled, state, scalars)
    results = {PARAMETER: changed, **{name: new_state.get(name) for name in optimizer.state}}
    for name, tensor in results.items():
        if not isinstance(tensor, Tensor) or tensor.type != flat:
            found = tensor.type if isinstance(tensor, Tensor) else type(tensor).__name__
            raise LirError(f"{type(optimizer).__name__}.update must give a new `{name}` of type {flat}, found {found}")
    old = {PARAMETER: parameter, **state}
    outputs = [where_checks_hold(tensor, old[name]).value for name, tensor in results.items() if tensor is not None]
    function = build.function("update", outputs, tuple(f"new_{name}" for name in results))
    return check_module(Module({function.name: function}, function.name))


class Update:
    """An optimizer's update over the arenas of one element type: executables to be run after what makes the
    gradients, whose `status` words they look at."""

    def __init__(
        self, device: Device, optimizer: Optimizer, ranges: Sequence[GroupRange], parameters: Arena,
        state: Mapping[str, Arena], clip_value: float | None = None, status: StatusWords | None = None,
    ) -> None:  # fmt: skip
        self.device, self.optimizer, self.ranges = device, optimizer, tuple(ranges)
        self.parameters, self.state = parameters, dict(state)
        dtype, names = parameters.dtype, tuple(optimizer.scalars(0, ranges[0].group))
        checks = 0 if status is None else status.memory.array.size
        module = update_module(optimizer, dtype, names, clip_value, checks)
        # In place, stores past the cache take 1.15 times as long (16M parameters, Adam, Intel's CPU runtime): the lines
        # that they store are in the cache already.
        self._ready = ready_program(module, device, info=replace(device.info, nontemporal_stores=False))
        self.in_place = {(name, f"new_{name}") for name in (PARAMETER, *self.state)} <= self._ready.overwrites
        if not self.in_place:
            self._ready = ready_program(module, device)
        # Where a kernel still reads what it has written over, results go beside and are copied back.
        written = {PARAMETER: parameters, **self.state}
        self._results = written if self.in_place else {
            name: Arena(device, dtype, arena.segments) for name, arena in written.items()
        }  # fmt: skip
        table = segments_of([(name, ()) for name in names], to_dtype(dtype).itemsize, arena_alignment(device))
        # Each range has its own: all are launched before any of them is waited for.
        self._scalars = {part: Arena(device, dtype, table) for part in self.ranges}
        self._status = status
        self.gradient_scale = argument_for(device, np.ones((), to_dtype(dtype)), "readwrite")
        """Where the kernel reads the number that gradients are multiplied by."""
        self._scale_there: float | None = 1.0
        self._executables: dict[int, list[Executable]] = {}

    @cached_property
    def compiled(self) -> Compiled:
        """The update at every level below its module."""
        return self._ready.levels

    def prepare(self, step: int, gradient_scale: float | None) -> None:
        """Have the scalars of a step in the device's memory; `gradient_scale` is None where a kernel writes it. Raises
        LirError where the optimizer refuses a learning rate."""
        for part, scalars in self._scalars.items():
            values = self.optimizer.scalars(step, part.group)
            for name, segment in scalars.segments.items():
                scalars.array[segment.offset] = values[name]
            scalars.send()
        if gradient_scale is None or gradient_scale != self._scale_there:
            # An interrupt may come between any two lines: what is there is not known until all of it is.
            self._scale_there = None
        if gradient_scale is not None and self._scale_there is None:
            self.gradient_scale.array[()] = gradient_scale
            send(self.device, self.gradient_scale)
            self._scale_there = gradient_scale

    def executables(self, gradients: Arena) -> list[Executable]:
        """What changes parameters and state by these gradients, each multiplied by the scale."""
        found = self._executables.get(id(gradients))
        if found is None:
            found = self._executables[id(gradients)] = [self._executable(gradients, part) for part in self.ranges]
        return found

    def finish(self) -> None:
        """When they are done: results that were written beside come to their places."""
        if not self.in_place:
            for name, arena in {PARAMETER: self.parameters, **self.state}.items():
                copy(self.device, self._results[name].argument, arena.argument)

    def _executable(self, gradients: Arena, part: GroupRange) -> Executable:
        scalars = self._scalars[part]
        read: dict[str, Argument] = {name: scalars.part(name) for name in scalars.segments}
        read |= {GRADIENT_SCALE: self.gradient_scale, GRADIENT: gradients.range(part.start, part.stop)}
        if self._status is not None:
            read[GRADIENT_STATUS] = self._status.memory
        written: dict[str, Argument] = {}
        for name, arena in {PARAMETER: self.parameters, **self.state}.items():
            read[name] = arena.range(part.start, part.stop)
            written[f"new_{name}"] = self._results[name].range(part.start, part.stop)
        ready = self._ready
        return Executable(ready.program, self.device, ready.sources, ready.options, read, written)
