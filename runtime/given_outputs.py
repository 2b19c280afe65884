"""Arrays that a user gives for outputs: `out={"loss": array}`.

In: such a dictionary, the outputs that a plan has, the memory of the inputs. Out: the arrays by output, each of which a
kernel can write: of the output's shape and dtype, aligned, and memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..ir.diagnostics import LirError, did_you_mean
from .memory import ALIGNMENT, address_of
from .plan import PlannedOutput


def checked_outputs(
    out: Any, known: Mapping[str, PlannedOutput], inputs: Iterable[tuple[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], list[int]]:
    """What `out` gives, by output name, and where the inputs and then these begin. Raises LirError where a kernel could
    not write it, or would write over an input or another output."""
    if type(out) is not dict and not isinstance(out, Mapping):
        raise LirError(f"out is a dictionary of arrays by output name, found {type(out).__name__}",
                       f"the outputs are {', '.join(known)}")  # fmt: skip
    taken: list[tuple[str, int, int]] = []
    starts: list[int] = []
    for name, array in inputs:
        starts.append(start := address_of(array))
        taken.append((name, start, start + array.nbytes))
    given: dict[str, np.ndarray] = {}
    for name, array in out.items():
        output = known.get(name)
        if output is None:
            raise LirError(f"out[{name!r}] is no output", *did_you_mean(name, known),
                           f"the outputs are {', '.join(known)}")  # fmt: skip
        if not isinstance(array, np.ndarray):
            raise LirError(f"out[{name!r}] must be a NumPy array, found {type(array).__name__}",
                           "lossc.empty(shape, dtype) gives one that kernels can write")  # fmt: skip
        if array.shape != output.shape or array.dtype != output.dtype:
            raise LirError(f"out[{name!r}] must be {output.dtype}{list(output.shape)}, "
                           f"found {array.dtype}{list(array.shape)}")  # fmt: skip
        flags = array.flags
        start = address_of(array) if flags.c_contiguous else 0
        starts.append(start)
        end = start + array.nbytes
        if not (flags.c_contiguous and flags.writeable) or (start % ALIGNMENT and start != end):
            raise LirError(f"out[{name!r}] must be writable, C-contiguous and 64-byte aligned",
                           "lossc.empty(shape, dtype) gives such an array")  # fmt: skip
        for other, first, last in taken:
            if start < last and first < end:
                raise LirError(f"out[{name!r}] overlaps `{other}`", "results need memory of their own")
        taken.append((name, start, end))
        given[name] = array
    return given, starts
