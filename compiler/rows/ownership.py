"""How many work-items take the rows, which rows are an item's own, and where a row lies.

In: how many rows there are, or blocks of rows. Out: the size of a launch, a share of neighbouring rows for each of its
work-items, and the coordinates of a row from its number.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, ceil_div, div, integer, maximum, minimum, mul
from ...ir.frozen import frozen
from ...ir.kernel import Expr, WorkItem
from ...ir.target import DeviceInfo
from ...ir.types import DimLike
from ..emission.emit import Emitter, Scope
from ..emission.points import Point, delinearized, size_of
from ..fused import work_item

ITEM_ELEMENTS = 16384
"""Elements an item has at least, in as many rows as that takes."""
ITEMS_A_CORE = 4
"""Work-items for each core, where there are rows enough."""
ROWS_AHEAD = 8
"""Rows an item has at least where there are many: so that the next row can be fetched while one is computed."""


def items_for(
    rows: Expr, columns: DimLike, device: DeviceInfo, least: int = ROWS_AHEAD, elements: int = ITEM_ELEMENTS
) -> Expr:  # fmt: skip
    """Work-items: each has rows enough to be worth a launch (`least` where there are many), and there are enough of
    them for every core."""
    wanted = maximum(integer(least), div(integer(elements), maximum(integer(1), size_of(columns))))
    spread = maximum(integer(1), div(rows, integer(ITEMS_A_CORE * device.compute_units)))
    return maximum(integer(1), ceil_div(rows, minimum(wanted, spread)))


@frozen
class Share:
    """What work-item number `item` takes one after the other: `first` to `end` (exclusive)."""

    item: Expr
    first: Expr
    end: Expr


def own_share(emitter: Emitter, scope: Scope, count: Expr, what: str = "rows", together: int = 1) -> Share:
    """A work-item's share of `count` rows, or of `what` else there are so many. A share begins with a multiple of
    `together`."""
    item = work_item(emitter, scope, "global_id")
    total = emitter.let(scope, what, count)
    each = ceil_div(total, WorkItem("global_size"))
    if together > 1:
        each = mul(ceil_div(each, integer(together)), integer(together))
    each = emitter.let(scope, f"{what}_per_item", each)
    first = emitter.let(scope, "first", mul(item, each))
    return Share(item, first, emitter.let(scope, "end", minimum(add(first, each), total)))


def point_of(emitter: Emitter, scope: Scope, row: Expr, row_axes: Sequence[int]) -> Point:
    """Where row number `row` lies along the axes of rows, outer to inner."""
    coordinates = delinearized(row, [size_of(emitter.schedule.axes[a]) for a in row_axes])
    return {a: emitter.let(scope, "row_at", coordinate) for a, coordinate in zip(row_axes, coordinates)}
