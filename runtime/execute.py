"""Run programs on a device.

In: a `Program`, the OpenCL source of each of its kernels, a device; per call, arrays in the program's dtypes. Out:
arrays that the caller owns: NumPy's, or pyopencl's of a run that goes on meanwhile. Shapes seen before reuse a plan; a
new batch size makes a new plan, never a new kernel (a variant is built when first chosen).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.diagnostics import CheckFailed, FailedCheck, LirError, LosscError
from ..ir.interp import failed_check
from ..ir.program import CHECK_HOLDS, Program
from ..ir.shapes import bind_dimensions
from ..ir.types import dim_value
from .device import Device, device_error
from .drivers import load_pyopencl
from .given_outputs import checked_outputs
from .memory import ALIGNMENT, POOL, Access, Argument, argument_for, copy, fetch
from .plan import Loaded, Plan, Temporaries, make_plan, reset
from .pointers import Pointers

MOST_PLANS = 64

Given = np.ndarray | Argument
"""An input: an array on the host, or memory that a kernel takes as it is."""


class _OfThread(threading.local):
    """What each thread has of its own: plans by shapes, memory for their temporaries, and the run that it has started
    and not waited for."""

    def __init__(self, device: Device) -> None:
        self.plans: dict[Any, Plan] = {}
        self.temporaries = {where: Temporaries(device, where, self.plans.clear) for where in (False, True)}
        self.pending: Any = None
        self.pointers = Pointers()


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
        self._loaded = Loaded(program, device, dict(sources), options, fixed_inputs or {}, fixed_outputs or {})
        self.free_inputs = self._loaded.free_inputs
        cl = load_pyopencl()
        self._pointer = cl.SVM if device.info.shared_pointers else None
        self._enqueue, self._driver_error = cl.enqueue_nd_range_kernel, cl.Error
        self._of_thread = _OfThread(device)

    def __call__(
        self, inputs: Mapping[str, Given], out: Mapping[str, Any] | None = None, sizes: Mapping[str, int] | None = None
    ) -> list[np.ndarray]:
        """Run with C-contiguous arrays of exactly the program's dtypes. `out` gives arrays for outputs by name.

        Returns the outputs that are not fixed. Raises CheckFailed where a check of the program fails: then no output is
        handed out.
        """
        missing = [name for name in self.free_inputs if name not in inputs]
        if missing:
            types = dict(self.program.inputs)
            raise LirError(f"missing input {', '.join(f'`{name}`: {types[name]}' for name in missing)}")
        return self.run([inputs[name] for name in self.free_inputs], out, sizes)

    def run(
        self, given: Sequence[Given], out: Mapping[str, Any] | None = None, sizes: Mapping[str, int] | None = None
    ) -> list[Any]:
        """The same as a call, with an array for each of `free_inputs`, in order."""
        if self._of_thread.pending is not None:
            self.settle()
        plan = self._plan(given, sizes)
        try:
            if plan.quick and {*map(type, given)} == {np.ndarray}:
                return self._run_quickly(plan, given, out)
            return self._run(plan, given, out)
        except LosscError:
            raise
        except BaseException:
            # An interrupt: nobody has looked at the status, and the next run is not to find this one's.
            self._of_thread.plans.clear()
            raise

    def _run(self, plan: Plan, given: Sequence[Given], out: Mapping[str, Any] | None) -> list[Any]:
        arguments = self._bind(plan, given)
        taken = self._take_out(plan, out, arguments) if out else {}
        arrays: list[Any] = []
        beside = 0 if plan.largest is None else _address(given[plan.largest])
        for fresh in plan.fresh:
            array = taken[fresh.root] if fresh.root in taken else POOL.empty(fresh.shape, fresh.dtype, beside)
            value, arguments[fresh.root] = self._memory(array, "write")
            arrays.append(array)
            for set_argument, position in fresh.uses:
                set_argument(position, value)
        self._launch(plan, wait=True)
        failure = self._failure(plan, arguments)
        if failure is not None:
            raise failure
        if self._pointer is None:
            for fresh in plan.fresh:
                self._on_host(arguments[fresh.root])
        return arrays if plan.plain and not out else self._handed_out(plan, arguments, out or {})

    def _run_quickly(
        self, plan: Plan, given: Sequence[Given], out: Mapping[str, Any] | None
    ) -> list[np.ndarray]:  # fmt: skip
        """A run where all is small, lies on the host, and is handed out as it is: little but the driver's own work."""
        inputs: dict[str, Given] = dict(zip(self._loaded.free_buffers, given))
        taken = self._take_out(plan, out, inputs) if out else {}
        held: list[Any] = []
        for array, uses in zip(given, plan.input_uses):
            if uses:
                # A kernel does not keep what it is given.
                held.append(memory := self._memory(array))
                for set_argument, position in uses:
                    set_argument(position, memory[0])
        arrays: list[np.ndarray] = []
        for fresh in plan.fresh:
            assert fresh.small is not None
            if fresh.root in taken:
                array = taken[fresh.root]
                held.append(value := self._memory(array, "write")[0])
            else:
                array, value = fresh.small.take()
            arrays.append(array)
            for set_argument, position in fresh.uses:
                set_argument(position, value)
        self._launch(plan, wait=True)
        status = plan.status
        if status is not None and status.array.tolist() != plan.status_holds:
            failure = self._failure(plan, {**inputs, **{fresh.root: a for fresh, a in zip(plan.fresh, arrays)}})
            assert failure is not None
            raise failure
        return arrays

    def small_plan(self, shapes: tuple[tuple[int, ...], ...]) -> Plan | None:
        """The plan for inputs of these shapes, if this thread has run them before and `run_at` can."""
        if self._of_thread.pending is not None:
            self.settle()
        if self.device.is_forked:
            self.device.refuse_after_fork()
        plan = self._of_thread.plans.get(shapes)
        return plan if plan is not None and plan.quick else None

    def run_at(self, plan: Plan, given: Sequence[int], results: Sequence[int]) -> bool:
        """Run a small plan on memory by its address, for callers whose tensors are no arrays of NumPy: each is
        C-contiguous, of the declared type and of the shape planned for. False where `run` must do it, or where a check
        failed: `run` says which."""
        pointers = self._of_thread.pointers
        try:
            for addresses, all_uses in ((given, plan.input_uses), (results, plan.result_uses)):
                for address, uses in zip(addresses, all_uses):
                    if uses:
                        if not address or (addresses is results and address % ALIGNMENT):
                            return False
                        value = pointers[address]
                        for set_argument, position in uses:
                            set_argument(position, value)
            self._launch(plan, wait=True)
            status = plan.status
            if status is None or status.array.tolist() == plan.status_holds:
                return True
            reset(self.device, status)
        except LosscError:
            raise
        except BaseException:
            self._of_thread.plans.clear()
            raise
        return False

    def start(self, given: Sequence[Given], sizes: Mapping[str, int] | None = None) -> list[Any]:
        """Run and give arrays on the device. Where all inputs lie there it does not wait: what fails is raised when a
        result is read, or by the next call from this thread."""
        from .device_arrays import Pending, new_array

        self.settle()
        plan = self._plan(given, sizes, in_background=True)
        arguments = self._bind(plan, given)
        for fresh in plan.fresh:
            arguments[fresh.root] = argument = new_array(self.device, fresh.shape, fresh.dtype)
            for set_argument, position in fresh.uses:
                set_argument(position, argument.value)
        # What the host may write over, or let go, must have been read when this returns.
        self._launch(plan, wait=any(map(_on_the_host, arguments.values())))
        results: list[Any] = []
        for output in plan.outputs:
            source = result = _as_argument(arguments[output.root])
            if output.copied:
                result = new_array(self.device, output.shape, output.dtype)
                copy(self.device, source, result)
            results.append(result.array)
        pending = [getattr(_as_argument(memory).array, "pending", None) for memory in arguments.values()]
        before = [run for run in pending if run is not None]
        if plan.status is not None or before:
            self._of_thread.pending = Pending(lambda: self._failure(plan, arguments), before)
            for array in results:
                array.pending = self._of_thread.pending
        return results

    def settle(self) -> None:
        """Wait for the run that this thread has started, and raise what failed in it unless that was told already."""
        pending = self._of_thread.pending
        if pending is not None:
            self._of_thread.pending = None
            if not pending.is_settled:
                pending.settle()

    # --- one run ---

    def _bind(self, plan: Plan, given: Sequence[Given]) -> dict[str, Given]:
        """Set the arguments for the inputs; by buffer, what must stay alive until the kernels are done."""
        arguments: dict[str, Given] = {}
        for root, array, uses in zip(self._loaded.free_buffers, given, plan.input_uses):
            value, arguments[root] = self._memory(array)
            for set_argument, position in uses:
                set_argument(position, value)
        for array in given:
            if isinstance(array, Argument) and not isinstance(array.array, np.ndarray):
                from .device_arrays import wait_for_writers

                wait_for_writers(array.array, plan.queue)
        return arguments

    def _memory(self, array: Given, access: Access = "read") -> tuple[Any, Given]:
        """What a kernel takes for an array, and what holds that. Short, as every call does this for every array."""
        if isinstance(array, Argument):
            return array.value, array
        if self._pointer is not None and array.nbytes and array.flags.c_contiguous:
            try:
                return self._pointer(array), array
            except (ValueError, BufferError):
                pass
        argument = argument_for(self.device, array, access)
        return argument.value, argument

    def _take_out(self, plan: Plan, out: Mapping[str, Any], arguments: Mapping[str, Given]) -> dict[str, np.ndarray]:
        """The arrays that the user gives for outputs, by buffer; those for copied outputs are only checked."""
        arrays = ((name, argument if isinstance(argument, np.ndarray) else argument.array)
                  for name, argument in arguments.items())  # fmt: skip
        given = checked_outputs(
            out, plan.free_outputs, [(n, array) for n, array in arrays if isinstance(array, np.ndarray)]
        )
        return {
            plan.free_outputs[name].root: array for name, array in given.items() if not plan.free_outputs[name].copied
        }

    def _launch(self, plan: Plan, wait: bool) -> None:
        queue = plan.queue
        try:
            for kernel, global_size, local_size in plan.launches:
                self._enqueue(queue, kernel, global_size, local_size)
            if plan.synchronous:
                # A launch on this queue is done when its call returns; to say `finish` would take 1.15 of its time.
                return
            if wait:
                queue.finish()
                while plan.unsaved:
                    plan.unsaved.pop().store()
            else:
                queue.flush()
        except self._driver_error as error:
            # What the plan's own memory holds now is anybody's guess.
            self._of_thread.plans.clear()
            raise device_error(error, f"a kernel of {self.program.name} failed on {self.device}") from error
        except BaseException:
            # An interrupt: what the kernels write to is let go of next.
            queue.finish()
            raise

    def _failure(self, plan: Plan, arguments: Mapping[str, Given]) -> CheckFailed | None:
        """What the checks say, once the kernels are done; afterwards all of them hold again."""
        status = plan.status
        if status is None:
            return None
        words = (fetch(self.device, status) if status.copied else status.array).tolist()
        if words == plan.status_holds:
            return None
        failed: list[FailedCheck] = []
        for check in self.program.checks:
            position = words[check.slot]
            if position != CHECK_HOLDS:
                source = self._loaded.roots.get(check.value_buffer or "", "")
                memory = arguments.get(source, plan.keep.get(source))
                value = None if memory is None else self._on_host(memory).reshape(-1)[position]
                shape = tuple(dim_value(dim, plan.sizes) for dim in check.shape)
                failed.append(failed_check(check.attributes, position, shape, value, check.span))
        reset(self.device, status)
        return CheckFailed(failed)

    def _on_host(self, memory: Given) -> np.ndarray:
        if isinstance(memory, np.ndarray):
            return memory
        if not isinstance(memory.array, np.ndarray):
            return memory.array.with_queue(self.device.queue).get()
        return fetch(self.device, memory) if memory.copied else memory.array

    def _handed_out(
        self, plan: Plan, arguments: Mapping[str, Given], out: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        handed: list[np.ndarray] = []
        for output in plan.outputs:
            source = _as_argument(arguments[output.root] if output.root in arguments else plan.keep[output.root])
            if output.name in self._loaded.fixed_outputs:
                if output.copied:
                    copy(self.device, source, self._loaded.fixed_outputs[output.name])
                continue
            if not output.copied:
                handed.append(out.get(output.name, source.array))
                continue
            array = self._on_host(source).reshape(output.shape)
            if output.name in out:
                out[output.name][...] = array
            handed.append(out[output.name] if output.name in out else array.copy())
        return handed

    # --- planning ---

    def _plan(self, given: Sequence[Given], sizes: Mapping[str, int] | None, in_background: bool = False) -> Plan:
        if self.device.is_forked:
            self.device.refuse_after_fork()
        shapes = tuple([value.shape for value in given])
        key: Any = shapes
        if sizes or in_background:
            key = (shapes, in_background, tuple(sorted((sizes or {}).items())))
        plans = self._of_thread.plans
        plan = plans.get(key)
        if plan is None:
            fixed = self._loaded.fixed_inputs
            found = {**dict(zip(self.free_inputs, shapes)), **{n: a.array.shape for n, a in fixed.items()}}
            bound = bind_dimensions(self.program.inputs, found, sizes)
            while len(plans) >= MOST_PLANS:
                plans.pop(next(iter(plans)))
            plan = plans[key] = make_plan(self._loaded, bound, self._of_thread.temporaries[in_background])
        return plan


def _address(memory: Given) -> int:
    """Where an array lies on the host, 0 if it does not."""
    return memory.__array_interface__["data"][0] if isinstance(memory, np.ndarray) else 0


def _as_argument(memory: Given) -> Argument:
    return memory if isinstance(memory, Argument) else Argument(None, memory)


def _on_the_host(memory: Given) -> bool:
    return isinstance(_as_argument(memory).array, np.ndarray)
