"""After a run: what its checks say, and what the caller gets.

In: a loaded program, the plan of the run, what that used. Out: arrays to hand out, or CheckFailed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.diagnostics import CheckFailed, FailedCheck
from ..ir.failed_checks import failed_in_program
from ..ir.program import CHECK_HOLDS
from .binding import Bound, Given, as_argument
from .device import Device
from .memory import copy, fetch
from .plan import Loaded, Plan


def handed_out(
    loaded: Loaded, plan: Plan, bound: Bound, out: Mapping[str, np.ndarray] | None = None
) -> list[np.ndarray]:  # fmt: skip
    """The outputs that are not fixed, once the kernels are done: in the arrays of `out`, where that has them. Those
    that are the same as others are copies."""
    if plan.plain and not out:
        return bound.fresh
    device, out = loaded.device, out or {}
    if not device.info.shared_pointers:
        for fresh in plan.fresh:
            _on_host(device, bound.arguments[fresh.root])
    handed: list[np.ndarray] = []
    for output in plan.outputs:
        root = output.root
        source = as_argument(bound.arguments[root] if root in bound.arguments else plan.keep[root])
        if output.name in loaded.fixed_outputs:
            copy(device, source, loaded.fixed_outputs[output.name])
        elif not output.copied:
            handed.append(out.get(output.name, source.array))
        else:
            array = _on_host(device, source).reshape(output.shape)
            if output.name in out:
                out[output.name][...] = array
            handed.append(out[output.name] if output.name in out else array.copy())
    return handed


def failure(loaded: Loaded, plan: Plan, bound: Bound) -> CheckFailed | None:
    """What the checks say, once the kernels are done; afterwards all of them hold again."""
    found = what_failed(loaded, plan, bound)
    if found is not None and plan.status is not None:
        plan.status.reset()
    return found


def what_failed(loaded: Loaded, plan: Plan, bound: Bound) -> CheckFailed | None:
    """What the checks say, once the kernels are done, for who has them hold again himself."""
    words = None if plan.status is None else plan.status.failed()
    if words is None:
        return None
    held = {**plan.keep, **{fresh.root: array for fresh, array in zip(plan.fresh, bound.fresh)}, **bound.arguments}
    failed: list[FailedCheck] = []
    for check in loaded.program.checks:
        position = words[check.slot]
        if position != CHECK_HOLDS:
            source = loaded.roots.get(check.value_buffer or "", "")
            memory = held.get(source)
            value = None if memory is None else _on_host(loaded.device, memory).reshape(-1)[position]
            failed.append(failed_in_program(loaded.program, check, position, plan.sizes, value))
    return CheckFailed(failed)


def _on_host(device: Device, memory: Given) -> np.ndarray:
    """What lies there now, as an array on the host."""
    if isinstance(memory, np.ndarray):
        return memory
    if not isinstance(memory.array, np.ndarray):
        return memory.array.with_queue(device.queue).get()
    return fetch(device, memory) if memory.copied else memory.array
