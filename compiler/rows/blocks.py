"""Blocks of rows: one vector of rows that lie side by side, or several, each lane its own row.

In: a schedule whose innermost row axis is the one that vectors run along. Out: how many blocks there are, the point and
the lanes of each vector of one, and what its rows give in the end. The last block of a line overlaps the one before,
and counts only its own lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, ceil_div, integer, minimum, mul, sub
from ...ir.frozen import frozen
from ...ir.kernel import Apply, Expr
from ...ir.schedule import Schedule
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, Point, delinearized, lanes_where, product, size_of
from ..emission.reductions import Accumulators, accumulate
from .stages import Stage


@frozen
class Block:
    """One vector of rows. `fresh` are the lanes that no block before has counted; None: all of them. `number` is that
    of the first row."""

    point: Point
    number: Expr
    width: int
    fresh: Expr | None


def lane_axis(schedule: Schedule) -> int:
    """The row axis that vectors run along: the innermost."""
    return schedule.rows[-1]


def lines(schedule: Schedule) -> tuple[int, ...]:
    """The other row axes, outer to inner."""
    return schedule.rows[:-1]


def block_count(schedule: Schedule, lanes: int) -> Expr:
    per_line = ceil_div(size_of(schedule.axes[lane_axis(schedule)]), integer(lanes))
    return mul(product(schedule.axes[a] for a in lines(schedule)), per_line)


def block_at(emitter: Emitter, scope: Scope, number: Expr, width: int) -> Block:
    """The block with that number, of one vector."""
    return vectors_at(emitter, scope, number, width, 1)[0]


def vectors_at(emitter: Emitter, scope: Scope, number: Expr, width: int, count: int) -> list[Block]:
    """The `count` vectors of the block with that number."""
    schedule = emitter.schedule
    size = schedule.axes[lane_axis(schedule)]
    rows, lanes = size_of(size), width * count
    per_line = ceil_div(rows, integer(lanes))
    line = emitter.let(scope, "line", Apply("div", (number, per_line), "i64"))
    wanted = emitter.let(scope, "wanted", mul(Apply("mod", (number, per_line), "i64"), integer(lanes)))
    overlaps = not isinstance(size, int) or size % lanes != 0
    base = emitter.let(scope, "base", minimum(wanted, sub(rows, integer(lanes)))) if overlaps else wanted
    outer = lines(schedule)
    around: dict[int, Expr | Lanes] = {}
    for a, coordinate in zip(outer, delinearized(line, [size_of(schedule.axes[a]) for a in outer])):
        around[a] = emitter.let(scope, "line_at", coordinate)
    found = []
    for vector in range(count):
        start = add(base, integer(vector * width))
        fresh: Expr | None = None
        if overlaps and lanes > 1:
            fresh = emitter.let(scope, "fresh", lanes_where("ge", sub(wanted, start), width))
        point = {lane_axis(schedule): Lanes(start, width), **around}
        found.append(Block(point, add(mul(line, rows), start), width, fresh))
    return found


def rows_abreast(emitter: Emitter, scope: Scope, number: Expr, width: int, count: int) -> list[tuple[Scope, Block]]:
    """The `count` vectors of the block with that number, each with a scope for the values of its rows."""
    blocks = vectors_at(emitter, scope, number, width, count)
    return [(Scope(dict(scope.known), scope.statements), block) for block in blocks]


def finish_block(
    emitter: Emitter, scope: Scope, block: Block, stage: Stage, sums: Sequence[Accumulators], vector: int = 0
) -> None:
    """What the rows of a vector give once a pass is done."""
    finish_rows(emitter, scope, block.point, stage, sums, vector, block.fresh)


def finish_rows(
    emitter: Emitter, scope: Scope, point: Point, stage: Stage, sums: Sequence[Accumulators], vector: int = 0,
    fresh: Expr | None = None,
) -> None:  # fmt: skip
    """What the row, or the rows, at a point give once a pass is done: stored values, sums over rows (of `fresh` lanes),
    checks."""
    own = [group for group in sums if group.op in stage.row_sums]
    emitter.compute([*stage.row_outputs, *(group.value for group in own)], point, scope)
    for value in stage.row_outputs:
        emitter.store(value, point, scope)
    for group in own:
        accumulate(emitter, scope, group, vector, fresh)
    for op in stage.row_checks:
        emitter.check(op, point, scope)
