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
from .plan import Plan
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
        arrays, addresses = executable._binding.new_results(plan, given)
    return arrays if run_there(executable, plan, addresses) else None


def run_there(executable: Prepared, plan: Plan, addresses: Sequence[int]) -> bool:
    """Run on memory at these addresses: of the inputs, then of the results. False where one cannot be taken, or where a
    check failed: the general way says which."""
    if not executable._binding.point(plan, addresses):
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
    if status is None or status.failed() is None:
        return True
    status.reset()
    return False
