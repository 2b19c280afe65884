"""Before a run: what kernels take for what a caller passes.

In: a loaded program, a plan of its for some sizes, the arrays of one call. Out: `Bound`: all kernel arguments are set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir.diagnostics import CompilerBug
from .drivers import load_pyopencl
from .given_outputs import checked_outputs
from .memory import ALIGNMENT, POOL, Access, Argument, address_of, argument_for, is_buffer
from .plan import Fresh, Loaded, Plan
from .pointers import Pointers

Given = np.ndarray | Argument
"""An input: an array on the host, or memory that a kernel takes as it is."""


class Bound(NamedTuple):
    """What a run uses, to be kept until its kernels are done: `arguments` by buffer, and arrays for the `fresh` outputs
    of the plan, in order, each new or the caller's own."""

    arguments: Mapping[str, Given]
    fresh: list[np.ndarray]


class Binding:
    """What the runs of one program share of this. Short where every call goes through for every array."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self._device = loaded, loaded.device
        self._pointer = load_pyopencl().SVM if loaded.device.info.shared_pointers else None
        self._pointers = Pointers()

    def bind(self, plan: Plan, given: Sequence[Given], out: Mapping[str, Any] | None = None) -> Bound:
        """Set all arguments of a run. `out` gives arrays for outputs by name. Raises LirError for what it cannot be,
        and what failed in the runs that made the inputs."""
        if plan.plain and not out and {*map(type, given)} <= {np.ndarray}:
            arrays, addresses = self.new_results(plan, given)
            if not self.point(plan, addresses):
                raise CompilerBug("an array on the host lies nowhere")
            return Bound(dict(zip(self._loaded.free_buffers, given)), arrays)
        settle(given)
        arguments = self.bind_inputs(plan, given)
        own = self._own_arrays(plan, out, arguments) if out else {}
        arrays = []
        for fresh in plan.fresh:
            array = own[fresh.root] if fresh.root in own else self._new_array(plan, fresh, given)
            value, arguments[fresh.root] = self._memory(array, "write")
            arrays.append(array)
            for set_argument, position in fresh.uses:
                set_argument(position, value)
        return Bound(arguments, arrays)

    def bind_inputs(self, plan: Plan, given: Sequence[Given]) -> dict[str, Given]:
        """Set the arguments for the inputs; by buffer, what must stay alive until the kernels are done."""
        arguments: dict[str, Given] = {}
        if plan.status is not None:
            plan.status.begin()
        plan.addresses.clear()
        for root, array, uses in zip(self._loaded.free_buffers, given, plan.input_uses):
            value, arguments[root] = self._memory(array)
            for set_argument, position in uses:
                set_argument(position, value)
            if isinstance(array, Argument) and not isinstance(array.array, np.ndarray):
                from .device_arrays import wait_for_writers

                wait_for_writers(array.array, plan.queue)
        return arguments

    def new_results(self, plan: Plan, given: Sequence[Any]) -> tuple[list[np.ndarray], list[int]]:
        """Arrays for what a plain plan hands out; the addresses of the inputs, all on the host, then of these."""
        arrays, addresses = [], [*map(address_of, given)]
        for fresh in plan.fresh:
            if fresh.small is not None:
                array, address = fresh.small.take()
            else:
                array = self._new_array(plan, fresh, given)
                address = address_of(array)
            arrays.append(array)
            addresses.append(address)
        return arrays, addresses

    def point(self, plan: Plan, addresses: Sequence[int]) -> bool:
        """Before a run of a plain plan: set the arguments to memory at these addresses, of the inputs, then of the
        results. False where one cannot be taken."""
        if plan.status is not None:
            plan.status.begin()
        # Allocators hand out the same memory from call to call, and kernels keep their arguments.
        if plan.addresses == addresses:
            return True
        inputs, pointers = len(plan.input_uses), self._pointers
        # Where an interrupt comes in the middle, it is not known what is set.
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

    def _memory(self, array: Given, access: Access = "read") -> tuple[Any, Given]:
        """What a kernel takes for an array, and what holds that."""
        if isinstance(array, Argument):
            return array.value, array
        if self._pointer is not None and is_buffer(array):
            return self._pointer(array), array
        argument = argument_for(self._device, array, access)
        return argument.value, argument

    def _new_array(self, plan: Plan, fresh: Fresh, given: Sequence[Given]) -> np.ndarray:
        """An array for an output that is not small."""
        beside = None if plan.largest is None else given[plan.largest]
        # Only an array on the host has a place there.
        return POOL.empty(fresh.shape, fresh.dtype, address_of(beside) if isinstance(beside, np.ndarray) else 0)

    def _own_arrays(
        self, plan: Plan, out: Mapping[str, Any], arguments: Mapping[str, Given]
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """The arrays that the user gives for outputs, by buffer; those for copied outputs are only checked."""
        arrays = ((name, as_argument(memory).array) for name, memory in arguments.items())
        given, _ = checked_outputs(
            out, plan.free_outputs, [(n, array) for n, array in arrays if isinstance(array, np.ndarray)]
        )
        return {
            plan.free_outputs[name].root: array for name, array in given.items() if not plan.free_outputs[name].copied
        }


def settle(given: Sequence[Given]) -> None:
    """Wait for the runs that made these arrays, where nobody has yet, and raise what failed in them."""
    for memory in given:
        pending = getattr(memory.array, "pending", None) if isinstance(memory, Argument) else None
        if pending is not None:
            pending.settle()


def as_argument(memory: Given) -> Argument:
    return memory if isinstance(memory, Argument) else Argument(None, memory)


def on_the_host(memory: Given) -> bool:
    return isinstance(as_argument(memory).array, np.ndarray)
