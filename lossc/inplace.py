"""Gradients that are written over their inputs: `compile(grad=["x"], inplace="x")`.

In: the inputs as the caller holds them and as a program takes them, and the gradients. Out: the caller's own arrays
with the gradients in them, or LirError before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device
from lossc.runtime.memory import Argument, copy


def check_overwritable(given: Mapping[str, Any], arrays: Mapping[str, np.ndarray | Argument]) -> None:
    """Raise LirError where gradients cannot be written over these inputs: `given` are those of the caller, `arrays`
    what the program takes of them."""
    for name, array in arrays.items():
        own = array.array if isinstance(array, Argument) else array
        if own is not given.get(name):
            found = "nothing" if given.get(name) is None else "an array that has to be converted or copied"
            raise LirError(f"the gradient is to be written over `{name}`, found {found}",
                           "pass an array of the declared dtype, in one piece")  # fmt: skip
        if isinstance(own, np.ndarray) and not own.flags.writeable:
            raise LirError(f"the gradient is to be written over `{name}`, found a read-only array")
    for (one, first), (other, second) in combinations(arrays.items(), 2):
        if _overlap(first, second):
            raise LirError(f"gradients are to be written over `{one}` and `{other}`, which overlap",
                           "each needs memory of its own: pass a copy of one of them")  # fmt: skip


def _overlap(one: np.ndarray | Argument, other: np.ndarray | Argument) -> bool:
    """Whether two arrays, each in one piece, have elements in common."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.may_share_memory(one, other)
    if one.array.size == 0 or other.array.size == 0:
        return False
    from lossc.runtime.device_arrays import range_of

    (memory, start, end), (same, first, last) = range_of(one.array), range_of(other.array)
    return memory == same and start < last and first < end


def overwrite(device: Device, target: np.ndarray | Argument, gradient: Any) -> Any:
    """The input's own array, with the gradient in it."""
    if isinstance(target, np.ndarray):
        target[...] = gradient if isinstance(gradient, np.ndarray) else gradient.get()
        return target
    on_host = isinstance(gradient, np.ndarray)
    source = Argument(None, gradient) if on_host else Argument(gradient.base_data, gradient, copied=True)
    copy(device, source, target)
    return target.array
