"""Run programs on a device.

In: a `Program`, the OpenCL source of each of its kernels, a device; per call, arrays by input name in the program's
dtypes. Out: NumPy arrays that the caller owns. Shapes seen before reuse a plan: chosen variants, temporaries and
preset arguments; a new batch size makes a new plan, never a new kernel (a variant is built when first chosen).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.diagnostics import Diagnostic, LirError
from ..ir.interp import check_failure
from ..ir.kernel import evaluate_integer
from ..ir.program import CHECK_HOLDS, Buffer, Launch, Program, Variant
from ..ir.shapes import bind_dimensions
from ..ir.types import dim_value, numpy_dtype
from .build import build
from .device import Device, driver_errors
from .memory import POOL, Argument, argument_for, fetch, is_aligned
from .drivers import load_pyopencl

if TYPE_CHECKING:
    import pyopencl as cl

MOST_PLANS = 64
SMALL_WORK = 1 << 16
"""Elements up to which a launch is quicker in the calling thread than handed to others."""


@dataclass(frozen=True)
class PlannedLaunch:
    """A launch with its kernel object (of this thread) and which of its arguments change from call to call."""

    kernel: Any
    global_size: tuple[int]
    local_size: tuple[int]
    changing: tuple[tuple[int, str], ...]


@dataclass
class Plan:
    """Everything about a run that depends on sizes alone."""

    launches: tuple[PlannedLaunch, ...]
    outputs: tuple[tuple[str, str, tuple[int, ...], np.dtype], ...]
    status: Argument | None
    keep: list[Argument]
    queue: Any
    variants: tuple[Variant, ...]


class Executable:
    """A program ready to run on one device. Calls from several threads are independent."""

    def __init__(self, program: Program, device: Device, sources: Mapping[str, str], options: str):
        self.program, self.device = program, device
        self.sources, self.options = dict(sources), options
        self.types = dict(program.inputs)
        self.roots = {name: _root(program.buffers, name) for name in program.buffers}
        # Outputs that are inputs, or views of them, or twice the same: the caller gets copies.
        seen: set[str] = set()
        self.copied: set[int] = set()
        for index, name in enumerate(program.output_buffers):
            root = self.roots[name]
            if program.buffers[root].role == "input" or root in seen:
                self.copied.add(index)
            seen.add(root)
        self.outputs_needed = [root for root in dict.fromkeys(self.roots[n] for n in program.output_buffers)
                               if program.buffers[root].role != "input"]  # fmt: skip
        self._of_thread = threading.local()

    def __call__(
        self, inputs: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Run with C-contiguous arrays of exactly the program's dtypes. `out` gives arrays for outputs by name.

        Raises LirError where a check of the program fails: then no output is handed out.
        """
        arrays = {name: inputs[name] for name, _ in self.program.inputs if name in inputs}
        missing = [f"`{name}`: {type_}" for name, type_ in self.program.inputs if name not in arrays]
        if missing:
            raise LirError(f"missing input {', '.join(missing)}")
        bound = bind_dimensions(self.program.inputs, {n: a.shape for n, a in arrays.items()}, sizes)
        plan = self._plan(tuple(sorted(bound.items())), bound)
        results = self._results(plan, out)
        arguments = {name: argument_for(self.device, array) for name, array in arrays.items()}
        for name, array in results.items():
            arguments[name] = argument_for(self.device, array, "write")
        if plan.status is not None:
            self._reset(plan)
        self._launch(plan, arguments)
        for name in results:
            if arguments[name].copied:
                fetch(self.device, arguments[name])
        if plan.status is not None:
            self._raise_failed_checks(plan, arrays, bound)
        return self._handed_out(plan, arrays, results)

    # --- one run ---

    def _results(self, plan: Plan, out: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """An array for every stored output, the user's own where given."""
        given: dict[str, np.ndarray] = {}
        for (name, root, shape, dtype) in plan.outputs:
            if out is not None and name in out:
                given[root] = _usable(name, out[name], shape, dtype)
        by_root = {root: (shape, dtype) for _, root, shape, dtype in plan.outputs}
        results = {}
        for root in self.outputs_needed:
            shape, dtype = by_root[root]
            results[root] = given[root] if root in given else POOL.empty(shape, dtype)
        return results

    def _launch(self, plan: Plan, arguments: Mapping[str, Argument]) -> None:
        cl = load_pyopencl()
        with driver_errors(f"a kernel of {self.program.name} failed on {self.device}"):
            for launch in plan.launches:
                for position, name in launch.changing:
                    launch.kernel.set_arg(position, arguments[name].value)
                cl.enqueue_nd_range_kernel(plan.queue, launch.kernel, launch.global_size, launch.local_size)
            plan.queue.finish()

    def _reset(self, plan: Plan) -> None:
        assert plan.status is not None
        plan.status.array[:] = CHECK_HOLDS
        if plan.status.copied:
            cl = load_pyopencl()
            cl.enqueue_copy(self.device.queue, plan.status.value, plan.status.array, is_blocking=True)

    def _raise_failed_checks(self, plan: Plan, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
        assert plan.status is not None
        status = fetch(self.device, plan.status) if plan.status.copied else plan.status.array
        failed: list[Diagnostic] = []
        for check in self.program.checks:
            position = int(status[check.slot])
            if position != CHECK_HOLDS:
                value = None
                source = self.roots.get(check.value_buffer or "", "")
                if source in arrays:
                    value = arrays[source].reshape(-1)[position]
                shape = tuple(dim_value(dim, sizes) for dim in check.shape)
                failed.append(check_failure(check.attributes, position, shape, value))
        if failed:
            raise LirError(failed)

    def _handed_out(
        self, plan: Plan, arrays: Mapping[str, np.ndarray], results: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        handed: list[np.ndarray] = []
        for index, (_, root, shape, _) in enumerate(plan.outputs):
            array = results[root] if root in results else arrays[root]
            handed.append(array.reshape(shape).copy() if index in self.copied else array.reshape(shape))
        return handed

    # --- planning ---

    def _plan(self, key: tuple[Any, ...], sizes: Mapping[str, int]) -> Plan:
        plans: dict[tuple[Any, ...], Plan] = self._of_thread.__dict__.setdefault("plans", {})
        plan = plans.get(key)
        if plan is None:
            while len(plans) >= MOST_PLANS:
                plans.pop(next(iter(plans)))
            plan = plans[key] = self._make_plan(sizes)
        return plan

    def _make_plan(self, sizes: Mapping[str, int]) -> Plan:
        buffers = self.program.buffers
        variants = tuple(choose_variant(step.variants, sizes) for step in self.program.steps)
        keep: dict[str, Argument] = {}
        status = None
        for name, buffer in buffers.items():
            used = any(name in launch.buffers for variant in variants for launch in variant.launches)
            if buffer.role in ("temporary", "status") and buffer.alias_of is None and used:
                array = POOL.empty((evaluate_integer(buffer.size, sizes),), _memory_dtype(buffer))
                keep[name] = argument_for(self.device, array, "write")
                status = keep[name] if buffer.role == "status" else status
        launches = []
        work = 0
        for variant in variants:
            for launch in variant.launches:
                launches.append(self._planned(launch, sizes, keep))
                work = max([work, *(evaluate_integer(buffers[name].size, sizes) for name in launch.buffers)])
        small = work <= SMALL_WORK and self.device.local_thread_queue is not None
        queue = self.device.local_thread_queue if small else self.device.queue
        outputs = tuple(
            (name, self.roots[buffer], tuple(dim_value(dim, sizes) for dim in type_.shape), numpy_dtype(type_.dtype))
            for (name, type_), buffer in zip(self.program.outputs, self.program.output_buffers)
        )
        return Plan(tuple(launches), outputs, status, list(keep.values()), queue, variants)

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
        return PlannedLaunch(kernel, (max(local, count),), (local,), tuple(changing))

    def _own_kernel(self, built: Any, name: str) -> Any:
        """A kernel object of this plan alone: its preset arguments are nobody else's."""
        cl = load_pyopencl()
        self._of_thread.__dict__.setdefault("built", []).append(built)
        built.kernel(name)
        return cl.Kernel(built.handle, name)


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


def _memory_dtype(buffer: Buffer) -> np.dtype:
    return numpy_dtype(buffer.dtype)


def _usable(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A user's array for an output, refused where a kernel could not write it."""
    if array.shape != shape or array.dtype != dtype:
        raise LirError(f"out[{name!r}] must be {dtype}{list(shape)}, found {array.dtype}{list(array.shape)}")
    if not (array.flags.c_contiguous and array.flags.writeable and is_aligned(array)):
        raise LirError(f"out[{name!r}] must be writable, C-contiguous and 64-byte aligned",
                       "lossc.empty(shape, dtype) gives such an array")  # fmt: skip
    return array
