"""What a failed check keeps from happening: an error in a batch changes no parameter, and no sum of gradients.

In: the status words of the run that makes the gradients, in the device's memory. Out: a condition over them, as LIR:
what is launched after that run, before anybody has looked whether it failed, puts back what was there before.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from lossc.ir.builder import Builder
from lossc.ir.program import CHECK_HOLDS, Program
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type
from lossc.runtime.device import Device
from lossc.runtime.memory import argument_for
from lossc.runtime.status import StatusWords

GRADIENT_STATUS = "gradients.status"
"""The input that holds them. No name of an optimizer's has a dot."""


def status_words(program: Program, device: Device) -> StatusWords | None:
    """The status words of a program, in memory of their own; None where it checks nothing."""
    if not program.checks:
        return None
    return StatusWords(device, argument_for(device, np.zeros(len(program.checks), np.int32), "readwrite"))


class Guard:
    """The input `gradients.status` of a function under construction. Without any checks everything holds."""

    def __init__(self, build: Builder, checks: int) -> None:
        self._holds: Tensor | None = None
        if checks:
            words = Tensor(build.input(GRADIENT_STATUS, Type("i32", (checks,))), build)
            # Word by word: a reduction over them would be a launch of its own before each that looks at them.
            places = [Tensor(build.constant(place, "i32"), build) for place in range(checks)]
            self._holds = reduce(Tensor.__and__, [words.gather(place, 0) == CHECK_HOLDS for place in places])

    def __call__(self, new: Tensor, old: Tensor) -> Tensor:
        """`new` where all checks hold, else `old`."""
        return new if self._holds is None else self._holds.select(new, old)
