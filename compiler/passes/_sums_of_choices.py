"""Rules for sums of what a condition chooses."""

from __future__ import annotations

from ...ir.function import Op, Value
from ..rewrite import Rebuild
from ._match import axes_of, expand, is_constant, kept_axes, view_of


def condition_out_of_sum(op: Op, build: Rebuild) -> Value | None:
    """sum(select(p and q, x, 0)) = select(p, sum(select(q, x, 0)), 0) for p that repeats  exact"""
    # Once a row in place of once an element; and what uses the sum sees that it is 0.
    (chosen,) = op.operands
    select = build.match(chosen, "select")
    both = None if select is None else build.match(select.operands[0], "and")
    if select is None or both is None or not is_constant(build, select.operands[2], 0):
        return None
    rank = chosen.type.rank
    axes = axes_of(op.attributes["axes"], rank)
    kept = kept_axes(rank, axes)
    for condition, other in (both.operands, both.operands[::-1]):
        view = view_of(build, condition)
        if view is None or set(view[1]) & set(axes) or not kept:
            continue
        rest = build.emit("select", other, *select.operands[1:])
        total = build.emit("reduce_sum", rest, axes=axes)
        holds = expand(build, view[0], tuple(kept.index(dim) for dim in view[1]), total.type.shape)
        return build.emit("select", holds, total, build.constant(0, total.type.dtype, total.type.shape))
    return None
