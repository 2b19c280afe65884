"""Compiled functions that choose by measurement, at the first call with sizes of a class.

In: what `CompiledFunction` takes. Out: the same function. The first call with sizes between other powers of two takes
up to two seconds longer, unless an earlier process has left what it found on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import nullcontext
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
        self._choices = Choices(self._ready, self.device, self._executable_of)
        # Held while a choice is in place: a run of other sizes would put its own there.
        self._running = threading.RLock()

    def run(
        self, inputs: Mapping[str, Any], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None, device_results: bool = False,
    ) -> Result:  # fmt: skip
        # In this order: a step holds the parameters when an optimizer's learning rate looks at a prediction.
        parameters = self._parameters.lock if self._of_store else nullcontext()
        with parameters, self._running:
            return super().run(inputs, out, sizes, device_results)

    def _executable_for(
        self, arrays: Mapping[str, np.ndarray | Argument], sizes: Mapping[str, int] | None
    ) -> Executable:  # fmt: skip
        order = self._executable.free_inputs
        ready, executable = self._choices.of(
            arrays, lambda: dict(zip(order, self._inputs.in_order(arrays, order))), sizes
        )
        if executable is not self._executable:
            # What a run that goes on has to say is said here, not lost.
            self._executable.settle()
            self._ready, self._executable = ready, executable
        return executable

    def _executable_of(self, program: Program, sources: Mapping[str, str], options: str) -> Executable:
        return Executable(program, self.device, sources, options)
