"""From fused kernels to a program: choose a strategy for each, lower it, lay out the buffers.

In: an outlined module with its schedules, facts of a device. Out: a `Program`, and for each kernel the strategy that
was chosen with the reasons against the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.diagnostics import CompilerBug
from ..ir.function import Function, Op, Value
from ..ir.kernel import integer
from ..ir.program import Buffer, Check, Program, Step
from ..ir.target import DeviceInfo
from ..ir.types import dim_names
from .check import check_kernel
from .check_program import check_program
from .emit import product
from .fused import Fused
from .outline import Outlined
from .strategies import choose, lower_with


@dataclass(frozen=True)
class Choice:
    """Why a fused kernel is lowered as it is."""

    strategy: str
    against: Mapping[str, str]


@dataclass(frozen=True)
class Lowered:
    program: Program
    choices: Mapping[str, Choice]


def lower(outlined: Outlined, device: DeviceInfo, strategy: str | None = None) -> Lowered:
    """The program of an outlined module on a device. `strategy` is used wherever it applies."""
    entry = outlined.module.entry
    names = buffer_names(entry)
    checks: list[Check] = []
    steps: list[Step] = []
    choices: dict[str, Choice] = {}
    for op in entry.ops:
        if op.name != "launch":
            continue
        name = op.attributes["callee"]
        schedule = outlined.schedules[name]
        slots = _slots(schedule.function, dict(zip(schedule.function.inputs, map(names.get, op.operands))), checks)
        inside, outside = (*schedule.function.inputs, *schedule.function.outputs), (*op.operands, *op.results)
        fused = Fused(name, schedule, {value: names[stored] for value, stored in zip(inside, outside)}, slots)
        chosen, against = choose(fused, device, strategy)
        variants = lower_with(chosen, fused, device)
        for variant in variants:
            for launch in variant.launches:
                check_kernel(launch.kernel, device)
        steps.append(Step(name, variants))
        choices[name] = Choice(chosen, against)
    program = _program(entry, names, tuple(steps), tuple(checks))
    check_program(program)
    return Lowered(program, choices)


def buffer_names(entry: Function) -> dict[Value, str]:
    """A distinct identifier for every value of the entry."""
    names: dict[Value, str] = {}
    taken: set[str] = {"status", *(n for v in entry.inputs for d in v.type.shape for n in dim_names(d))}
    for value in (*entry.inputs, *(result for op in entry.ops for result in op.results)):
        base = re.sub(r"[^A-Za-z0-9_]", "_", value.name) or "value"
        candidate, number = base, 2
        while candidate in taken:
            candidate, number = f"{base}_{number}", number + 1
        taken.add(candidate)
        names[value] = candidate
    return names


def _slots(kernel: Function, stored: Mapping[Value, str | None], checks: list[Check]) -> dict[Op, int]:
    """Number the checks of a kernel, adding them to those of the program. `stored` names the buffers of its inputs."""
    slots: dict[Op, int] = {}
    for op in kernel.ops:
        if op.name == "check":
            slots[op] = len(checks)
            ok, *shown = op.operands
            buffer = next((stored[value] for value in shown if value in stored), None)
            checks.append(Check(slots[op], op.attributes, ok.type.shape, buffer))
    return slots


def _program(
    entry: Function, names: Mapping[Value, str], steps: tuple[Step, ...], checks: tuple[Check, ...]
) -> Program:
    outputs = set(entry.outputs)
    buffers: dict[str, Buffer] = {}
    for value in entry.inputs:
        buffers[names[value]] = _buffer(value, names[value], "input")
    for op in entry.ops:
        for result in op.results:
            role = "output" if result in outputs else "temporary"
            alias = names[op.operands[0]] if op.name == "reshape" else None
            buffers[names[result]] = _buffer(result, names[result], role, alias)
    if checks:
        buffers["status"] = Buffer("status", "i32", integer(len(checks)), "status")
    for step in steps:
        for variant in step.variants:
            buffers.update({buffer.name: buffer for buffer in variant.temporaries})
    unknown = [op.name for op in entry.ops if op.name not in ("launch", "reshape")]
    if unknown:
        raise CompilerBug(f"`{unknown[0]}` was not outlined")
    dims = dict.fromkeys(name for value in entry.inputs for dim in value.type.shape for name in dim_names(dim))
    return Program(
        entry.name, tuple((value.name, value.type) for value in entry.inputs),
        tuple(zip(entry.names_of_outputs, (value.type for value in entry.outputs))), buffers, steps, checks,
        tuple(names[value] for value in entry.outputs), tuple(dims),
        tuple(value.name for value in entry.inputs if value in entry.params),
    )  # fmt: skip


def _buffer(value: Value, name: str, role: str, alias: str | None = None) -> Buffer:
    return Buffer(name, value.type.dtype, product(value.type.shape), role, value.type.shape, alias)
