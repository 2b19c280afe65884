"""`repeat`: a function run on one piece of the rows after the other, so that what it computes on the way stays small.

    %sum, %kept = repeat @piece(%x, %w) {rows = [B], step = "R", start = "S", carried = 1, budget = 1048576}

The callee's dimension `R` is the size of a piece, `S` the row at which it begins: `size {of = [S]}` reads it. Operands
that have `R` in front in the callee are cut into pieces along their first axis, others are given whole. The last
`carried` inputs of the callee are what its first results were for the piece before (anything at all for the first
piece); after the last piece these are results. The other results have `R` in front: their pieces lie one after the
other. A piece has as many rows as keep its intermediate values within `budget` bytes. Dimension names that no operand
gives are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .attributes import complete_attributes
from .diagnostics import LirError, Span
from .function import Function, Op, Value
from .ops import Attribute
from .signature import substitute, unify
from .types import dim_names, dim_value, named

NAME = "repeat"
PIECE_ROWS = 16
"""Pieces are multiples of this many rows, so that vectors of rows are aligned in every piece as in the first."""
ATTRIBUTES: Mapping[str, Attribute] = {
    "rows": Attribute("dims"), "step": Attribute("str"), "start": Attribute("str"),
    "carried": Attribute("int", 0), "budget": Attribute("int"),
}  # fmt: skip

Array = np.ndarray[Any, Any]


def make_repeat(
    function: Function, operands: Sequence[Value], attributes: Mapping[str, Any], hints: Sequence[str] = (),
    span: Span | None = None,
) -> Op:  # fmt: skip
    """A checked `repeat`. Raises LirError placed at `span`."""
    try:
        complete = complete_attributes(NAME, ATTRIBUTES, attributes)
        count, step = complete["carried"], complete["step"]
        if len(complete["rows"]) != 1:
            raise LirError(f"rows names one dimension, found {list(complete['rows'])}", code="LIR0023", about="rows")
        if not 0 <= count <= min(len(function.inputs), len(function.outputs)):
            raise LirError(f"carried = {count}, but @{function.name} has {len(function.inputs)} inputs and "
                           f"{len(function.outputs)} results", code="LIR0023", about="carried")  # fmt: skip
        given = function.inputs[: len(function.inputs) - count]
        _check_carried(function, count, step)
        _check_pieces(function, given, function.outputs[count:], step)
        sizes = unify(function.with_(inputs=given), [operand.type for operand in operands])
        if sizes.get(step) != complete["rows"][0]:
            raise LirError(f"rows is {complete['rows'][0]}, but the operands have {sizes.get(step)} rows",
                           code="LIR0047")  # fmt: skip
    except LirError as error:
        raise error.at(span) from None
    names = [*hints, *[""] * (len(function.outputs) - len(hints))]
    results = tuple(
        Value(hint or name, substitute(output.type, sizes), span)
        for hint, name, output in zip(names, function.names_of_outputs, function.outputs)
    )
    return Op(NAME, tuple(operands), {"callee": function.name, **complete}, results, span)


def _check_carried(function: Function, count: int, step: str) -> None:
    before = function.inputs[len(function.inputs) - count :]
    for value, output in zip(before, function.outputs):
        if value.type != output.type:
            raise LirError(f"%{value.name} of @{function.name} has type {value.type}, carried is {output.type}",
                           code="LIR0047")  # fmt: skip
        if any(step in dim_names(dim) for dim in value.type.shape):
            raise LirError(f"%{value.name} of @{function.name} is carried on, so its size cannot depend on {step}",
                           code="LIR0047")  # fmt: skip


def _check_pieces(function: Function, given: Sequence[Value], kept: Sequence[Value], step: str) -> None:
    for value in (*given, *kept):
        for axis, dim in enumerate(value.type.shape):
            if step in dim_names(dim) and (axis or dim != named(step)):
                raise LirError(f"%{value.name}: {value.type} of @{function.name} has {step} elsewhere than in front",
                               code="LIR0047")  # fmt: skip
    for value in kept:
        if not is_piece(value, step):
            raise LirError(f"%{value.name}: {value.type} of @{function.name} is neither carried nor has {step} rows",
                           code="LIR0047")  # fmt: skip


def is_piece(value: Value, step: str) -> bool:
    """Whether a value of the callee has the rows of one piece."""
    return bool(value.type.shape) and value.type.shape[0] == named(step)


def pieces(rows: int, most: int) -> list[tuple[int, int]]:
    """(first row, number of rows) of each piece: as few pieces as have no more than `most` rows, of one size up to a
    multiple of PIECE_ROWS, the last one what is left; one of no rows where there are none."""
    even = -(-rows // max(1, -(-rows // most)))
    size = max(1, min(most, -(-even // PIECE_ROWS) * PIECE_ROWS))
    return [(start, min(size, rows - start)) for start in range(0, rows, size)] or [(0, 0)]


def evaluate_repeat(
    op: Op, function: Function, operands: Sequence[Array], sizes: Mapping[str, int],
    interpret: Callable[[Function, Mapping[str, Array], Mapping[str, int], None, int], list[Array]],
) -> list[Array]:  # fmt: skip
    """The meaning, in two pieces: a sum may round differently for other pieces, nothing else changes."""
    step, start, count = op.attributes["step"], op.attributes["start"], op.attributes["carried"]
    given, before = function.inputs[: len(operands)], function.inputs[len(operands) :]
    (rows,) = (dim_value(dim, sizes) for dim in op.attributes["rows"])
    carried = [np.zeros([dim_value(dim, sizes) for dim in value.type.shape]) for value in before]
    kept: list[list[Array]] = [[] for _ in function.outputs[count:]]
    for first, size in pieces(rows, max(1, -(-rows // 2))):
        cut = [array[first : first + size] if is_piece(value, step) else array
               for value, array in zip(given, operands)]  # fmt: skip
        inputs = {value.name: array for value, array in zip((*given, *before), (*cut, *carried))}
        results = interpret(function, inputs, {**sizes, step: size, start: first}, None, first)
        carried = results[:count]
        for parts, part in zip(kept, results[count:]):
            parts.append(part)
    return [*carried, *(np.concatenate(parts) for parts in kept)]
