"""One pass over a range of columns: vectors, several accumulators, and a tail that is never a scalar loop.

In: what to do at each vector (reduce, store, keep, check) and the range. Out: loops in a scope, and the reduced values.
The ragged end is one more full vector that overlaps the last one; lanes that were counted before are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..ir.function import Op, Value
from ..ir.kernel import (
    Apply,
    Assign,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Load,
    Prefetch,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    add,
    div,
    integer,
    maximum,
    minimum,
    mod,
    mul,
    register_dtype,
    sub,
)  # fmt: skip
from .emit import Emitter, Lanes, Point, Scope, widen
from .monoids import Monoid, monoid_of


ZERO = integer(0)


@dataclass
class Accumulators:
    """The partial results of one reduction: one variable an unrolled copy."""

    op: Op
    monoid: Monoid
    variables: list[Var] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A private array that holds element values of a row between passes; element 0 lies at `start`."""

    array: str
    start: Expr = ZERO


@dataclass(frozen=True)
class Work:
    """What one pass does at every element. `keep` are values stored in private arrays for a later pass, `kept` those
    that an earlier pass stored."""

    reductions: tuple[Op, ...] = ()
    stores: tuple[Value, ...] = ()
    checks: tuple[Op, ...] = ()
    keep: Mapping[Value, Row] = field(default_factory=dict)
    kept: Mapping[Value, Row] = field(default_factory=dict)
    prefetch: tuple[tuple[str, Expr, int], ...] = ()

    @property
    def targets(self) -> list[Value]:
        operands = [op.operands[0] for op in (*self.reductions, *self.checks)]
        return [*operands, *self.stores, *self.keep]

    @property
    def is_empty(self) -> bool:
        return not self.targets


@dataclass(frozen=True)
class Track:
    """One pass over one row, among those that a sweep does side by side. `row` is the scope of that row's values.

    A pass that only stores may go `skew` columns (less than a vector) and one vector ahead of the others, so that its
    stores fall on aligned addresses. What this leaves at both ends gets ordinary stores, which must not touch a line
    that was written past the cache: it would come back from memory.
    """

    row: Scope
    point: Point
    work: Work
    groups: Sequence[Accumulators]
    skew: Expr | None = None


def declare(emitter: Emitter, scope: Scope, ops: Sequence[Op], width: int, copies: int) -> list[Accumulators]:
    """Declare the accumulators of some reductions, at their identity."""
    found = []
    for op in ops:
        monoid = monoid_of(op, emitter.facts)
        group = Accumulators(op, monoid)
        for _ in range(copies):
            variable = emitter.fresh(f"{op.result.name}_part", monoid.dtype, width)
            scope.statements.append(Declare(variable, monoid.neutral(width)))
            group.variables.append(variable)
        found.append(group)
    return found


def accumulate(emitter: Emitter, scope: Scope, group: Accumulators, copy: int, mask: Expr | None) -> None:
    """Join the value at this point to one accumulator; masked lanes count as the identity."""
    variable = group.variables[copy % len(group.variables)]
    value = widen(scope.known[group.op.operands[0]], variable.width)
    if mask is not None:
        chosen = Apply("select", (mask, value, group.monoid.neutral(value.width)), value.dtype, value.width)
        value = emitter.let(scope, "masked", chosen)
    scope.statements.append(Assign(variable, group.monoid.join(variable, value)))


def fold(emitter: Emitter, scope: Scope, group: Accumulators, across_lanes: bool) -> Expr:
    """All copies (and lanes) of an accumulator as one value. The order is fixed."""
    parts: list[Expr] = list(group.variables)
    while len(parts) > 1:
        pairs = [group.monoid.join(a, b) for a, b in zip(parts[::2], parts[1::2])]
        parts = [emitter.let(scope, group.op.result.name, pair) for pair in pairs] + parts[len(pairs) * 2 :]
    result = parts[0]
    if across_lanes and result.width > 1:
        result = Reduce(group.monoid.combine, result)
    # A variable goes on changing; what is known from here on is its value now.
    if isinstance(result, Var) and result in group.variables:
        fixed = emitter.fresh(group.op.result.name, result.dtype, result.width)
        scope.statements.append(Declare(fixed, result))
        return fixed
    return emitter.let(scope, group.op.result.name, result)


