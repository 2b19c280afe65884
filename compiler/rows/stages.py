"""The passes over a row, read off a schedule: what each of them reduces, stores, sums and checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import PrivateArray, register_dtype
from ...ir.schedule import Schedule
from ...ir.types import ITEM_SIZE, DimLike
from ..ancestors import ancestors
from ..costs import cost_of
from ..emission.emit import Emitter
from .keeping import kept_between
from .placing import places

NO_LIMIT = 1 << 62
FEW_PASSES = 8
"""Passes of which each may compute everything anew, a number at a time: of a long chain that would be the square."""
CHAIN_BYTES = 768 * 1024
"""What the passes of a long chain keep rather than compute anew: 20 softmaxes of 64 columns take 0.11 of the time, and
half the text."""


@frozen
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
    return frozenset(ancestors(stage.targets, schedule.producer, known.union(kept)) - known)


def inputs_read(
    schedule: Schedule, stage: Stage, kept: Collection[Value] = (), keep: Collection[Value] = ()
) -> list[Value]:  # fmt: skip
    """The inputs of which a pass reads every element, where it finds `kept` values and has others to `keep`."""
    known = {*kept, *(op.result for op in schedule.row_reductions)}
    seen = ancestors([*stage.targets, *keep], schedule.producer, known, elsewhere=False)
    return [value for value in schedule.function.inputs if value in seen and schedule.varies[value] == schedule.looped]


@frozen
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

    Only where the length of a row is known, and as many as fit `limit` bytes, which is for passes that follow each
    other: all of them, in places that are used again if need be, or else first what is dear to compute again. Many
    passes may take `CHAIN_BYTES`.
    """
    if not isinstance(columns, int) or columns == 0:
        return {}
    schedule, room = emitter.schedule, limit
    found = kept_between(schedule, [stage.targets for stage in stages])
    size = {value: columns * ITEM_SIZE[register_dtype(value.type.dtype)] for value in found}
    if sum(size.values()) > limit:
        in_turn = _in_turn(emitter, found, _readers(schedule, stages, found))
        if bytes_of(in_turn, columns) <= (limit if len(stages) <= FEW_PASSES else max(limit, CHAIN_BYTES)):
            return in_turn
    filled: dict[Value, int] = {}
    for value in sorted(found, key=lambda value: -cost_of(schedule.producer[value])):
        if size[value] <= room:
            room -= size[value]
            filled[value] = found[value]
    return {
        value: Kept(_name_of_row(emitter, value), filled[value], read)
        for value, read in _readers(schedule, stages, filled).items()
    }


def bytes_of(kept: Mapping[Value, Kept], columns: int) -> int:
    """What the arrays of waiting rows take."""
    sizes = {each.array: ITEM_SIZE[register_dtype(value.type.dtype)] for value, each in kept.items()}
    return columns * sum(sizes.values())


def arrays_of(kept: Mapping[Value, Kept], columns: int) -> list[PrivateArray]:
    """The arrays of waiting rows."""
    held: dict[str, list[Value]] = {}
    for value, each in kept.items():
        held.setdefault(each.array, []).append(value)
    return [PrivateArray(array, register_dtype(values[0].type.dtype), columns, tuple(values))
            for array, values in held.items()]  # fmt: skip


def _readers(schedule: Schedule, stages: Sequence[Stage], filled: Mapping[Value, int]) -> dict[Value, frozenset[int]]:
    """The passes that read each value, of those that some read. A pass that begins from one value may have no use for
    another behind it."""
    used = {stage.number: _used(schedule, stage, _before(filled, stage)) for stage in stages}
    readers = {value: frozenset(n for n, values in used.items() if n > number and value in values)
               for value, number in filled.items()}  # fmt: skip
    return {value: read for value, read in readers.items() if read}


def _in_turn(
    emitter: Emitter, filled: Mapping[Value, int], readers: Mapping[Value, frozenset[int]]
) -> dict[Value, Kept]:
    """Each value in an array that no pass reads any more, if there is one."""
    free_after: dict[tuple[str, str], int] = {}  # by array and type
    kept: dict[Value, Kept] = {}
    for value in sorted(readers, key=lambda value: filled[value]):
        dtype = register_dtype(value.type.dtype)
        free = next((place for place, last in free_after.items() if place[1] == dtype and last < filled[value]), None)
        array, _ = place = free or (_name_of_row(emitter, value), dtype)
        free_after[place] = max(readers[value])
        kept[value] = Kept(array, filled[value], readers[value])
    return kept


def _name_of_row(emitter: Emitter, value: Value) -> str:
    return emitter.fresh(f"{value.name}_row", register_dtype(value.type.dtype)).name


def _before(filled: Mapping[Value, int], stage: Stage) -> set[Value]:
    """What earlier passes have kept."""
    return {value for value, number in filled.items() if number < stage.number}
