"""Whether what a kernel stores may lie where something that it reads lies.

In: an outlined module with the schedules of its kernels. Out: pairs of an input and an output of a program that may
share memory; and, of one launch, whether it reads a value only where it stores another.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.function import Op, Value
from ..ir.ops import read_elsewhere
from ..ir.schedule import Schedule
from .ancestors import ancestors
from .fusion.outline import Outlined


def overwrites(outlined: Outlined) -> frozenset[tuple[str, str]]:
    """Names of an input and an output of one type that may share memory, where this has no ragged end: vectors that
    overlap there would read what was just written.

    They may if the kernel that stores the output reads the input in place and in one pass, and nobody reads it later.
    """
    entry = outlined.module.entry
    memory: dict[Value, Value] = {}
    for op in entry.ops:
        if op.name == "reshape":
            memory[op.result] = memory.get(op.operands[0], op.operands[0])
    names: dict[Value, list[str]] = {}
    for name, value in zip(entry.names_of_outputs, entry.outputs):
        names.setdefault(memory.get(value, value), []).append(name)
    types = dict(zip(entry.names_of_outputs, (value.type for value in entry.outputs)))
    inputs = set(entry.inputs)
    done = [op for op in entry.ops if op.name != "reshape"]
    last_reader = {memory.get(value, value): op for op in done for value in op.operands}
    found: set[tuple[str, str]] = set()
    for op in done:
        schedule = outlined.schedules[op.attributes["callee"]] if op.name == "launch" else None
        if schedule is None or schedule.matmul is not None or schedule.row_reductions or schedule.across:
            continue  # it does not read everything in one pass
        old: dict[Value, list[Value]] = {}
        for value in op.operands:
            old.setdefault(memory.get(value, value), []).append(value)
        free = [value for value in old if value in inputs and last_reader[value] is op and value not in names]
        found |= {
            (value.name, name)
            for new in op.results
            for name in names.get(new, ())
            for value in free
            if value.type == types[name] and is_read_in_place(schedule, op, old[value], new)
        }
    return frozenset(found)


def is_read_in_place(schedule: Schedule, launch: Op, old: Sequence[Value], new: Value) -> bool:
    """Whether a launch reads memory only at the element of the result `new` that it computes from there. `old` are the
    operands that lie in this memory: of two one is read along other loops than the other."""
    if len(old) != 1:
        return False
    kernel = schedule.function
    inside = dict(zip((*launch.operands, *launch.results), (*kernel.inputs, *kernel.outputs)))
    read, stored = inside[old[0]], inside[new]
    multiplied = schedule.matmul.operands if schedule.matmul is not None else ()
    picked = ancestors([value for op in kernel.ops for value in read_elsewhere(op)], kernel.producers())
    if read in multiplied or read in picked:
        return False
    # What does not run along all loops is read again by others.
    return schedule.where[read] == schedule.where[stored] and schedule.looped.issubset(schedule.where[read])