def visit(
    emitter: Emitter, scope: Scope, point: Point, work: Work, groups: Sequence[Accumulators], copy: int = 0,
    mask: Expr | None = None, nontemporal: bool = False, column: Expr = ZERO,
) -> None:  # fmt: skip
    """Do the work of a pass at one point."""
    for value, row in work.kept.items():
        width = max((c.width for c in point.values() if isinstance(c, Lanes)), default=1)
        loaded = Load(row.array, add(row.start, column), register_dtype(value.type.dtype), width)
        scope.known[value] = emitter.let(scope, value.name, loaded)
    emitter.compute(work.targets, point, scope)
    for value, row in work.keep.items():
        scope.statements.append(Store(row.array, add(row.start, column), scope.known[value]))
    for group in groups:
        accumulate(emitter, scope, group, copy, mask)
    for value in work.stores:
        emitter.store(value, point, scope, nontemporal)
    for op in work.checks:
        emitter.check(op, point, scope)


def sweep(
    emitter: Emitter, scope: Scope, tracks: Sequence[Track], axis: int, start: Expr, stop: Expr, width: int,
    unroll: int = 1, nontemporal: bool = False, abreast: int = 4,
) -> None:  # fmt: skip
    """Loop over `start` <= column < `stop` along `axis` with vectors of `width`. At least `width` columns are there.

    Of an unrolled body's copies, `abreast` advance in lockstep, statement by statement: the processor's own scheduler
    does not see far enough ahead to overlap one copy's polynomial with the next. More of them take more registers.
    """
    for track in tracks:
        emitter.hoist(track.work.targets, frozenset({axis}), track.point, track.row, given=track.work.kept)
    count = sub(stop, start)
    copies = max(1, unroll)
    step = width * copies
    vectors = add(start, mul(div(count, integer(width)), integer(width)))
    skewed = [track for track in tracks if track.skew is not None]
    straight = [track for track in tracks if track.skew is None]
    inside = sub(vectors, integer(3 * width)) if skewed else vectors
    blocks = add(start, mul(div(sub(inside, start), integer(step)), integer(step)))

    def visited(
        track: Track, base: Expr, copy: int = 0, mask: Expr | None = None, past_cache: bool = False,
        skewing: bool = True, missed: Sequence[Value] = (),
    ) -> list[Stmt]:  # fmt: skip
        statements: list[Stmt] = []
        column = add(add(base, integer(width)), track.skew) if track.skew is not None and skewing else base
        for buffer, offset, level in track.work.prefetch:
            statements.append(Prefetch(buffer, add(offset, base), level))
        known = {**track.row.known, **dict.fromkeys(missed, Const(False, "bool"))}
        here: Point = {**track.point, axis: Lanes(column, width)}
        visit(emitter, Scope(known, statements), here, track.work, track.groups, copy, mask, past_cache, column)
        return statements

    def body(base: Expr, chosen: Sequence[Track], mask: Expr | None = None, skewing: bool = True) -> list[Stmt]:
        return [s for track in chosen for s in visited(track, base, mask=mask, skewing=skewing)]

    def block(column: Expr, count: int, missed: Mapping[int, Sequence[Value]]) -> list[Stmt]:
        bases = [add(column, integer(c * width)) for c in range(count)]
        return [
            statement
            for first in range(0, count, abreast)
            for number, track in enumerate(tracks)
            for statement in _lockstep([
                visited(track, bases[c], c, None, nontemporal, True, missed.get(number, ()))
                for c in range(first, min(first + abreast, count))
            ])
        ]  # fmt: skip

    def loop(low: Expr, high: Expr, by: int, count: int, missed: Mapping[int, Sequence[Value]] | None = None) -> None:
        if low != high:
            column = emitter.fresh("column", "i64")
            scope.statements.append(For(column, low, high, integer(by), tuple(block(column, count, missed or {}))))

    def loop_around_hit(position: Expr, shift: Expr, missed: Mapping[int, Sequence[Value]]) -> None:
        """Blocks without the one column that a comparison looks for, and that block on its own between them."""
        far = maximum(start, minimum(sub(position, shift), sub(blocks, integer(step))))
        hit = emitter.let(scope, "hit", add(start, mul(div(sub(far, start), integer(step)), integer(step))))
        loop(start, hit, step, copies, missed)
        scope.statements += block(hit, copies, {})
        loop(add(hit, integer(step)), blocks, step, copies, missed)

    hits = {number: found for number, track in enumerate(tracks) if (found := _hits(emitter, track))}
    positions = {position: tracks[number] for number, found in hits.items() for position in found.values()}
    if copies > 1 and len(positions) == 1 and isinstance(count, Const) and int(count.value) >= 2 * step:
        ((position, track),) = positions.items()
        shift = integer(0) if track.skew is None else add(integer(width), track.skew)
        wide = position if position.dtype == "i64" else Apply("cast", (position,), "i64")
        loop_around_hit(wide, shift, {number: tuple(found) for number, found in hits.items()})
    elif copies > 1:
        loop(start, blocks, step, copies)
    loop(blocks if copies > 1 else start, inside, width, 1)
    for track in skewed:
        assert track.skew is not None
        behind = add(add(inside, integer(width)), track.skew)
        last = sub(stop, integer(width))
        for base in (start, add(start, track.skew), behind, minimum(add(behind, integer(width)), last), last):
            scope.statements += body(base, [track], skewing=False)
    if skewed:
        for vector in range(3):
            scope.statements += body(add(inside, integer(vector * width)), straight)
    _tail(emitter, scope, count, stop, width, lambda base, mask: body(base, straight, mask))


