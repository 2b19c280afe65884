"""How it is measured: correctness first, then all systems in turn, again and again, in one process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .cases import Data
from .systems import Call

RELATIVE_L2 = 1e-6
RELATIVE_ELEMENT = 1e-5
SAMPLES = 4096


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float


def fault(data: Data, call: Call) -> str | None:
    """Why a system's answer is wrong, or None: the loss and the gradient's norm to 1e-6, sampled elements to 1e-5."""
    loss, gradient = call()
    if abs(float(loss.reshape(-1)[0]) - data.loss) > RELATIVE_L2 * abs(data.loss):
        return f"loss {float(loss.reshape(-1)[0])!r} in place of {data.loss!r}"
    difference = np.linalg.norm((gradient - data.gradient).ravel().astype(np.float64))
    if difference > RELATIVE_L2 * np.linalg.norm(data.gradient.ravel().astype(np.float64)):
        return "gradient is off by more than 1e-6 in norm"
    picked = np.random.default_rng(1).integers(0, gradient.size, SAMPLES)
    found, expected = gradient.reshape(-1)[picked], data.gradient.reshape(-1)[picked]
    if np.any(np.abs(found - expected) > RELATIVE_ELEMENT * np.abs(expected) + data.slack):
        return "single elements are off by more than 1e-5"
    return None


@contextlib.contextmanager
def _caller_on_one_core() -> Iterator[None]:
    """Keep the calling thread on the first core, where the system can do that.

    OpenCL's and torch's worker threads are older and stay where they are. A caller that wanders onto a worker's core
    makes short kernels run on one core in place of two, now and then.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def interleaved(calls: Mapping[str, Call], repetitions: int, warmup: int = 3) -> dict[str, Timing]:
    """Time every call `repetitions` times, in turn, after `warmup` turns that do not count.

    Each turn starts with another system: what one leaves in the caches and the clock frequency meets all others alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls.items())
    with contextlib.ExitStack() as pinned:
        for turn in range(warmup + repetitions):
            if turn == warmup:
                pinned.enter_context(_caller_on_one_core())
            order = [*order[1:], order[0]]
            for name, call in order:
                started = time.perf_counter()
                call()
                taken = time.perf_counter() - started
                if turn >= warmup:
                    seconds[name].append(taken)
    return {
        name: Timing(float(np.median(s)), float(np.percentile(s, 10)), float(np.percentile(s, 90)))
        for name, s in seconds.items()
    }
