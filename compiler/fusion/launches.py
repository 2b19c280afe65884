"""Write groups as kernel functions, and the function that they were as their launches.

In: groups that nobody merges any more. Out: a module, and the schedule of each kernel in it, with what a strategy wants
to know of values outside of the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...ir.function import Module, Op, Value
from ...ir.schedule import Schedule
from ..emission.facts import nan_returns
from .groups import Group, Groups


def launched(module: Module, groups: Groups) -> tuple[Module, dict[str, Schedule]]:
    """The module with a kernel function for each group, which the function of the groups launches."""
    function = groups.function
    base = re.sub("[^A-Za-z0-9_]", "_", function.name)
    schedules: dict[str, Schedule] = {}
    launches: list[Op] = []
    views: dict[Value, list[Op]] = {}
    for view in groups.views:
        views.setdefault(view.operands[0], []).append(view)
    _append_views(views, function.inputs, launches)
    users = function.users()
    missing = frozenset(op for op in function.ops if op.name == "reduce_max" and nan_returns(op, function, users))
    for number, group in enumerate(groups.ordered()):
        if group.schedule is None:
            launches += group.ops
            _append_views(views, group.stored, launches)
            continue
        name = f"{base}_{number}"
        function_of_group = group.schedule.function.with_(name=name)
        schedules[name] = replace(group.schedule, function=function_of_group, maxima=_maxima(groups, group),
                                  missing=missing.intersection(group.ops))  # fmt: skip
        launches.append(Op("launch", group.read, {"callee": name}, group.stored))
        _append_views(views, group.stored, launches)
    entry = function.with_(ops=tuple(launches))
    others = [f for f in module.functions.values() if f.name != entry.name]
    functions = (*others, *(schedule.written for schedule in schedules.values()), entry)
    return Module({f.name: f for f in functions}, entry.name), schedules


def _maxima(groups: Groups, group: Group) -> Mapping[Value, Value]:
    """The inputs of a kernel that another has computed as maxima of one of its inputs, and that run along the same
    loops as that does, but for those that were reduced: the maxima of a square matrix may be read along either axis."""
    assert group.schedule is not None
    where, inputs = group.schedule.where, [*zip(group.schedule.function.inputs, group.read)]
    found: dict[Value, Value] = {}
    for value, original in inputs:
        op = groups.producer.get(original)
        if op is None or op.name != "reduce_max":
            continue
        for x, whole in inputs:
            kept = tuple(axis for position, axis in enumerate(where[x]) if position not in op.attributes["axes"])
            if whole is op.operands[0] and kept == where[value]:
                found[value] = x
    return found


def _append_views(views: Mapping[Value, list[Op]], known: Iterable[Value], launches: list[Op]) -> None:
    """Append the views of values that are in memory now, and the views of those."""
    pending = list(known)
    while pending:
        for view in views.get(pending.pop(), ()):
            launches.append(view)
            pending.append(view.result)
