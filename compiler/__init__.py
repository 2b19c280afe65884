"""What is done to programs: passes over modules, cutting into fused kernels, schedules, strategies, OpenCL C.

module --passes--> prepared --outline--> fused kernels --strategies--> program --opencl--> source

From a module to one that is prepared:

    compiled      compile_module: all of this, and what every level is
    gradient      asking for gradients; lints: warnings about what is probably not meant
    pipeline      which passes run, in which order
    passes/       one file a pass
    rewrite       rules of local rewrites and the function that they rebuild; functions: what passes ask and change
    ranges        between which numbers values lie; intervals: the arithmetic of that
    demanded_bits  where a last bit decides; max_shift: x - max(x), as softmax has it in an exponent
    numbers       what operations make of known numbers

From there to fused kernels, and how each is lowered:

    fusion/       what becomes one kernel: groups of operations, and the schedule of each
    ancestors     what values are computed from; costs: what operations cost beside each other
    fused         a fused kernel as strategies see it
    strategies/   one file a strategy; decisions: what somebody who measured wants instead
    rows/         what strategies over rows share; work_groups/: what those for GPUs share
    product       matrix products; tiling, tiles: blocks of one that fit; dots: a few rows by a matrix
    emission/     tensor values as kernel expressions
    overwriting   whether results may lie where operands lie

From lowered kernels to a program, and what is launched together:

    lower         chooses strategies, lays out buffers, makes the steps
    pieces        steps of a function that is repeated for some rows at a time
    single_item   one work-item that does everything, for small sizes
    block_by_block  all steps for some rows, then for the next; row_by_row: whether; computed_early: what once a block
    side_by_side  neighbouring steps in one launch; guards: which of their variants can hold together
    joining       kernels put together as one; substitution: their statements with other parts
    checks/       the rules of kernels and programs
    opencl/       kernels as OpenCL C
    reports/      what a program does, in numbers
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compiled import Compiled, compile_module

__all__ = ["Compiled", "compile_module"]


def __getattr__(name: str) -> Any:
    # A program that is found on disk needs nothing of the compiler but its name.
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.compiled"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
