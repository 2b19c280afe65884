"""Small values, costly to compute, that a kernel would compute again at every element: the kernel that has what they
are made of stores them instead.

In: groups that nobody merges any more. Out: the same groups with other targets. The gradient of dice needs a quotient
of sums for each class of an image: as a number each, and not as two divisions at each of its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.function import Op, Value
from ...ir.ops import FREE, PRIMITIVES
from ...ir.schedule import Refusal
from ..rows.keeping import COSTS
from .groups import Group, Groups

WORTH = 6
"""Multiply-adds: at least a division."""
SMALL = 16
"""A value is small where the kernel has so many elements for each of its own."""


def store_small_values(groups: Groups) -> None:
    """Have small and costly values of each group stored by the one group that computes what they need."""
    for number in sorted(group.number for group in groups.all):
        group = next((each for each in groups.all if each.number == number), None)
        if group is None or group.schedule is None:
            continue
        for host, values in _hosts(groups, group).items():
            _move(groups, host, values)


def _hosts(groups: Groups, group: Group) -> Mapping[Group, list[Value]]:
    """The values to be stored by others: those that something larger is computed from."""
    schedule = group.schedule
    assert schedule is not None
    inputs = dict(zip(schedule.function.inputs, group.read))
    producer = schedule.function.producers()
    own = {result for op in group.ops for result in op.results}
    domain = max((groups.size_of(v) for v in (*group.read, *group.stored)), default=0)
    # What rows or columns of the loops have one of; a value of every element, or of the whole kernel, is no such.
    small = {op.result for op in schedule.function.ops
             if op.results and op.result in own and PRIMITIVES[op.name].kind == "pointwise" and op.name not in FREE
             and schedule.varies[op.result] & schedule.reduced and schedule.varies[op.result] < schedule.looped
             and groups.size_of(op.result) * SMALL <= domain}  # fmt: skip
    found: dict[Group, list[Value]] = {}
    for op in schedule.function.ops:
        if not op.results or op.result not in small:
            continue
        readers = [user for user in schedule.function.ops if op.result in user.operands]
        if readers and all(user.results and user.result in small for user in readers):
            continue
        body, leaves = _behind(op, producer)
        owners = {groups.owner.get(groups.source(inputs[leaf])) for leaf in leaves if leaf in inputs}
        hosts = {owner for owner in owners if owner is not None and owner is not group}
        if len(hosts) == 1 and sum(COSTS.get(each.name, 1) for each in body) >= WORTH:
            found.setdefault(hosts.pop(), []).append(op.result)
    return found


def _behind(op: Op, producer: Mapping[Value, Op]) -> tuple[set[Op], set[Value]]:
    """The operations that lead to a value, and the inputs that they start from."""
    body, leaves, pending = {op}, set[Value](), [*op.operands]
    while pending:
        value = pending.pop()
        maker = producer.get(value)
        if maker is None:
            leaves.add(value)
        elif maker not in body and maker.name not in FREE:
            body.add(maker)
            pending += maker.operands
    return body, leaves


def _move(groups: Groups, host: Group, values: list[Value]) -> None:
    """Let `host` store `values`, and all who compute them read them, where all of these stay kernels."""
    makers = {groups.producer[value] for value in values}
    users = [group for group in groups.all if group is not host and makers.intersection(group.ops)]
    before = set(groups.materialised)
    groups.materialised.update(values)
    targets = groups.in_order([*host.targets, *(value for value in values if value not in host.targets)])
    made = [groups.group_of(group.number, group.targets) for group in users]
    stored = groups.group_of(host.number, targets)
    if isinstance(stored, Refusal) or any(isinstance(new, Refusal) for new in made):
        groups.materialised = before
        return
    for group in (host, *users):
        groups.remove(group)
    rebuilt = [new for new in (stored, *made) if isinstance(new, Group)]
    for new in rebuilt:
        groups.add(new)
    for new in rebuilt:
        groups.drop_unread(new)
