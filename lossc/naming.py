"""Names and shapes as users write them in Python.

In: strings, numbers, None. Out: names that LIR text can hold, and shapes of the IR; or LirError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lossc.ir.diagnostics import LirError
from lossc.ir.types import DimLike, multiply_dims, named
from lossc.ir.verify import LONGEST_NAME

Dimension = int | str | None

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_FACTOR = re.compile(r"([0-9]+|[A-Za-z_][A-Za-z0-9_]*)\Z")


def check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise LirError(f"{type(name).__name__} is not a name: names are strings", code="LIR0048")
    if not _NAME.match(name) or len(name) > LONGEST_NAME:
        raise LirError(f"{name!r} is not a name",
                       "names consist of letters, digits, `_` and `.`, and begin with a letter or `_`",
                       code="LIR0048")  # fmt: skip


def as_shape(shape: Sequence[Dimension] | Dimension) -> tuple[DimLike, ...]:
    if shape is None or isinstance(shape, (int, str)):
        shape = (shape,)
    return tuple(_dimension(axis, size) for axis, size in enumerate(shape))


def _dimension(axis: int, size: Any) -> DimLike:
    if size is None:
        return named(f"D{axis}" if axis else "B")
    if isinstance(size, str):
        factors = [factor.strip() for factor in size.split("*")]
        if not all(map(_FACTOR.match, factors)):
            raise LirError(f"{size!r} is not a dimension", 'a dimension is a number, a name or a product: "4*B"',
                           code="LIR0034")  # fmt: skip
        return multiply_dims([int(factor) if factor.isdigit() else named(factor) for factor in factors])
    if isinstance(size, (int, np.integer)) and not isinstance(size, bool):
        return int(size)
    return size
