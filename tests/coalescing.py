"""How the work-items of a warp read and write global memory, seen in the simulator.

In: a program and arrays. Out: for each buffer the bytes that warps asked for and the bytes of the 32-byte sectors which
that touched: where neighbours take neighbouring elements the two are the same. What a warp reads of one place counts
for nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

from lossc.ir.program import Program
from lossc.ir.types import ITEM_SIZE
from lossc.runtime import simulated_memory
from lossc.runtime.simulate import simulate
from lossc.runtime.simulated_memory import Mask, Memory

WARP = 32
SECTOR = 32


@dataclass
class Traffic:
    """By buffer: distinct bytes wanted by the warps, access by access, and bytes of the sectors they lie in."""

    wanted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    touched: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def note(self, memory: Memory, index: np.ndarray, width: int, mask: Mask) -> None:
        """One load or store of all items."""
        size = ITEM_SIZE[memory.dtype]
        places = index if index.ndim == 2 else index[:, None] + np.arange(width)
        places = np.broadcast_to(places, (memory.items.size, places.shape[1]))
        active = np.ones(memory.items.size, np.bool_) if mask.active is None else mask.active
        warps = memory.items.ids // WARP
        count = int(warps[-1]) + 1
        low, high = np.full(count, places.max(initial=0)), np.zeros(count, places.dtype)
        np.minimum.at(low, warps[active], places[active][:, 0])
        np.maximum.at(high, warps[active], places[active][:, 0])
        active = active & (low < high)[warps]
        for array, step, sizes in ((places, 1, self.wanted), (places * size // SECTOR, SECTOR, self.touched)):
            own = np.broadcast_to(warps[active][:, None], array[active].shape)
            pairs = np.unique(np.stack([own.ravel(), array[active].ravel()]), axis=1)
            sizes[memory.name] += pairs.shape[1] * (size if step == 1 else step)

    def waste(self, name: str) -> float:
        """Bytes touched for each byte wanted."""
        return self.touched[name] / self.wanted[name]


@contextmanager
def observed(traffic: Traffic) -> Iterator[None]:
    """While this lasts, accesses to global memory are noted."""
    load, store = Memory.load, Memory.store

    def noted_load(self: Memory, index: np.ndarray, width: int, mask: Mask, *rest: Any) -> np.ndarray:
        if self.base is None:
            traffic.note(self, index, width, mask)
        return load(self, index, width, mask, *rest)

    def noted_store(self: Memory, index: np.ndarray, value: np.ndarray, width: int, mask: Mask, *rest: Any) -> None:
        if self.base is None:
            traffic.note(self, index, width, mask)
        store(self, index, value, width, mask, *rest)

    changes = {"load": noted_load, "store": noted_store}
    with mock.patch.multiple(simulated_memory.Memory, **changes):
        yield


def traffic_of(program: Program, arrays: Mapping[str, np.ndarray]) -> Traffic:
    """What the launches of a program do with global memory."""
    traffic = Traffic()
    with observed(traffic):
        simulate(program, arrays)
    return traffic
