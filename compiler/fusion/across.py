"""Sums across rows: along the innermost axis of the rows, one for every column, in the kernel that reduces the rows.

In: a function; or the reductions of a kernel, and the loops that each of them runs along. Out: the function with long
sums cut so that a kernel can take their first part along; or the reductions that are such a part. The shape of dice and
its like on probabilities of pixels: softmax along the classes, then sums of it along every image. One kernel does both,
with an accumulator for each class, and leaves one sum a line of pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ...ir.function import Function, Op, Value
from ...ir.names import fresh
from ...ir.ops import REDUCTIONS
from ...ir.types import DimLike, multiply_dims
from ..ancestors import ancestors

LONGEST_LINE = 4096
"""A work-item owns whole lines: longer ones would leave cores without work."""
SHORTEST_LINE = 32
MOST_COLUMNS = 128
"""Accumulators of so many columns, and what waits between passes, fit the cache."""


def sums_across(
    function: Function, along: Mapping[Op, frozenset[int]], varies: Mapping[Value, frozenset[int]],
    stage: Mapping[Value, int], sizes: Sequence[DimLike],
) -> tuple[Op, ...]:  # fmt: skip
    """Of reductions along two sets of loops, those that are sums across the rows of the others: nothing in the kernel
    needs them, and what they sum waits for a row."""
    used = {operand for op in function.ops for operand in op.operands}
    looped = frozenset().union(*(varies[op.operands[0]] for op in along))
    for own in set(along.values()) if len(set(along.values())) == 2 else ():
        sums = tuple(op for op, loops in along.items() if loops == own)
        (columns,) = set(along.values()) - {own}
        fits = is_line([sizes[axis] for axis in own], [sizes[axis] for axis in columns])
        innermost = not own & columns and own == {max(looped - columns, default=-1)}
        plain = all(_is_plain(op) and op.result not in used and varies[op.operands[0]] == looped for op in sums)
        if fits and innermost and plain and any(stage[op.operands[0]] for op in sums):
            return sums
    return ()


def _is_plain(op: Op) -> bool:
    """Whether a reduction is a sum that a kernel can take across its rows."""
    return op.name == "reduce_sum" and op.operands[0].type.dtype == "f32"


def is_line(line: Iterable[DimLike], columns: Iterable[DimLike]) -> bool:
    """Whether the axes of a sum, and those that rows are reduced along, are of sizes for a kernel that does both."""
    length, width = multiply_dims([*line]), multiply_dims([*columns])
    return (isinstance(length, int) and SHORTEST_LINE <= length <= LONGEST_LINE
            and isinstance(width, int) and 0 < width <= MOST_COLUMNS)  # fmt: skip


def sum_lines_first(function: Function, slots: Mapping[Value, Sequence[object]]) -> Function:
    """Cut sums along several axes, of what waits for a reduction along others: first along the innermost.

    sum over (h, w) = sum over h of the sums over w  rounding

    `slots`: for each axis of each value, what tells it apart from others that are not the same loop.
    """
    taken = {value.name for value in (*function.inputs, *(result for op in function.ops for result in op.results))}
    producer = function.producers()
    ops: list[Op] = []
    for op in function.ops:
        if not _waits(function, op, producer, slots):
            ops.append(op)
            continue
        source = op.operands[0]
        last = source.type.rank - 1
        name = fresh(f"{op.result.name}_lines", taken)
        taken.add(name)
        lines = Value(name, source.type.with_shape(source.type.shape[:last]), op.result.span)
        rest = tuple(axis for axis in op.attributes["axes"] if axis != last)
        ops.append(replace(op, attributes={**op.attributes, "axes": (last,)}, results=(lines,)))
        ops.append(replace(op, operands=(lines,), attributes={**op.attributes, "axes": rest}))
    return function.with_(ops=tuple(ops))


def _waits(
    function: Function, op: Op, producer: Mapping[Value, Op], slots: Mapping[Value, Sequence[object]]
) -> bool:  # fmt: skip
    """Whether a sum is one to be cut."""
    if not _is_plain(op) or len(op.attributes["axes"]) == op.operands[0].type.rank:
        return False
    source = op.operands[0]
    axes = op.attributes["axes"]
    last = source.type.rank - 1
    if last not in axes or len(axes) < 2:
        return False
    own = {slots[source][axis] for axis in axes}
    seen = ancestors([source], producer)
    for maker in reversed(function.ops):
        if maker.name in REDUCTIONS and maker.result in seen:
            inside = maker.operands[0]
            reduced = maker.attributes["axes"]
            along = {slots[inside][axis] for axis in reduced}
            if own <= {*slots[maker.result]} and not along & own:
                return is_line([source.type.shape[last]], [inside.type.shape[axis] for axis in reduced])
    return False
