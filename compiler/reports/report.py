"""What a compiled program does, in numbers that do not depend on how fast a machine is.

In: a `Compiled`, and sizes for its dimension names. Out: for each fused kernel its passes over a row, its launches, and
the exponentials that it evaluates for an element; what runs piece by piece is counted for all pieces. The figures are
read off schedules; a test counts the same in the simulator. Where a row's length is no multiple of a vector's, kernels
do a little more than these figures: the last elements of a row twice. Bytes are in `traffic`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ...ir.frozen import frozen
from ...ir.integers import evaluate_integer
from ...ir.program import Program, Step, Variant, choose_variant, holds, largest_sizes, steps_of
from ...ir.repeat import pieces
from ...ir.schedule import Schedule
from .. import Compiled
from ..emission.marks import marks_of, needed_in, runs_of
from .loads import passes_of

EXPONENTIALS = frozenset({"exp", "expm1", "tanh"})
"""What takes about as long as an exponential."""

TOGETHER = frozenset({"row-group", "row-parts", "row-split"})
"""Strategies that compute at an element what any window needs of it."""

ASSUMED_SIZE = 1024
"""What a dimension name counts as where no size is given."""


@frozen
class KernelCounts:
    """One fused kernel, in the variant that some sizes choose. `exps_per_element` counts evaluations: twice where two
    passes compute one exponential again, once where it is kept in between."""

    name: str
    strategy: str
    stages: int
    launches: int
    exps_per_element: int


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


def launches_saved(program: Program, sizes: Mapping[str, int] | None = None) -> int:
    """How many launches fewer it takes that some steps are joined, with `sizes` also that all are."""
    bound, saved = assumed_sizes(program, sizes), 0
    together = variant_together(program, bound) if sizes else None
    if together is not None:
        alone = sum(len(choose_variant(step.variants, bound).launches) for step in program.steps)
        return alone - len(together.launches)
    for several in program.beside:
        apart = (choose_variant(step.variants, bound) for step in steps_of(program, several))
        saved += sum(len(variant.launches) for variant in apart)
        saved -= len(choose_variant(several.variants, bound).launches)
    return saved


def variant_together(program: Program, sizes: Mapping[str, int]) -> Variant | None:
    """What does all steps in one launch at these sizes, if there is such a thing."""
    return next((variant for variant in program.together if holds(variant.guard, sizes)), None)


def total_counts(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """The figures of all fused kernels together, by the names that `.lir` tests use."""
    kernels = count_kernels(compiled, sizes)
    return {
        "fused-kernels": len(kernels),
        "launches": sum(kernel.launches for kernel in kernels) - launches_saved(compiled.program, sizes),
        "stages": sum(kernel.stages for kernel in kernels),
        "exps-per-element": sum(kernel.exps_per_element for kernel in kernels),
    }


def _count(program: Program, step: Step, schedule: Schedule, sizes: Mapping[str, int]) -> KernelCounts:
    usual = choose_variant(step.variants, sizes)
    turns = sizes_of_turns(program, step, sizes)
    launches = sum(times * len(choose_variant(step.variants, there).launches) for times, there in turns)
    return KernelCounts(step.name, usual.strategy, schedule.stages, launches, exps_per_element(schedule, usual))


def exps_per_element(schedule: Schedule, variant: Variant) -> int:
    """How many exponentials a variant of a kernel evaluates for each element of its domain: where windows have
    stretches of their own, in that which has most."""
    ops = [op for each in passes_of(schedule, variant) for op in each.ops]
    found = [op.result for op in ops if op.name in EXPONENTIALS and schedule.varies[op.result] == schedule.looped]
    marks = marks_of(schedule)
    along = [] if variant.strategy in TOGETHER else [run for axis in schedule.columns for run in runs_of(marks, axis)]
    needed = [needed_in(marks, run.known) for run in along]
    return max((sum(value in own for value in found) for own in needed), default=len(found))
