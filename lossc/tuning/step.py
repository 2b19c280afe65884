"""Training steps that choose by measurement, at the first batch with sizes of a class.

In: what `Step` takes. Out: the same step. Loss and gradients are tuned, on that batch; nothing is updated meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument
from lossc.training.step import Step

from .choices import Choices


class TunedStep(Step):
    """`explain()` tells of the sizes of the last batch."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._choices = Choices(self._ready, self.device, self._executable_of)

    def _executable_for(self, arrays: Mapping[str, np.ndarray | Argument]) -> Executable:
        order = self._executable.free_inputs
        self._ready, executable = self._choices.of(
            arrays, lambda: {**dict(zip(order, self._inputs.in_order(arrays, order))), **self._live}
        )
        return executable
