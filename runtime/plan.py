"""Plans: everything about a run that depends on sizes alone, worked out once for each set of sizes.

In: a program with its sources and a device, sizes of its dimension names. Out: a `Plan`: the chosen variants, memory
for temporaries, kernel objects whose other arguments are set, and where the arguments go that change from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..ir.integers import evaluate_integer
from ..ir.program import (
    CHECK_HOLDS,
    STATUS,
    Launch,
    Program,
    Turn,
    Variant,
    choose_variant,
    largest_sizes,
    root_of,
    turns,
)
from ..ir.types import ITEM_SIZE, dim_value, numpy_dtype
from .build import BuiltProgram, build
from .device import Device
from .memory import SMALLEST_POOLED, Argument, device_memory, send, working_memory
from .small_outputs import COUNTS_REFERENCES, LARGEST, SmallOutput

SMALL_WORK = 1 << 16
"""Elements up to which a launch is quicker in the calling thread than handed to others."""

FEW_ITEMS = 4
"""Work-items a core of a CPU below which each is a group of its own: a driver groups by their number alone, whatever
the cores. 6 in twos on 2 cores, the update of 101,770 parameters: a whole step of training takes 1.01 of its time, and
1.05 where other processes run beside."""

Use = tuple[Callable[[int, Any], None], int]
"""Where an argument goes: the `set_arg` of a kernel, and the position."""

PlannedLaunch = tuple[Any, tuple[int], tuple[int] | None]
"""A kernel, its global size and its local size."""


@dataclass(frozen=True)
class Loaded:
    """A program with all that plans are made from. `fixed_inputs`, `fixed_outputs` and, if given, `status` have memory
    for good."""

    program: Program
    device: Device
    sources: Mapping[str, str]
    options: str
    fixed_inputs: Mapping[str, Argument]
    fixed_outputs: Mapping[str, Argument]
    status: Argument | None = None

    @cached_property
    def roots(self) -> dict[str, str]:
        """For each buffer the one whose memory it is."""
        return {name: root_of(name, self.program.buffers) for name in self.program.buffers}

    @cached_property
    def input_buffers(self) -> dict[str, str]:
        return {name: buffer for (name, _), buffer in zip(self.program.inputs, self.program.input_buffers)}

    @cached_property
    def free_inputs(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.program.inputs if name not in self.fixed_inputs)

    @cached_property
    def free_buffers(self) -> tuple[str, ...]:
        return tuple(self.input_buffers[name] for name in self.free_inputs)


@dataclass(frozen=True)
class PlannedOutput:
    """One output of the program: the buffer that it lies in, and whether the caller gets a copy of that."""

    name: str
    root: str
    shape: tuple[int, ...]
    dtype: np.dtype
    copied: bool


@dataclass(frozen=True)
class Fresh:
    """An output that each run makes anew. `small` makes it where it is small and pointers are shared."""

    root: str
    shape: tuple[int, ...]
    dtype: np.dtype
    uses: tuple[Use, ...]
    small: SmallOutput | None


@dataclass(frozen=True, eq=False)
class Plan:
    """`input_uses` are those of each free input, in order.

    `largest` is the input that large outputs lie apart from, None where all is small. `plain`: what is handed out is
    the `fresh` outputs, in order; `quick`: all of it, or these, are small, too, and pointers are shared. `status` holds
    a word a check, which only a failure changes. Where `synchronous`, a launch returns when it is done. `kernels`
    keep their programs alive; the first run leaves more of the `unsaved` ones to be put on disk.
    `free_outputs` are handed out; `outputs` are these, and fixed ones that a run copies to their places.
    `addresses` are those that the arguments of inputs and outputs are set to, where a run by address was the last.
    `unread` says whether a run of this plan, or another one with the same temporaries, has begun whose status nobody
    has read yet.
    `chains` are those that begin with this plan.
    """

    sizes: Mapping[str, int]
    launches: tuple[PlannedLaunch, ...]
    input_uses: tuple[tuple[Use, ...], ...]
    fresh: tuple[Fresh, ...]
    outputs: tuple[PlannedOutput, ...]
    largest: int | None
    plain: bool
    quick: bool
    status: Argument | None
    status_holds: list[int]
    keep: Mapping[str, Argument]
    queue: Any
    synchronous: bool
    kernels: _Kernels
    unsaved: list[BuiltProgram]
    free_outputs: Mapping[str, PlannedOutput]
    unread: list[bool]
    addresses: list[int] = field(default_factory=list)
    chains: list[Any] = field(default_factory=list)

    def save(self) -> None:
        """When a run is done: put on disk what the driver has compiled for it."""
        while self.unsaved:
            self.unsaved[-1].store()
            self.unsaved.pop()

    @cached_property
    def calls(self) -> tuple[tuple[Any, ...], ...]:
        """What the driver is to be called with, for each launch."""
        return tuple((self.queue, *launch) for launch in self.launches)

    @cached_property
    def result_uses(self) -> tuple[tuple[Use, ...], ...]:
        """Where the outputs go, in order, of a plan that is plain."""
        return tuple(fresh.uses for fresh in self.fresh)


class _Kernels:
    """The kernel objects of a plan, which others have when it is gone."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: list[tuple[BuiltProgram, str, Any]] = []

    def take(self, program: BuiltProgram, name: str) -> Any:
        kernel = program.new_kernel(name)
        self._taken.append((program, name, kernel))
        return kernel

    def __del__(self) -> None:
        for program, name, kernel in self._taken:
            program.give_back(name, kernel)


