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
from lossc.ir.program import Program
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument

from .choices import Choices


class TunedFunction(CompiledFunction):
    """`explain()` tells of the sizes of the last call. Any thread may call, one at a time runs: the others wait."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._choices = Choices(self.compiled, self.device, self._loaded)
        # Held while a choice is in place: a run of other sizes would put its own there.
        self._running = threading.RLock()

    def run(
        self, inputs: Mapping[str, Any], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None, device_results: bool = False,
    ) -> Result:  # fmt: skip
        shapes = tuple([np.shape(value) for value in inputs.values()])
        key = (tuple(inputs), shapes, tuple(sorted(sizes.items())) if sizes else ())
        with self._running:
            compiled, executable = self._choices.known(key) or self._choices.choose(key, self._arrays(inputs), sizes)
            if executable is not self._executable:
                # What a run that goes on has to say is said here, not lost.
                self._executable.settle()
                self.compiled, self._executable = compiled, executable
            return super().run(inputs, out, sizes, device_results)

    def _loaded(self, program: Program, sources: Mapping[str, str], options: str) -> Executable:
        return Executable(program, self.device, sources, options)

    def _arrays(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray | Argument]:
        """What the program takes, by name. Raises LirError where some are missing."""
        arrays = self._inputs(inputs)
        for name in self._of_store:
            if name not in arrays:
                arrays[name] = self._parameters.argument(name, self.device)
        order = self._executable.free_inputs
        return dict(zip(order, self._inputs.in_order(arrays, order)))
