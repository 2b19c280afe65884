"""One pass over rows by the work-items of a group: neighbours read neighbouring vectors of 16 bytes.

In: a `Layout`, the place in the row that each item begins at, what a pass does (`Work`). Out: statements. The vectors
that an item keeps are visited one after the other, without a loop, so that every index into the private arrays that
hold them is a constant and compilers turn the arrays into registers. Each item finds in local memory only what it has
put there itself: no barrier is needed for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...ir.arithmetic import add, both, integer, less, mul, sub
from ...ir.function import Value
from ...ir.kernel import Apply, Const, Expr, For, If, LocalArray, PrivateArray, register_dtype
from ..emission.emit import Emitter, Scope
from ..emission.marks import idle_columns
from ..emission.points import Lanes, Point, size_of
from ..emission.reductions import Accumulators
from ..rows.stages import Stage
from ..rows.work import Row, Work, along, visit
from .tiers import Layout, seats


@dataclass
class GroupRows:
    """How the items of one kernel go along rows. `lane` is an item's number among those of its row; columns run from
    `start` to `stop`; `inside` is the condition that an item has a row at all (None: it always has)."""

    emitter: Emitter
    layout: Layout
    axis: int
    item: Expr
    lane: Expr
    start: Expr
    stop: Expr
    inside: Expr | None
    private_arrays: list[PrivateArray] = field(default_factory=list)
    local_arrays: list[LocalArray] = field(default_factory=list)
    places: dict[Value, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """An array of each kind for every value that is kept."""
        layout, emitter = self.layout, self.emitter
        local = {}
        for seat in seats(layout.held) if layout.local else ():
            dtype = register_dtype(seat[0].type.dtype)
            array = LocalArray(emitter.fresh(f"{seat[0].name}_local", dtype).name, dtype,
                               layout.local * layout.size * layout.width, tuple(seat))  # fmt: skip
            self.local_arrays.append(array)
            local |= dict.fromkeys(seat, array.name)
        for each in layout.held:
            value, dtype = each.value, register_dtype(each.value.type.dtype)
            name = emitter.fresh(f"{value.name}_kept", dtype).name
            if layout.registers:
                self.private_arrays.append(PrivateArray(name, dtype, layout.registers * layout.width, (value,)))
            self.places[value] = name, local.get(value, "")

    def visit_row(
        self, scope: Scope, point: Point, stage: Stage, work: Work, groups: Sequence[Accumulators]
    ) -> None:  # fmt: skip
        """Do the work of a pass at every vector of the row."""
        layout, emitter = self.layout, self.emitter
        keep = [each.value for each in layout.held if each.first == stage.number]
        there = [each.value for each in layout.held if each.first < stage.number <= each.last]
        emitter.hoist([*work.targets, *keep], frozenset({self.axis}), point, scope, given=there)
        first = emitter.let(scope, "column", add(self.start, mul(self.lane, integer(layout.width))))
        reach = layout.lanes * layout.width
        for number in range(layout.vectors):
            column = emitter.let(scope, "column", add(first, integer(number * reach)))
            inner = scope.inner()
            waiting = replace(work, keep=self._places(keep, number), kept=self._places(there, number))
            self._visit(inner, {**point, self.axis: Lanes(column, layout.width)}, waiting, groups, number)
            self.under(scope, inner, self._ends_before(number, column))
        if layout.looped:
            column = emitter.fresh("column", "i64")
            inner = scope.inner()
            self._visit(inner, {**point, self.axis: Lanes(column, layout.width)}, work, groups, 0)
            loop = For(column, first, self.stop, integer(reach), tuple(inner.statements))
            scope.statements.append(loop if self.inside is None else If(self.inside, (loop,)))

    def _ends_before(self, number: int, column: Expr) -> Expr | None:
        """The condition that a vector lies in the row and that there is a row; None where it always does."""
        reach = (number + 1) * self.layout.lanes * self.layout.width
        if isinstance(self.stop, Const) and self.start == integer(0) and reach <= int(self.stop.value):
            return self.inside
        return both(self.inside, less(column, self.stop))

    def under(self, scope: Scope, inner: Scope, condition: Expr | None) -> None:
        """What is done where a condition holds; None: always."""
        if condition is None:
            scope.statements += inner.statements
        elif inner.statements:
            scope.statements.append(If(condition, tuple(inner.statements)))

    def _visit(
        self, scope: Scope, point: Point, work: Work, groups: Sequence[Accumulators], number: int
    ) -> None:  # fmt: skip
        """The work at one vector, an item's `number`-th. Beside all windows it is little, and nothing is read."""
        at, idle = point[self.axis], idle_columns(self.emitter.marks, self.axis)
        if idle is None or not isinstance(at, Lanes):
            visit(self.emitter, scope, point, work, groups, number)
            return
        busy, beside = idle
        first, *others = [both(less(sub(size_of(low), integer(at.width)), at.base), less(at.base, size_of(high)))
                          for low, high in busy]  # fmt: skip
        for other in others:
            first = Apply("or", (first, other), "bool")
        is_busy = self.emitter.let(scope, "busy", first)
        inner = scope.inner()
        visit(self.emitter, inner, point, work, groups, number)
        self.under(scope, inner, is_busy)
        known, rest = along(self.emitter, beside, scope, work)
        visit(self.emitter, inner := known.inner(), point, rest, groups, number)
        self.under(scope, inner, Apply("not", (is_busy,), "bool"))

    def _places(self, values: Sequence[Value], number: int) -> dict[Value, Row]:
        """Where an item keeps its `number`-th vector of some values."""
        layout, turn = self.layout, number - self.layout.registers
        if turn < 0:
            return {v: Row(self.places[v][0], integer(number * layout.width), True) for v in values}
        start = add(integer(turn * layout.size * layout.width), mul(self.item, integer(layout.width)))
        return {v: Row(self.places[v][1], start, True) for v in values}
