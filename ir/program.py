"""A program: kernels, buffers, and the steps that launch them. Plain data between compiler and runtime.

Sizes, launch geometry and guards are scalar expressions (`kernel.Expr`) over dimension names, so that one program
serves every batch size. A step holds variants: the first whose guard is true is launched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .kernel import Expr, Kernel
from .types import DimLike, Type

# The value of a status word while its check holds: larger than any position.
CHECK_HOLDS = 2**31 - 1


@dataclass(frozen=True)
class Buffer:
    """`role` is input, output, temporary or status. `size` counts elements. A buffer with `alias_of` is the same
    memory under another shape."""

    name: str
    dtype: str
    size: Expr
    role: str
    shape: tuple[DimLike, ...] | None = None
    alias_of: str | None = None


@dataclass(frozen=True)
class Launch:
    """One kernel with its buffers in the order of its arguments and its scalars by name."""

    kernel: Kernel
    buffers: tuple[str, ...]
    scalars: Mapping[str, Expr]
    global_size: Expr


@dataclass(frozen=True)
class Variant:
    """Launches in order, taken where `guard` holds (None: always). `strategy` says how they came about."""

    strategy: str
    launches: tuple[Launch, ...]
    guard: Expr | None = None
    temporaries: tuple[Buffer, ...] = ()


@dataclass(frozen=True)
class Step:
    """One fused kernel of the outlined module, in all its variants; the last one has no guard."""

    name: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Check:
    """One run-time check: word `slot` of the status buffer holds the first position that fails."""

    slot: int
    attributes: Mapping[str, Any]
    shape: tuple[DimLike, ...]
    value_buffer: str | None


@dataclass(frozen=True)
class Program:
    """Everything the runtime needs. `inputs` and `outputs` pair names with types, in order; `dims` are the names
    that the shapes of the inputs bind."""

    name: str
    inputs: tuple[tuple[str, Type], ...]
    outputs: tuple[tuple[str, Type], ...]
    buffers: Mapping[str, Buffer]
    steps: tuple[Step, ...]
    checks: tuple[Check, ...] = ()
    output_buffers: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    params: tuple[str, ...] = ()

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel of every variant, without repetition."""
        launches = (launch for step in self.steps for variant in step.variants for launch in variant.launches)
        return tuple({launch.kernel.name: launch.kernel for launch in launches}.values())
