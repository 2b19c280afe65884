"""The passes over a row, read off a schedule: what each of them reduces, stores, sums and checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir.function import Op, Value
from ...ir.kernel import register_dtype
from ...ir.schedule import Schedule
from ...ir.types import ITEM_SIZE, DimLike
from ..behind import behind
from ..costs import cost_of
from ..emission.emit import Emitter
from .keeping import kept_between
from .placing import places

NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Stage:
    """One pass. Values named here are computable once all earlier passes are done; `row_*` after this one."""

    number: int
    reductions: tuple[Op, ...]
    element_outputs: tuple[Value, ...]
    element_sums: tuple[Op, ...]
    element_checks: tuple[Op, ...]
    row_outputs: tuple[Value, ...]
    row_sums: tuple[Op, ...]
    row_checks: tuple[Op, ...]
    across: tuple[Op, ...] = ()
    used: frozenset[Value] = frozenset()

    @property
    def summed(self) -> tuple[Op, ...]:
        """What this pass reduces at every element: rows, everything, and across the rows."""
        return (*self.reductions, *self.element_sums, *self.across)

    @property
    def sums(self) -> tuple[Op, ...]:
        """The sums over everything that this pass, or what it makes known, adds to."""
        return (*self.element_sums, *self.row_sums)

    @property
    def targets(self) -> list[Value]:
        """What this pass computes at every element."""
        return [*self.element_outputs, *(op.operands[0] for op in (*self.summed, *self.element_checks))]

    def needs(self, value: Value) -> bool:
        """Whether the element work of this pass uses `value`."""
        return value in self.used


def stages_of(schedule: Schedule) -> list[Stage]:
    """Every pass, in order. Row values are computed after the pass that makes them known."""
    level, place = schedule.stage, places(schedule)
    row_sums = [op for op in schedule.whole_reductions if op not in schedule.element_sums]
    row_checks = [op for op in schedule.checks if op not in schedule.element_checks]
    stages = []
    for number in range(schedule.stages):
        reductions = tuple(op for op in schedule.row_reductions if place[op] == number)
        outputs = tuple(v for v in schedule.element_outputs if place[v] == number)
        sums = tuple(op for op in schedule.element_sums if place[op] == number)
        own_checks = tuple(op for op in schedule.element_checks if place[op] == number)
        # A row value of stage n is known after pass n - 1; those of stage 0 wait for the first pass.
        done = (0, 1) if number == 0 else (number + 1,)
        stage = Stage(
            number, reductions, outputs, sums, own_checks,
            tuple(v for v in schedule.row_outputs if level[v] in done),
            tuple(op for op in row_sums if level[op.operands[0]] in done),
            tuple(op for op in row_checks if level[op.operands[0]] in done),
            tuple(op for op in schedule.across if place[op] == number),
        )  # fmt: skip
        stages.append(replace(stage, used=_used(schedule, stage)))
    return stages


def _used(schedule: Schedule, stage: Stage, kept: Collection[Value] = ()) -> frozenset[Value]:
    """Everything between what a pass computes and the row reductions that it looks at, or what is kept, which counts
    too."""
    known = {op.result for op in schedule.row_reductions}
    return frozenset(behind(stage.targets, schedule.producer, known.union(kept)) - known)


def inputs_read(
    schedule: Schedule, stage: Stage, kept: Collection[Value] = (), keep: Collection[Value] = ()
) -> list[Value]:  # fmt: skip
    """The inputs of which a pass reads every element, where it finds `kept` values and has others to `keep`."""
    known = {*kept, *(op.result for op in schedule.row_reductions)}
    seen = behind([*stage.targets, *keep], schedule.producer, known, picked=False)
    return [value for value in schedule.function.inputs if value in seen and schedule.varies[value] == schedule.looped]


@dataclass(frozen=True)
class Kept:
    """A private array in which an element value waits: the pass that fills it, and those that read it."""

    array: str
    filled: int
    read: frozenset[int]

    def copies(self, lags: Sequence[int]) -> int:
        """How many rows wait at once where each pass works so many rows behind the first."""
        return lags[max(self.read)] - lags[self.filled] + 1


def waiting_values(
    emitter: Emitter, stages: Sequence[Stage], columns: DimLike, limit: int = NO_LIMIT
) -> dict[Value, Kept]:  # fmt: skip
    """Element values that wait between passes (`keeping.py`).

    Only where the length of a row is known, and as many as fit `limit` bytes: first what is dear to compute again.
    """
    if not isinstance(columns, int) or columns == 0:
        return {}
    schedule, room = emitter.schedule, limit
    found = kept_between(schedule, [stage.targets for stage in stages])
    filled: dict[Value, int] = {}
    for value in sorted(found, key=lambda value: -cost_of(schedule.producer[value])):
        size = columns * ITEM_SIZE[register_dtype(value.type.dtype)]
        if size <= room:
            room -= size
            filled[value] = found[value]
    # A pass that begins from one value may have no use for another behind it.
    used = {stage.number: _used(schedule, stage, _before(filled, stage)) for stage in stages}
    kept: dict[Value, Kept] = {}
    for value, number in filled.items():
        read = frozenset(n for n, values in used.items() if n > number and value in values)
        if read:
            name = emitter.fresh(f"{value.name}_row", register_dtype(value.type.dtype)).name
            kept[value] = Kept(name, number, read)
    return kept


def _before(filled: Mapping[Value, int], stage: Stage) -> set[Value]:
    """What earlier passes have kept."""
    return {value for value, number in filled.items() if number < stage.number}
