"""One pass over rows by the work-items of a group: neighbours read neighbouring vectors of 16 bytes.

In: a `Layout`, the place in the row that each item begins at, what a pass does (`Work`). Out: statements. The vectors
that an item keeps are visited one after the other, without a loop, so that every index into the private arrays that
hold them is a constant and compilers turn the arrays into registers. Each item finds in local memory only what it has
put there itself: no barrier is needed for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir.arithmetic import add, both, integer, less, mul
from ...ir.function import Value
from ...ir.kernel import Apply, Const, Expr, For, If, Load, LocalArray, PrivateArray, Store, register_dtype
from ..emission.emit import Emitter, Scope
from ..emission.marks import idle_columns, needed_in
from ..emission.points import Lanes, Point, widen
from ..emission.reductions import Accumulators, accumulate
from ..rows.stages import Stage
from ..rows.sweep import Work, along
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
        held = {each.value: each for each in layout.held}
        keep = [v for v, each in held.items() if each.first == stage.number]
        there = [v for v, each in held.items() if each.first < stage.number <= each.last]
        emitter.hoist([*work.targets, *keep], frozenset({self.axis}), point, scope, given=there)
        first = emitter.let(scope, "column", add(self.start, mul(self.lane, integer(layout.width))))
        reach = layout.lanes * layout.width
        for number in range(layout.vectors):
            column = emitter.let(scope, "column", add(first, integer(number * reach)))
            inner = scope.inner()
            self._visit(inner, {**point, self.axis: Lanes(column, layout.width)}, work, groups, keep, there, number)
            self.under(scope, inner, self._ends_before(number, column))
        if layout.looped:
            column = emitter.fresh("column", "i64")
            inner = scope.inner()
            self._visit(inner, {**point, self.axis: Lanes(column, layout.width)}, work, groups, (), (), 0)
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
        self, scope: Scope, point: Point, work: Work, groups: Sequence[Accumulators], keep: Sequence[Value],
        there: Sequence[Value], number: int,
    ) -> None:  # fmt: skip
        """The work at one vector, an item's `number`-th. Beside all windows it is little, and nothing is read."""
        at, idle = point[self.axis], idle_columns(self.emitter.marks, self.axis)
        if idle is None or not isinstance(at, Lanes):
            self._work(scope, point, work, groups, keep, there, number)
            return
        busy, beside = idle
        first, *others = [both(less(integer(low - at.width), at.base), less(at.base, integer(high)))
                          for low, high in busy]  # fmt: skip
        for other in others:
            first = Apply("or", (first, other), "bool")
        is_busy = self.emitter.let(scope, "busy", first)
        inner = scope.inner()
        self._work(inner, point, work, groups, keep, there, number)
        self.under(scope, inner, is_busy)
        needed = needed_in(self.emitter.marks, beside)
        inner = along(self.emitter, beside, scope, work)[0].inner()
        kept, found = ([value for value in values if value in needed] for values in (keep, there))
        self._work(inner, point, work, groups, kept, found, number)
        self.under(scope, inner, Apply("not", (is_busy,), "bool"))

    def _work(
        self, scope: Scope, point: Point, work: Work, groups: Sequence[Accumulators], keep: Sequence[Value],
        there: Sequence[Value], number: int,
    ) -> None:  # fmt: skip
        """All of it."""
        emitter, width = self.emitter, self.layout.width
        for value in there:
            name, index = self._place(value, number)
            dtype = register_dtype(value.type.dtype)
            scope.known[value] = emitter.let(scope, value.name, Load(name, index, dtype, width, width > 1))
        emitter.compute([*work.targets, *keep], point, scope)
        for value in keep:
            name, index = self._place(value, number)
            scope.statements.append(Store(name, index, widen(scope.known[value], width), aligned=width > 1))
        for group in groups:
            accumulate(emitter, scope, group, number, None)
        for value in work.stores:
            emitter.store(value, point, scope)
        for op in work.checks:
            emitter.check(op, point, scope)

    def _place(self, value: Value, number: int) -> tuple[str, Expr]:
        """Where an item keeps its `number`-th vector of a value."""
        private, local = self.places[value]
        layout = self.layout
        if number < layout.registers:
            return private, integer(number * layout.width)
        turn = number - layout.registers
        own = mul(self.item, integer(layout.width))
        return local, add(integer(turn * layout.size * layout.width), own)
