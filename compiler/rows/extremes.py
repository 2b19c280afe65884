"""The largest c x of a row, for a constant c > 0, is c times its largest x: a multiplication a row, not an element.

In: the work of a pass along a row. Out: accumulators that join x in place of c x and multiply once they are folded,
and the work that gives them x.
Rounding keeps order, so both ways give the same number. Status: exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...ir.function import Op, Value
from ..emission.emit import Emitter, Scope
from ..emission.facts import EXTREMES
from ..emission.reductions import Accumulators, declare
from .stages import Stage
from .sweep import Work

FLOATS = ("f32", "f64")


def with_bare(
    emitter: Emitter, scope: Scope, stage: Stage, work: Work, sums: Sequence[Accumulators], width: int, copies: int,
    turns: int = 1,
) -> tuple[Work, list[Accumulators]]:  # fmt: skip
    """The work of a pass, and accumulators for all that it reduces: its own, and those of `sums` that are over its
    elements."""
    # What waits in memory costs no multiplication.
    producer = {value: op for value, op in emitter.schedule.producer.items() if value not in work.kept}
    groups = [_bare(group, producer) for group in declare(emitter, scope, stage.reductions, width, copies, turns)]
    groups += [group for group in sums if group.op in stage.element_sums]
    return replace(work, joined=tuple(group.value for group in groups)), groups


def _bare(group: Accumulators, producer: Mapping[Value, Op]) -> Accumulators:
    op, product = group.op, producer.get(group.value)
    # Integers wrap round; what is narrower than a register would be rounded in between.
    if op.name not in EXTREMES or product is None or product.name != "mul" or op.result.type.dtype not in FLOATS:
        return group
    for x, factor in (product.operands, product.operands[::-1]):
        constant = producer.get(factor)
        if constant is not None and constant.name == "constant" and constant.attributes["value"] > 0:
            scale = float(constant.attributes["value"])
            return replace(group, value=x, scale=scale)
    return group