def _hits(emitter: Emitter, track: Track) -> dict[Value, Expr]:
    """Comparisons in a pass that hold in one column of the row at the most, and which column that is."""
    if not track.work.stores or track.work.reductions:
        return {}
    given = {**track.row.known, **dict.fromkeys(track.work.kept, integer(0))}
    used = {result for op in emitter.needed(track.work.targets, given) for result in op.results}
    return {hit: track.row.known[row] for hit, row in emitter.facts.hits.items()
            if hit in used and row in track.row.known and track.row.known[row].width == 1}  # fmt: skip


def _lockstep(blocks: Sequence[list[Stmt]]) -> list[Stmt]:
    """The first statement of every block, then the second, ..."""
    if len({len(block) for block in blocks}) != 1:
        return [statement for block in blocks for statement in block]
    return [statement for line in zip(*blocks) for statement in line]


def _tail(
    emitter: Emitter, scope: Scope, count: Expr, stop: Expr, width: int, body: Callable[[Expr, Expr], list[Stmt]]
) -> None:
    rest = mod(count, integer(width))
    if rest == integer(0) or width == 1:
        return
    left = rest if isinstance(rest, Const) else emitter.let(scope, "rest", rest)
    inner = Scope()
    fresh = Apply("ge", (Iota("i32", width), _i32(sub(integer(width), left), width)), "bool", width)
    mask = emitter.let(inner, "fresh", fresh)
    base = emitter.let(inner, "column", sub(stop, integer(width)))
    inner.statements += body(base, mask)
    if isinstance(rest, Const):
        scope.statements.extend(inner.statements)
    else:
        scope.statements.append(If(Apply("gt", (left, integer(0)), "bool"), tuple(inner.statements)))


def _i32(expression: Expr, width: int) -> Expr:
    if isinstance(expression, Const):
        return Const(int(expression.value), "i32", width)
    return Splat(Apply("cast", (expression,), "i32"), width)
