"""What the passes over a row cost, by which the strategies that own rows are compared.

In: the passes of a kernel. Out: what they do at every element and once a row, in multiply-adds of whole vectors. Fitted
to 338 kernels (rows of 2 to 40 columns, each by every strategy that applies, CPU time of one core of Zen 4): the
cheapest strategy was the fastest, or within 10 % of it, for 329 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...ir.arithmetic import integer
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Expr
from ...ir.schedule import Schedule
from ...ir.types import DimLike
from ..costs import COSTLY, cost_of
from ..emission.emit import Emitter
from .late import late_values
from .stages import Stage, inputs_read, waiting_values

HARDWARE_FUNCTIONS = ("div", "sqrt")
LIGHT, HARDWARE = 1 / 3, 1.3
"""An addition, comparison or choice: some are part of another instruction, and two or three begin in a cycle. A
division or square root: its unit works beside the multipliers, and `costs.py` has what it takes to wait for one."""
MOVE, FROM_MEMORY = 0.5, 5.0
"""A vector to or from the first-level cache, and to or from memory."""
ALONE, LIGHT_ALONE = 1.6, 0.4
"""Of a single number a row: a polynomial takes longer than that of a vector, each step waits for the one before."""
HALVING, SUM_HALVING = 1.75, 0.3
"""For each halving of a vector, to reduce it. Of short rows that are only added up the driver makes vectors across them
(0.37 to 0.62 of the time of fetching every lane: sums of 2 to 6 columns)."""
FETCH, SCATTER = 1.3, 1.45
"""An element of a vector whose lanes are not neighbours in memory."""


@frozen
class RowCosts:
    """`element`: what a vector of elements takes, with `moves` loads and stores, of which `streams` are from memory or
    to it. What a row gives takes `together` for a vector of rows, and `alone` for one row by itself, but for what is
    `put_off` until there is a vector of rows; `looked_up` of it is fetched, row by row. `halving` is for each halving
    of the vectors to which a row is reduced."""

    element: float
    moves: int
    streams: int
    together: float
    alone: float
    put_off: float
    looked_up: int
    halving: float

    @property
    def memory(self) -> float:
        """A vector of elements, from memory and to it."""
        return FROM_MEMORY * self.streams

    @property
    def step(self) -> float:
        """A vector of elements where nothing else is to be done: in such steps strategies tell their cost."""
        return self.element + self.memory

    def of_rows(self, lanes: int) -> float:
        """What a vector of so many rows gives."""
        return self.together + FETCH * lanes * self.looked_up

    def of_one_row(self, width: int) -> float:
        """What a row gives of which vectors have so many lanes."""
        return self.alone + self.put_off / width + self.halving * (width.bit_length() - 1)


def row_costs(emitter: Emitter, stages: Sequence[Stage], columns: DimLike) -> RowCosts:
    """Of rows of so many columns."""
    schedule = emitter.schedule
    found: dict[Value, Expr] = {op.result: integer(0) for op in schedule.row_reductions}
    kept = waiting_values(emitter, stages, columns)
    element, moves = 0.0, 0
    for stage in stages:
        before = [value for value, each in kept.items() if each.filled < stage.number]
        keep = [value for value, each in kept.items() if each.filled == stage.number]
        ops = emitter.needed([*stage.targets, *keep], {**found, **dict.fromkeys(before, integer(0))})
        element += sum(_in_vectors(op) for op in ops if op.results and schedule.varies[op.result] == schedule.looped)
        element += LIGHT * len(stage.summed)
        moves += len(inputs_read(schedule, stage, before, keep)) + len(keep) + len(stage.element_outputs)
        moves += sum(stage.number in each.read for each in kept.values())
    streams = len([*streamed_inputs(schedule, stages), *schedule.element_outputs])
    only_sums = all(op.name == "reduce_sum" for op in schedule.row_reductions)
    only_sums &= len(stages) == 1 and not any(op.name in COSTLY for op in schedule.function.ops)
    halving = (SUM_HALVING if only_sums else HALVING) * len(schedule.row_reductions)
    return RowCosts(element + MOVE * moves, moves, streams, *_of_rows(emitter, stages, found), halving)


def streamed_inputs(schedule: Schedule, stages: Sequence[Stage]) -> list[Value]:
    """The inputs of which some pass reads every element."""
    read = set[Value]().union(*(inputs_read(schedule, stage) for stage in stages))
    return [value for value in schedule.function.inputs if value in read]


def fetched_apart(schedule: Schedule, stages: Sequence[Stage], side_by_side: Callable[[Value], bool]) -> float:
    """For an element, where the lanes of a vector of some streamed values are not `side_by_side` in memory."""
    reads = sum(not side_by_side(value) for value in streamed_inputs(schedule, stages))
    return FETCH * reads + SCATTER * sum(not side_by_side(value) for value in schedule.element_outputs)


def _of_rows(
    emitter: Emitter, stages: Sequence[Stage], found: Mapping[Value, Expr]
) -> tuple[float, float, float, int]:  # fmt: skip
    """What is one number a row: for a vector of rows, for a row by itself, what of it is put off, how many are looked
    up."""
    schedule = emitter.schedule
    late = set[Value]().union(*(late_values(emitter, stage, stages) for stage in stages))
    targets = [value for stage in stages for value in (*stage.targets, *stage.row_outputs)]
    targets += [op.operands[0] for stage in stages for op in (*stage.row_sums, *stage.row_checks)]
    together = alone = put_off = 0.0
    looked_up = 0
    for op in emitter.needed(targets, found):
        varies = schedule.varies[op.result] if op.results else frozenset[int]()
        if not varies or varies & schedule.reduced or varies == schedule.looped:
            continue
        together += _in_vectors(op)
        if op.name == "gather":
            looked_up, alone = looked_up + 1, alone + LIGHT_ALONE
        elif op.result in late:
            put_off += _in_vectors(op)
        else:
            alone += _by_itself(op)
    return together, alone, put_off, looked_up


def _in_vectors(op: Op) -> float:
    if op.name == "gather":
        return 0.0  # `looked_up`
    if op.name in HARDWARE_FUNCTIONS:
        return HARDWARE
    return cost_of(op) if op.name in COSTLY else LIGHT * cost_of(op)


def _by_itself(op: Op) -> float:
    if op.name in HARDWARE_FUNCTIONS:
        return HARDWARE
    return ALONE * cost_of(op) if op.name in COSTLY else LIGHT_ALONE * cost_of(op)
