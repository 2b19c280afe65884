"""Run programs on a device.

In: a `Program`, the OpenCL source of each of its kernels, a device; per call, arrays in the program's dtypes. Out:
arrays that the caller owns: NumPy's, or pyopencl's of a run that goes on meanwhile. Shapes seen before reuse a plan; a
new batch size makes a new plan, never a new kernel (a variant is built when first chosen).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from ..ir.diagnostics import DeviceError, LirError, LosscError
from ..ir.program import Program
from ..ir.shapes import bind_dimensions
from .binding import Binding, Given, as_argument, on_the_host
from .device import Device, device_error
from .drivers import load_pyopencl
from .given_outputs import checked_outputs
from .memory import ALIGNMENT, Argument, copy
from .plan import Loaded, Plan, Temporaries, make_plan, reset
from .pointers import Pointers

MOST_PLANS = 64
Result = TypeVar("Result")


class _OfThread(threading.local):
    """What each thread has of its own: plans by shapes, memory for their temporaries, and the run that it has started
    and not waited for."""

    def __init__(self, device: Device) -> None:
        self.plans: dict[Any, Plan] = {}
        self.temporaries = {where: Temporaries(device, where, self.plans.clear) for where in (False, True)}
        self.pending: Any = None
        self.pointers = Pointers()


def _leaves_a_run(error: BaseException) -> bool:
    """Whether it broke a run off: an interrupt, or the driver, after which what the plans' own memory holds is
    anybody's guess. Other errors of ours come before a run or when it is done."""
    return isinstance(error, DeviceError) or not isinstance(error, LosscError)


