"""A row in parts: how what is known of the parts becomes what is known of the row.

In: partial results in memory, one of each reduction for each part of each row. Out: the reductions of a row, in every
work-item of the group that joins them. Sums that were taken with the maximum m of a part are rescaled to that of the
row: each is multiplied by e^(k (m - m of the part)), or has a (m - m of the part) added for each element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...ir.arithmetic import add, integer, mul, sub
from ...ir.frozen import frozen
from ...ir.function import Op
from ...ir.kernel import Apply, Assign, Const, Declare, Expr, For, Load
from ...ir.program import Buffer
from ..emission.emit import Emitter, Scope
from ..emission.monoids import monoid_of
from ..fused import Fused, part_buffer
from ..rows.rescalable import Law
from .meeting import Meeting


def reference(emitter: Emitter, scope: Scope, maximum: Expr) -> Expr:
    """What to subtract in place of a part's maximum: 0 where all of the part is -inf, so that it adds 0 and not NaN."""
    dtype, width = maximum.dtype, maximum.width
    nothing = Apply("eq", (maximum, Const(-math.inf, dtype, width)), "bool", width)
    nothing = emitter.let(scope, "nothing", nothing)
    chosen = Apply("select", (nothing, Const(0.0, dtype, width), maximum), dtype, width)
    return emitter.let(scope, "reference", chosen)


@frozen
class PartBuffers:
    """One partial result of each reduction for each part of each row, those of a row side by side. All parts of a row
    of `columns` but the last have `part` of them."""

    fused: Fused
    rows: Expr
    parts: Expr
    part: int
    columns: Expr

    @property
    def all(self) -> list[Buffer]:
        return [self.of(op) for op in self.fused.schedule.row_reductions]

    def of(self, op: Op) -> Buffer:
        return part_buffer(self.fused, op, mul(self.rows, self.parts))

    def place(self, row: Expr, part: Expr) -> Expr:
        return add(mul(row, self.parts), part)

    def elements(self, part: Expr) -> Expr:
        """How many columns a part has."""
        is_last = Apply("eq", (add(part, integer(1)), self.parts), "bool")
        rest = sub(self.columns, mul(part, integer(self.part)))
        return Apply("select", (is_last, rest, integer(self.part)), "i64")


def join_parts(
    emitter: Emitter, scope: Scope, buffers: PartBuffers, meeting: Meeting, lane: Expr, row: Expr, ops: Sequence[Op],
    laws: Mapping[Op, Law],
) -> None:  # fmt: skip
    """Reductions of a row from those of its parts, into `scope`: first what needs no rescaling, maxima among it."""
    plain = [op for op in ops if op not in laws]
    for together in (plain, [op for op in ops if op in laws]):
        monoids = {op: monoid_of(op, emitter.facts) for op in together}
        totals = {op: emitter.fresh(f"{op.result.name}_total", monoid.dtype) for op, monoid in monoids.items()}
        part = emitter.fresh("part", "i64")
        inner = scope.inner()
        for op, monoid in monoids.items():
            value: Expr = Load(buffers.of(op).name, buffers.place(row, part), monoid.dtype)
            if op in laws:
                value = _rescaled(emitter, inner, buffers, row, part, value, laws[op])
            inner.statements.append(Assign(totals[op], monoid.join(totals[op], value)))
        scope.statements += [Declare(totals[op], monoid.neutral(1)) for op, monoid in monoids.items()]
        if together:
            lanes = integer(meeting.size)
            scope.statements.append(For(part, lane, buffers.parts, lanes, tuple(inner.statements)))
        for op, value in meeting.join_values(scope, dict(totals), monoids, meeting.size).items():
            scope.known[op.result] = value


def _rescaled(
    emitter: Emitter, scope: Scope, buffers: PartBuffers, row: Expr, part: Expr, value: Expr, law: Law
) -> Expr:
    """A part's result, as it is with the row's maxima in place of the part's."""
    dtype = value.dtype
    for maximum, slope in (*law.scaled.items(), *law.added.items()):
        own = emitter.let(scope, "own", Load(buffers.of(maximum).name, buffers.place(row, part), dtype))
        if maximum in law.scaled:
            # Not from `reference`: a part of -inf adds 0, however far below 0 the maximum of the row is.
            beyond = Apply("sub", (own, scope.known[maximum.result]), dtype)
            factor = Apply("exp", (Apply("mul", (Const(-slope, dtype), beyond), dtype),), dtype)
            value = Apply("mul", (value, emitter.let(scope, "factor", factor)), dtype)
        else:
            beyond = Apply("sub", (scope.known[maximum.result], reference(emitter, scope, own)), dtype)
            count = Apply("cast", (buffers.elements(part),), dtype)
            each = Apply("mul", (Const(slope, dtype), beyond), dtype)
            value = Apply("add", (value, Apply("mul", (emitter.let(scope, "each", each), count), dtype)), dtype)
    return value
