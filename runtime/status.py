"""What the checks of a program say, in memory that kernels write.

In: memory for a word a check. Out: the words when the kernels are done, and all as they were before the next run.
"""

from __future__ import annotations

from ..ir.program import CHECK_HOLDS
from .device import Device
from .memory import Argument, fetch, send


class StatusWords:
    """Only a check that fails changes its word. All plans that write to one memory share this."""

    __slots__ = ("_all_hold", "_device", "_holding", "memory")

    def __init__(self, device: Device, memory: Argument) -> None:
        self.memory = memory
        self._device = device
        self._holding = [CHECK_HOLDS] * memory.array.size
        self._all_hold = False

    def begin(self) -> None:
        """Before a run: one that was broken off, whose words nobody has read, may have left a failure."""
        if not self._all_hold:
            self.reset()
        self._all_hold = False

    def failed(self) -> list[int] | None:
        """When the kernels are done: all words, or None where every check holds."""
        memory = self.memory
        words = (fetch(self._device, memory) if memory.copied else memory.array).tolist()
        if words == self._holding:
            self._all_hold = True
            return None
        return words

    def reset(self) -> None:
        """Have every check hold."""
        self.memory.array[...] = CHECK_HOLDS
        send(self._device, self.memory)
        self._all_hold = True