class Executable:
    """A program ready to run on one device. Calls from several threads are independent.

    `fixed_inputs` and `fixed_outputs` have memory, by name, for good: what lives on the device between calls; `status`
    is memory for the words that checks write, for who reads them on the device. The caller neither passes these nor
    gets them back, may let an output write over an input where the program allows that, and calls from one thread at a
    time.
    """

    def __init__(
        self, program: Program, device: Device, sources: Mapping[str, str], options: str,
        fixed_inputs: Mapping[str, Argument] | None = None, fixed_outputs: Mapping[str, Argument] | None = None,
        status: Argument | None = None,
    ):  # fmt: skip
        self.program, self.device = program, device
        self._loaded = Loaded(
            program, device, dict(sources), options, fixed_inputs or {}, fixed_outputs or {}, status
        )  # fmt: skip
        self.free_inputs = self._loaded.free_inputs
        self._binding = Binding(self._loaded)
        cl = load_pyopencl()
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
        self, given: Sequence[Given], out: Mapping[str, Any] | None = None, sizes: Mapping[str, int] | None = None,
        behind: Sequence[Executable] = (),
    ) -> list[Any]:  # fmt: skip
        """The same as a call, with an array for each of `free_inputs`, in order.

        Programs whose inputs and outputs are all fixed may run `behind` this one. They are launched before anything is
        waited for, so that a check that fails here does not keep them back: they are to look at its status words.
        """
        if self._of_thread.pending is not None:
            self.settle()
        plan = self._plan(given, sizes)
        if plan.quick and not behind and {*map(type, given)} == {np.ndarray}:
            return self._forgetting((self,), self._run_quickly, plan, given, out)
        return self._forgetting((self, *behind), self._run, plan, given, out, behind)

    def _run(
        self, plan: Plan, given: Sequence[Given], out: Mapping[str, Any] | None, behind: Sequence[Executable]
    ) -> list[Any]:
        plans_behind = [other._plan((), None) for other in behind]
        if any(len(one.outputs) > len(one.free_outputs) for one in (plan, *plans_behind)[:-1]):
            # Some fixed outputs are copies, made when the kernels are done: what follows may read them.
            results = self._run(plan, given, out, ())
            for other in behind:
                other.run(())
            return results
        binding = self._binding
        binding.settle(given)
        arguments = binding.bind(plan, given)
        taken = binding.taken(plan, out, arguments) if out else {}
        arrays = binding.bind_fresh(plan, given, arguments, taken)
        self._launch(plan, True, plans_behind)
        failure = binding.failure(plan, arguments)
        for other, own in zip(behind, plans_behind):
            failure = other._binding.failure(own, {}) or failure
        if failure is not None:
            raise failure
        if not self.device.info.shared_pointers:
            for fresh in plan.fresh:
                binding.on_host(arguments[fresh.root])
        for other, own in zip(behind, plans_behind):
            other._binding.handed_out(own, {}, {})
        return arrays if plan.plain and not out else binding.handed_out(plan, arguments, out or {})

    def _run_quickly(
        self, plan: Plan, given: Sequence[np.ndarray], out: Mapping[str, Any] | None
    ) -> list[np.ndarray]:  # fmt: skip
        """A run where all is small, lies on the host, and is handed out as it is: little but the driver's own work."""
        binding = self._binding
        held: list[Any] = []
        arrays: list[np.ndarray] = []
        if out:
            given_outputs, starts = checked_outputs(out, plan.free_outputs, zip(self.free_inputs, given))
            if len(given_outputs) == len(plan.outputs):
                start_of = dict(zip(given_outputs, starts[len(given) :]))
                addresses = [*starts[: len(given)], *[start_of[output.name] for output in plan.outputs]]
                if self._run_there(plan, addresses):
                    return [given_outputs[output.name] for output in plan.outputs]
            return self._run(plan, given, out, ())
        plan.addresses.clear()
        for array, uses in zip(given, plan.input_uses):
            if uses:
                # A kernel does not keep what it is given.
                held.append(memory := binding.memory(array))
                for set_argument, position in uses:
                    set_argument(position, memory[0])
        for fresh in plan.fresh:
            assert fresh.small is not None
            array, value = fresh.small.take()
            arrays.append(array)
            for set_argument, position in fresh.uses:
                set_argument(position, value)
        self._launch(plan, wait=True)
        status = plan.status
        if status is not None and status.array.tolist() != plan.status_holds:
            results = {fresh.root: array for fresh, array in zip(plan.fresh, arrays)}
            failure = binding.failure(plan, {**self._by_buffer(given), **results})
            assert failure is not None
            raise failure
        return arrays

    def run_at(self, shapes: tuple[tuple[int, ...], ...], addresses: Sequence[int]) -> bool:
        """Run on memory by its address, for callers whose tensors are no arrays of NumPy: that of the inputs, which
        have these shapes, then that of the results; each is C-contiguous and of the declared type. False where `run`
        must do it, as what is not small or has these shapes for the first time in this thread, or where a check failed:
        `run` says which."""
        of_thread = self._of_thread
        if of_thread.pending is not None:
            self.settle()
        if self.device.is_forked:
            self.device.refuse_after_fork()
        plan = of_thread.plans.get(shapes)
        if plan is None or not plan.quick:
            return False
        try:
            return self._run_there(plan, addresses)
        except BaseException as error:
            if _leaves_a_run(error):
                self._forget((self,))
            raise

    def _run_there(self, plan: Plan, addresses: Sequence[int]) -> bool:
        """Run a small plan on memory at these addresses. False where one cannot be taken, or where a check failed."""
        # Allocators hand out the same memory from call to call, and kernels keep their arguments.
        if plan.addresses != addresses and not self._point(plan, addresses):
            return False
        self._launch(plan, wait=True)
        status = plan.status
        if status is None or status.array.tolist() == plan.status_holds:
            return True
        reset(self.device, status)
        return False

    def _point(self, plan: Plan, addresses: Sequence[int]) -> bool:
        """Set the arguments of a small plan to these addresses; False where one cannot be taken."""
        pointers, inputs = self._of_thread.pointers, len(plan.input_uses)
        plan.addresses.clear()
        for place, (address, uses) in enumerate(zip(addresses, (*plan.input_uses, *plan.result_uses))):
            if uses:
                if not address or (place >= inputs and address % ALIGNMENT):
                    return False
                value = pointers[address]
                for set_argument, position in uses:
                    set_argument(position, value)
        plan.addresses.extend(addresses)
        return True

    def start(self, given: Sequence[Given], sizes: Mapping[str, int] | None = None) -> list[Any]:
        """Run and give arrays on the device. Where all inputs lie there it does not wait: what fails is raised when a
        result is read, or by the next call from this thread."""
        self.settle()
        return self._forgetting((self,), self._start, self._plan(given, sizes, in_background=True), given)

    def _start(self, plan: Plan, given: Sequence[Given]) -> list[Any]:
        from .device_arrays import Pending, new_array

        arguments = self._binding.bind(plan, given)
        for fresh in plan.fresh:
            arguments[fresh.root] = argument = new_array(self.device, fresh.shape, fresh.dtype)
            for set_argument, position in fresh.uses:
                set_argument(position, argument.value)
        # What the host may write over, or let go, must have been read when this returns.
        self._launch(plan, wait=any(map(on_the_host, arguments.values())))
        results: list[Any] = []
        for output in plan.outputs:
            source = result = as_argument(arguments[output.root])
            if output.copied:
                result = new_array(self.device, output.shape, output.dtype)
                copy(self.device, source, result)
            results.append(result.array)
        pending = [getattr(as_argument(memory).array, "pending", None) for memory in arguments.values()]
        before = [run for run in pending if run is not None]
        if plan.status is not None or before:
            self._of_thread.pending = Pending(lambda: self._binding.failure(plan, arguments), before)
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

    def _forgetting(self, launched: Sequence[Executable], step: Callable[..., Result], *arguments: Any) -> Result:
        """Do a part of a run that may be interrupted, and that may have launched these."""
        try:
            return step(*arguments)
        except BaseException as error:
            if _leaves_a_run(error):
                self._forget(launched)
            raise

    def _forget(self, launched: Sequence[Executable]) -> None:
        """Nobody has looked at the status, and the next run is not to find this one's."""
        for one in launched:
            one._of_thread.plans.clear()
        for one in launched:
            if one._loaded.status is not None:
                reset(self.device, one._loaded.status)

    def _by_buffer(self, given: Sequence[Given]) -> dict[str, Given]:
        return dict(zip(self._loaded.free_buffers, given))

    def _launch(self, plan: Plan, wait: bool, behind: Sequence[Plan] = ()) -> None:
        queue, synchronous = plan.queue, plan.synchronous
        try:
            for kernel, global_size, local_size in plan.launches:
                self._enqueue(queue, kernel, global_size, local_size)
            for other in behind:
                if synchronous:
                    # What was launched so far is done: any queue will do.
                    queue, synchronous = other.queue, other.synchronous
                for kernel, global_size, local_size in other.launches:
                    self._enqueue(queue, kernel, global_size, local_size)
            if synchronous:
                # A launch on this queue is done when its call returns; to say `finish` would take 1.15 of its time.
                return
            if wait:
                queue.finish()
                for one in (plan, *behind):
                    while one.unsaved:
                        one.unsaved.pop().store()
            else:
                queue.flush()
        except self._driver_error as error:
            # What the kernels write to is let go of next, here and below.
            with suppress(self._driver_error):
                queue.finish()
            raise device_error(error, f"a kernel of {self.program.name} failed on {self.device}") from error
        except BaseException:
            queue.finish()
            raise

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
