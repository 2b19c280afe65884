"""One pass over a range of columns, or several side by side: vectors, several accumulators, no scalar tail.

In: what to do at each vector (reduce, store, keep, check) and the range. Out: loops in a scope. A ragged end is one
more full vector that overlaps the last one; lanes that were counted before are masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from ...ir.arithmetic import add, div, integer, maximum, minimum, mod, mul, sub
from ...ir.frozen import frozen
from ...ir.function import Value
from ...ir.kernel import Apply, Const, Expr, If, Prefetch, Reduce, Stmt
from ...ir.types import DimLike
from ..emission.emit import Emitter, Scope
from ..emission.marks import Known, Run, constant_in, known_at, lone_window, stretches
from ..emission.points import Lanes, Point, lanes_where, size_of
from ..emission.reductions import Accumulators
from ..numbers import identity
from .strips import ColumnLoop, Strips
from .work import ZERO, Work, along, lockstep, visit


@frozen
class Track:
    """One pass over one row, among those that a sweep does side by side. `row` is the scope of that row's values,
    `skew` (less than a vector) the first column whose address is aligned, for a sweep along aligned addresses; there
    `following` is the pass over the row after this one, where the condition `follows` holds. `backward`: the column of
    the row's last vector, where the pass begins with that and goes back, along whole vectors."""

    row: Scope
    point: Point
    work: Work
    groups: Sequence[Accumulators]
    skew: Expr | None = None
    following: Track | None = None
    follows: Expr | None = None
    backward: Expr | None = None


def sweep(
    emitter: Emitter, scope: Scope, tracks: Sequence[Track], axis: int, start: Expr, stop: Expr, width: int,
    unroll: int = 1, nontemporal: bool = False, abreast: int = 4, length: DimLike = 0,
) -> None:  # fmt: skip
    """Loop over `start` <= column < `stop` along `axis` with vectors of `width`. At least `width` columns are there,
    and `length` at the most; 0 says: so few that one accumulator takes them.

    Of an unrolled body's copies, `abreast` advance in lockstep, statement by statement: the processor's own scheduler
    does not see far enough ahead to overlap one copy's polynomial with the next. More of them take more registers.
    """
    shape = Sweep(emitter, scope, tracks, axis, width, max(1, unroll), nontemporal, abreast, length)
    shape.hoist()
    window = None if nontemporal or width == 1 or start != ZERO else _own_vectors(emitter, axis, stop, width)
    if window is None:
        shape.columns(start, stop)
        return
    run, beside = window
    low, high = (emitter.let(scope, "cut", size_of(end)) for end in (run.low, run.high))
    # What vectors beside the window store in it is stored anew afterwards.
    for first, end in ((ZERO, low), (high, stop)) if any(track.work.stores for track in tracks) else ():
        shape.columns(first, end, (beside, beside))
    fills = isinstance(run.length, int) and run.length >= width
    shape.columns(low, high, (run.known, run.known if fills else {}))


