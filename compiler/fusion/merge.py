"""Merge groups: what one loop nest can compute becomes one kernel.

In: groups, one a target. Out: fewer of them, and why others were not merged. A merge is legal if no third group lies
between, and `schedule_of` finds a schedule; it is made unless rows would do too much again (`repeated.py`).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable

from ...ir.frozen import frozen
from ...ir.schedule import Refusal
from .groups import Group, Groups, Target
from .repeated import too_much_again

Partners = Callable[[Group], Iterable[Group]]


@frozen
class Refused:
    """Two groups, by a target of each, and why they were not merged when that was tried."""

    one: Target
    other: Target
    reason: str


def merge(groups: Groups, partners: Partners) -> list[Refused]:
    """Merge later groups into earlier ones wherever they have something in common and the result is one loop nest."""
    refused: list[Refused] = []
    merged: set[Group] = set()
    for host in sorted(groups.all, key=lambda group: group.number):
        tried = -1
        while True:
            later = {other for other in partners(host) if other in merged and other.number > tried} - {host}
            if not later:
                break
            other = min(later, key=lambda group: group.number)
            tried = other.number
            joined = _joined(groups, other, host, True)
            if isinstance(joined, Refused):
                refused.append(joined)
                continue
            merged.discard(other)
            host = joined
        merged.add(host)
    return refused


def merge_by_bytes(groups: Groups) -> list[Refused]:
    """Merge groups where one needs the other, or both read the same, those first that save most. What is read along two
    loops is read twice: that pays only where a group's results need not be stored any more."""
    refused: list[Refused] = []
    waiting: list[tuple[int, int, int, int, Group, Group]] = []

    def offer(group: Group, partners: Iterable[Group]) -> None:
        for other in dict.fromkeys(partners):
            first, second = (other, group) if other.number < group.number else (group, other)
            saved = groups.bytes_saved(first, second)
            # Equal savings in the order of the program; the count keeps groups from being compared.
            heapq.heappush(waiting, (-saved, second.number, first.number, next(count), first, second))

    count = itertools.count()
    for group in groups.all:
        found = groups.partners(group)
        offer(group, (other for other in found if other.number < group.number or not group.stored))
    while waiting:
        *_, first, second = heapq.heappop(waiting)
        if first not in groups.all or second not in groups.all:
            continue
        joined = _joined(groups, first, second, groups.are_neighbours(first, second))
        if isinstance(joined, Refused):
            refused.append(joined)
        else:
            offer(joined, groups.partners(joined))
    return refused


def _joined(groups: Groups, first: Group, second: Group, may_copy: bool) -> Group | Refused:
    """One group in place of two, or why not."""
    reason = groups.obstacle(first, second)
    joined = groups.joined(first, second, may_copy) if reason is None else Refusal(reason)
    if isinstance(joined, Group) and joined.schedule is not None:
        again = too_much_again(joined.schedule)
        joined = joined if again is None else Refusal(again)
    if isinstance(joined, Refusal):
        return Refused(first.targets[0], second.targets[0], joined.reason)
    for group in (first, second):
        groups.replace(group, joined)
    return joined


def still_apart(groups: Groups, refusals: Iterable[Refused]) -> tuple[str, ...]:
    """The last refusal between any two of the groups that came of it."""
    reasons: dict[tuple[Group, Group], str] = {}
    for refusal in refusals:
        one, other = groups.group_for(refusal.one), groups.group_for(refusal.other)
        if one is not other:
            pair = (one, other) if one.number < other.number else (other, one)
            reasons[pair] = refusal.reason
    return tuple(dict.fromkeys(f"{one} and {other} stay apart: {why}" for (one, other), why in reasons.items()))
