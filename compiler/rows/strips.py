"""Long columns are added up strip by strip: one accumulator of a million elements loses half of the digits of an f32.

In: loops over columns, and the accumulators that their body adds to. Out: accumulators for the body, which begin anew
with each strip, and the loops, cut into strips whose sums join those around them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, integer, minimum
from ...ir.frozen import frozen
from ...ir.kernel import Assign, Declare, Expr, For, Let, Stmt, Var
from ...ir.types import DimLike
from ..emission.emit import Emitter
from ..emission.reductions import Accumulators

STRIP = 1024
"""Elements that one accumulator takes in. In 1.6 million of a normal distribution, added up one by one, a variance was
off by 2e-3; in strips by 2e-6."""


@frozen
class ColumnLoop:
    """A loop over a column axis, `step` columns a turn. What runs from `start` to `stop` may be less than its `size`,
    which is in turns."""

    variable: Var
    start: Expr
    stop: Expr
    size: DimLike
    step: int = 1


@frozen
class _Cut:
    """Where one loop is cut. `each`: what a turn adds up joins the next accumulators; then so many turns are a
    `strip`, None where all of them are one."""

    each: bool
    strip: int | None


def _cuts(sizes: Sequence[DimLike], strip: int, most: int) -> list[_Cut]:
    """For each loop, inner to outer. An axis with a name may have any size."""
    found, added = [], 1
    for size in sizes:
        whole = isinstance(size, int) and size * added <= most
        each = not whole and 2 * added > strip
        if each:
            added = 1
            whole = isinstance(size, int) and size <= most
        found.append(_Cut(each, None if whole else max(1, strip // added)))
        added = size * added if whole and isinstance(size, int) else 1
    return found


class Strips:
    """Accumulators for the body of some loops. Only f32 sums have strips: others do not round, or have digits to
    spare. `joined` values of a sum are joined in a turn, by its accumulators in turn; None: one by each. `again`: more
    loops like these add to the same accumulators."""

    def __init__(
        self, emitter: Emitter, sizes: Sequence[DimLike], groups: Sequence[Accumulators], joined: int | None = None,
        again: bool = False,
    ) -> None:  # fmt: skip
        own = {id(group): group for group in groups if group.monoid.combine == "add" and group.monoid.dtype == "f32"}
        self._emitter = emitter
        fewest = min((len(group.variables) for group in own.values()), default=1)
        strip = STRIP if joined is None else STRIP * fewest // joined
        self._cuts = _cuts(list(reversed(sizes)), strip, strip // 4 if again else strip)
        count = sum(cut.each + (cut.strip is not None) for cut in self._cuts) if own else 0
        # One list of accumulators for each cut, those of the body first, and those that were given last.
        self._levels: list[list[Accumulators]] = []
        for _ in range(count):
            self._levels.append([self._fresh(group) for group in own.values()])
        self._levels.append(list(own.values()))
        self._inside = dict(zip(own, self._levels[0]))

    def inside(self, group: Accumulators) -> Accumulators:
        """What the body adds to in place of a group."""
        return self._inside.get(id(group), group)

    def loops(self, loops: Sequence[ColumnLoop], body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """The loops, outer to inner, around a body."""
        level, is_cut = 0, len(self._levels) > 1
        for loop, cut in zip(reversed(loops), self._cuts):
            if is_cut and cut.each:
                body = self._joined(level, body)
                level += 1
            if not is_cut or cut.strip is None:
                body = (For(loop.variable, loop.start, loop.stop, integer(loop.step), body),)
                continue
            first = self._emitter.fresh("strip", "i64")
            end = self._emitter.fresh("end_of_strip", "i64")
            named = Let(end, minimum(add(first, integer(cut.strip * loop.step)), loop.stop))
            inner = self._joined(level, (For(loop.variable, first, end, integer(loop.step), body),))
            body = (For(first, loop.start, loop.stop, integer(cut.strip * loop.step), (named, *inner)),)
            level += 1
        return body

    def _fresh(self, group: Accumulators) -> Accumulators:
        names = [self._emitter.fresh(f"{group.op.result.name}_strip", v.dtype, v.width) for v in group.variables]
        return Accumulators(group.op, group.monoid, names, group.turns)

    def _joined(self, level: int, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """A body that begins at nothing and adds what it found to the next accumulators."""
        before: list[Stmt] = []
        after: list[Stmt] = []
        for inner, outer in zip(self._levels[level], self._levels[level + 1]):
            for part, total in zip(inner.variables, outer.variables):
                before.append(Declare(part, inner.monoid.neutral(part.width)))
                after.append(Assign(total, outer.monoid.join(total, part)))
        return (*before, *body, *after)
