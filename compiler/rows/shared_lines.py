"""One pass over rows that start anywhere in a cache line, with stores past the cache all the same.

In: a row, and where rows end. Out: the pass at aligned addresses, and the line that a row shares with the next, stored
once (`sweep_aligned.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from ...ir.arithmetic import add, integer, less, mod, mul, sub
from ...ir.kernel import Expr
from ...ir.target import DeviceInfo
from ..emission.emit import Emitter, Scope
from ..emission.reductions import Accumulators
from ..emission.vectors import past_cache, vector_width
from ..emission.windows import reads_beside
from ..fused import Fused
from .ownership import point_of
from .stages import Stage
from .sweep import Track, work_of
from .sweep_aligned import sweep_aligned


def past_cache_over_lines(fused: Fused, device: DeviceInfo, axis: int) -> Expr | None:
    """The condition on sizes under which rows that share lines go past the cache; None where they never do.

    What a row reads may lie where it stores only without a ragged end (`overwriting.py`), and here there is one.
    """
    schedule = fused.schedule
    columns = schedule.axes[axis]
    if len(fused.stages) != 1 or not isinstance(columns, int):
        return None
    (stage,) = fused.stages
    width = vector_width(schedule, device, columns)
    if columns % width == 0 or columns < 2 * width:
        return None
    if stage.reductions or stage.across or stage.element_checks or reads_beside(schedule, axis):
        return None
    return past_cache(schedule, device, width, axis, 0)


def rows_together(columns: int, width: int) -> int:
    """So many rows begin with an aligned address and end with one."""
    return width // gcd(columns, width)


def sweep_over_lines(
    emitter: Emitter, scope: Scope, stage: Stage, row: Expr, end: Expr, row_axes: Sequence[int], axis: int, width: int,
    unroll: int, totals: Sequence[Accumulators],
) -> None:  # fmt: skip
    """The pass over `row`, of rows that end before `end`."""
    columns = emitter.schedule.axes[axis]
    assert isinstance(columns, int)

    def track(number: Expr, known: Scope) -> Track:
        past = mod(mul(number, integer(columns)), integer(width))
        skew = emitter.let(scope, "skew", mod(sub(integer(width), past), integer(width)))
        return Track(known, point_of(emitter, scope, number, row_axes), work_of(stage), totals, skew)

    following = emitter.let(scope, "following", add(row, integer(1)))
    fixed = {v: e for v, e in scope.known.items() if not emitter.schedule.varies[v]}
    after = track(following, Scope(fixed, scope.statements))
    after = replace(after, work=replace(after.work, joined=()), groups=())
    own = replace(track(row, scope), following=after, follows=less(following, end))
    sweep_aligned(emitter, scope, [own], axis, columns, width, unroll, unroll)
