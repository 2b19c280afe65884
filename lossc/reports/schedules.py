"""Schedules in words.

In: the schedule of a fused kernel. Out: lines for people: its domain, what is reduced, how often a value is computed.
"""

from __future__ import annotations

from collections.abc import Iterable

from lossc.ir.function import Value
from lossc.ir.printer import names_of_values
from lossc.ir.schedule import Schedule
from lossc.reports.words import counted


def schedule_lines(schedule: Schedule) -> list[str]:
    """A schedule in words: the domain, what is reduced, and the grain and stage of every value, by its name in text."""
    names = names_of_values(schedule.function)
    axes = ", ".join(
        f"{_axis(axis)}: {size}{'' if axis in schedule.looped else ' (indexed only)'}"
        for axis, size in enumerate(schedule.axes)
    )
    lines = [f"domain {axes or 'one point'}"]
    if schedule.reduced:
        lines.append(f"rows along {_axes(schedule.rows)}, reduced along {_axes(schedule.columns)}, "
                     f"{counted(schedule.stages, 'stage')}")  # fmt: skip
    if schedule.matmul is not None:
        lines.append(f"matrix product %{names[schedule.matmul.result]}")
    return [*lines, *(f"%{name}: {_grain(schedule, value)}" for value, name in names.items())]


def _grain(schedule: Schedule, value: Value) -> str:
    if value in schedule.finished:
        return "whole, after all rows"
    along = schedule.varies.get(value, frozenset())
    stage = f", stage {schedule.stage[value]}" if schedule.row_reductions and value in schedule.stage else ""
    if along == schedule.looped and along:
        return f"element{stage}"
    if not along:
        return f"whole{stage}"
    if along == frozenset(schedule.rows):
        return f"row{stage}"
    if along == schedule.reduced:
        return f"column{stage}"
    return f"along {_axes(sorted(along))}{stage}"


def _axis(axis: int) -> str:
    return f"axis {axis}"


def _axes(axes: Iterable[int]) -> str:
    return ", ".join(map(_axis, axes)) or "none"
