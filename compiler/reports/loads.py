"""What each pass over a row evaluates and loads, in one variant of a fused kernel.

In: a schedule, and a variant with its private arrays: what those hold is computed or loaded by one pass and found by
later ones. Out: operations and inputs of each pass. The counts of `report` and `traffic` rest on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.ops import read_elsewhere
from ...ir.program import Variant
from ...ir.schedule import Schedule
from ...ir.types import ITEM_SIZE, dim_value
from ..ancestors import ancestors
from ..rows.stages import Stage, stages_of


@frozen
class Pass:
    """`loads` are the inputs that it looks at element by element or row by row; what a gather picks is not among
    them."""

    ops: tuple[Op, ...]
    loads: tuple[Value, ...]


@frozen
class Pick:
    """An input behind a gather or a slice: as many of its elements are loaded as `result` has."""

    source: Value
    result: Value


def passes_of(schedule: Schedule, variant: Variant) -> list[Pass]:
    stages = stages_of(schedule)
    kept = _kept(stages, variant)
    reduced = {op.result for op in schedule.row_reductions}
    found = []
    for stage in stages:
        ready = reduced | {value for value, number in kept.items() if number < stage.number}
        own = [value for value, number in kept.items() if number == stage.number]
        seen = ancestors([*stage.targets, *own], schedule.producer, ready, elsewhere=False) - ready
        ops = tuple(op for op in schedule.function.ops if op.results and op.result in seen)
        found.append(Pass(ops, tuple(value for value in schedule.function.inputs if value in seen)))
    return found


def picks_of(schedule: Schedule) -> list[Pick]:
    return [
        Pick(value, op.result if op.name in ("gather", "slice") else operand)
        for op in schedule.function.ops
        for operand in read_elsewhere(op)
        for value in schedule.function.inputs
        if value in ancestors([operand], schedule.producer, elsewhere=False)
    ]


def bytes_of(value: Value, at: Value, sizes: Mapping[str, int]) -> int:
    """The bytes of as many elements of `value` as `at` has."""
    return math.prod(dim_value(dim, sizes) for dim in at.type.shape) * ITEM_SIZE[value.type.dtype]


def _kept(stages: Sequence[Stage], variant: Variant) -> dict[Value, int]:
    """The values that private and local arrays hold between passes, with the pass that computes them."""
    kernels = [launch.kernel for launch in variant.launches]
    arrays = [array for kernel in kernels for array in (*kernel.private_arrays, *kernel.local_arrays)]
    held = {value for array in arrays for value in array.holds}
    return {value: next(stage.number for stage in stages if stage.needs(value)) for value in held}
