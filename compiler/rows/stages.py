"""The passes over a row, read off a schedule: what each of them reduces, stores, sums and checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir.function import Op, Value
from ...ir.kernel import register_dtype
from ...ir.schedule import Schedule
from ...ir.types import ITEM_SIZE, DimLike
from ..emission.emit import Emitter
from .keeping import kept_between
from .placing import places

# Costly enough that reading a result back beats computing it again.
COSTLY = frozenset({"exp", "expm1", "log", "log1p", "pow", "tanh", "erf", "sqrt", "div"})


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
    used: frozenset[Value]
    across: tuple[Op, ...] = ()

    @property
    def targets(self) -> list[Value]:
        """What this pass computes at every element."""
        at_elements = (*self.reductions, *self.element_sums, *self.element_checks, *self.across)
        return [*self.element_outputs, *(op.operands[0] for op in at_elements)]

    def needs(self, value: Value) -> bool:
        """Whether the element work of this pass uses `value`."""
        return value in self.used


def stages_of(schedule: Schedule) -> list[Stage]:
    """Every pass, in order. Row values are computed after the pass that makes them known."""
    function, level, place = schedule.function, schedule.stage, places(schedule, COSTLY)
    producer = function.producers()
    known = {op.result for op in schedule.row_reductions}
    checks = [op for op in function.ops if op.name == "check" and op not in schedule.finish]
    row_sums = [op for op in schedule.whole_reductions if op not in schedule.element_sums]
    row_checks = [op for op in checks if op not in schedule.element_checks]
    stages = []
    for number in range(schedule.stages):
        reductions = tuple(op for op in schedule.row_reductions if place[op] == number)
        outputs = tuple(v for v in schedule.element_outputs if place[v] == number)
        sums = tuple(op for op in schedule.element_sums if place[op] == number)
        own_checks = tuple(op for op in schedule.element_checks if place[op] == number)
        # A row value of stage n is known after pass n - 1; those of stage 0 wait for the first pass.
        done = (0, 1) if number == 0 else (number + 1,)
        across = tuple(op for op in schedule.across if place[op] == number)
        targets = [*outputs, *(op.operands[0] for op in (*reductions, *sums, *own_checks, *across))]
        stages.append(Stage(
            number, reductions, outputs, sums, own_checks,
            tuple(v for v in schedule.row_outputs if level[v] in done),
            tuple(op for op in row_sums if level[op.operands[0]] in done),
            tuple(op for op in row_checks if level[op.operands[0]] in done),
            _used(targets, producer, known),
            across,
        ))  # fmt: skip
    return stages


def _used(
    targets: list[Value], producer: Mapping[Value, Op], known: set[Value], kept: Collection[Value] = ()
) -> frozenset[Value]:
    """Everything between some targets and the row reductions that they look at, or what is kept, which counts too."""
    seen: set[Value] = set()
    pending = list(targets)
    while pending:
        value = pending.pop()
        if value in seen or value in known:
            continue
        seen.add(value)
        if value in producer and value not in kept:
            pending += producer[value].operands
    return frozenset(seen)


def kept_values(emitter: Emitter, stages: list[Stage], columns: DimLike, limit: int) -> dict[Value, tuple[str, int]]:
    """Element values that wait between passes (`keeping.py`), with the private array and the pass that fills it.

    Only where the length of a row is known, and as many as fit `limit` bytes: first what is dear to compute again.
    """
    if not isinstance(columns, int) or columns == 0:
        return {}
    kept: dict[Value, tuple[str, int]] = {}
    room = limit
    found = kept_between(emitter.schedule, [stage.targets for stage in stages])
    for value, each in sorted(found.items(), key=lambda item: -item[1].again):
        dtype = register_dtype(value.type.dtype)
        size = columns * ITEM_SIZE[dtype]
        if size <= room:
            room -= size
            kept[value] = (emitter.fresh(f"{value.name}_row", dtype).name, each.filled)
    return kept


def after_keeping(schedule: Schedule, stages: Sequence[Stage], kept: Mapping[Value, tuple[str, int]]) -> list[Stage]:
    """The passes, where each begins from what those before it have kept."""
    producer = schedule.function.producers()
    known = {op.result for op in schedule.row_reductions}
    return [replace(stage, used=_used(stage.targets, producer, known,
                                      {value for value, (_, filled) in kept.items() if filled < stage.number}))
            for stage in stages]  # fmt: skip
