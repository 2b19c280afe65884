"""A row in parts: which passes share a launch, and how what is known of the parts becomes what is known of the row.

In: the passes over a row, the sums that can be rescaled. Out: phases, one launch each. A phase is one pass, or two
where the second only adds up what can be rescaled: it takes the maximum of its own part, and when the parts are joined
each sum is multiplied by e^(k (m - m of the part)), or has a (m - m of the part) added for each element. Without that
a maximum and the sum of exponentials below it would take a launch, and a reading of the row, each.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...ir.function import Op, Value
from ...ir.kernel import Apply, Assign, Const, Declare, Expr, For, Load, add, integer, mul, sub
from ...ir.program import Buffer
from ...ir.schedule import Schedule
from ..behind import behind
from ..emission.emit import Emitter, Scope
from ..emission.monoids import monoid_of
from ..fused import Fused, part_buffer
from ..work_groups.meeting import Meeting
from .rescalable import Law
from .stages import Stage


@dataclass(frozen=True)
class Phase:
    """The passes of one launch. The last phase also computes what comes of the rows."""

    stages: tuple[Stage, ...]
    is_last: bool = False

    @property
    def reductions(self) -> tuple[Op, ...]:
        return tuple(op for stage in self.stages for op in stage.reductions)


def phases_of(stages: Sequence[Stage], laws: Mapping[Op, Law]) -> list[Phase]:
    """The passes in order, two in one where that is possible."""
    grouped: list[tuple[Stage, ...]] = []
    for stage in stages:
        if not (stage.reductions or stage.element_outputs or stage.element_sums or stage.element_checks):
            continue
        before = grouped[-1] if grouped else ()
        if len(before) == 1 and _joins(stage, before[0], laws):
            grouped[-1] = (*before, stage)
        else:
            grouped.append((stage,))
    if grouped and any(stage.reductions for stage in grouped[-1]):
        grouped.append(())
    return [Phase(group, number == len(grouped) - 1) for number, group in enumerate(grouped)]


def _joins(stage: Stage, before: Stage, laws: Mapping[Op, Law]) -> bool:
    """Whether a pass only adds up what can be rescaled to the maxima of the pass before it."""
    if not stage.reductions or stage.element_outputs or stage.element_sums or stage.element_checks:
        return False
    return all(op in laws and laws[op].maxima <= set(before.reductions) for op in stage.reductions)


def rescaled_in(phases: Sequence[Phase], laws: Mapping[Op, Law]) -> dict[Op, Law]:
    """The sums that were taken with the maxima of parts: those of the second pass of a phase."""
    return {op: laws[op] for phase in phases if len(phase.stages) == 2 for op in phase.stages[1].reductions}


def reference(emitter: Emitter, scope: Scope, maximum: Expr) -> Expr:
    """What to subtract in place of a part's maximum: 0 where all of the part is -inf, so that it adds 0 and not NaN."""
    dtype, width = maximum.dtype, maximum.width
    nothing = Apply("eq", (maximum, Const(-math.inf, dtype, width)), "bool", width)
    nothing = emitter.let(scope, "nothing", nothing)
    chosen = Apply("select", (nothing, Const(0.0, dtype, width), maximum), dtype, width)
    return emitter.let(scope, "reference", chosen)


@dataclass(frozen=True)
class PartBuffers:
    """One partial result of each reduction for each part of each row, those of a row side by side. All parts of a row
    of `columns` but the last have `part` of them."""

    fused: Fused
    rows: Expr
    parts: Expr
    part: int
    columns: Expr

    def of(self, op: Op) -> Buffer:
        return part_buffer(self.fused, op, mul(self.rows, self.parts))

    def place(self, row: Expr, part: Expr) -> Expr:
        return add(mul(row, self.parts), part)

    def elements(self, part: Expr) -> Expr:
        """How many columns a part has."""
        is_last = Apply("eq", (add(part, integer(1)), self.parts), "bool")
        rest = sub(self.columns, mul(part, integer(self.part)))
        return Apply("select", (is_last, rest, integer(self.part)), "i64")


def used_reductions(schedule: Schedule, targets: Collection[Value], laws: Mapping[Op, Law]) -> list[Op]:
    """The row reductions that some values are computed from, with the maxima that rescaled ones need."""
    seen = behind(targets, schedule.producer, {op.result for op in schedule.row_reductions})
    found = {op for op in schedule.row_reductions if op.result in seen}
    found |= {maximum for op in found & laws.keys() for maximum in laws[op].maxima}
    return [op for op in schedule.row_reductions if op in found]


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
