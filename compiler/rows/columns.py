"""Passes over blocks of rows: loops over the columns one by one, a vector of rows at a time.

In: what passes do, and the blocks that they go along. Out: loops in a scope, after which what the rows are reduced to
is known, and what they pick of their columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from ...ir.arithmetic import add, integer, minimum, mul
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Apply, Assign, Const, Declare, Expr, Load, Prefetch, Reduce, Stmt, Store, Var, register_dtype
from ...ir.schedule import Schedule
from ..emission.emit import Emitter, Scope
from ..emission.marks import Stretch, needed_in, stretches
from ..emission.points import size_of, widen
from ..emission.reductions import Accumulators, accumulate, declare, fold
from .blocks import Block
from .ends import end_of_columns
from .stages import Stage
from .strips import ColumnLoop, Strips
from .work import Work, along, lockstep, visit

COLUMNS_PICKED = 64
"""Up to so many, what a row picks of its columns is compared for at every column: 0.86 of fetching it afterwards at 21
(cross-entropy of pixels), 0.79 at 48, 1.00 at 64 and 100."""


@frozen
class Pick:
    """A gather along the columns, done while a pass goes by them: `found` becomes each row's element, 0 where it has
    none."""

    op: Op
    found: Var


def declare_pick(emitter: Emitter, scope: Scope, op: Op, width: int) -> Pick:
    """A gather that has found nothing yet."""
    dtype = register_dtype(op.result.type.dtype)
    found = emitter.fresh(op.result.name, dtype, width)
    scope.statements.append(Declare(found, Const(0, dtype, width)))
    return Pick(op, found)


@frozen
class LaneTrack:
    """One pass over one vector of rows, among those that a loop does side by side. `row` is the scope of these rows'
    values; `rows` are reduced lane by lane, `sums` over everything. `vector` is its place in its block, and that of its
    values in private arrays. Inputs `ahead` are fetched so many elements before they are read. `across` are sums across
    the rows, each with the array of a vector for every column that it adds to."""

    row: Scope
    block: Block
    work: Work
    rows: Sequence[Accumulators]
    sums: Sequence[Accumulators]
    vector: int = 0
    ahead: Mapping[Value, int] = field(default_factory=dict)
    picks: Sequence[Pick] = ()
    across: Mapping[Op, str] = field(default_factory=dict)


def picked_in_passing(schedule: Schedule, stages: Sequence[Stage], columns: int) -> Mapping[Op, int]:
    """Gathers of one element a row, with the first pass that goes by what they pick from: early enough for all that
    uses them."""
    found: dict[Op, int] = {}
    for op in schedule.function.ops if columns <= COLUMNS_PICKED and len(schedule.columns) == 1 else ():
        if op.name != "gather" or schedule.varies[op.operands[0]] != schedule.looped:
            continue
        source, _ = op.operands
        axis = schedule.axis_of(op, source)
        one_a_row = schedule.varies[op.result] == frozenset(schedule.rows) and axis == schedule.columns[0]
        number = next((stage.number for stage in stages if stage.needs(source)), None)
        if not one_a_row or number is None or schedule.varies[op.operands[1]] != frozenset(schedule.rows):
            continue
        in_time = schedule.stage[op.operands[1]] <= number <= max(0, schedule.stage[op.result] - 1)
        if in_time and not any(stage.needs(op.result) for stage in stages[: number + 1]):
            found[op] = number
    return found


def visit_columns(
    emitter: Emitter, scope: Scope, tracks: Sequence[LaneTrack], vectors: int = 1,
    within: tuple[Expr, Expr] | None = None, nontemporal: bool = False,
) -> None:  # fmt: skip
    """Loop over the columns one by one, a block of so many `vectors` each time; those of one pass advance in lockstep.
    `within` bounds the outermost column axis."""
    schedule = emitter.schedule
    for track in tracks:
        emitter.hoist(track.work.targets, schedule.reduced, track.block.point, track.row, given=track.work.kept)
        emitter.compute([pick.op.operands[1] for pick in track.picks], track.block.point, track.row)
    whole = (integer(0), size_of(schedule.axes[schedule.columns[0]]))
    bounds = within or _counting(emitter, scope, tracks) or whole
    for each in stretches(emitter.marks, schedule.columns[0], *bounds):
        scope.statements += _along(emitter, [_known_there(emitter, track, each) for track in tracks], vectors, each,
                                   nontemporal)  # fmt: skip


def _known_there(emitter: Emitter, track: LaneTrack, stretch: Stretch) -> LaneTrack:
    """A pass along columns where more is known: none picks there if all look elsewhere."""
    if not stretch.known:
        return track
    row, work = along(emitter, stretch.known, track.row, track.work)
    places = emitter.facts.places
    picks = [pick for pick in track.picks if stretch.may_have(places[pick.op].low, places[pick.op].high)]
    needed = needed_in(emitter.marks, stretch.known)
    ahead = {value: distance for value, distance in track.ahead.items() if value in needed}
    return replace(track, row=row, work=work, picks=picks, ahead=ahead)


def _along(
    emitter: Emitter, tracks: Sequence[LaneTrack], vectors: int, stretch: Stretch, nontemporal: bool
) -> Sequence[Stmt]:  # fmt: skip
    """Loops over the columns, those along the outermost axis that are in a stretch."""
    schedule = emitter.schedule
    variables = [emitter.fresh("column", "i64") for _ in schedule.columns]
    flat: Expr = integer(0)
    for variable, a in zip(variables, schedule.columns):
        flat = add(mul(flat, size_of(schedule.axes[a])), variable)
    column = dict(zip(schedule.columns, variables))
    sizes = [schedule.axes[a] for a in schedule.columns]
    strips = Strips(emitter, sizes, [group for track in tracks for group in (*track.rows, *track.sums)])
    statements: list[Stmt] = []
    for first in range(0, len(tracks), vectors):
        abreast = [_visited(emitter, track, column, flat, vectors, nontemporal, strips)
                   for track in tracks[first : first + vectors]]  # fmt: skip
        statements += lockstep([inner.statements for inner in abreast])
        statements += _summed_across(emitter, tracks[first : first + vectors], abreast, flat)
    bounds: list[tuple[Expr, Expr]] = [(integer(0), size_of(size)) for size in sizes]
    bounds[0] = stretch.start, stretch.stop
    loops = [ColumnLoop(variable, *bound, size) for variable, bound, size in zip(variables, bounds, sizes)]
    return strips.loops(loops, tuple(statements))


def _counting(emitter: Emitter, scope: Scope, tracks: Sequence[LaneTrack]) -> tuple[Expr, Expr] | None:
    """The columns that count for any of the rows, if all that a single pass does is reduce those."""
    track, work = tracks[0], tracks[0].work
    does_more = track.sums or track.picks or track.across or track.ahead or work.stores or work.checks or work.keep
    end = None if len(tracks) > 1 or does_more else end_of_columns(emitter.schedule, [group.op for group in track.rows])
    if end is None:
        return None
    leave_out_rest(emitter, scope, track.rows)
    return columns_below(emitter, scope, end, track.block, track.row)


def leave_out_rest(emitter: Emitter, scope: Scope, groups: Sequence[Accumulators]) -> None:
    """Have maxima count what is left out: 0, the least that they are of. Of no columns nothing is left out."""
    columns = emitter.schedule.axes[emitter.schedule.columns[0]]
    for group in groups:
        if group.op.name == "reduce_max":
            first = group.variables[0]
            least: Expr = Const(0, first.dtype, first.width)
            if not isinstance(columns, int) or columns == 0:
                some = widen(Apply("gt", (size_of(columns), integer(0)), "bool"), first.width)
                least = Apply("select", (some, least, first), first.dtype, first.width)
            scope.statements.append(Assign(first, least))


def columns_below(emitter: Emitter, scope: Scope, end: Value, block: Block, row: Scope) -> tuple[Expr, Expr]:
    """The columns below `end`, a value of the row, in any row of a block."""
    emitter.compute([end], block.point, row)
    found = row.known[end]
    narrow: Expr = found if found.width == 1 else Reduce("max", found)
    wide = narrow if narrow.dtype == "i64" else Apply("cast", (narrow,), "i64")
    size = size_of(emitter.schedule.axes[emitter.schedule.columns[0]])
    return integer(0), emitter.let(scope, "end_of_columns", minimum(size, wide))


def _visited(
    emitter: Emitter, track: LaneTrack, column: Mapping[int, Expr], flat: Expr, vectors: int, nontemporal: bool,
    strips: Strips,
) -> Scope:  # fmt: skip
    """One pass at one column."""
    inner = Scope(dict(track.row.known))
    here = {**track.block.point, **column}
    for value, distance in track.ahead.items():
        index, _ = emitter.index(value, here)
        inner.statements.append(Prefetch(emitter.buffers[value], add(index, integer(distance)), 2))
    place = add(mul(flat, integer(track.block.width * vectors)), integer(track.vector * track.block.width))
    visit(emitter, inner, here, track.work, [*map(strips.inside, track.rows)], nontemporal=nontemporal, column=place)
    for group in track.sums:
        accumulate(emitter, inner, strips.inside(group), track.vector, track.block.fresh)
    for pick in track.picks:
        source, position = pick.op.operands
        emitter.compute([source], here, inner)
        wanted, number = inner.known[position], column[emitter.schedule.columns[0]]
        narrow = number if wanted.dtype == "i64" else Apply("cast", (number,), wanted.dtype)
        hit = Apply("eq", (wanted, widen(narrow, wanted.width)), "bool", wanted.width)
        picked = Apply("select", (hit, inner.known[source], pick.found), pick.found.dtype, pick.found.width)
        inner.statements.append(Assign(pick.found, picked))
    return inner


def _summed_across(emitter: Emitter, tracks: Sequence[LaneTrack], scopes: Sequence[Scope], column: Expr) -> list[Stmt]:
    """What one pass over the vectors of a block adds to the sums across rows at one column."""
    found = Scope()
    for op, array in tracks[0].across.items():
        dtype, width = register_dtype(op.result.type.dtype), tracks[0].block.width
        place = mul(column, integer(width))
        total: Expr = Load(array, place, dtype, width)
        for track, scope in zip(tracks, scopes):
            value = widen(scope.known[op.operands[0]], width)
            if track.block.fresh is not None:
                value = Apply("select", (track.block.fresh, value, Const(0, dtype, width)), dtype, width)
            total = emitter.let(found, "across", Apply("add", (total, value), dtype, width))
        found.statements.append(Store(array, place, total))
    return found.statements


def pass_over(
    emitter: Emitter, scope: Scope, rows: Sequence[tuple[Scope, Block]], stage: Stage, work: Work,
    sums: Sequence[Accumulators], picks: Sequence[Pick] = (), nontemporal: bool = False,
) -> None:  # fmt: skip
    """One pass over the columns of some vectors of rows side by side, each with the scope of its values; afterwards
    their reductions are known, and what they pick."""
    if work.is_empty:
        return
    own = [group for group in sums if group.op in stage.element_sums]
    tracks = [LaneTrack(known, block, work, declare(emitter, scope, stage.reductions, block.width, 1), own, vector,
                        picks=picks) for vector, (known, block) in enumerate(rows)]  # fmt: skip
    visit_columns(emitter, scope, tracks, len(tracks), nontemporal=nontemporal)
    for track in tracks:
        track.row.known.update({group.op.result: fold(emitter, scope, group, False) for group in track.rows})
        track.row.known.update({pick.op.result: pick.found for pick in picks})
