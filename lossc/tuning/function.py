"""Compiled functions that choose by measurement, at the first call with sizes of a class.

In: what `CompiledFunction` takes. Out: the same function. The first call with sizes between other powers of two takes
up to two seconds longer, unless an earlier process has left what it found on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from lossc.compiled import CompiledFunction, Result
from lossc.compiler import Compiled
from lossc.ir.shapes import bind_dimensions
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument

from .tuner import tune

MOST_SHAPES = 1024


class TunedFunction(CompiledFunction):
    """`explain()` tells of the sizes of the last call. Any thread may call, one at a time runs: the others wait."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._untuned = self.compiled
        self._of_shapes: dict[Any, tuple[Compiled, Executable]] = {}
        self._of_class: dict[Any, tuple[Compiled, Executable]] = {}
        # Held while a choice is in place: a run of other sizes would put its own there.
        self._running = threading.RLock()

    def run(
        self, inputs: Mapping[str, Any], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None, device_results: bool = False,
    ) -> Result:  # fmt: skip
        shapes = tuple([np.shape(value) for value in inputs.values()])
        key = (tuple(inputs), shapes, tuple(sorted(sizes.items())) if sizes else ())
        with self._running:
            chosen = self._of_shapes.get(key)
            if chosen is None:
                chosen = self._tuned(inputs, sizes)
                while len(self._of_shapes) >= MOST_SHAPES:
                    self._of_shapes.pop(next(iter(self._of_shapes)))
                self._of_shapes[key] = chosen
            compiled, executable = chosen
            if executable is not self._executable:
                # What a run that goes on has to say is said here, not lost.
                self._executable.settle()
                self.compiled, self._executable = compiled, executable
            return super().run(inputs, out, sizes, device_results)

    def _tuned(self, inputs: Mapping[str, Any], sizes: Mapping[str, int] | None) -> tuple[Compiled, Executable]:
        arrays = self._inputs(inputs)
        for name in self._of_store:
            if name not in arrays:
                arrays[name] = self._parameters.argument(name, self.device)
        given = self._inputs.in_order(arrays, self._executable.free_inputs)
        program = self._untuned.program
        shapes = {name: _shape(array) for name, array in zip(self._executable.free_inputs, given)}
        bound = bind_dimensions(program.inputs, shapes, sizes)
        group = tuple(sorted((name, size.bit_length()) for name, size in bound.items()))
        if group not in self._of_class:
            compiled = tune(self._untuned, self.device, given, bound)
            executable = Executable(compiled.program, self.device, compiled.sources(), compiled.build_options)
            self._of_class[group] = (compiled, executable)
        return self._of_class[group]


def _shape(array: np.ndarray | Argument) -> tuple[int, ...]:
    return array.array.shape if isinstance(array, Argument) else array.shape
