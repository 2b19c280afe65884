"""What lies beside a row in memory: a constant, where a result is stored within a longer row (`Schedule.margins`).

In: a row whose elements are stored. Out: the stores of its margins, by one work-item or by several in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...ir.arithmetic import add, div, integer, mul, sub
from ...ir.function import Value
from ...ir.kernel import Const, Expr, For, Stmt, register_dtype
from ..emission.emit import Emitter, Scope
from ..emission.points import Lanes, Point, size_of
from ..emission.windows import value_beside

ZERO, ONE = integer(0), integer(1)


def store_margins(
    emitter: Emitter, scope: Scope, values: Iterable[Value], point: Point, axis: int, width: int,
    own: Expr = ZERO, of: Expr = ONE, nontemporal: bool = False,
) -> None:  # fmt: skip
    """Store what is beside the row at `point`, which runs along `axis`: of `of` work-items number `own` takes every
    `of`-th vector. `nontemporal`: past the cache, where rows and margins are whole lines."""
    aligned, emitter.aligned = emitter.aligned, False
    for value in values:
        op = emitter.schedule.margins.get(value)
        if op is None:
            continue
        beside = value_beside(op, register_dtype(value.type.dtype), 1)
        before, after, columns = op.attributes["before"], op.attributes["after"], emitter.schedule.axes[axis]

        def stored(column: Expr, lanes: int, value: Value = value, beside: Expr = beside) -> tuple[Stmt, ...]:
            inner = Scope({value: beside})
            emitter.store(value, {**point, axis: Lanes(column, lanes)}, inner, nontemporal and lanes == width)
            return tuple(inner.statements)

        for start, count in ((sub(integer(0), size_of(before)), before), (size_of(columns), after)):
            if of == ONE and isinstance(before, int) and isinstance(start, Const) and isinstance(count, int):
                first = before + int(start.value)
                for place, lanes, times in _aligned(first, first + count, width):
                    low, step = integer(place - before), integer(lanes)
                    high = integer(place - before + lanes * times)
                    column = emitter.fresh("column", "i64")
                    scope.statements += ([For(column, low, high, step, stored(column, lanes))] if times > 1
                                         else stored(low, lanes))  # fmt: skip
            elif count != 0:
                whole = add(start, mul(div(size_of(count), integer(width)), integer(width)))
                for low, high, lanes in ((start, whole, width), (whole, add(start, size_of(count)), 1)):
                    column = emitter.fresh("column", "i64")
                    first, step = add(low, mul(own, integer(lanes))), mul(of, integer(lanes))
                    scope.statements.append(For(column, first, high, step, stored(column, lanes)))
    emitter.aligned = aligned


def _aligned(place: int, end: int, width: int) -> Iterator[tuple[int, int, int]]:
    """The places from `place` to `end` as vectors that lie at multiples of their own size: the first place of some, how
    many lanes they have, and how many there are."""
    while place < end:
        lanes = width
        while place % lanes or place + lanes > end:
            lanes //= 2
        times = (end - place) // lanes if lanes == width else 1
        yield place, lanes, times
        place += lanes * times
