"""Run programs on a device.

In: a `Program`, the OpenCL source of each of its kernels, a device; per call, arrays in the program's dtypes. Out:
arrays that the caller owns: NumPy's, or pyopencl's of a run that goes on meanwhile. Shapes seen before reuse a plan; a
new batch size makes a new plan, never a new kernel (a variant is built when first chosen).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.diagnostics import DeviceError, LirError, LosscError
from .binding import Bound, Given, as_argument, on_the_host
from .chain import run_chain
from .memory import copy
from .outcome import failure, handed_out
from .plan import Plan
from .prepared import Prepared
from .runs import Runs
from .small import run_small, run_there


def _leaves_a_run(error: BaseException) -> bool:
    """Whether it broke a run off: an interrupt, or the driver, after which what the plans' own memory holds is
    anybody's guess. Other errors of ours come before a run or when it is done."""
    return isinstance(error, DeviceError) or not isinstance(error, LosscError)


class Executable(Prepared):
    """A program ready to run on one device. Calls from several threads are independent, and so is a call in the middle
    of another, as of a signal handler."""

    _may_be_short = True
    """Whether a small run may do without `_launch`."""

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
        then: Sequence[Executable] = (), done: Callable[[], None] | None = None,
    ) -> list[Any]:  # fmt: skip
        """The same as a call, with an array for each of `free_inputs`, in order.

        Programs whose inputs and outputs are all fixed may run `then`. They are launched before anything is waited for,
        so that a check that fails here does not keep them back: they are to look at its status words. Once they are
        launched an interrupt waits until they, and what `done` does then, have come to their end.
        """
        return self._apart(self._run, then, given, out, sizes, then, done)

    def run_at(self, shapes: tuple[tuple[int, ...], ...], addresses: Sequence[int]) -> bool:
        """Run on memory by its address, for callers whose tensors are no arrays of NumPy: that of the inputs, which
        have these shapes, then that of the results; each is C-contiguous and of the declared type. False where `run`
        must do it, as what is not small or has these shapes for the first time in this thread, or where a check failed:
        `run` says which."""
        return self._apart(self._run_at, (), shapes, addresses)

    def start(self, given: Sequence[Given], sizes: Mapping[str, int] | None = None) -> list[Any]:
        """Run and give arrays on the device. Where all inputs lie there it does not wait: what fails is raised when a
        result is read, or by the next call from this thread."""
        return self._apart(self._start, (), given, sizes)

    def settle(self) -> None:
        """Wait for the run that this thread has started, and raise what failed in it unless that was told already."""
        runs = self._of_thread.runs
        pending = runs.pending
        if pending is not None:
            runs.pending = None
            if not pending.is_settled:
                pending.settle()

    # --- one run ---

    def _apart(self, work: Callable[..., Any], then: Sequence[Executable], *arguments: Any) -> Any:
        """What `work` gives on plans of this thread that no run uses; where it is broken off nobody does any more, nor
        those of `then`. It says itself that they are `busy`: what is launched at once need not."""
        runs = self._of_thread.runs
        if runs.pending is not None:
            self.settle()
        if runs.busy:
            runs = runs.inside()
        try:
            found = work(runs, *arguments)
            runs.busy = False
            return found
        except BaseException as error:
            # Not a `finally`: an interrupt that comes just in front of it would leave `busy` set for good.
            if _leaves_a_run(error):
                self._forget((self, *then))
            runs.busy = False
            raise

    def _run(
        self, runs: Runs, given: Sequence[Given], out: Mapping[str, Any] | None, sizes: Mapping[str, int] | None,
        then: Sequence[Executable], done: Callable[[], None] | None,
    ) -> list[Any]:  # fmt: skip
        # What `_plan` asks again is asked here: it would be a call more in a run of a few microseconds.
        plan = None if sizes or self.device.is_forked else runs.plans.get(tuple([value.shape for value in given]))
        if plan is None:
            plan = self._plan(runs, given, sizes)
        # From here on a run in the middle of this one, as of a signal handler, has plans of its own.
        runs.busy = True
        if plan.quick and not then and {*map(type, given)} == {np.ndarray} and self._may_be_short:
            results = run_small(self, plan, given, out)
            if results is not None:
                return results
        if then:
            return run_chain(self, plan, given, then, done)
        return self._run_alone(plan, given, out)

    def _run_at(self, runs: Runs, shapes: tuple[tuple[int, ...], ...], addresses: Sequence[int]) -> bool:
        if self.device.is_forked:
            self.device.refuse_after_fork()
        plan = runs.plans.get(shapes)
        if plan is None or not plan.quick:
            return False
        runs.busy = True
        return run_there(self, plan, addresses)

    def _start(self, runs: Runs, given: Sequence[Given], sizes: Mapping[str, int] | None) -> list[Any]:
        from .device_arrays import Pending, new_array

        plan = self._plan(runs, given, sizes, in_background=True)
        runs.busy = True
        arguments = self._binding.bind_inputs(plan, given)
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
            bound = Bound(arguments, [])
            run = self._of_thread.runs.pending = Pending(lambda: failure(self._loaded, plan, bound), before)
            for array in results:
                array.pending = run
        return results

    def _run_alone(self, plan: Plan, given: Sequence[Given], out: Mapping[str, Any] | None) -> list[Any]:
        bound = self._binding.bind(plan, given, out)
        self._launch(plan, wait=True)
        failed = failure(self._loaded, plan, bound)
        if failed is not None:
            raise failed
        return handed_out(self._loaded, plan, bound, out)

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
                plan.save()
            else:
                queue.flush()
        except self._driver_error as error:
            raise self._refused(plan, error) from error
        except BaseException:
            # What the kernels write to is let go of next.
            queue.finish()
            raise

    def _forget(self, launched: Sequence[Executable]) -> None:
        """After a run that was broken off nobody has looked at the status, and the next one is not to find it."""
        for one in launched:
            one._of_thread.runs.forget()
        for one in launched:
            if one._loaded.status is not None:
                one._loaded.status.reset()
