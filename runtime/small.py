"""Small runs, where all lies on the host: little but the driver's own work.

In: an executable, a `quick` plan of its, arrays, or addresses of what is no array of NumPy. Out: the results, or that
the general way must do it.

A run may begin in the middle of another, in a signal handler or a finalizer. One of the same plan sets the arguments of
the same kernels, and one of other sizes uses the same status words. So a run takes its `turn`, launches only while it
has it, in one call of C, in which no handler comes to its turn, and where another run has had a turn before the status
was read it begins again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from .given_outputs import checked_outputs
from .memory import ALIGNMENT, address_of
from .plan import Plan, reset, take_turn
from .pointers import Pointers
from .prepared import Prepared


def run_small(
    executable: Prepared, plan: Plan, given: Sequence[Any], out: Mapping[str, Any] | None, pointers: Pointers
) -> list[np.ndarray] | None:
    """Run with these arrays of NumPy. None where the general way must do it."""
    if out:
        given_outputs, starts = checked_outputs(out, plan.free_outputs, zip(executable.free_inputs, given))
        if len(given_outputs) < len(plan.outputs):
            return None
        start_of = dict(zip(given_outputs, starts[len(given) :]))
        arrays = [given_outputs[output.name] for output in plan.outputs]
        addresses = [*starts[: len(given)], *[start_of[output.name] for output in plan.outputs]]
    else:
        arrays, addresses = [], [*map(address_of, given)]
        for fresh in plan.fresh:
            if fresh.small is not None:
                array, address = fresh.small.take()
            else:
                array = executable._binding.new_array(plan, fresh, given)
                address = address_of(array)
            arrays.append(array)
            addresses.append(address)
    return arrays if run_there(executable, plan, addresses, pointers) else None


def run_there(executable: Prepared, plan: Plan, addresses: Sequence[int], pointers: Pointers) -> bool:
    """Run on memory at these addresses: of the inputs, then of the results. False where one cannot be taken, or where a
    check failed: the general way says which."""
    turn = plan.turn
    while True:
        if turn[0] is None:
            turn[0] = addresses
        else:
            take_turn(executable.device, plan, addresses)
        # Allocators hand out the same memory from call to call, and kernels keep their arguments.
        if plan.addresses != addresses and not _point(plan, addresses, pointers):
            return False
        words = _launched(executable, plan, addresses)
        if words is not None:
            break
    if words == plan.status_holds:
        return True
    assert plan.status is not None
    reset(executable.device, plan.status)
    return False


def _launched(executable: Prepared, plan: Plan, turn: object) -> list[int] | None:
    """Launch, wait, and read the status; None where it was not this run's `turn` all the time."""
    mine, calls, enqueue = plan.turn, plan.calls, executable._enqueue
    try:
        if len(calls) == 1:
            (call,) = calls
            if mine[0] is turn:
                enqueue(*call)
        else:
            launches = starmap(enqueue, calls)
            if mine[0] is turn:
                deque(launches, 0)
        if not plan.synchronous:
            plan.queue.finish()
            while plan.unsaved:
                plan.unsaved.pop().store()
    except executable._driver_error as error:
        raise executable._refused(plan, error) from error
    except BaseException:
        plan.queue.finish()
        raise
    words = plan.status_holds if plan.status is None else plan.status.array.tolist()
    if mine[0] is not turn:
        return None
    mine[0] = None
    return words


def _point(plan: Plan, addresses: Sequence[int], pointers: Pointers) -> bool:
    """Set the arguments of a plan to these addresses; False where one cannot be taken."""
    inputs = len(plan.input_uses)
    # All of them, between these two: whatever run comes in the middle, what is written here is not what is set unless
    # all of it is. To set only those that have changed would trust what that run has changed.
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
