"""Two passes over a row that does not fit the chip, in one reading: a maximum, and sums of exponentials below it.

In: a phase of two passes (`rows.phases`), work-items side by side along the row. Out: statements after which the
reductions of both passes are known. Each item goes on tile by tile, some vectors that it holds in registers: it takes
their maximum into its own, puts right what it has added up below the maximum that it had before, and adds what the
tile gives. One more exponential a tile and lane. In the end the sums of all items are put right to the maximum of the
row.

    s e^(k (m' - m)) + sum over the tile of e^(k (m' - x)),  k < 0, for a maximum that grows from m to m'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...ir.arithmetic import ceil_div, integer, maximum, mul, sub
from ...ir.function import Op
from ...ir.kernel import Apply, Assign, Const, Declare, Expr, For, Var
from ..emission.emit import Emitter, Scope
from ..emission.points import Point, widen
from ..emission.reductions import Accumulators, declare
from ..rows.phases import Phase
from ..rows.rescalable import Law
from ..rows.work import Work, work_of
from .meeting import Meeting
from .parts import reference
from .rows import GroupRows
from .tiers import held_values

TILE = 8
"""Vectors of a tile: an exponential more for each eight, if one is evaluated at every element."""


def reduce_online(
    along: GroupRows, scope: Scope, point: Point, phase: Phase, laws: Mapping[Op, Law], meeting: Meeting,
    sums: list[Accumulators],
) -> None:  # fmt: skip
    """Both passes of a phase. `along` has the layout of the row, without anything held; `sums` are over elements."""
    emitter, width, lanes = along.emitter, along.layout.width, along.layout.lanes
    first, second = phase.stages
    maxima = sorted(
        {op for law in laws.values() for op in law.maxima} & set(first.reductions), key=first.reductions.index
    )
    before = declare(emitter, scope, first.reductions, width, 1)
    below = declare(emitter, scope, second.reductions, width, 1)
    largest = {each.op: each.variables[0] for each in before}
    references: dict[Op, Var] = {}
    for op in maxima:
        references[op] = emitter.fresh("reference", largest[op].dtype, width)
        scope.statements.append(Declare(references[op], Const(0.0, largest[op].dtype, width)))

    reach = TILE * lanes * width
    start = emitter.let(scope, "start", mul(along.lane, integer(width)))
    column = emitter.fresh("column", "i64")
    tile = scope.inner()
    layout = replace(along.layout, registers=TILE, looped=False, held=held_values(emitter, phase.stages))
    here = replace(along, layout=layout, start=sub(column, start), private_arrays=[], local_arrays=[], places={})
    along.private_arrays += [replace(array, holds=()) for array in here.private_arrays]
    work = work_of(first)
    older = {op: emitter.fresh("before", largest[op].dtype, width) for op in maxima}
    tile.statements += [Declare(older[op], largest[op]) for op in maxima]
    here.visit_row(tile, point, first, work, [*before, *(each for each in sums if each.op in first.element_sums)])
    count = Apply("cast", (Apply("div", (sub(column, start), integer(lanes * width)), "i64"),), "f32")
    for op in maxima:
        new = emitter.let(tile, "reference", reference(emitter, tile, largest[op]))
        for each in below:
            _put_right(emitter, tile, each, laws[each.op], op, older[op], references[op], new, count)
        tile.statements.append(Assign(references[op], new))
        tile.known[op.result] = new
    here.visit_row(tile, point, second, Work(tuple(each.value for each in below)), below)
    scope.statements.append(For(column, start, along.stop, integer(reach), tuple(tile.statements)))

    for op, value in meeting.join(scope, before, lanes).items():
        scope.known[op.result] = value
    visited = ceil_div(maximum(integer(0), sub(along.stop, start)), integer(lanes * width))
    count = emitter.let(scope, "visited", Apply("cast", (visited,), "f32"))
    for op in maxima:
        row = widen(scope.known[op.result], width)
        for each in below:
            _put_right(emitter, scope, each, laws[each.op], op, largest[op], references[op], row, count)
    for op, value in meeting.join(scope, below, lanes).items():
        scope.known[op.result] = value


def _put_right(
    emitter: Emitter, scope: Scope, each: Accumulators, law: Law, op: Op, old: Expr, old_reference: Expr, new: Expr,
    count: Expr,
) -> None:  # fmt: skip
    """What was added up below `old`, or for want of it 0, as it is below `new`."""
    variable = each.variables[0]
    dtype, width = variable.dtype, variable.width

    def apply(name: str, *operands: Expr) -> Expr:
        return Apply(name, tuple(widen(operand, width) for operand in operands), dtype, width)

    if op in law.scaled:
        slope = Const(-law.scaled[op], dtype, width)
        factor = emitter.let(scope, "factor", apply("exp", apply("mul", slope, apply("sub", old, new))))
        scope.statements.append(Assign(variable, apply("mul", variable, factor)))
    elif op in law.added:
        moved = apply("mul", Const(law.added[op], dtype, width), apply("sub", new, old_reference))
        wide = count if count.dtype == dtype else Apply("cast", (count,), dtype)
        scope.statements.append(Assign(variable, apply("add", variable, apply("mul", moved, wide))))
