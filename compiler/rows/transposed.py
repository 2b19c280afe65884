"""Blocks of contiguous rows transposed so that each lane of a vector owns a row, and back, in registers.

In: as many contiguous rows as a vector has lanes, in a buffer. Out: statements that bring them into a private array,
column after column with one element of each row side by side, or from there to a buffer. Rows shorter than a vector
pass through a second array: a vector over the end of the last row would leave the buffer.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import add, integer, minimum, mul
from ...ir.frozen import frozen
from ...ir.kernel import Apply, Const, Expr, For, Load, PrivateArray, Stmt, Store
from ..emission.emit import Emitter, Scope


@frozen
class TransposedRows:
    """Rows of `columns` elements, `width` of them at a time: `array` holds them by columns, `between` is the array that
    short rows pass through."""

    array: str
    dtype: str
    columns: int
    width: int
    between: str | None

    @property
    def arrays(self) -> list[PrivateArray]:
        size = self.columns * self.width
        own = PrivateArray(self.array, self.dtype, size)
        return [own] if self.between is None else [own, PrivateArray(self.between, self.dtype, size + self.width)]

    def prepare(self) -> list[Stmt]:
        """Fill what lies behind the last of the short rows: it is read and not used."""
        if self.between is None:
            return []
        return [Store(self.between, integer(self.columns * self.width), Const(0, self.dtype, self.width))]


def transposed(emitter: Emitter, name: str, dtype: str, columns: int, width: int) -> TransposedRows:
    array = emitter.fresh(f"{name}_columns", dtype).name
    between = emitter.fresh(f"{name}_rows", dtype).name if columns < width else None
    return TransposedRows(array, dtype, columns, width, between)


def transpose_in(emitter: Emitter, scope: Scope, buffer: str, start: Expr, rows: TransposedRows) -> None:
    """The rows from `start` on in a buffer, into their private array."""
    columns, width, dtype = rows.columns, rows.width, rows.dtype
    if rows.between is not None:
        place = emitter.fresh("place", "i64")
        copy = Store(rows.between, place, Load(buffer, add(start, place), dtype, width))
        scope.statements.append(For(place, integer(0), integer(columns * width), integer(width), (copy,)))
        found = [Load(rows.between, integer(row * columns), dtype, width) for row in range(width)]
        for column, vector in enumerate(_transposed(emitter, scope, found)[:columns]):
            scope.statements.append(Store(rows.array, integer(column * width), vector))
        return
    first, inner = emitter.fresh("column", "i64"), Scope()
    base = _tile(emitter, inner, first, rows)
    at = emitter.let(inner, "tile", add(start, base))
    found = [Load(buffer, add(at, integer(row * columns)), dtype, width) for row in range(width)]
    to = emitter.let(inner, "place", mul(base, integer(width)))
    for column, vector in enumerate(_transposed(emitter, inner, found)):
        inner.statements.append(Store(rows.array, add(to, integer(column * width)), vector))
    scope.statements.append(For(first, integer(0), integer(columns), integer(width), tuple(inner.statements)))


def transpose_out(
    emitter: Emitter, scope: Scope, rows: TransposedRows, buffer: str, start: Expr, nontemporal: bool = False
) -> None:  # fmt: skip
    """The rows in a private array, to a buffer from `start` on. `nontemporal` where every row is whole cache lines."""
    columns, width, dtype = rows.columns, rows.width, rows.dtype
    if rows.between is not None:
        found: list[Expr] = [Load(rows.array, integer(column * width), dtype, width) for column in range(columns)]
        found += [Const(0, dtype, width)] * (width - columns)
        # In order: what a vector writes behind its row is the next row's.
        for row, vector in enumerate(_transposed(emitter, scope, found)):
            scope.statements.append(Store(rows.between, integer(row * columns), vector))
        place = emitter.fresh("place", "i64")
        copy = Store(buffer, add(start, place), Load(rows.between, place, dtype, width))
        scope.statements.append(For(place, integer(0), integer(columns * width), integer(width), (copy,)))
        return
    first, inner = emitter.fresh("column", "i64"), Scope()
    base = _tile(emitter, inner, first, rows)
    place = emitter.let(inner, "place", mul(base, integer(width)))
    found = [Load(rows.array, add(place, integer(column * width)), dtype, width) for column in range(width)]
    at = emitter.let(inner, "tile", add(start, base))
    for row, vector in enumerate(_transposed(emitter, inner, found)):
        inner.statements.append(Store(buffer, add(at, integer(row * columns)), vector, nontemporal))
    scope.statements.append(For(first, integer(0), integer(columns), integer(width), tuple(inner.statements)))


def _tile(emitter: Emitter, scope: Scope, first: Expr, rows: TransposedRows) -> Expr:
    """The first column of a tile; the last tile overlaps the one before."""
    if rows.columns % rows.width == 0:
        return first
    return emitter.let(scope, "base", minimum(first, integer(rows.columns - rows.width)))


def _transposed(emitter: Emitter, scope: Scope, vectors: Sequence[Expr]) -> list[Expr]:
    """The columns of a square of vectors, as vectors: as often as its side can be halved, vector i and the one half the
    side further are zipped into vectors 2 i and 2 i + 1."""
    found = [emitter.let(scope, "r", vector) for vector in vectors]
    half = len(found) // 2
    for _ in range(half.bit_length()):
        pairs = [(op, a, b) for a, b in zip(found[:half], found[half:]) for op in ("zip_low", "zip_high")]
        found = [emitter.let(scope, "r", Apply(op, (a, b), a.dtype, a.width)) for op, a, b in pairs]
    return found
