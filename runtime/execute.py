"""Run programs on a device.

In: a `Program`, the OpenCL source of each of its kernels, a device; per call, arrays by input name in the program's
dtypes. Out: NumPy arrays that the caller owns. Shapes seen before reuse a plan: chosen variants, temporaries and
preset arguments; a new batch size makes a new plan, never a new kernel (a variant is built when first chosen).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.diagnostics import Diagnostic, LirError, did_you_mean
from ..ir.interp import check_failure
from ..ir.kernel import Kernel, WorkItem, evaluate_integer, expressions_of, walk_expressions, walk_statements
from ..ir.program import CHECK_HOLDS, Buffer, Launch, Program, Variant
from ..ir.shapes import bind_dimensions
from ..ir.types import dim_value, numpy_dtype
from .build import build
from .device import Device, driver_errors
from .drivers import load_pyopencl
from .memory import POOL, Argument, argument_for, copy, fetch, is_aligned, send

MOST_PLANS = 64
SMALL_WORK = 1 << 16
"""Elements up to which a launch is quicker in the calling thread than handed to others."""


@dataclass(frozen=True)
class PlannedLaunch:
    """A launch with its kernel object (of this thread) and which of its arguments change from call to call."""

    kernel: Any
    global_size: tuple[int]
    local_size: tuple[int] | None
    changing: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class PlannedOutput:
    """One output of the program: the buffer behind it, and whether the caller gets a copy of that."""

    name: str
    root: str
    shape: tuple[int, ...]
    dtype: np.dtype
    copied: bool


@dataclass(frozen=True)
class Plan:
    """Everything about a run that depends on sizes alone. `fresh` are the buffers that each run makes anew."""

    sizes: Mapping[str, int]
    launches: tuple[PlannedLaunch, ...]
    outputs: tuple[PlannedOutput, ...]
    fresh: tuple[tuple[str, tuple[int, ...], np.dtype], ...]
    status: Argument | None
    keep: Mapping[str, Argument]
    queue: Any
    variants: tuple[Variant, ...]


class Executable:
    """A program ready to run on one device. Calls from several threads are independent.

    `fixed_inputs` and `fixed_outputs` have memory, by name, for good: what lives on the device between calls. The
    caller neither passes it nor gets it back, may let an output write over an input where the program allows that,
    and calls from one thread at a time.
    """

    def __init__(
        self, program: Program, device: Device, sources: Mapping[str, str], options: str,
        fixed_inputs: Mapping[str, Argument] | None = None, fixed_outputs: Mapping[str, Argument] | None = None,
    ):  # fmt: skip
        self.program, self.device = program, device
        self.sources, self.options = dict(sources), options
        self.roots = {name: _root(program.buffers, name) for name in program.buffers}
        # The buffers of the inputs stand first, in the order of the inputs.
        buffers = [name for name, buffer in program.buffers.items() if buffer.role == "input"]
        self.input_buffers = {name: buffer for (name, _), buffer in zip(program.inputs, buffers)}
        self.fixed_inputs, self.fixed_outputs = dict(fixed_inputs or {}), dict(fixed_outputs or {})
        self.free_inputs = tuple(name for name, _ in program.inputs if name not in self.fixed_inputs)
        self._of_thread = threading.local()

    def __call__(
        self, inputs: Mapping[str, np.ndarray | Argument], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Run with C-contiguous arrays of exactly the program's dtypes. `out` gives arrays for outputs by name.

        Returns the outputs that are not fixed. Raises LirError where a check of the program fails: then no output is
        handed out.
        """
        missing = [name for name in self.free_inputs if name not in inputs]
        if missing:
            types = dict(self.program.inputs)
            raise LirError(f"missing input {', '.join(f'`{name}`: {types[name]}' for name in missing)}")
        arguments = {}
        shapes = []
        for name in self.free_inputs:
            given = inputs[name]
            argument = given if isinstance(given, Argument) else argument_for(self.device, given)
            arguments[self.input_buffers[name]] = argument
            shapes.append(argument.array.shape)
        plan = self._plan(tuple(shapes), sizes)
        taken = self._take_out(plan, out, arguments) if out else {}
        for root, shape, dtype in plan.fresh:
            array = taken[root] if root in taken else POOL.empty(shape, dtype)
            arguments[root] = argument_for(self.device, array, "write")
        if plan.status is not None:
            self._reset(plan.status)
        self._launch(plan, arguments)
        if plan.status is not None:
            self._raise_failed_checks(plan, plan.status, arguments)
        return self._handed_out(plan, arguments, out or {})

    # --- one run ---

    def _take_out(
        self, plan: Plan, out: Mapping[str, np.ndarray], arguments: Mapping[str, Argument]
    ) -> dict[str, np.ndarray]:
        """The arrays that the user gives for outputs, by buffer. They overlap neither inputs nor each other."""
        known = {output.name: output for output in plan.outputs}
        taken: dict[str, np.ndarray] = {}
        given: dict[str, np.ndarray] = {}
        for name, array in out.items():
            if name not in known:
                raise LirError(f"out[{name!r}] is no output", *did_you_mean(name, known),
                               f"the outputs are {', '.join(known)}")  # fmt: skip
            usable = _usable(name, array, known[name].shape, known[name].dtype)
            for other, memory in (*given.items(), *((n, a.array) for n, a in arguments.items())):
                if np.may_share_memory(usable, memory):
                    raise LirError(f"out[{name!r}] overlaps `{other}`", "results need memory of their own")
            given[name] = usable
            if not known[name].copied:
                taken[known[name].root] = usable
        return taken

    def _launch(self, plan: Plan, arguments: Mapping[str, Argument]) -> None:
        cl = load_pyopencl()
        with driver_errors(f"a kernel of {self.program.name} failed on {self.device}"):
            for launch in plan.launches:
                for position, name in launch.changing:
                    launch.kernel.set_arg(position, arguments[name].value)
                cl.enqueue_nd_range_kernel(plan.queue, launch.kernel, launch.global_size, launch.local_size)
            plan.queue.finish()

    def _reset(self, status: Argument) -> None:
        status.array[:] = CHECK_HOLDS
        if status.copied:
            send(self.device, status)

    def _raise_failed_checks(self, plan: Plan, status: Argument, arguments: Mapping[str, Argument]) -> None:
        words = fetch(self.device, status) if status.copied else status.array
        if words.min() == CHECK_HOLDS:
            return
        failed: list[Diagnostic] = []
        for check in self.program.checks:
            position = int(words[check.slot])
            if position != CHECK_HOLDS:
                value = None
                source = self.roots.get(check.value_buffer or "", "")
                if source in arguments:
                    value = arguments[source].array.reshape(-1)[position]
                shape = tuple(dim_value(dim, plan.sizes) for dim in check.shape)
                failed.append(check_failure(check.attributes, position, shape, value))
        raise LirError(failed)

    def _handed_out(
        self, plan: Plan, arguments: Mapping[str, Argument], out: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        for root, _, _ in plan.fresh:
            if arguments[root].copied:
                fetch(self.device, arguments[root])
        handed: list[np.ndarray] = []
        for output in plan.outputs:
            source = arguments.get(output.root) or plan.keep[output.root]
            if output.name in self.fixed_outputs:
                if output.copied:
                    copy(self.device, source, self.fixed_outputs[output.name])
                continue
            if output.copied and output.root in plan.keep and source.copied:
                fetch(self.device, source)
            array = source.array.reshape(output.shape)
            if output.copied and output.name in out:
                out[output.name][...] = array
            handed.append(out[output.name] if output.name in out else array.copy() if output.copied else array)
        return handed

    # --- planning ---

    def _plan(self, shapes: tuple[tuple[int, ...], ...], sizes: Mapping[str, int] | None) -> Plan:
        key = (shapes, tuple(sorted(sizes.items())) if sizes else ())
        plans: dict[Any, Plan] = self._of_thread.__dict__.setdefault("plans", {})
        plan = plans.get(key)
        if plan is None:
            found = {**dict(zip(self.free_inputs, shapes)), **{n: a.array.shape for n, a in self.fixed_inputs.items()}}
            bound = bind_dimensions(self.program.inputs, found, sizes)
            while len(plans) >= MOST_PLANS:
                plans.pop(next(iter(plans)))
            plan = plans[key] = self._make_plan(bound)
        return plan

    def _make_plan(self, sizes: Mapping[str, int]) -> Plan:
        variants = tuple(choose_variant(step.variants, sizes) for step in self.program.steps)
        # Variants may give a temporary of one name different sizes.
        buffers = {**self.program.buffers, **{b.name: b for variant in variants for b in variant.temporaries}}
        outputs = self._planned_outputs(sizes)
        # What the caller neither gives nor gets has its memory for as long as the plan.
        keep = {self.input_buffers[name]: argument for name, argument in self.fixed_inputs.items()}
        for output in outputs:
            if output.name in self.fixed_outputs and not output.copied:
                keep[output.root] = self.fixed_outputs[output.name]
        status = None
        for name, buffer in buffers.items():
            used = any(name in launch.buffers for variant in variants for launch in variant.launches)
            if buffer.role in ("temporary", "status") and buffer.alias_of is None and used:
                array = POOL.empty((evaluate_integer(buffer.size, sizes),), numpy_dtype(buffer.dtype))
                keep[name] = argument_for(self.device, array, "write")
                status = keep[name] if buffer.role == "status" else status
        fresh = tuple((o.root, o.shape, o.dtype) for o in outputs if not o.copied and o.root not in keep)
        launches = []
        work = 0
        for variant in variants:
            for launch in variant.launches:
                # Where there is nothing to do, even one work-item would touch memory that does not exist.
                if not evaluate_integer(launch.global_size, sizes):
                    continue
                launches.append(self._planned(launch, sizes, keep))
                work = max([work, *(evaluate_integer(buffers[name].size, sizes) for name in launch.buffers)])
        small = work <= SMALL_WORK and self.device.local_thread_queue is not None
        queue = self.device.local_thread_queue if small else self.device.queue
        return Plan(sizes, tuple(launches), outputs, fresh, status, keep, queue, variants)

    def _planned_outputs(self, sizes: Mapping[str, int]) -> tuple[PlannedOutput, ...]:
        """Outputs that are inputs, or views of them, or twice the same, are copies of those."""
        planned: list[PlannedOutput] = []
        seen: set[str] = set()
        for (name, type_), buffer in zip(self.program.outputs, self.program.output_buffers):
            root = self.roots[buffer]
            shape = tuple(dim_value(dim, sizes) for dim in type_.shape)
            copied = self.program.buffers[root].role == "input" or root in seen
            planned.append(PlannedOutput(name, root, shape, numpy_dtype(type_.dtype), copied))
            seen.add(root)
        return tuple(planned)

    def _planned(self, launch: Launch, sizes: Mapping[str, int], keep: Mapping[str, Argument]) -> PlannedLaunch:
        built = build(self.device, self.sources[launch.kernel.name], self.options)
        kernel = self._own_kernel(built, launch.kernel.name)
        changing = []
        for position, name in enumerate(launch.buffers):
            root = self.roots[name]
            if root in keep:
                kernel.set_arg(position, keep[root].value)
            else:
                changing.append((position, root))
        for offset, scalar in enumerate(launch.kernel.scalars):
            value = evaluate_integer(launch.scalars[scalar.name], sizes)
            kernel.set_arg(len(launch.buffers) + offset, np.int64(value))
        local = launch.kernel.local_size
        count = evaluate_integer(launch.global_size, sizes)
        # Work-items on their own: the driver groups them as it likes.
        # PoCL puts the private arrays of a whole group on one thread's stack: groups of one where there are any.
        grouped = local > 1 or bool(launch.kernel.private_arrays) or _asks_for_its_group(launch.kernel)
        return PlannedLaunch(kernel, (count,), (local,) if grouped else None, tuple(changing))

    def _own_kernel(self, built: Any, name: str) -> Any:
        """A kernel object of this plan alone: its preset arguments are nobody else's."""
        cl = load_pyopencl()
        self._of_thread.__dict__.setdefault("built", []).append(built)
        built.kernel(name)
        return cl.Kernel(built.handle, name)


def _asks_for_its_group(kernel: Kernel) -> bool:
    """Whether a kernel's answers depend on how work-items are grouped."""
    queries = {
        inner.query
        for statement in walk_statements(kernel.body)
        for expression in expressions_of(statement)
        for inner in walk_expressions(expression)
        if isinstance(inner, WorkItem)
    }
    return bool(queries & {"local_id", "group_id", "group_count"})


def choose_variant(variants: Sequence[Variant], sizes: Mapping[str, int]) -> Variant:
    """The first variant whose guard holds; the last one has none."""
    for variant in variants:
        if variant.guard is None or evaluate_integer(variant.guard, sizes):
            return variant
    raise AssertionError("the last variant has no guard")


def _root(buffers: Mapping[str, Buffer], name: str) -> str:
    while (alias := buffers[name].alias_of) is not None:
        name = alias
    return name


def _usable(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A user's array for an output, refused where a kernel could not write it."""
    if array.shape != shape or array.dtype != dtype:
        raise LirError(f"out[{name!r}] must be {dtype}{list(shape)}, found {array.dtype}{list(array.shape)}")
    if not (array.flags.c_contiguous and array.flags.writeable and is_aligned(array)):
        raise LirError(f"out[{name!r}] must be writable, C-contiguous and 64-byte aligned",
                       "lossc.empty(shape, dtype) gives such an array")  # fmt: skip
    return array
