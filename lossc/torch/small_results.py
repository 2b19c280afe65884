"""Small results: tensors over memory that is used again where nobody can see it any more.

In: the shape and element type of a result. Out: new tensors, aligned as kernels want them. To have torch allocate one
takes longer than a small kernel, so a plan keeps a few blocks for each of its results. A tensor, its views, arrays and
storages over it all count as uses of the block's storage, and a block is taken again only where there is no use but its
own: nothing that a user holds ever changes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from sys import getrefcount
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, UntypedStorage

from lossc.runtime.memory import POOL
from lossc.runtime.small_outputs import MOST_BLOCKS
from lossc.torch.tensors import storage_uses


class _Block(NamedTuple):
    """`base` is handed to nobody. `uses` and `references` are those of its storage while that is so, by tensors and
    by whoever has asked for the storage itself; its `number` is what torch knows it by."""

    base: Tensor
    address: int
    storage: UntypedStorage
    number: int
    uses: int
    references: int


class SmallResults(threading.local):
    """The tensors of all results of one plan, each thread's own."""

    def __init__(self, results: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> None:
        self._results = results
        self._blocks: list[list[_Block]] = [[] for _ in results]

    def take(self) -> tuple[list[Tensor], list[int]]:
        """A new tensor for each, whose contents are whatever was there before, and where they lie."""
        tensors: list[Tensor] = []
        addresses: list[int] = []
        for place, blocks in enumerate(self._blocks):
            for base, address, storage, number, uses, references in blocks:
                # What was moved into memory shared with other processes, whose uses nobody counts, lies elsewhere.
                if storage_uses(number) == uses and getrefcount(storage) == references and base.data_ptr() == address:
                    # A tensor of its own over the same memory: with its own version, history and attributes.
                    tensor = base.data
                    # A signal handler may have taken one in the meantime.
                    if storage_uses(number) == uses + 1:
                        break
            else:
                if len(blocks) < MOST_BLOCKS:
                    base, address, *_ = self._new_block(place)
                    tensor = base.data
                else:
                    # Nobody is to use it again: an eighth of the time.
                    shape, dtype = self._results[place]
                    tensor = torch.empty(shape, dtype=dtype)
                    address = tensor.data_ptr()
            tensors.append(tensor)
            addresses.append(address)
        return tensors, addresses

    def _new_block(self, place: int) -> _Block:
        shape, dtype = self._results[place]
        memory = POOL.empty((math.prod(shape) * dtype.itemsize,), np.dtype(np.uint8))
        # Memory of NumPy cannot be resized in place: the block stays as large as it is.
        with torch.inference_mode(False):
            base = torch.from_numpy(memory).view(dtype).view(shape)
        storage = base.untyped_storage()
        block = _Block(base, base.data_ptr(), storage, storage._cdata, storage_uses(storage._cdata), 0)
        # As in the loop of `take`: of these one is the block's, one the variable's.
        block = block._replace(references=getrefcount(storage))
        self._blocks[place].append(block)
        return block
