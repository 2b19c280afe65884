"""Margins past the cache: rows within longer rows, in whole lines of memory, wherever in a line a row starts.

In: a pass that stores rows with margins, between which there is a line at least. Out: the lines at both ends of a row,
each of values and of what is beside them; and the lines between a row and the next, which hold nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from ...ir.arithmetic import add, integer, less, mod, mul, sub
from ...ir.function import Value
from ...ir.kernel import Apply, Const, Expr, For, If, Iota, Splat, Store, register_dtype
from ...ir.schedule import Schedule
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, Point
from ..emission.windows import value_beside
from .sweep import Sweep, Track
from .sweep_aligned import values_beyond


@dataclass(frozen=True)
class MarginLines:
    """The only result of a kernel that is stored at elements: `before` and `after` each of its rows of `columns` lies
    what is `beside`."""

    value: Value
    before: int
    columns: int
    after: int
    beside: Const

    @property
    def pitch(self) -> int:
        """From one row to the next."""
        return self.before + self.columns + self.after

    def granule(self, width: int) -> int:
        """What divides the place in a line that a row starts at, whichever row."""
        return gcd(self.before, self.pitch, width)

    def are_whole(self, width: int) -> bool:
        """Whether rows and margins are whole lines."""
        return gcd(self.before, self.pitch, self.columns) % width == 0


def margin_lines(schedule: Schedule, width: int) -> MarginLines | None:
    """The margins of a kernel if they are known numbers, and a line of `width` elements, or more, between two rows."""
    if len(schedule.element_outputs) != 1 or not schedule.margins:
        return None
    ((value, op),) = schedule.margins.items()
    before, after, columns = op.attributes["before"], op.attributes["after"], value.type.shape[op.attributes["axis"]]
    if not (isinstance(before, int) and isinstance(after, int) and isinstance(columns, int)) or before + after < width:
        return None
    return MarginLines(value, before, columns, after, value_beside(op, register_dtype(value.type.dtype), width))


def skew_of(emitter: Emitter, scope: Scope, row: Expr, lines: MarginLines, width: int) -> Expr:
    """The first column of a row whose address is aligned."""
    past = mod(add(mul(row, integer(lines.pitch)), integer(lines.before)), integer(width))
    return emitter.let(scope, "skew", mod(sub(integer(width), past), integer(width)))


def store_margin_lines(
    emitter: Emitter, scope: Scope, lines: MarginLines, track: Track, axis: int, width: int, row: Expr, rows: Expr
) -> None:  # fmt: skip
    """What a sweep along aligned addresses leaves of a row and of what lies between it and the next. Behind the last of
    `rows` memory may end within a line: there stores are ordinary ones."""
    assert track.skew is not None
    only = replace(track, work=replace(track.work, joined=(), checks=(), keep={}, prefetch=()), groups=())
    step, columns, skew = integer(width), integer(lines.columns), track.skew
    _store_end(emitter, scope, lines, only, axis, width, sub(skew, step), Apply("gt", (skew, integer(0)), "bool"))
    if lines.before >= width:
        low, whole = integer(-lines.before), integer(lines.before // width * width)
        first = _filled(emitter, lines, track.point, axis, low, add(low, whole), width)
        scope.statements.append(If(less(row, integer(1)), (first,)))

    is_last = emitter.let(scope, "is_last", Apply("eq", (row, sub(rows, integer(1))), "bool"))
    last, inner = Scope(), Scope()
    Sweep(emitter, last, [only], axis, width, 1, False, 1).edge(last, integer(lines.columns - width))
    last.statements.append(_filled(emitter, lines, track.point, axis, columns, integer(lines.columns + lines.after), 1))
    scope.statements.append(If(is_last, tuple(last.statements)))
    tail = emitter.let(inner, "tail", mod(sub(columns, skew), step))
    end = emitter.let(inner, "end_of_values", sub(columns, tail))
    is_shared = Apply("gt", (tail, integer(0)), "bool")
    _store_end(emitter, inner, lines, only, axis, width, end, is_shared)
    low = add(end, Apply("select", (is_shared, step, integer(0)), "i64"))
    past = mod(add(mul(add(row, integer(1)), integer(lines.pitch)), integer(lines.before)), step)
    low = emitter.let(inner, "low", low)
    inner.statements.append(_filled(emitter, lines, track.point, axis, low, sub(integer(lines.pitch), past), width))
    scope.statements.append(If(Apply("not", (is_last,), "bool"), tuple(inner.statements)))


def _store_end(
    emitter: Emitter, scope: Scope, lines: MarginLines, track: Track, axis: int, width: int, column: Expr,
    condition: Expr,
) -> None:  # fmt: skip
    """The line at `column`, where a row begins or ends in it."""
    inner = Scope()
    column = emitter.let(inner, "column", column)
    (found,) = values_beyond(emitter, inner, track, axis, column, lines.columns, width, frozenset())
    place = Apply("add", (Splat(column, width), Iota("i64", width)), "i64", width)
    begun = Apply("ge", (place, Const(0, "i64", width)), "bool", width)
    ours = Apply("and", (begun, Apply("lt", (place, Const(lines.columns, "i64", width)), "bool", width)), "bool", width)
    both = Apply("select", (ours, found, lines.beside), found.dtype, width)
    index, _ = emitter.index(lines.value, {**track.point, axis: Lanes(column, width)})
    inner.statements.append(Store(emitter.buffers[lines.value], index, both, True))
    scope.statements.append(If(condition, tuple(inner.statements)))


def _filled(
    emitter: Emitter, lines: MarginLines, point: Point, axis: int, low: Expr, high: Expr, width: int
) -> For:  # fmt: skip
    """The columns from `low` to `high` filled with what is beside rows; past the cache as vectors."""
    column = emitter.fresh("column", "i64")
    index, _ = emitter.index(lines.value, {**point, axis: Lanes(column, width)})
    beside = Const(lines.beside.value, lines.beside.dtype, width)
    return For(column, low, high, integer(width), (Store(emitter.buffers[lines.value], index, beside, width > 1),))
