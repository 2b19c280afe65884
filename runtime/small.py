"""Small runs, where all lies on the host: little but the driver's own work.

In: an executable, a `quick` plan of its that no other run uses, arrays, or addresses of what is no array of NumPy. Out:
the results, or that the general way must do it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from .given_outputs import checked_outputs
from .memory import ALIGNMENT, address_of
from .plan import Plan, begin, reset
from .pointers import Pointers
from .prepared import Prepared


def run_small(
    executable: Prepared, plan: Plan, given: Sequence[Any], out: Mapping[str, Any] | None
) -> list[np.ndarray] | None:  # fmt: skip
    """Run with these arrays of NumPy. None where the general way must do it."""
    if out:
        given_outputs, starts = checked_outputs(out, plan.free_outputs, zip(executable.free_inputs, given))
        if len(given_outputs) < len(plan.outputs):
            return None
        start_of = dict(zip(given_outputs, starts[len(given) :]))
        arrays = [given_outputs[output.name] for output in plan.outputs]
        addresses = [*starts[: len(given)], *[start_of[output.name] for output in plan.outputs]]
    else:
        arrays, addresses = new_results(executable, plan, given)
    return arrays if run_there(executable, plan, addresses) else None


def new_results(executable: Prepared, plan: Plan, given: Sequence[Any]) -> tuple[list[np.ndarray], list[int]]:
    """Arrays for what a plain plan hands out; the addresses of the inputs, then of these."""
    arrays, addresses = [], [*map(address_of, given)]
    for fresh in plan.fresh:
        if fresh.small is not None:
            array, address = fresh.small.take()
        else:
            array = executable._binding.new_array(plan, fresh, given)
            address = address_of(array)
        arrays.append(array)
        addresses.append(address)
    return arrays, addresses


def run_there(executable: Prepared, plan: Plan, addresses: Sequence[int]) -> bool:
    """Run on memory at these addresses: of the inputs, then of the results. False where one cannot be taken, or where a
    check failed: the general way says which."""
    begin(executable.device, plan)
    # Allocators hand out the same memory from call to call, and kernels keep their arguments.
    if plan.addresses != addresses and not point(plan, addresses, executable._binding.pointers):
        return False
    calls, enqueue = plan.calls, executable._enqueue
    try:
        if len(calls) == 1:
            (call,) = calls
            enqueue(*call)
        else:
            deque(starmap(enqueue, calls), 0)
        if not plan.synchronous:
            plan.queue.finish()
            plan.save()
    except executable._driver_error as error:
        raise executable._refused(plan, error) from error
    except BaseException:
        plan.queue.finish()
        raise
    status = plan.status
    holds = status is None or status.array.tolist() == plan.status_holds
    if not holds:
        assert status is not None
        reset(executable.device, status)
    plan.unread[0] = False
    return holds


def point(plan: Plan, addresses: Sequence[int], pointers: Pointers) -> bool:
    """Set the arguments of a plan to these addresses; False where one cannot be taken."""
    inputs = len(plan.input_uses)
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
