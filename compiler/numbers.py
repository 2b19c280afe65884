"""Numbers as the types of tensors hold them."""

from __future__ import annotations

import numpy as np

from ..ir.types import is_float, numpy_dtype

Number = float | int | bool


def round_to(number: Number, dtype: str) -> Number:
    """`number` as `dtype` holds it, written with as few digits as tell it apart from its neighbours."""
    if not is_float(dtype):
        return bool(number) if dtype == "bool" else int(number)
    if dtype == "f64":
        return float(number)
    with np.errstate(over="ignore"):
        if dtype == "bf16":
            return _round_to_bf16(float(number))
        rounded = numpy_dtype(dtype).type(number)
    return float(number) if float(rounded) == number else float(str(rounded))


def _round_to_bf16(number: float) -> float:
    # Half to even on the upper 16 bits of the f32.
    if not np.isfinite(number):
        return number
    bits = int(np.float32(number).view(np.uint32))
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return float(np.uint32(bits).view(np.float32))
