"""Making plans.

In: a program with its sources and a device, sizes of its dimension names. Out: a `Plan`: variants are chosen, kernels
built, temporaries have memory, and all arguments are set that no call changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.integers import evaluate_integer
from ..ir.program import STATUS, Launch, Program, Turn, Variant, choose_variant, largest_sizes, turns
from ..ir.types import ITEM_SIZE, dim_value, numpy_dtype
from .build import Kernels, build
from .device import Device
from .memory import SMALLEST_POOLED, Argument, device_memory
from .plan import Fresh, Loaded, Plan, PlannedLaunch, PlannedOutput, Use
from .small_outputs import COUNTS_REFERENCES, LARGEST, SmallOutput
from .temporaries import Temporaries

SMALL_WORK = 1 << 16
"""Elements up to which a launch is quicker in the calling thread than handed to others."""

FEW_ITEMS = 4
"""Work-items a core of a CPU below which each is a group of its own: a driver groups by their number alone, whatever
the cores. 6 in twos on 2 cores, the update of 101,770 parameters: a whole step of training takes 1.01 of its time, and
1.05 where other processes run beside."""


def make_plan(loaded: Loaded, sizes: Mapping[str, int], temporaries: Temporaries) -> Plan:
    """A plan for these sizes. One for runs that go on in the background uses the device's ordinary queue."""
    program, device = loaded.program, loaded.device
    taken = [(turn, choose_variant(turn.step.variants, turn.sizes)) for turn in turns(program, sizes)]
    elements = _elements(program, sizes, taken)
    # Where there is nothing to do, even one work-item would touch memory that does not exist.
    launches = [(turn, launch) for turn, variant in taken for launch in variant.launches
                if evaluate_integer(launch.global_size, turn.sizes)]  # fmt: skip
    outputs = _planned_outputs(loaded, sizes)
    used = {turn.instead.get(name, name) for turn, launch in launches for name in launch.buffers}
    keep = _fixed_memory(loaded, outputs)
    wanted = {o.root: o for o in outputs if not o.copied and o.root not in keep}
    for name, buffer in program.buffers.items():
        # An output that regroups what a kernel stores is that kernel's own result: new in each run.
        kept = buffer.role == "temporary" and name in used and buffer.alias_of is None
        if kept and name not in wanted and name not in keep:
            keep[name] = temporaries.take(name, elements[name], numpy_dtype(buffer.dtype))
    status = loaded.status
    if status is None and program.checks:
        status = temporaries.status(len(program.checks))
    if status is not None:
        keep[STATUS] = status.memory
    names = dict.fromkeys(launch.entry.name for _, launch in launches)
    programs = {name: build(device, loaded.sources[name], loaded.options) for name in names}
    # An object for each launch: its arguments are nobody else's.
    kernels = Kernels([(programs[launch.entry.name], launch.entry.name) for _, launch in launches])
    planned, uses = _planned_launches(loaded, launches, kernels.objects, keep)
    work = max((elements[name] for name in used), default=0)
    small = work <= SMALL_WORK and not temporaries.in_background and device.local_thread_queue is not None
    plain = device.info.shared_pointers and not any(o.copied for o in outputs)
    small_outputs = {root: _small_output(device, output) for root, output in wanted.items()}
    held: dict[str, Argument] = {}
    for root, targets in uses.items():
        if not elements[root]:
            # No driver takes zero bytes.
            held[root] = device_memory(device, 0)
            for set_argument, position in targets:
                set_argument(position, held[root].value)
            targets.clear()
    return Plan(
        sizes, planned, tuple(tuple(uses.get(name, ())) for name in loaded.free_buffers),
        tuple(Fresh(root, o.shape, o.dtype, tuple(uses.get(root, ())), small_outputs[root])
              for root, o in wanted.items()),
        tuple(o for o in outputs if o.copied or o.name not in loaded.fixed_outputs),
        _largest(loaded, elements), plain,
        plain and (small or all(small_outputs.values())), status,
        {**keep, **held},
        device.local_thread_queue if small else device.queue, small, kernels,
        [*programs.values()] if device.compiles_at_launch else [],
        {output.name: output for output in outputs if output.name not in loaded.fixed_outputs},
    )  # fmt: skip


