"""Between arrays and kernels: what kernels take for what a caller passes, and what the caller gets afterwards.

In: a loaded program, a plan of its for some sizes, the arrays of one call. Out: kernel arguments, set; arrays to hand
out; and what the checks of the program say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.diagnostics import CheckFailed, FailedCheck
from ..ir.interp import failed_check
from ..ir.program import CHECK_HOLDS
from ..ir.types import dim_value
from .drivers import load_pyopencl
from .given_outputs import checked_outputs
from .memory import POOL, Access, Argument, address_of, argument_for, copy, fetch, is_buffer
from .plan import Fresh, Loaded, Plan, begin, reset
from .pointers import Pointers

Given = np.ndarray | Argument
"""An input: an array on the host, or memory that a kernel takes as it is."""


class Binding:
    """What the runs of one program share of this. Short where every call goes through for every array."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self._device = loaded, loaded.device
        self._pointer = load_pyopencl().SVM if loaded.device.info.shared_pointers else None
        self.pointers = Pointers()

    def memory(self, array: Given, access: Access = "read") -> tuple[Any, Given]:
        """What a kernel takes for an array, and what holds that."""
        if isinstance(array, Argument):
            return array.value, array
        if self._pointer is not None and is_buffer(array):
            return self._pointer(array), array
        argument = argument_for(self._device, array, access)
        return argument.value, argument

    def bind(self, plan: Plan, given: Sequence[Given]) -> dict[str, Given]:
        """Set the arguments for the inputs; by buffer, what must stay alive until the kernels are done."""
        arguments: dict[str, Given] = {}
        begin(self._device, plan)
        plan.addresses.clear()
        for root, array, uses in zip(self._loaded.free_buffers, given, plan.input_uses):
            value, arguments[root] = self.memory(array)
            for set_argument, position in uses:
                set_argument(position, value)
            if isinstance(array, Argument) and not isinstance(array.array, np.ndarray):
                from .device_arrays import wait_for_writers

                wait_for_writers(array.array, plan.queue)
        return arguments

    def settle(self, given: Sequence[Given]) -> None:
        """Wait for the runs that made these arrays, where nobody has yet, and raise what failed in them."""
        for memory in given:
            pending = getattr(memory.array, "pending", None) if isinstance(memory, Argument) else None
            if pending is not None:
                pending.settle()

    def bind_fresh(
        self, plan: Plan, given: Sequence[Given], arguments: dict[str, Given], taken: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """Set the arguments for the outputs that a run makes anew, or writes to `taken` arrays by buffer. These arrays;
        they come into `arguments`, too."""
        arrays: list[np.ndarray] = []
        for fresh in plan.fresh:
            if fresh.root in taken:
                array = taken[fresh.root]
                value, held = self.memory(array, "write")
            elif fresh.small is not None:
                array, address = fresh.small.take()
                value, held = self.pointers[address], array
            else:
                array = self.new_array(plan, fresh, given)
                value, held = self.memory(array, "write")
            arguments[fresh.root] = held
            arrays.append(array)
            for set_argument, position in fresh.uses:
                set_argument(position, value)
        return arrays

    def new_array(self, plan: Plan, fresh: Fresh, given: Sequence[Given]) -> np.ndarray:
        """An array for an output that is not small."""
        beside = None if plan.largest is None else given[plan.largest]
        # Only an array on the host has a place there.
        return POOL.empty(fresh.shape, fresh.dtype, address_of(beside) if isinstance(beside, np.ndarray) else 0)

    def checked(self, plan: Plan, out: Mapping[str, Any], arguments: Mapping[str, Given]) -> dict[str, np.ndarray]:
        """The arrays that the user gives for outputs, by buffer; those for copied outputs are only checked."""
        arrays = ((name, as_argument(memory).array) for name, memory in arguments.items())
        given, _ = checked_outputs(
            out, plan.free_outputs, [(n, array) for n, array in arrays if isinstance(array, np.ndarray)]
        )
        return {
            plan.free_outputs[name].root: array for name, array in given.items() if not plan.free_outputs[name].copied
        }

    def handed_out(
        self, plan: Plan, arguments: Mapping[str, Given], out: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:  # fmt: skip
        """The outputs that are not fixed, once the kernels are done; copies where they are the same as others."""
        if not self._device.info.shared_pointers:
            for fresh in plan.fresh:
                self.on_host(arguments[fresh.root])
        handed: list[np.ndarray] = []
        for output in plan.outputs:
            source = as_argument(arguments[output.root] if output.root in arguments else plan.keep[output.root])
            if output.name in self._loaded.fixed_outputs:
                copy(self._device, source, self._loaded.fixed_outputs[output.name])
            elif not output.copied:
                handed.append(out.get(output.name, source.array))
            else:
                array = self.on_host(source).reshape(output.shape)
                if output.name in out:
                    out[output.name][...] = array
                handed.append(out[output.name] if output.name in out else array.copy())
        return handed

    def on_host(self, memory: Given) -> np.ndarray:
        """What lies there now, as an array on the host."""
        if isinstance(memory, np.ndarray):
            return memory
        if not isinstance(memory.array, np.ndarray):
            return memory.array.with_queue(self._device.queue).get()
        return fetch(self._device, memory) if memory.copied else memory.array

    def failure(self, plan: Plan, arguments: Mapping[str, Given]) -> CheckFailed | None:
        """What the checks say, once the kernels are done; afterwards all of them hold again."""
        found = self.what_failed(plan, arguments)
        if found is not None and plan.status is not None:
            reset(self._device, plan.status)
            plan.unread[0] = False
        return found

    def what_failed(self, plan: Plan, arguments: Mapping[str, Given]) -> CheckFailed | None:
        """What the checks say, once the kernels are done, for who has them hold again himself."""
        status = plan.status
        if status is None:
            return None
        words = (fetch(self._device, status) if status.copied else status.array).tolist()
        if words == plan.status_holds:
            plan.unread[0] = False
            return None
        failed: list[FailedCheck] = []
        for check in self._loaded.program.checks:
            position = words[check.slot]
            if position != CHECK_HOLDS:
                source = self._loaded.roots.get(check.value_buffer or "", "")
                memory = arguments.get(source, plan.keep.get(source))
                value = None if memory is None else self.on_host(memory).reshape(-1)[position]
                shape = tuple(dim_value(dim, plan.sizes) for dim in check.shape)
                failed.append(failed_check(check.attributes, position, shape, value, check.span))
        return CheckFailed(failed)


def as_argument(memory: Given) -> Argument:
    return memory if isinstance(memory, Argument) else Argument(None, memory)


def on_the_host(memory: Given) -> bool:
    return isinstance(as_argument(memory).array, np.ndarray)
