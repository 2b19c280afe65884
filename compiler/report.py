"""What a compiled program does, in numbers that do not depend on how fast a machine is.

In: a `Compiled`, and sizes for its dimension names. Out: for each fused kernel its passes over a row, its launches, the
exponentials that it evaluates for an element, and the bytes that its passes load and store; what runs piece by piece is
counted for all pieces. The figures are read off schedules; a test counts the same in the simulator. Where a row's
length is no multiple of a vector's, kernels do a little more than these figures: the last elements of a row twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..ir.function import Op, Value
from ..ir.kernel import evaluate_integer
from ..ir.program import Program, Step, Variant, largest_sizes
from ..ir.repeat import pieces
from ..ir.schedule import Schedule
from ..ir.types import ITEM_SIZE, dim_value
from . import Compiled
from .stages import Stage, stages_of

EXPONENTIALS = frozenset({"exp", "expm1", "tanh"})
"""What takes about as long as an exponential."""

ASSUMED_SIZE = 1024
"""What a dimension name counts as where no size is given."""


@dataclass(frozen=True)
class KernelCounts:
    """One fused kernel, in the variant that some sizes choose. `exps_per_element` counts evaluations: twice where two
    passes compute one exponential again, once where it is kept in between."""

    name: str
    strategy: str
    stages: int
    launches: int
    exps_per_element: int
    bytes_loaded: int
    bytes_stored: int


def count_kernels(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> tuple[KernelCounts, ...]:
    """The figures of each fused kernel, in the order in which they run."""
    program, bound = compiled.program, assumed_sizes(compiled.program, sizes)
    return tuple(_count(program, step, compiled.outlined.schedules[step.name], bound) for step in program.steps)


def assumed_sizes(program: Program, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """`sizes`, and ASSUMED_SIZE for every dimension without one; pieces are as large as they get."""
    given = {**dict.fromkeys(program.dims, ASSUMED_SIZE), **(sizes or {})}
    return {**largest_sizes(program, given), **(sizes or {})}


def sizes_of_turns(program: Program, step: Step, sizes: Mapping[str, int]) -> list[tuple[int, Mapping[str, int]]]:
    """How often a step runs, and the sizes it has then; the last piece may be smaller than the others."""
    if step.repeat is None:
        return [(1, sizes)]
    repeat = program.repeats[step.repeat]
    cut = pieces(evaluate_integer(repeat.rows, sizes), evaluate_integer(repeat.most, sizes))
    return [(times, {**sizes, repeat.step: size}) for size, times in Counter(size for _, size in cut).items()]


def usual_variant(step: Step, sizes: Mapping[str, int]) -> Variant:
    """The variant that some sizes choose."""
    return next(v for v in step.variants if v.guard is None or evaluate_integer(v.guard, sizes))


def total_counts(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """The figures of all fused kernels together, by the names that `.lir` tests use."""
    kernels = count_kernels(compiled, sizes)
    return {
        "fused-kernels": len(kernels),
        "launches": sum(kernel.launches for kernel in kernels),
        "stages": sum(kernel.stages for kernel in kernels),
        "exps-per-element": sum(kernel.exps_per_element for kernel in kernels),
        "bytes-loaded": sum(kernel.bytes_loaded for kernel in kernels),
        "bytes-stored": sum(kernel.bytes_stored for kernel in kernels),
    }


def _count(program: Program, step: Step, schedule: Schedule, sizes: Mapping[str, int]) -> KernelCounts:
    usual = usual_variant(step, sizes)
    launches = loaded = stored = 0
    for times, there in sizes_of_turns(program, step, sizes):
        variant = usual_variant(step, there)
        launches += times * len(variant.launches)
        loaded += times * _bytes_loaded(schedule, variant, there)
        stored += times * sum(_bytes(v, v, there) for v in schedule.function.outputs)
    exps = exps_per_element(schedule, usual)
    return KernelCounts(step.name, usual.strategy, schedule.stages, launches, exps, loaded, stored)


def _bytes_loaded(schedule: Schedule, variant: Variant, sizes: Mapping[str, int]) -> int:
    passes = _passes(schedule, _kept(schedule, variant))
    loads = [v for _, loads in passes for v in loads if schedule.varies[v] == schedule.looped]
    picked = _picked(schedule)
    # What varies along fewer axes than the loops is loaded outside of them, once.
    once = [v for v in schedule.function.inputs if v not in loads and all(v is not source for source, _ in picked)]
    return sum(_bytes(v, v, sizes) for v in (*loads, *once)) + sum(_bytes(v, at, sizes) for v, at in picked)


def exps_per_element(schedule: Schedule, variant: Variant) -> int:
    """How many exponentials a variant of a kernel evaluates for each element of its domain."""
    ops = [op for ops, _ in _passes(schedule, _kept(schedule, variant)) for op in ops]
    return sum(op.name in EXPONENTIALS for op in ops if schedule.varies[op.result] == schedule.looped)


def _picked(schedule: Schedule) -> list[tuple[Value, Value]]:
    """The inputs behind every gather, each with the gather's result: as many elements are loaded as that has."""
    producer = schedule.function.producers()
    return [
        (value, op.result)
        for op in schedule.function.ops
        if op.name == "gather"
        for value in schedule.function.inputs
        if value in _behind([op.operands[0]], producer, ())
    ]


def _behind(targets: Iterable[Value], producer: Mapping[Value, Op], ready: Collection[Value]) -> set[Value]:
    """The targets and everything that they are computed from, but for what is ready and what is picked."""
    pending = list(targets)
    seen: set[Value] = set()
    while pending:
        value = pending.pop()
        if value in seen or value in ready:
            continue
        seen.add(value)
        op = producer.get(value)
        if op is not None:
            pending += op.operands[1:] if op.name == "gather" else op.operands
    return seen


def _bytes(value: Value, at: Value, sizes: Mapping[str, int]) -> int:
    """The bytes of as many elements of `value` as `at` has."""
    return math.prod(dim_value(dim, sizes) for dim in at.type.shape) * ITEM_SIZE[value.type.dtype]


def _kept(schedule: Schedule, variant: Variant) -> dict[Value, int]:
    """The values that a private array holds between passes, with the pass that computes them."""
    arrays = (array for launch in variant.launches for array in launch.kernel.private_arrays)
    held = {array.holds for array in arrays if array.holds is not None}
    stages = stages_of(schedule)
    return {value: next(stage.number for stage in stages if stage.needs(value)) for value in held}


def _passes(schedule: Schedule, kept: Mapping[Value, int]) -> list[tuple[list[Op], list[Value]]]:
    """For each pass over a row the operations that it evaluates and the inputs that it loads."""
    found = []
    for stage in stages_of(schedule):
        ready = {op.result for op in schedule.row_reductions} | {
            v for v, number in kept.items() if number < stage.number
        }
        found.append(_work(schedule, stage, ready, kept))
    return found


def _work(
    schedule: Schedule, stage: Stage, ready: Collection[Value], kept: Mapping[Value, int]
) -> tuple[list[Op], list[Value]]:
    producer = schedule.function.producers()
    reduced = [op.operands[0] for op in (*stage.reductions, *stage.element_sums, *stage.element_checks)]
    own = [v for v, number in kept.items() if number == stage.number]
    seen = _behind([*stage.element_outputs, *reduced, *own], producer, ready)
    ops = [op for op in schedule.function.ops if op.results and op.result in seen]
    return ops, [value for value in schedule.function.inputs if value in seen]