def _small_output(device: Device, output: PlannedOutput) -> SmallOutput | None:
    nbytes = math.prod(output.shape) * output.dtype.itemsize
    if not (0 < nbytes <= LARGEST and device.info.shared_pointers and COUNTS_REFERENCES):
        return None
    return SmallOutput(output.shape, output.dtype)


def _fixed_memory(loaded: Loaded, outputs: Sequence[PlannedOutput]) -> dict[str, Argument]:
    """The memory that inputs and outputs have for good, by buffer."""
    fixed = {loaded.input_buffers[name]: argument for name, argument in loaded.fixed_inputs.items()}
    for output in outputs:
        if output.name in loaded.fixed_outputs and not output.copied:
            fixed[output.root] = loaded.fixed_outputs[output.name]
    return fixed


def _planned_launches(
    loaded: Loaded, launches: Sequence[tuple[Turn, Launch]], kernels: Sequence[Any], keep: Mapping[str, Argument]
) -> tuple[tuple[PlannedLaunch, ...], dict[str, list[Use]]]:  # fmt: skip
    """Kernels with all arguments set but those without memory of the plan's own, and where these go, by buffer."""
    uses: dict[str, list[Use]] = {}
    planned: list[PlannedLaunch] = []
    info = loaded.device.info
    few = FEW_ITEMS * info.compute_units if info.kind == "cpu" else 0
    for (turn, launch), kernel in zip(launches, kernels):
        for position, name in enumerate(launch.buffers):
            root = loaded.roots[turn.instead.get(name, name)]
            if root in keep:
                kernel.set_arg(position, keep[root].value)
            else:
                uses.setdefault(root, []).append((kernel.set_arg, position))
        for position, scalar in enumerate(launch.entry.scalars, len(launch.buffers)):
            kernel.set_arg(position, np.int64(evaluate_integer(launch.scalars[scalar.name], turn.sizes)))
        items = evaluate_integer(launch.global_size, turn.sizes)
        grouping = launch.entry.grouping
        if grouping is None and items < few:
            grouping = 1
        planned.append((kernel, (items,), None if grouping is None else (grouping,)))
    return tuple(planned), uses


def _elements(program: Program, sizes: Mapping[str, int], taken: Sequence[tuple[Turn, Variant]]) -> dict[str, int]:
    """How many elements each buffer needs."""
    largest = largest_sizes(program, sizes)
    elements = {name: evaluate_integer(buffer.size, largest) for name, buffer in program.buffers.items()}
    # Variants may give a temporary of one name different sizes.
    chosen: dict[str, int] = {}
    for turn, variant in taken:
        for buffer in variant.temporaries:
            chosen[buffer.name] = max(chosen.get(buffer.name, 0), evaluate_integer(buffer.size, turn.sizes))
    return {**elements, **chosen}


def _largest(loaded: Loaded, elements: Mapping[str, int]) -> int | None:
    buffers = loaded.program.buffers
    sizes = [elements[name] * ITEM_SIZE[buffers[name].dtype] for name in loaded.free_buffers]
    return sizes.index(max(sizes)) if max(sizes, default=0) >= SMALLEST_POOLED else None


def _planned_outputs(loaded: Loaded, sizes: Mapping[str, int]) -> tuple[PlannedOutput, ...]:
    """Outputs that are inputs, or views of them, or twice the same, are copies of those."""
    planned: list[PlannedOutput] = []
    seen: set[str] = set()
    for (name, type_), buffer in zip(loaded.program.outputs, loaded.program.output_buffers):
        root = loaded.roots[buffer]
        shape = tuple(dim_value(dim, sizes) for dim in type_.shape)
        copied = loaded.program.buffers[root].role == "input" or root in seen
        planned.append(PlannedOutput(name, root, shape, numpy_dtype(type_.dtype), copied))
        seen.add(root)
    return tuple(planned)
