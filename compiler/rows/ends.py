"""Columns that count for nothing: sums and maxima along a row that may stop early, where a mask says how long it is.

In: a schedule, and what a pass reduces along its one column axis. Out: a value of the row, an integer, from which
column on everything that is reduced is 0 (or false). Sequences shorter than their row have such masks, and lists of
labels: `select(column < length, x, 0)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.function import Op, Value
from ...ir.schedule import Schedule
from ..ancestors import source
from ..numbers import Number, evaluate
from ..ranges import counts_once


def end_of_columns(schedule: Schedule, reductions: Sequence[Op]) -> Value | None:
    """The value of a row that says at which column all these reductions may stop, if there is one. What they reduce is
    0 from there on; the maximum of what may be negative does not stop."""
    if len(schedule.columns) != 1 or not reductions:
        return None
    producer = schedule.function.producers()
    if not all(op.name == "reduce_sum" or _is_largest_of_conditions(op, producer) for op in reductions):
        return None
    operands = [op.operands[0] for op in reductions]
    for mask, end in _masks(schedule, schedule.columns[0], producer).items():
        known = _numbers_beyond(schedule, mask)
        if all(known.get(operand) == 0 for operand in operands):
            return end
    return None


def _is_largest_of_conditions(op: Op, producer: Mapping[Value, Op]) -> bool:
    """Whether a maximum is of zeros and ones."""
    maker = producer.get(source(op.operands[0], producer))
    return op.name == "reduce_max" and maker is not None and (
        maker.name == "cast" and maker.operands[0].type.dtype == "bool")  # fmt: skip


def end_of_reading(schedule: Schedule, value: Value, axis: int) -> Value | None:
    """The value from which on along `axis` nothing is made of an input, if there is one: what there is of it beyond is
    never chosen."""
    producer = schedule.function.producers()
    users = [op for op in schedule.function.ops if value in op.operands]
    for mask, end in _masks(schedule, axis, producer).items():
        known = _numbers_beyond(schedule, mask)
        if all(op.name == "select" and value is op.operands[1] and value is not op.operands[2]
               and known.get(op.operands[0]) is False for op in users):  # fmt: skip
            return end
    return None


def _masks(schedule: Schedule, column: int, producer: Mapping[Value, Op]) -> dict[Value, Value]:
    """Each condition that holds for coordinates below a value that is the same for all of them, and that value."""
    found: dict[Value, Value] = {}
    for op in schedule.function.ops:
        if op.name not in ("lt", "gt"):
            continue
        number, end = op.operands if op.name == "lt" else op.operands[::-1]
        maker = producer.get(number)
        if maker is None or maker.name != "iota" or not counts_once(maker) or column in schedule.varies[end]:
            continue
        if schedule.axis_of(maker, number) == column:
            found[op.result] = end
    return found


def _numbers_beyond(schedule: Schedule, mask: Value) -> dict[Value, Number | None]:
    """What values are in every column where `mask` does not hold; None where that differs."""
    known: dict[Value, Number | None] = {mask: False}
    for op in schedule.function.ops:
        for result in op.results:
            known.setdefault(result, evaluate(op, [known.get(operand) for operand in op.operands]))
    return known
