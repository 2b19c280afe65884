"""A program with its kernels on a device: what every way of running it asks for.

In: a `Program`, the OpenCL source of each of its kernels, a device. Out: a plan for each set of shapes, kept for each
thread, and what the driver's errors mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..ir.diagnostics import DeviceError, LirError
from ..ir.program import Program
from ..ir.shapes import bind_dimensions
from .binding import Binding, Given
from .device import Device, device_error
from .drivers import load_pyopencl
from .memory import Argument
from .plan import Loaded, Plan
from .planning import make_plan
from .runs import OfThread, Runs
from .status import StatusWords

MOST_PLANS = 64
MOST_NESTED = 8


class Prepared:
    """A program on one device, not run yet.

    `fixed_inputs` and `fixed_outputs` have memory, by name, for good: what lives on the device between calls; `status`
    are the words that checks write, for who reads them on the device. The caller neither passes these nor
    gets them back, may let an output write over an input where the program allows that, and calls from one thread at a
    time.
    """

    def __init__(
        self, program: Program, device: Device, sources: Mapping[str, str], options: str,
        fixed_inputs: Mapping[str, Argument] | None = None, fixed_outputs: Mapping[str, Argument] | None = None,
        status: StatusWords | None = None,
    ):  # fmt: skip
        self.program, self.device = program, device
        self._loaded = Loaded(
            program, device, dict(sources), options, fixed_inputs or {}, fixed_outputs or {}, status
        )  # fmt: skip
        self.free_inputs = self._loaded.free_inputs
        self._binding = Binding(self._loaded)
        cl = load_pyopencl()
        self._enqueue, self._driver_error = cl.enqueue_nd_range_kernel, cl.Error
        self._of_thread = OfThread(device)

    def _refused(self, plan: Plan, error: Any) -> DeviceError:
        """What the driver says of a launch, once nothing of that is running."""
        with suppress(self._driver_error):
            plan.queue.finish()
        return device_error(error, f"a kernel of {self.program.name} failed on {self.device}")

    def _plan(
        self, runs: Runs, given: Sequence[Given], sizes: Mapping[str, int] | None, in_background: bool = False
    ) -> Plan:  # fmt: skip
        if self.device.is_forked:
            self.device.refuse_after_fork()
        shapes = tuple([value.shape for value in given])
        key: Any = shapes
        if sizes or in_background:
            key = (shapes, in_background, tuple(sorted((sizes or {}).items())))
        plans = runs.plans
        plan = plans.get(key)
        if plan is None:
            fixed = self._loaded.fixed_inputs
            found = {**dict(zip(self.free_inputs, shapes)), **{n: a.array.shape for n, a in fixed.items()}}
            bound = bind_dimensions(self.program.inputs, found, sizes)
            while len(plans) >= MOST_PLANS:
                # A handler's run may let go of plans meanwhile.
                for oldest in list(plans)[:1]:
                    plans.pop(oldest, None)
            if runs.planning >= MOST_NESTED:
                raise LirError(f"{MOST_NESTED} runs are begun, each in the middle of another",
                               "have signals come less often than their handler takes")  # fmt: skip
            try:
                runs.planning += 1
                plan = plans[key] = make_plan(self._loaded, bound, runs.temporaries[in_background])
            finally:
                runs.planning -= 1
        return plan
