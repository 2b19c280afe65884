"""Which passes over a row in parts share a launch.

In: the passes over a row, the sums that can be rescaled. Out: phases, one launch each. A phase is one pass, or two
where the second only adds up what can be rescaled: it takes the maximum of its own part, and is put right when the
parts are joined (`work_groups/parts.py`). Without that a maximum and the sum of exponentials below it would take a
launch, and a reading of the row, each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.schedule import Schedule
from ..ancestors import ancestors
from .rescalable import Law
from .stages import Stage


@frozen
class Phase:
    """The passes of one launch. The last phase also computes what comes of the rows."""

    stages: tuple[Stage, ...]
    is_last: bool = False

    @property
    def reductions(self) -> tuple[Op, ...]:
        return tuple(op for stage in self.stages for op in stage.reductions)


def phases_of(stages: Sequence[Stage], laws: Mapping[Op, Law]) -> list[Phase]:
    """The passes in order, two in one where that is possible."""
    grouped: list[tuple[Stage, ...]] = []
    for stage in stages:
        if not (stage.reductions or stage.element_outputs or stage.element_sums or stage.element_checks):
            continue
        before = grouped[-1] if grouped else ()
        if len(before) == 1 and _joins(stage, before[0], laws):
            grouped[-1] = (*before, stage)
        else:
            grouped.append((stage,))
    if grouped and any(stage.reductions for stage in grouped[-1]):
        grouped.append(())
    return [Phase(group, number == len(grouped) - 1) for number, group in enumerate(grouped)]


def _joins(stage: Stage, before: Stage, laws: Mapping[Op, Law]) -> bool:
    """Whether a pass only adds up what can be rescaled to the maxima of the pass before it."""
    if not stage.reductions or stage.element_outputs or stage.element_sums or stage.element_checks:
        return False
    return all(op in laws and laws[op].maxima <= set(before.reductions) for op in stage.reductions)


def rescaled_in(phases: Sequence[Phase], laws: Mapping[Op, Law]) -> dict[Op, Law]:
    """The sums that were taken with the maxima of parts: those of the second pass of a phase."""
    return {op: laws[op] for phase in phases if len(phase.stages) == 2 for op in phase.stages[1].reductions}


def used_reductions(schedule: Schedule, targets: Collection[Value], laws: Mapping[Op, Law]) -> list[Op]:
    """The row reductions that some values are computed from, with the maxima that rescaled ones need."""
    seen = ancestors(targets, schedule.producer, {op.result for op in schedule.row_reductions})
    found = {op for op in schedule.row_reductions if op.result in seen}
    found |= {maximum for op in found & laws.keys() for maximum in laws[op].maxima}
    return [op for op in schedule.row_reductions if op in found]
