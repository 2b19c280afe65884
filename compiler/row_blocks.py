"""Blocks of rows: one vector of rows that lie side by side, each lane its own row.

In: a schedule whose innermost row axis is the one that vectors run along. Out: how many blocks there are, the point and
the lanes of one, a loop over its columns. The last block of a line overlaps the one before, and counts only its own
lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.kernel import (
    Apply,
    Expr,
    For,
    Iota,
    Splat,
    add,
    ceil_div,
    integer,
    minimum,
    mul,
    sub,
)  # fmt: skip
from ..ir.schedule import Schedule
from .emit import Emitter, Lanes, Point, Scope, product, size_of, split_rows
from .reductions import Accumulators, accumulate
from .sweep import Work, visit


@dataclass(frozen=True)
class Block:
    """`fresh` are the lanes that no block before has counted; None: all of them. `number` is that of the first row."""

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


def block_count(schedule: Schedule, width: int) -> Expr:
    per_line = ceil_div(size_of(schedule.axes[lane_axis(schedule)]), integer(width))
    return mul(product(schedule.axes[a] for a in lines(schedule)), per_line)


def block_at(emitter: Emitter, scope: Scope, number: Expr, width: int) -> Block:
    """The block with that number."""
    schedule = emitter.schedule
    lanes = size_of(schedule.axes[lane_axis(schedule)])
    per_line = ceil_div(lanes, integer(width))
    line = emitter.let(scope, "line", Apply("div", (number, per_line), "i64"))
    wanted = emitter.let(scope, "wanted", mul(Apply("mod", (number, per_line), "i64"), integer(width)))
    base = emitter.let(scope, "base", minimum(wanted, sub(lanes, integer(width))))
    fresh: Expr | None = None
    if width > 1:
        counted = Splat(Apply("cast", (sub(wanted, base),), "i32"), width)
        fresh = emitter.let(scope, "fresh", Apply("ge", (Iota("i32", width), counted), "bool", width))
    point: dict[int, Expr | Lanes] = {lane_axis(schedule): Lanes(base, width)}
    outer = lines(schedule)
    for a, coordinate in zip(outer, split_rows(line, [size_of(schedule.axes[a]) for a in outer])):
        point[a] = emitter.let(scope, "line_at", coordinate)
    return Block(point, add(mul(line, lanes), base), width, fresh)


def visit_columns(
    emitter: Emitter, scope: Scope, block: Block, work: Work, rows: Sequence[Accumulators],
    sums: Sequence[Accumulators], within: tuple[Expr, Expr] | None = None,
    nontemporal: bool = False,
) -> None:  # fmt: skip
    """Loop over the columns one by one, a vector of rows each time. `rows` are reduced lane by lane, `sums` over
    everything. `within` bounds the outermost column axis."""
    schedule = emitter.schedule
    emitter.hoist(work.targets, schedule.reduced, block.point, scope, given=work.kept)
    variables = [emitter.fresh("column", "i64") for _ in schedule.columns]
    inner = scope.inner()
    flat: Expr = integer(0)
    for variable, a in zip(variables, schedule.columns):
        flat = add(mul(flat, size_of(schedule.axes[a])), variable)
    here = {**block.point, **dict(zip(schedule.columns, variables))}
    visit(emitter, inner, here, work, rows, nontemporal=nontemporal, column=mul(flat, integer(block.width)))
    for group in sums:
        accumulate(emitter, inner, group, 0, block.fresh)
    body = tuple(inner.statements)
    bounds: list[tuple[Expr, Expr]] = [(integer(0), size_of(schedule.axes[a])) for a in schedule.columns]
    bounds[0] = within or bounds[0]
    for variable, (start, stop) in reversed(list(zip(variables, bounds))):
        body = (For(variable, start, stop, integer(1), body),)
    scope.statements += body
