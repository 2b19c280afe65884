"""How many groups a kernel for GPUs has, and how their partial results become one: by a group, in a fixed order.

In: a fused kernel that leaves one partial result a group. Out: the launch that joins them (in f64 where the device has
it) and computes what depends on the totals.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.arithmetic import both, integer, maximum, minimum
from ...ir.function import Op
from ...ir.kernel import Apply, Expr, If, WorkItem
from ...ir.program import Launch
from ...ir.target import DeviceInfo
from ..emission.emit import Scope
from ..emission.monoids import for_many_parts, monoid_of
from ..emission.reductions import Accumulators
from ..fused import (
    Fused,
    add_up,
    finish_whole,
    in_registers,
    kernel_and_launch,
    partial_name,
    store_partials,
)  # fmt: skip
from .meeting import Meeting, widest_of
from .tiers import group_size

RESIDENT = 2048
"""Work-items that a compute unit has in flight: as many groups as that allows, each taking the next row when done."""


def group_count(wanted: Expr, size: int, device: DeviceInfo) -> Expr:
    """One group for each of the wanted, but no more than the device holds at a time."""
    most = device.compute_units * max(1, RESIDENT // size)
    return maximum(integer(1), minimum(wanted, integer(most)))


def first_of(lane: Expr, inside: Expr | None = None) -> Expr:
    """Whether an item is the one that does what a group, or a row, needs once."""
    return both(inside, Apply("eq", (lane, integer(0)), "bool"))


def leave_partials(
    fused: Fused, scope: Scope, meeting: Meeting, sums: Sequence[Accumulators], group: Expr
) -> None:  # fmt: skip
    """The whole reductions of a group's items become one partial result each, which the first item stores."""
    stored = scope.inner()
    store_partials(fused, stored, meeting.join(scope, sums, meeting.size), group)
    if stored.statements:
        scope.statements.append(If(first_of(meeting.item), tuple(stored.statements)))


def group_finish(fused: Fused, device: DeviceInfo, count: Expr, suffix: str) -> Launch:
    """One group joins the `count` partial results of each whole reduction, and computes what depends on them."""
    emitter, scope = fused.emitter(), Scope()
    size = group_size(device)
    item = emitter.let(scope, "local_id", WorkItem("local_id"))
    reductions, own = fused.schedule.whole_reductions, (item, count, integer(size))
    totals: dict[Op, Expr] = {
        op: add_up(emitter, scope, op, device, partial_name(fused, op), lambda number: number, own) for op in reductions
    }
    monoids = {op: for_many_parts(monoid_of(op, emitter.facts), device) for op in reductions}
    meeting = Meeting(emitter, size, item, widest_of(device))
    found = meeting.join_values(scope, totals, monoids, size)
    first = scope.inner()
    for op, value in found.items():
        first.known[op.result] = emitter.let(first, op.result.name, in_registers(op, value))
    finish_whole(emitter, first)
    scope.statements.append(If(first_of(item), tuple(first.statements)))
    return kernel_and_launch(
        fused, emitter, suffix, scope.statements, integer(size), local_size=size, local_arrays=meeting.arrays,
        comment=("adds up the partial results and finishes what depends on them",),
    )  # fmt: skip
