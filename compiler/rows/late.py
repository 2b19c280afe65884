"""Which values of a row may wait until there is a vector of rows, so that costly functions are computed for all of them
at once: those that nothing on the row's elements waits for, such as the logarithm of a log-sum-exp.

In: a pass over a row, among all. Out: the values that are put off after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import integer
from ...ir.function import Value
from ...ir.ops import PRIMITIVES, VIEWS
from ..costs import COSTLY
from ..emission.emit import Emitter
from .stages import Stage


def late_values(emitter: Emitter, stage: Stage, stages: Sequence[Stage]) -> set[Value]:
    """Values of a row that come from a costly function and go nowhere but to this stage's sums and outputs. None where
    one of them is more than arithmetic on values of the same row."""
    schedule = emitter.schedule
    used = frozenset().union(*(other.used for other in stages))
    checked = {op.operands[0] for other in stages for op in other.row_checks}
    elsewhere = {v for other in stages if other is not stage
                 for v in (*other.row_outputs, *(op.operands[0] for op in other.row_sums))}  # fmt: skip
    reduced = {op.result for op in schedule.row_reductions}
    targets = [*stage.row_outputs, *(op.operands[0] for op in stage.row_sums)]
    early = set(emitter.needed([*checked, *elsewhere], {value: integer(0) for value in reduced}))
    late: set[Value] = set()
    for op in emitter.needed(targets, {value: integer(0) for value in reduced}):
        if not op.results or not schedule.varies[op.result] or op.result in used or op in early:
            continue
        if op.name in COSTLY or late & set(op.operands):
            if PRIMITIVES[op.name].kind != "pointwise" and op.name not in VIEWS:
                return set()
            late.add(op.result)
    return late if late & set(targets) else set()
