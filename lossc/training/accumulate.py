"""Gradients added up over several batches, in an arena of their own.

In: an arena that every batch writes its gradients into. Out: `Accumulator`, whose arena is the sum over the batches so
far, each times what it counts. The sums are LIR, compiled like everything else; a batch with an error adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossc.arrays import to_dtype
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.function import Module
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, named
from lossc.ready import ready_program
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument, argument_for, send
from lossc.runtime.status import StatusWords
from lossc.training.arena import Arena
from lossc.training.guard import GRADIENT_STATUS, Guard


def checked_share(share: Any) -> float:
    """What a batch counts beside others. Raises LirError unless it is a positive number."""
    if isinstance(share, bool) or not isinstance(share, (int, float, np.number)) or not 0 < share < math.inf:
        raise LirError(f"the share of a batch must be a positive number, found {share!r}")
    return float(share)


def begin(gradient: Tensor, share: Tensor) -> Tensor:
    return gradient * share


def add(gradient: Tensor, share: Tensor, total: Tensor) -> Tensor:
    return total + gradient * share


class Accumulator:
    """The sum of an arena's contents over several batches. `status` are the words of the run that writes there."""

    def __init__(self, gradients: Arena, status: StatusWords | None) -> None:
        self.total = Arena(gradients.device, gradients.dtype, gradients.segments)
        self._share = argument_for(gradients.device, np.zeros((), to_dtype(gradients.dtype)), "readwrite")
        read = {"gradient": gradients.argument, "share": self._share}
        # What a batch begins after it has failed, the next one begins again.
        self._begin = self._program(begin, read, None)
        # In place: arenas have no ragged end.
        self._add = self._program(add, {**read, "total": self.total.argument}, status)

    def _program(
        self, formula: Callable[..., Tensor], read: Mapping[str, Argument], status: StatusWords | None
    ) -> Executable:  # fmt: skip
        device, dtype, build = self.total.device, self.total.dtype, Builder()
        types = {name: Type(dtype, () if name == "share" else (named("P"),)) for name in read}
        tensors = {name: Tensor(build.input(name, type_), build) for name, type_ in types.items()}
        result = formula(**tensors)
        if status is not None:
            result = Guard(build, status.memory.array.size)(result, tensors["total"])
        function = build.function(f"accumulate_{formula.__name__}", [result.value], ("result",))
        ready = ready_program(Module({function.name: function}, function.name), device)
        if "total" in read and ("total", "result") not in ready.overwrites:
            raise CompilerBug("the sum of gradients reads what it has written over")
        read = read if status is None else {**read, GRADIENT_STATUS: status.memory}
        return Executable(ready.program, device, ready.sources, ready.options, read, {"result": self.total.argument})

    def adding(self, share: float, first: bool) -> Executable:
        """What adds the gradients times `share`, to be run after what makes them; the first batch
        replaces what was there."""
        self._share.array[()] = share
        send(self.total.device, self._share)
        return self._begin if first else self._add
