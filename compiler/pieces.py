"""Steps of a repeated function: how many rows a piece has, and how kernels find one in buffers that hold all rows.

In: a step whose kernels take each buffer as if it began with the piece. Out: the same step with a scalar argument, the
piece's first row, and with every index into such a buffer, and every position that a check reports, moved on by the
rows before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..ir.arithmetic import add, div, index_var, integer, maximum, minimum, mul
from ..ir.function import Value
from ..ir.kernel import (
    Apply,
    AtomicMin,
    Expr,
    Load,
    Prefetch,
    Splat,
    Stmt,
    Store,
    Var,
    walk_expressions,
    walk_statements,
)
from ..ir.program import CHECK_HOLDS, Launch, Step
from ..ir.repeat import PIECE_ROWS
from ..ir.types import ITEM_SIZE, DimLike, bind_dim, dim_names, multiply_dims
from .emission.points import size_of
from .substitution import substituted


def has_rows(value: Value, step: str) -> bool:
    """Whether a value of a repeated function has the rows of a piece, which are `step`."""
    return any(step in dim_names(dim) for dim in value.type.shape)


def elements_per_row(shape: tuple[DimLike, ...], step: str) -> Expr:
    """How many elements of a shape belong to one row."""
    return size_of(bind_dim(multiply_dims(shape), {step: 1}))


def rows_at_a_time(budget: int, held: Sequence[Value], step: str) -> Expr:
    """As many rows as have what is `held` of them within a budget of bytes, beside what is held of no row: a multiple
    of PIECE_ROWS and no fewer than that."""
    of_rows = [_bytes(elements_per_row(v.type.shape, step), v) for v in held if has_rows(v, step)]
    fixed = [_bytes(size_of(multiply_dims(v.type.shape)), v) for v in held if not has_rows(v, step)]
    left = _total([integer(budget), *(mul(integer(-1), size) for size in fixed)])
    unit = integer(PIECE_ROWS)
    each = mul(unit, maximum(integer(1), _total(of_rows)))
    return mul(unit, maximum(integer(1), div(maximum(integer(0), left), each)))


def _bytes(elements: Expr, value: Value) -> Expr:
    return mul(elements, integer(ITEM_SIZE[value.type.dtype]))


def _total(terms: Iterable[Expr]) -> Expr:
    total: Expr = integer(0)
    for term in terms:
        total = add(total, term)
    return total


def step_of_pieces(
    step: Step, repeat: int, start: str, row_elements: Mapping[str, Expr], checked: Mapping[int, Expr]
) -> Step:
    """`step` as one of `repeat`, with its launches moved to the piece that begins with row `start`."""
    variants = (
        replace(variant, launches=tuple(_move_to_piece(launch, start, row_elements, checked)
                                        for launch in variant.launches))
        for variant in step.variants
    )  # fmt: skip
    return replace(step, variants=tuple(variants), repeat=repeat)


def _move_to_piece(launch: Launch, start: str, row_elements: Mapping[str, Expr], checked: Mapping[int, Expr]) -> Launch:
    """`launch` with indices into the buffers of `row_elements` moved on by `start` rows of so many elements, and so the
    positions in the status words of `checked`."""
    moved = {
        argument.name: mul(index_var(start), row_elements[name])
        for argument, name in zip(launch.kernel.buffers, launch.buffers)
        if name in row_elements
    }
    kernel = launch.kernel
    positions: dict[Expr, Expr] = {integer(slot): mul(index_var(start), elements) for slot, elements in checked.items()}
    reported = {s.index for s in walk_statements(kernel.body) if isinstance(s, AtomicMin)}
    offsets = [*moved.values(), *(offset for word, offset in positions.items() if word in reported)]
    needed = dict.fromkeys([*kernel.scalars, *(var for offset in offsets for var in _variables(offset))])
    body = tuple(_moved(statement, moved, positions) for statement in kernel.body)
    scalars = {**{var.name: var for var in needed}, **launch.scalars}
    return replace(launch, entry=replace(kernel, scalars=tuple(needed), body=body), scalars=scalars)


def _variables(expression: Expr) -> Iterator[Var]:
    return (inner for inner in walk_expressions(expression) if isinstance(inner, Var))


def _moved(statement: Stmt, moved: Mapping[str, Expr], positions: Mapping[Expr, Expr]) -> Stmt:
    """A statement with the indices in it moved on."""

    def other(part: Any) -> Any:
        match part:
            case AtomicMin(index=index, value=value):
                return replace(part, value=_position(value, positions[index]))
            case Load() | Store() | Prefetch() if part.buffer in moved:
                return replace(part, index=_added(part.index, moved[part.buffer]))
            case _:
                return part

    return substituted(statement, other)


def _position(first: Expr, offset: Expr) -> Expr:
    """A position, as far as it fits a status word."""
    return Apply("cast", (minimum(add(Apply("cast", (first,), "i64"), offset), integer(CHECK_HOLDS - 1)),), "i32")


def _added(index: Expr, offset: Expr) -> Expr:
    if index.width == 1:
        return add(index, offset)
    return Apply("add", (index, Splat(offset, index.width)), "i64", index.width)
