"""Memory of small results, used again where nobody can see it any more.

In: the shape and dtype of an output that a plan makes in each run. Out: a new array in each, and where it lies. Making
such an array and its kernel argument costs as much as a small kernel, so a plan keeps a few blocks of memory for each
output, and kernels the arguments that they had. An array that a user holds, a view of it, or a tensor over it holds a
reference to its block, and a block is taken again only when there is no reference but the plan's own: nothing that a
user holds ever changes.
"""

from __future__ import annotations

import math
import sys
from sys import getrefcount

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
    """Memory for one array, where that begins, and how many references there are while nobody uses it."""

    __slots__ = ("address", "alone", "memory", "start")

    def __init__(self, nbytes: int) -> None:
        self.memory = np.empty(nbytes + ALIGNMENT, np.uint8)
        self.start = -address_of(self.memory) % ALIGNMENT
        self.address = address_of(self.memory) + self.start
        self.alone = getrefcount(self.memory)


class SmallOutput:
    """The arrays of one output of one plan, for one thread."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._shape, self._dtype, self._nbytes = shape, dtype, math.prod(shape) * dtype.itemsize
        self._blocks: list[_Block] = []

    def take(self) -> tuple[np.ndarray, int]:
        """A new array, aligned, whose contents are whatever was there before; and its address."""
        for block in self._blocks:
            if getrefcount(block.memory) == block.alone:
                array = np.ndarray(self._shape, self._dtype, block.memory, block.start)
                # A signal handler may have taken one in the meantime.
                if getrefcount(block.memory) == block.alone + 1:
                    return array, block.address
        block = _Block(self._nbytes)
        if len(self._blocks) < MOST_BLOCKS:
            self._blocks.append(block)
        return np.ndarray(self._shape, self._dtype, block.memory, block.start), block.address
