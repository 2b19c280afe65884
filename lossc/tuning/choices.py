"""The programs of each class of sizes: tuned when the first of these sizes comes, then found by the shapes of arrays.

In: a compiled program, arrays. Out: the program that is the fastest for them, ready to run. Compiled functions and
training steps choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from lossc.compiler import Compiled
from lossc.ir.program import Program
from lossc.ir.shapes import bind_dimensions
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable, Given

from .memory import class_of
from .tuner import tune

MOST_SHAPES = 1024


class TunedProgram(NamedTuple):
    compiled: Compiled
    executable: Executable


class Choices:
    """`load` makes a program ready to run, of its sources and options."""

    def __init__(
        self, compiled: Compiled, device: Device, load: Callable[[Program, Mapping[str, str], str], Executable]
    ) -> None:
        self._untuned, self._device, self._load = compiled, device, load
        self._of_shapes: dict[Hashable, TunedProgram] = {}
        self._of_class: dict[tuple[str, ...], TunedProgram] = {}

    def known(self, shapes: Hashable) -> TunedProgram | None:
        """What was chosen for arrays of these shapes before."""
        return self._of_shapes.get(shapes)

    def choose(
        self, shapes: Hashable, arrays: Mapping[str, Given], sizes: Mapping[str, int] | None = None
    ) -> TunedProgram:  # fmt: skip
        """What there is for the arrays, or else is the fastest with them; remembered by their `shapes`."""
        inputs = self._untuned.program.inputs
        bound = bind_dimensions(inputs, {name: arrays[name].shape for name, _ in inputs}, sizes)
        group = class_of(bound)
        if group not in self._of_class:
            compiled = tune(self._untuned, self._device, [arrays[name] for name, _ in inputs], bound)
            executable = self._load(compiled.program, compiled.sources(), compiled.build_options)
            self._of_class[group] = TunedProgram(compiled, executable)
        while len(self._of_shapes) >= MOST_SHAPES:
            self._of_shapes.pop(next(iter(self._of_shapes)))
        self._of_shapes[shapes] = self._of_class[group]
        return self._of_class[group]