def _own_vectors(emitter: Emitter, axis: int, stop: Expr, width: int) -> tuple[Run, Known] | None:
    """The window whose vectors are to begin where it does, and what is known beside it: if it takes fewer of them, or
    is stored, and nothing counts beside it. What is read may lie where a kernel stores that reduces no rows: there, no
    vector may store before."""
    schedule, found = emitter.schedule, lone_window(emitter.marks, axis)
    if found is None or not schedule.row_reductions or schedule.across:
        return None
    run, beside = found
    counted = [(op.operands[0], identity(op.name, op.operands[0].type.dtype))
               for op in (*schedule.row_reductions, *schedule.whole_reductions)]  # fmt: skip
    counted += [(op.operands[0], True) for op in schedule.checks]
    if any(constant_in(emitter.marks, value, beside) != nothing for value, nothing in counted
           if axis in schedule.varies[value]):  # fmt: skip
        return None
    if not isinstance(stop, Const) or not isinstance(run.low, int) or not isinstance(run.high, int) or schedule.parts:
        return found
    columns = int(stop.value)
    whole = min(-(-run.high // width), columns // width) - run.low // width
    ragged = columns % width > 0 and run.high > columns - width
    return found if -(-(run.high - run.low) // width) < whole + ragged else None


@frozen
class Sweep:
    """What the loops of one sweep have in common."""

    emitter: Emitter
    scope: Scope
    tracks: Sequence[Track]
    axis: int
    width: int
    unroll: int
    nontemporal: bool
    abreast: int
    length: DimLike = 0

    def hoist(self) -> None:
        """Compute what does not vary along the columns before the loops."""
        for track in self.tracks:
            self.emitter.hoist(track.work.targets, frozenset({self.axis}), track.point, track.row, track.work.kept)

    def columns(self, low: Expr, high: Expr, known: tuple[Known, Known] | None = None) -> None:
        """All columns from `low` to `high`. Of some it may be `known` what holds in their vectors, and in the last one,
        which may begin before `low`."""
        width, count = integer(self.width), sub(high, low)
        vectors = add(low, mul(div(count, width), width))
        if known is None:
            self.loops(low, vectors)
        else:
            self._along(known[0])._blocks(low, vectors)
        rest = mod(count, width)
        if rest == ZERO or self.width == 1:
            return
        left = rest if isinstance(rest, Const) else self.emitter.let(self.scope, "rest", rest)
        inner, base, counted = Scope(), sub(high, width), sub(width, left)
        if known is not None:
            base = self.emitter.let(inner, "column", maximum(ZERO, base))
            counted = sub(vectors, base)
        replace(self, nontemporal=False).edge(inner, base, counted, known=known and known[1])
        if isinstance(rest, Const):
            self.scope.statements.extend(inner.statements)
        else:
            self.scope.statements.append(If(Apply("gt", (left, ZERO), "bool"), tuple(inner.statements)))

    def loops(self, low: Expr, high: Expr) -> None:
        """Whole vectors from `low` to `high`, stretch by stretch."""
        slack = self.width - 1 if any(track.skew is not None for track in self.tracks) else 0
        found = stretches(self.emitter.marks, self.axis, low, high, self.width, slack)
        for each in found:
            inside = self._along(each.known)
            inside = replace(inside, unroll=1, length=0) if each.edge else inside
            start, stop = (self.emitter.let(self.scope, "cut", end) if len(found) > 1 else end
                           for end in (each.start, each.stop))  # fmt: skip
            inside._blocks(start, stop)

    def _along(self, known: Known) -> Sweep:
        """The same where more is known."""
        if not known:
            return self
        inside = [(track, *along(self.emitter, known, track.row, track.work)) for track in self.tracks]
        return replace(self, tracks=[replace(track, row=row, work=work) for track, row, work in inside])

    def _blocks(self, low: Expr, high: Expr) -> None:
        """Unrolled blocks of vectors, then what is left."""
        step = self.width * self.unroll
        if self.unroll == 1:
            self._loop(low, high, 1, {})
            return
        blocks = add(low, mul(div(sub(high, low), integer(step)), integer(step)))
        hits = {number: found for number, track in enumerate(self.tracks) if (found := hits_of(self.emitter, track))}
        positions = {position: self.tracks[number] for number, found in hits.items() for position in found.values()}
        long = isinstance(low, Const) and isinstance(high, Const) and int(high.value) - int(low.value) >= 2 * step
        if len(positions) == 1 and long:
            ((position, track),) = positions.items()
            self._around(position, track, low, blocks, {number: tuple(found) for number, found in hits.items()})
        else:
            self._loop(low, blocks, self.unroll, {})
        replace(self, length=0)._loop(blocks, high, 1, {})

    def edge(
        self, scope: Scope, base: Expr, counted: Expr = ZERO, before: Expr | None = None, known: Known | None = None
    ) -> None:
        """One vector at `base`, of which the first `counted` lanes were counted before, or all but those `before`. What
        is `known` there is found out if it is not said."""
        mask: Expr | None = None
        if before is not None:
            mask = self.emitter.let(scope, "fresh", lanes_where("lt", before, self.width))
        elif counted != ZERO:
            mask = self.emitter.let(scope, "fresh", lanes_where("ge", counted, self.width))
        base = self.emitter.let(scope, "column", base)
        if known is None:
            known = known_at(self.emitter.marks, self.axis, base, self.width)
        for track in self._along(known).tracks:
            scope.statements += self._visited(track, base, mask=mask, past_cache=self.nontemporal, skewed=False)

    def _loop(self, low: Expr, high: Expr, count: int, missed: Mapping[int, Sequence[Value]]) -> None:
        if low != high:
            column, step = self.emitter.fresh("column", "i64"), count * self.width
            turns = -(-self.length // step) if isinstance(self.length, int) else self.length
            strips = self._strips(turns, count)
            inside = [replace(track, groups=[*map(strips.inside, track.groups)]) for track in self.tracks]
            body = tuple(replace(self, tracks=inside)._block(column, count, missed))
            self.scope.statements += strips.loops([ColumnLoop(column, low, high, turns, step)], body)

    def _strips(self, turns: DimLike, count: int) -> Strips:
        """What `turns` of so many vectors add up. A sum over all rows goes on in the next row."""
        groups = [group for track in self.tracks for group in track.groups]
        again = any(group.op in self.emitter.schedule.whole_reductions for group in groups)
        return Strips(self.emitter, [turns], groups, count, again)

    def _around(
        self, position: Expr, track: Track, low: Expr, high: Expr, missed: Mapping[int, Sequence[Value]]
    ) -> None:
        """Blocks without the one column that a comparison looks for, and that block by itself between them."""
        step = integer(self.width * self.unroll)
        wide = position if position.dtype == "i64" else Apply("cast", (position,), "i64")
        far = maximum(low, minimum(sub(wide, self._shift(track)), sub(high, step)))
        hit = self.emitter.let(self.scope, "hit", add(low, mul(div(sub(far, low), step), step)))
        self._loop(low, hit, self.unroll, missed)
        self.scope.statements += self._block(hit, self.unroll, {})
        self._loop(add(hit, step), high, self.unroll, missed)

    def _shift(self, track: Track) -> Expr:
        """Columns from the loop's counter to the vector that is visited."""
        return ZERO if track.skew is None else track.skew

    def _block(self, column: Expr, count: int, missed: Mapping[int, Sequence[Value]]) -> list[Stmt]:
        bases = [add(column, integer(copy * self.width)) for copy in range(count)]
        return asked_once([
            statement
            for first in range(0, count, self.abreast)
            for number, track in enumerate(self.tracks)
            for statement in lockstep([
                self._visited(track, bases[copy], copy, missed=missed.get(number, ()), past_cache=self.nontemporal)
                for copy in range(first, min(first + self.abreast, count))
            ])
        ])  # fmt: skip

    def _visited(
        self, track: Track, base: Expr, copy: int = 0, mask: Expr | None = None, past_cache: bool = False,
        skewed: bool = True, missed: Sequence[Value] = (),
    ) -> list[Stmt]:  # fmt: skip
        """The statements of one pass at one vector; comparisons in `missed` are known to fail there."""
        statements: list[Stmt] = []
        column = add(base, self._shift(track)) if skewed else base
        if track.backward is not None:
            column = sub(track.backward, column)
        for buffer, offset, level in track.work.prefetch:
            statements.append(Prefetch(buffer, add(offset, base), level))
        known = {**track.row.known, **dict.fromkeys(missed, Const(False, "bool"))}
        here: Point = {**track.point, self.axis: Lanes(column, self.width)}
        visit(self.emitter, Scope(known, statements), here, track.work, track.groups, copy, mask, past_cache, column)
        return statements


def hits_of(emitter: Emitter, track: Track) -> dict[Value, Expr]:
    """Comparisons in a pass that hold in one column of the row at the most, and which column that is."""
    if not track.work.stores or track.work.joined:
        return {}
    given = {**track.row.known, **dict.fromkeys(track.work.kept, integer(0))}
    used = {result for op in emitter.needed(track.work.targets, given) for result in op.results}
    return {hit: track.row.known[row] for hit, row in emitter.facts.hits.items()
            if hit in used and row in track.row.known and track.row.known[row].width == 1}  # fmt: skip


def asked_once(statements: Sequence[Stmt]) -> list[Stmt]:
    """The statements, with one question before those that follow each other and ask whether any lane of a mask holds:
    whether any lane of any of the masks does. That is what checks ask of the vectors of a block."""
    found: list[Stmt] = []
    for width, run in groupby(statements, _lanes_asked):
        questions = list(run)
        masks = [mask for question in questions if (mask := _mask_asked(question)) is not None]
        if width == 0 or len(questions) == 1:
            found += questions
            continue
        while len(masks) > 1:
            pairs = [Apply("or", pair, "bool", width) for pair in zip(masks[::2], masks[1::2])]
            masks = pairs + masks[len(pairs) * 2 :]
        found.append(If(Reduce("or", masks[0]), tuple(questions)))
    return found


def _mask_asked(statement: Stmt) -> Expr | None:
    if isinstance(statement, If) and isinstance(statement.condition, Reduce) and statement.condition.op == "or":
        return statement.condition.operand
    return None


def _lanes_asked(statement: Stmt) -> int:
    mask = _mask_asked(statement)
    return 0 if mask is None else mask.width
