"""How wide vectors are, and when stores may go past the cache."""

from __future__ import annotations

from ...ir.arithmetic import at_least
from ...ir.kernel import Expr, register_dtype
from ...ir.schedule import Schedule
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE, DimLike, multiply_dims
from ..costs import cost_of
from .points import product

STREAM_BYTES = 8 * 2**20
"""Gradients from this size on are stored past the cache: smaller ones are read again before they leave it."""
LIGHT = 1000
"""Multiply-adds of an element up to which its stores may decide: moving a vector takes some 30 cycles. A kernel of more
work has no variant for them, which would take as long to compile as the others."""


def vector_width(schedule: Schedule, device: DeviceInfo, columns: DimLike | None = None) -> int:
    """Lanes of an explicit vector; fewer where rows are known to be shorter than that."""
    values = [*schedule.function.inputs, *(result for op in schedule.function.ops for result in op.results)]
    double = any(register_dtype(value.type.dtype) == "f64" for value in values)
    width = max(1, device.vector_width // (2 if double else 1))
    return width if columns is None else narrowed(width, columns)


def narrowed(width: int, size: DimLike) -> int:
    """So many lanes, halved until they are no more than a size that is known."""
    while isinstance(size, int) and width > max(1, size):
        width //= 2
    return width


def _nontemporal_from(schedule: Schedule, device: DeviceInfo, width: int, column: int, pitch: DimLike) -> int | None:
    """From how many stored elements on stores go past the cache; None where an address may be misaligned.

    Every vector must start on a line or half a line, and lines must be filled by vectors that follow each other:
    outputs are aligned, so are rows whose pitch is a multiple of a line.
    """
    # What lies in windows begins anywhere.
    outputs = [value for value in schedule.element_outputs if value not in schedule.parts]
    if not device.nontemporal_stores or not outputs or width == 1 or sum(map(cost_of, schedule.function.ops)) > LIGHT:
        return None
    for value in outputs:
        order = [axis for axis in schedule.where[value] if axis is not None]
        # Rows follow each other in memory as they do in the domain, and columns lie side by side.
        if list(dict.fromkeys(order)) != sorted(schedule.looped) or order[-1:] != [column]:
            return None
        item = ITEM_SIZE[value.type.dtype]
        if value.type.dtype == "bool" or width * item not in (device.cache_line, device.cache_line // 2):
            return None
        # Half a line at the end of a row would wait for the next row's half.
        length = schedule.axes[column] if len(order) > 1 and width * item < device.cache_line else 0
        if not all(isinstance(size, int) and size * item % device.cache_line == 0 for size in (pitch, length)):
            return None
    return STREAM_BYTES // ITEM_SIZE[outputs[0].type.dtype]


def elements_of(schedule: Schedule) -> Expr:
    """How many points the loops of a kernel have."""
    return product(schedule.axes[axis] for axis in sorted(schedule.looped))


def past_cache(schedule: Schedule, device: DeviceInfo, width: int, column: int, pitch: DimLike) -> Expr | None:
    """The condition that stores are to go past the cache; None where they never may."""
    threshold = _nontemporal_from(schedule, device, width, column, pitch)
    return None if threshold is None else at_least(elements_of(schedule), threshold)


def static_size(sizes: tuple[DimLike, ...]) -> int | None:
    """The product of sizes that are all known."""
    total = multiply_dims(sizes)
    return total if isinstance(total, int) else None