class Temporaries:
    """Memory for the temporaries of all plans of one thread. Their runs follow each other, so that plans for however
    many sizes need as much as the largest of them.

    `forget_plans` lets go of the plans made so far: it is called before memory is replaced by larger memory, so that
    there are never both. Runs that go on `in_background` need memory of the driver's, which keeps it until the kernels
    are done. As the status words are one memory, too, there is one `unread` for all these plans.
    """

    def __init__(self, device: Device, in_background: bool, forget_plans: Callable[[], None]) -> None:
        self.in_background = in_background
        self._device, self._forget_plans = device, forget_plans
        self._held: dict[str, Argument] = {}
        self.unread = [False]

    def take(self, name: str, elements: int, dtype: np.dtype) -> Argument:
        """The memory for the temporary `name`, which the next plan gets, too."""
        nbytes = elements * dtype.itemsize
        held = self._held.get(name)
        if held is None or held.array.nbytes < nbytes:
            capacity = nbytes
            if held is not None:
                # Sizes that grow by one from batch to batch are not to make new memory for each.
                capacity = max(nbytes, held.array.nbytes * 5 // 4)
                self._held.pop(name, None)
                del held
                self._forget_plans()
            held = self._held[name] = working_memory(self._device, capacity, self.in_background)
        return held._replace(array=held.array[:nbytes].view(dtype), keep=(held,))


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
        kept = buffer.role == "status" or (buffer.role == "temporary" and name in used)
        if kept and buffer.alias_of is None and name not in wanted and name not in keep:
            keep[name] = temporaries.take(name, elements[name], numpy_dtype(buffer.dtype))
    status = keep.get(STATUS)
    if status is not None:
        reset(device, status)
        temporaries.unread[0] = False
    names = dict.fromkeys(launch.entry.name for _, launch in launches)
    programs = {name: build(device, loaded.sources[name], loaded.options) for name in names}
    kernels = _Kernels()
    planned, uses = _planned_launches(loaded, launches, programs, keep, kernels)
    work = max((elements[name] for name in used), default=0)
    small = work <= SMALL_WORK and not temporaries.in_background and device.local_thread_queue is not None
    plain = not any(o.copied for o in outputs)
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
        plain and device.info.shared_pointers and (small or all(small_outputs.values())), status,
        [CHECK_HOLDS] * len(program.checks), {**keep, **held},
        device.local_thread_queue if small else device.queue, small, kernels,
        [*programs.values()] if device.compiles_at_launch else [],
        {output.name: output for output in outputs if output.name not in loaded.fixed_outputs},
        temporaries.unread,
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
    if loaded.status is not None:
        fixed[STATUS] = loaded.status
    return fixed


def _planned_launches(
    loaded: Loaded, launches: Sequence[tuple[Turn, Launch]], programs: Mapping[str, BuiltProgram],
    keep: Mapping[str, Argument], kernels: _Kernels,
) -> tuple[tuple[PlannedLaunch, ...], dict[str, list[Use]]]:  # fmt: skip
    """Kernels with all arguments set but those without memory of the plan's own, and where these go, by buffer."""
    uses: dict[str, list[Use]] = {}
    planned: list[PlannedLaunch] = []
    info = loaded.device.info
    few = FEW_ITEMS * info.compute_units if info.kind == "cpu" else 0
    for turn, launch in launches:
        # A kernel object of this launch alone: its preset arguments are nobody else's.
        kernel = kernels.take(programs[launch.entry.name], launch.entry.name)
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


def reset(device: Device, status: Argument) -> None:
    """Have every check hold."""
    status.array[...] = CHECK_HOLDS
    send(device, status)


def begin(device: Device, plan: Plan) -> None:
    """Before a run: a run that was broken off may have left what its checks say."""
    if plan.unread[0] and plan.status is not None:
        reset(device, plan.status)
    plan.unread[0] = True


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
