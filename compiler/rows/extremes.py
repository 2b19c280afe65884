"""The largest c x of a row, for a constant c > 0, is c times its largest x: a multiplication a row, not an element.

In: the extremes that a pass takes. Out: accumulators that join x in place of c x, and multiply once they are folded.
Rounding keeps order, so both ways give the same number. Status: exact.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...ir.function import Op, Value
from ..emission.emit import Emitter, Scope
from ..emission.reductions import Accumulators, declare

EXTREMES = ("reduce_max", "reduce_min")
FLOATS = ("f32", "f64")


def declare_bare(
    emitter: Emitter, scope: Scope, ops: Sequence[Op], width: int, copies: int, kept: Collection[Value] = ()
) -> list[Accumulators]:  # fmt: skip
    """Accumulators as `declare` makes them. What they join at an element is the operand of their own `op`. The pass
    finds `kept` values in memory."""
    groups = declare(emitter, scope, ops, width, copies)
    producer = {value: op for value, op in emitter.schedule.producer.items() if value not in kept}
    return [_bare(group, producer) for group in groups]


def _bare(group: Accumulators, producer: Mapping[Value, Op]) -> Accumulators:
    op = group.op
    product = producer.get(op.operands[0])
    # Integers wrap round; what is narrower than a register would be rounded in between.
    if op.name not in EXTREMES or product is None or product.name != "mul" or op.result.type.dtype not in FLOATS:
        return group
    for x, factor in (product.operands, product.operands[::-1]):
        constant = producer.get(factor)
        if constant is not None and constant.name == "constant" and constant.attributes["value"] > 0:
            scale = float(constant.attributes["value"])
            return replace(group, op=replace(op, operands=(x,)), scale=scale)
    return group
