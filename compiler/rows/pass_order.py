"""The order of the passes over rows in flight: which of them share a loop, and how far apart their rows are.

In: the passes over a row of known length. Out: loops, lags, and how much room is to spare. Usually all passes share one
loop or two, each on another row, and long rows that wait lie in each other's place: a pass stores where a later one has
just read. A first pass that computes at length has no use for that but for the stores: it shares its loop with the last
pass over the row before, and what lies between takes loops of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from ...ir.frozen import frozen
from ...ir.function import Value
from ...ir.kernel import register_dtype
from ...ir.schedule import Schedule
from ...ir.types import ITEM_SIZE
from ..costs import COSTLY, cost_of
from ..fused import Fused
from .in_flight import lags_of
from .stages import Stage, waiting_values

PRIVATE_BYTES, MOST_BYTES = 256 * 1024, 768 * 1024
"""All rows waiting between passes: what leaves the second-level cache to the rows of memory, and what leaves them a
quarter of it, which is still 0.8 of the time of one pass after the other (cross-entropy of 50,257 or 100,000)."""
MOST_TOGETHER = 3
"""Passes in one loop. Of four, two loops take 0.91 of the time (js_div, 16384 x 1024), of three 1.2 (distillation)."""
LONG_PASS, SHORTEST_FOR_IT = 18, 512
"""Multiply-adds, of costly functions, and columns from which a first pass goes beside the last pass alone: softcapped
logits take 0.94 (1,024 columns) to 0.82 (8,000) of the time, 0.87 of one pass after the other (32,000); with 256
columns 1.01. First passes that compute nothing: 1.25 (js_div) to 1.8 (cross-entropy)."""


@frozen
class PassOrder:
    """How passes follow each other in a step. `parts` are loops, each with the passes that share it; what a part finds
    of rows, those after it use in the same step. `lags`: how many steps after the first pass over a row each pass works
    on it. `spare`: how many rows more than it must a private array has."""

    parts: Sequence[Sequence[Sequence[Stage]]]
    lags: Sequence[int]
    spare: int

    @property
    def stages(self) -> list[Stage]:
        return [stage for part in self.parts for loop in part for stage in loop]

    @property
    def is_wrapped(self) -> bool:
        """Whether only the last pass works on the row before."""
        return len(self.parts) > 1


def order_of_passes(fused: Fused, columns: int, width: int) -> PassOrder | None:
    """With a row to spare where that is little. Else a row takes the place of one as that is read for the last time,
    column by column: the pass that reads comes first in the loop, and no column is visited twice. None where it is too
    much either way."""
    stages, is_whole = fused.stages, columns % width == 0
    kept, lags = waiting_values(fused.emitter(), stages, columns), lags_of(stages, not is_whole)
    row = {value: columns * ITEM_SIZE[register_dtype(value.type.dtype)] for value in kept}
    least = sum((each.copies(lags) - 1) * row[value] for value, each in kept.items())
    most = least + sum(row.values())
    costly = [op for op in fused.schedule.function.ops
              if op.results and op.result in stages[0].used & costly_values(fused.schedule)]  # fmt: skip
    is_long = sum(map(cost_of, costly)) >= LONG_PASS and columns >= SHORTEST_FOR_IT
    if is_long and is_whole and len(stages) > 2 and sum(row.values()) <= PRIVATE_BYTES:
        first, *between, last = stages
        return PassOrder([[[last, first]], *([[stage]] for stage in between)], [0] * (len(stages) - 1) + [1], 0)
    # Where it computes anything, it hides its own loads: nothing is left to overlap (tanh: 1.24 at 32,000).
    limit = PRIVATE_BYTES if costly else MOST_BYTES
    if most <= PRIVATE_BYTES or (not is_whole and most <= limit):
        return PassOrder([_loops(stages)], lags, 1)
    return PassOrder([_loops(stages[::-1])], lags, 0) if is_whole and least <= limit else None


def costly_values(schedule: Schedule) -> set[Value]:
    """What costly functions give at every element."""
    return {
        op.result
        for op in schedule.function.ops
        if op.name in COSTLY and op.results and schedule.varies[op.result] == schedule.looped
    }


def _loops(stages: Sequence[Stage]) -> list[Sequence[Stage]]:
    """Passes that share a loop, in order."""
    each = ceil(len(stages) / ceil(len(stages) / MOST_TOGETHER))
    return [stages[first : first + each] for first in range(0, len(stages), each)]
