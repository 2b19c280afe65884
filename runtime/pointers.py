"""Kernel arguments for memory by its address.

In: addresses. Out: what kernels take for them. Allocators hand out the same few addresses again and again, so that
arguments made once serve most calls. They hold no memory: that is the caller's until the kernel is done.
"""

from __future__ import annotations

import ctypes
from typing import Any

from .drivers import load_pyopencl

MOST = 256


class Pointers(dict[int, Any]):
    """Arguments by address, made when first asked for."""

    def __missing__(self, address: int) -> Any:
        if len(self) >= MOST:
            self.clear()
        # A kernel's argument has no size: one byte stands for all.
        found = self[address] = load_pyopencl().SVM(ctypes.c_char.from_address(address))
        return found
