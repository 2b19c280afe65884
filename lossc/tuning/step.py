"""Training steps that choose by measurement, at the first batch with sizes of a class.

In: what `Step` takes. Out: the same step. Loss and gradients are tuned, on that batch; nothing is updated meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossc.compiler import Compiled
from lossc.ir.shapes import bind_dimensions
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument
from lossc.training.step import Step

from .tuner import tune


class TunedStep(Step):
    """`explain()` tells of the sizes of the last batch."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._untuned = self.compiled
        self._of_class: dict[tuple[tuple[str, int], ...], tuple[Compiled, Executable]] = {}

    def _executable_for(self, arrays: Mapping[str, np.ndarray | Argument]) -> Executable:
        program = self._untuned.program
        given = {**arrays, **self._live}
        bound = bind_dimensions(program.inputs, {name: given[name].shape for name, _ in program.inputs})
        group = tuple(sorted((name, size.bit_length()) for name, size in bound.items()))
        if group not in self._of_class:
            compiled = tune(self._untuned, self.device, [given[name] for name, _ in program.inputs], bound)
            executable = Executable(
                compiled.program, self.device, compiled.sources(), compiled.build_options, self._live, self._written
            )
            self._of_class[group] = (compiled, executable)
        self.compiled, executable = self._of_class[group]
        return executable
