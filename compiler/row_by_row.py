"""Whether the kernels of a program go row by row, so that one launch can do all of them for some rows at a time.

In: fused kernels in their order, and the buffers of the program. Out: whether no row has to do with another; from which
row of a row's own on the other kernels make nothing of what one stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir.function import Value
from ..ir.ops import WINDOWS, read_elsewhere
from ..ir.program import Buffer
from ..ir.types import DimLike
from .ancestors import source
from .fused import Fused
from .rows.ends import end_of_reading


def row_axis(kernel: Fused) -> int:
    return kernel.schedule.rows[0]


def goes_row_by_row(kernel: Fused) -> bool:
    """Whether a kernel reduces rows of sizes that are known, each in one pass and none with a look at others."""
    schedule = kernel.schedule
    if schedule.matmul is not None or schedule.across or schedule.parts or not schedule.reduced or not schedule.rows:
        return False
    row = row_axis(kernel)
    along = {schedule.axis_of(op, value) for op in schedule.function.ops
             for value in (*read_elsewhere(op), *(op.results if op.name in WINDOWS else ()))}  # fmt: skip
    sizes = [schedule.axes[axis] for axis in schedule.looped - {row}]
    return schedule.stages == 1 and row not in along and all(isinstance(size, int) for size in sizes)


def only_rows_are_shared(kernels: Sequence[Fused], buffers: Mapping[str, Buffer]) -> bool:
    """Whether everything that the kernels store has its rows in front, and what one hands to the next is read row by
    row, in memory of one name."""
    written: set[str] = set()
    viewed = {buffer.alias_of for buffer in buffers.values()}
    for kernel in kernels:
        schedule, row = kernel.schedule, row_axis(kernel)
        for value in (*schedule.function.inputs, *schedule.function.outputs):
            buffer, own = kernel.buffers[value], schedule.where[value]
            at_the_end, handed = value in schedule.finished, buffer in written
            if buffers[buffer].alias_of is not None or buffer in viewed:
                return False
            if row in own:
                in_front = own[0] == row and own.count(row) == 1 and _known(value.type.shape[1:])
                if not in_front or value.type.dtype == "bool" or at_the_end:
                    return False
            elif handed or (value in schedule.function.outputs and not at_the_end):
                return False
        written |= {kernel.buffers[value] for value in schedule.function.outputs}
    return True


def _known(sizes: Sequence[DimLike]) -> bool:
    return all(isinstance(size, int) and size > 0 for size in sizes)


def ends_of_rows(
    kernels: Sequence[Fused], position: int, buffers: Mapping[str, Buffer]
) -> dict[str, tuple[Value, DimLike]]:
    """The buffers that say from which row on what a kernel stores is of no use to the others, each with its value there
    and how many rows there are; empty where all of it is of use, be it to the caller."""
    kernel = kernels[position]
    schedule = kernel.schedule
    if schedule.whole_reductions or schedule.checks or schedule.element_outputs:
        return {}
    axis = schedule.rows[1]
    found: dict[str, tuple[Value, DimLike]] = {}
    for output in schedule.function.outputs:
        if axis not in schedule.where[output]:
            return {}
        stored = schedule.where[output].index(axis)
        readers = [(other, value) for other in kernels for value in other.schedule.function.inputs
                   if other.buffers[value] == kernel.buffers[output]]  # fmt: skip
        if buffers[kernel.buffers[output]].role != "temporary" or not readers:
            return {}
        for other, value in readers:
            inside = other.schedule.where[value][stored]
            end = end_of_reading(other.schedule, value, inside) if inside is not None else None
            origin = source(end, other.schedule.function.producers()) if end is not None else None
            if origin is None or other.schedule.where.get(origin) != (row_axis(other),):
                return {}
            if origin not in other.schedule.function.inputs:
                return {}
            found[other.buffers[origin]] = (origin, schedule.axes[axis])
    return found
