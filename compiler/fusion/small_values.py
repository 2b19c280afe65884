"""Small values, costly to compute, that a kernel would compute again at every element: the kernel that has what they
are made of stores them instead.

In: groups that nobody merges any more. Out: the same groups with other targets. The gradient of dice needs a quotient
of sums for each class of an image: as a number each, and not as two divisions at each of its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.function import Value
from ...ir.ops import FREE, PRIMITIVES
from ..ancestors import ancestors
from ..costs import cost_of
from .groups import Group, Groups

WORTH = 6
"""Multiply-adds: at least a division."""
SMALL = 16
"""A value is small where the kernel's largest input or output has so many bytes for each of its own."""


def store_small_values(groups: Groups) -> None:
    """Have small and costly values of each group stored by the one group that computes what they need."""
    for first in sorted(groups.all, key=lambda group: group.number):
        moved = True
        while moved:
            # A move puts new groups in place of all that compute the values, perhaps of other hosts, too.
            found = _hosts(groups, groups.group_for(first.targets[0]))
            moved = any(_move(groups, host, values) for host, values in found.items())


def _hosts(groups: Groups, group: Group) -> Mapping[Group, list[Value]]:
    """The values to be stored by others: those that something larger is computed from."""
    schedule = group.schedule
    if schedule is None:
        return {}
    inputs = dict(zip(schedule.function.inputs, group.read))
    producer = schedule.producer
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
        seen = ancestors([op.result], producer)
        owners = {groups.owner.get(groups.source(inputs[leaf])) for leaf in seen if leaf in inputs}
        hosts = {owner for owner in owners if owner is not None and owner is not group}
        if len(hosts) == 1 and sum(cost_of(producer[value]) for value in seen if value in producer) >= WORTH:
            found.setdefault(hosts.pop(), []).append(op.result)
    return found


def _move(groups: Groups, host: Group, values: list[Value]) -> bool:
    """Let `host` store `values`, and all who compute them read them, where all of these stay kernels: whether so."""
    makers = {groups.producer[value] for value in values}
    users = [group for group in groups.all if group is not host and makers.intersection(group.ops)]
    before = set(groups.materialised)
    groups.materialised.update(values)
    targets = groups.in_order([*host.targets, *(value for value in values if value not in host.targets)])
    made = {group: groups.group_of(group.number, group.targets) for group in users}
    made[host] = groups.group_of(host.number, targets)
    rebuilt = {group: new for group, new in made.items() if isinstance(new, Group)}
    if len(rebuilt) < len(made):
        groups.materialised = before
        return False
    for group, new in rebuilt.items():
        groups.replace(group, new)
    for new in rebuilt.values():
        groups.drop_unread(new)
    return True
