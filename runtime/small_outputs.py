"""Memory of small results, used again where nobody can see it any more.

In: the shape and dtype of an output that a plan makes in each run. Out: a new array in each, and what kernels take for
it. Making such an array and its kernel argument costs as much as a small kernel, so a plan keeps a few blocks of memory
for each output. An array that a user holds, a view of it, or a tensor over it holds a reference to its block, and a
block is taken again only when there is no reference but the plan's own: nothing that a user holds ever changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from sys import getrefcount
from typing import Any

import numpy as np

from ..ir.target import KIB
from .memory import ALIGNMENT, address_of

LARGEST = 16 * KIB
"""Bytes: above that the pool's way is a small part of a run, and blocks at rest would add up."""
MOST_BLOCKS = 3
"""Results of two calls that a loop holds while it makes the next."""
COUNTS_REFERENCES = hasattr(sys, "getrefcount") and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Without a global lock other threads may be about to take a reference while we count."""


class _Block:
    """Memory for one array, what kernels take for it, and how many references there are while nobody uses it."""

    __slots__ = ("alone", "memory", "start", "value", "window")

    def __init__(self, nbytes: int, pointer: Callable[[np.ndarray], Any]) -> None:
        self.memory = np.empty(nbytes + ALIGNMENT, np.uint8)
        self.start = -address_of(self.memory) % ALIGNMENT
        self.window = self.memory[self.start : self.start + nbytes]
        self.value = pointer(self.window)
        self.alone = getrefcount(self.memory)


class SmallOutput:
    """The arrays of one output of one plan, for one thread."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, nbytes: int, pointer: Callable[[np.ndarray], Any]):
        self._shape, self._dtype, self._nbytes, self._pointer = shape, dtype, nbytes, pointer
        self._blocks: list[_Block] = []

    def take(self) -> tuple[np.ndarray, Any]:
        """A new array, aligned, whose contents are whatever was there before; and its kernel argument."""
        for block in self._blocks:
            if getrefcount(block.memory) == block.alone:
                return np.ndarray(self._shape, self._dtype, block.memory, block.start), block.value
        block = _Block(self._nbytes, self._pointer)
        if len(self._blocks) < MOST_BLOCKS:
            self._blocks.append(block)
        return np.ndarray(self._shape, self._dtype, block.memory, block.start), block.value
