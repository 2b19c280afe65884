"""What kernels that do a block of rows one after the other compute once a block, in arrays of their own.

In: the kernels in their order. Out: for each its values that are dear and the same in every turn of a loop, with the
private array of each: those that it fills, before its loops, and those that a kernel before it has filled, by the same
operations on the same buffers. With pairs of what a row has, one kernel goes by the columns where another goes by rows:
both look up the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ir.frozen import frozen
from ..ir.function import Op, Value
from ..ir.program import Buffer
from .ancestors import source
from .costs import COSTLY
from .fused import Fused
from .row_by_row import ends_of_rows, row_axis
from .rows.ends import end_of_columns


@dataclass
class Early:
    """The values of a kernel with their arrays: what it `fills`, the whole columns of that, and what it `finds` in its
    columns, or in its rows (`of_rows`)."""

    fills: dict[Value, str] = field(default_factory=dict)
    finds: dict[Value, str] = field(default_factory=dict)
    of_rows: dict[Value, str] = field(default_factory=dict)


@frozen
class _Filled:
    """An array, and the buffer that says how far it is filled; None: to its end."""

    array: str
    below: str | None


def end_of_pass(kernel: Fused) -> Value | None:
    """The value of a block's rows that says where the loop along the columns may end, if there is one."""
    (stage,) = kernel.stages
    only_reduces = stage.targets == [op.operands[0] for op in stage.reductions]
    end = end_of_columns(kernel.schedule, stage.reductions) if only_reduces else None
    return end if end is not None and kernel.schedule.varies[end] <= {row_axis(kernel)} else None


def computed_early(
    kernels: Sequence[Fused], buffers: Mapping[str, Buffer], name_of: Callable[[Value], str]
) -> dict[str, Early]:
    """The early values of each kernel, by its name. `name_of` gives the name of a new array."""
    numbers: dict[Any, int] = {}
    filled: dict[int, _Filled] = {}
    found = {kernel.name: Early() for kernel in kernels}
    for position, kernel in enumerate(kernels):
        early, schedule = found[kernel.name], kernel.schedule
        if len(schedule.rows) == 1:
            continue
        number = _numbered(kernel, numbers)
        end = end_of_pass(kernel)
        below = None if end is None else kernel.buffers.get(source(end, schedule.function.producers()))
        of_columns, of_rows = schedule.reduced | {row_axis(kernel)}, (row_axis(kernel), schedule.rows[-1])
        ends = [*ends_of_rows(kernels, position, buffers)]
        rows_below = ends[0] if len(ends) == 1 else None
        for op in schedule.function.ops:
            value = op.result if len(op.results) == 1 else None
            if value is None or not _is_dear(op):
                continue
            known = filled.get(number[value])
            if schedule.varies[value] == of_columns:
                if known is not None and known.below in (None, below):
                    early.finds[value] = known.array
                    continue
                early.fills[value] = name_of(value)
                if value.type.rank == 2 and (end is None or below is not None):
                    filled.setdefault(number[value], _Filled(early.fills[value], below))
            elif known is None or len(schedule.rows) > 2 or schedule.where[value] != of_rows:
                continue
            elif known.below in (None, rows_below):
                early.of_rows[value] = known.array
    return found


def _is_dear(op: Op) -> bool:
    return (op.name == "gather" or op.name in COSTLY) and op.result.type.dtype != "bool"


def _numbered(kernel: Fused, numbers: dict[Any, int]) -> dict[Value, int]:
    """Each value's number: the same for the same operations on the same buffers, whichever kernel does them."""
    function = kernel.schedule.function
    found = {value: numbers.setdefault(kernel.buffers[value], len(numbers)) for value in function.inputs}
    for op in function.ops:
        attributes = tuple((name, repr(value)) for name, value in sorted(op.attributes.items()))
        operands = tuple(found[operand] for operand in op.operands)
        for place, result in enumerate(op.results):
            found[result] = numbers.setdefault((op.name, attributes, operands, place), len(numbers))
    return found
