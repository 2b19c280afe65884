"""Copies of what several loops read: rows and columns of one matrix, say.

In: a kernel in the making that would run along one loop twice. Out: its schedule where every loop reads inputs,
constants and counts of its own, and which input is a copy of which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...ir.function import Function, Op, Value
from ...ir.names import fresh
from ...ir.ops import FREE
from ...ir.schedule import Refusal, Schedule
from .schedule import schedule_of

Use = tuple[Op, int]  # an operation and the position of an operand


def with_copies(function: Function) -> tuple[Schedule, list[Value]] | None:
    """A schedule of `function` in which every loop reads its own copy of inputs, constants and counts; and for each
    input of the schedule's function that of `function` which it copies. None if that does not help either."""
    apart, copies = _copied(function, {})
    schedule = schedule_of(apart)
    if isinstance(schedule, Refusal):
        return None
    # Copies that run along the same loops become one again.
    loops = {use: schedule.where[copy] for use, (copy, _) in copies.items()}
    together, copies = _copied(function, loops)
    schedule = schedule_of(together)
    if isinstance(schedule, Refusal):
        return None
    original = dict(copies.values())
    return schedule, [original[value] for value in together.inputs]


def _copied(function: Function, loops: Mapping[Use, Any]) -> tuple[Function, dict[Use, tuple[Value, Value]]]:
    """`function` with a copy of each input, constant and count for every use, but one for uses with equal `loops`.
    Also, for each use, the copy and what it copies."""
    makers: dict[Value, Op | None] = dict.fromkeys(function.inputs)
    makers.update((op.result, op) for op in function.ops if op.name in FREE and op.result not in function.outputs)
    taken = {value.name for value in function.inputs}
    made: dict[Any, Value] = {}
    copies: dict[Use, tuple[Value, Value]] = {}
    inputs: list[Value] = []
    ops: list[Op] = []
    for op in function.ops:
        if op.results and op.results[0] in makers:
            continue
        operands: list[Value] = []
        for position, operand in enumerate(op.operands):
            if operand in makers:
                use = (op, position)
                key = (operand, loops.get(use, use))
                if key not in made:
                    maker = makers[operand]
                    is_first = maker is None and operand not in inputs
                    made[key] = operand if is_first else _copy(operand, taken)
                    if maker is None:
                        inputs.append(made[key])
                    else:
                        ops.append(replace(maker, results=(made[key],)))
                copies[use] = (made[key], operand)
                operand = made[key]
            operands.append(operand)
        ops.append(replace(op, operands=tuple(operands)))
    return function.with_(inputs=tuple(inputs), ops=tuple(ops)), copies


def _copy(value: Value, taken: set[str]) -> Value:
    name = fresh(value.name, taken)
    taken.add(name)
    return Value(name, value.type, value.span)
