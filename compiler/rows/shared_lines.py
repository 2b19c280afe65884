"""Passes over rows that start anywhere in a cache line, with stores past the cache all the same.

In: passes over rows of one length, and where in a line each row starts. Out: loops over vectors at aligned addresses, a
masked vector at either end, and the line that two rows share, stored once from the values of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from ...ir.arithmetic import add, integer, less, maximum, minimum, mod, mul, sub
from ...ir.kernel import Apply, Const, Expr, If, Iota, Prefetch, Splat, Store
from ...ir.ops import read_here
from ...ir.target import DeviceInfo
from ..emission.addresses import lies_as_looped
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, Point, lanes_where, widen
from ..emission.reductions import Accumulators
from ..emission.vectors import past_cache, vector_width
from ..emission.windows import reads_beside
from ..fused import Fused
from .ownership import point_of
from .stages import Stage
from .sweep import Sweep, Track
from .work import ZERO, load_kept, work_of


def past_cache_over_lines(fused: Fused, device: DeviceInfo, axis: int) -> Expr | None:
    """The condition on sizes under which rows that share lines go past the cache; None where they never do.

    What a row reads may lie where it stores only without a ragged end (`overwriting.py`), and here there is one.
    """
    schedule = fused.schedule
    columns = schedule.axes[axis]
    if len(fused.stages) != 1 or not isinstance(columns, int):
        return None
    (stage,) = fused.stages
    width = vector_width(schedule, device, columns)
    if columns % width == 0 or columns < 2 * width:
        return None
    if stage.reductions or stage.across or stage.element_checks or reads_beside(schedule, axis):
        return None
    return past_cache(schedule, device, width, axis, 0)


def rows_together(columns: int, width: int) -> int:
    """So many rows begin with an aligned address and end with one."""
    return width // gcd(columns, width)


def skew_of(emitter: Emitter, scope: Scope, row: Expr, columns: int, width: int) -> Expr:
    """The first column of a row whose address is aligned."""
    past = mod(mul(row, integer(columns)), integer(width))
    return emitter.let(scope, "skew", mod(sub(integer(width), past), integer(width)))


def sweep_over_lines(
    emitter: Emitter, scope: Scope, stage: Stage, row: Expr, end: Expr, row_axes: Sequence[int], axis: int, width: int,
    unroll: int, totals: Sequence[Accumulators],
) -> None:  # fmt: skip
    """The pass over `row`, of rows that end before `end`."""
    columns = emitter.schedule.axes[axis]
    assert isinstance(columns, int)

    def track(number: Expr, known: Scope) -> Track:
        skew = skew_of(emitter, scope, number, columns, width)
        return Track(known, point_of(emitter, scope, number, row_axes), work_of(stage), totals, skew)

    following = emitter.let(scope, "following", add(row, integer(1)))
    fixed = {v: e for v, e in scope.known.items() if not emitter.schedule.varies[v]}
    after = track(following, Scope(fixed, scope.statements))
    after = replace(after, work=replace(after.work, joined=()), groups=())
    own = replace(track(row, scope), following=after, follows=less(following, end))
    sweep_aligned(emitter, scope, [own], axis, columns, width, unroll, unroll)


def sweep_aligned(
    emitter: Emitter, scope: Scope, tracks: Sequence[Track], axis: int, columns: int, width: int, unroll: int,
    abreast: int,
) -> None:  # fmt: skip
    """A sweep over rows of `columns` that start anywhere in a cache line: vectors at aligned addresses, so that stores
    may go past the cache.

    What lies before and after the whole lines of a row is one masked vector each (two after it where rows differ by
    more than a vector). The line that a row shares with the next is stored once, past the cache as all others, from the
    values of both rows.
    """
    shape = Sweep(emitter, scope, tracks, axis, width, unroll, True, abreast, columns)
    shape.hoist()
    granule = gcd(columns, width)
    whole = (columns - width + granule) // width * width
    shape.loops(ZERO, integer(whole))
    last = integer(columns - width)
    for track in tracks:
        assert track.skew is not None
        for buffer, offset, level in track.work.prefetch:
            for column in range(whole, columns, width):
                scope.statements.append(Prefetch(buffer, add(offset, integer(column)), level))
        counted = replace(track.work, stores=(), prefetch=())
        if not counted.is_empty:
            alone = Sweep(emitter, scope, [replace(track, work=counted)], axis, width, 1, False, 1)
            alone.edge(scope, ZERO, before=track.skew)
            end = add(integer(whole), track.skew)
            if columns - whole > width:
                base = emitter.let(scope, "column", minimum(end, last))
                alone.edge(scope, base, sub(end, base))
                end = add(end, integer(width))
            alone.edge(scope, last, maximum(ZERO, sub(end, last)))
        if track.work.stores:
            _store_rest(emitter, scope, track, axis, columns, whole, width)


def _store_rest(
    emitter: Emitter, scope: Scope, track: Track, axis: int, columns: int, whole: int, width: int
) -> None:  # fmt: skip
    """Store what a row has beyond its first `whole` aligned columns: a line of its own, where it has one more, and the
    line that it shares with the row after it."""
    assert track.skew is not None
    assert track.following is not None
    only = replace(track, work=replace(track.work, joined=(), checks=(), keep={}, prefetch=()), groups=())
    alone = Sweep(emitter, scope, [only], axis, width, 1, True, 1)
    end = emitter.let(scope, "end_of_lines", add(integer(whole), track.skew))
    left = sub(integer(columns), end)
    if columns - whole >= width:
        inner = Scope()
        alone.edge(inner, end)
        scope.statements.append(If(Apply("ge", (left, integer(width)), "bool"), tuple(inner.statements)))
    tail = emitter.let(scope, "tail", mod(left, integer(width)))
    column = emitter.let(scope, "column", sub(integer(columns), tail))
    shares = Apply("gt", (tail, ZERO), "bool")
    seam = Scope()
    ours = _values(emitter, seam, only, axis, column, columns, width)
    theirs = _values(emitter, seam, track.following, axis, sub(column, integer(columns)), columns, width)
    mask = emitter.let(seam, "ours", lanes_where("lt", tail, width))
    for value, here, there in zip(track.work.stores, ours, theirs):
        index, _ = emitter.index(value, {**track.point, axis: Lanes(column, width)})
        both = Apply("select", (mask, here, there), here.dtype, width)
        seam.statements.append(Store(emitter.buffers[value], index, both, True))
    assert track.follows is not None
    follows = Apply("and", (shares, track.follows), "bool")
    scope.statements.append(If(follows, tuple(seam.statements)))
    # The end of memory, which no row shares.
    ordinary, inner = Sweep(emitter, scope, [only], axis, width, 1, False, 1), Scope()
    ordinary.edge(inner, integer(columns - width))
    ends = Apply("and", (shares, Apply("not", (track.follows,), "bool")), "bool")
    scope.statements.append(If(ends, tuple(inner.statements)))


def _values(
    emitter: Emitter, scope: Scope, track: Track, axis: int, column: Expr, columns: int, width: int
) -> list[Expr]:  # fmt: skip
    """The values that a pass stores at a vector that is partly beyond the row: lanes there hold anything."""
    here = Scope(dict(track.row.known), scope.statements)
    point: Point = {**track.point, axis: Lanes(column, width)}
    work = track.work
    load_kept(emitter, here, work, column, width)
    given = {**here.known, **dict.fromkeys(work.kept, ZERO)}
    operands = {operand for op in emitter.needed(work.stores, given) for operand in read_here(op)}
    for value in emitter.schedule.function.inputs:
        varies = emitter.schedule.varies[value]
        if value in operands and axis in varies and not lies_as_looped(emitter.schedule, value):
            lanes = Apply("add", (Splat(column, width), Iota("i64", width)), "i64", width)
            low = Apply("max", (lanes, Const(0, "i64", width)), "i64", width)
            inside = Apply("min", (low, Const(columns - 1, "i64", width)), "i64", width)
            here.known[value] = emitter.load(value, {**point, axis: emitter.let(here, "inside", inside)}, here)
    emitter.compute(work.stores, point, here)
    return [widen(here.known[value], width) for value in work.stores]
