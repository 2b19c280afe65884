"""How it is measured: correctness first, then all systems in turn, again and again, in one process."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cases import Data
from .systems import Call

RELATIVE_L2 = 1e-6
RELATIVE_ELEMENT = 1e-5
SAMPLES = 4096
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Errors:
    """The relative error of the loss, and of the gradients by norm; `fault` says what is wrong, if anything is."""

    loss: float
    gradient: float
    fault: str | None


def errors(data: Data, call: Call) -> Errors:
    """Compare with float64: the loss and the gradients' norms to 1e-6, sampled elements to 1e-5."""
    loss, gradients = call(0)
    found = float(np.asarray(loss).reshape(-1)[0])
    of_loss = abs(found - data.loss) / max(abs(data.loss), 1e-30)
    fault = f"loss {found!r} in place of {data.loss!r}" if not of_loss <= RELATIVE_L2 else None
    norms = []
    random = np.random.default_rng(1)
    for name, expected in data.gradients.items():
        gradient = gradients[name].reshape(-1)
        wanted = expected.reshape(-1)
        norms.append(float(np.linalg.norm(gradient - wanted) / max(np.linalg.norm(wanted), 1e-30)))
        if not norms[-1] <= RELATIVE_L2:
            fault = fault or f"the gradient by {name} is off by {norms[-1]:.1e} in norm"
        picked = random.integers(0, wanted.size, SAMPLES)
        off = np.abs(gradient[picked] - wanted[picked])
        if not np.all(off <= RELATIVE_ELEMENT * np.abs(wanted[picked]) + data.slack[name]):
            fault = fault or f"single elements of the gradient by {name} are off by more than {RELATIVE_ELEMENT}"
    return Errors(of_loss, max(norms), fault)


def peak_memory(call: Callable[[], object]) -> int | None:
    """Bytes by which this process grows while a call runs, at most; None where the system does not tell."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes what there is now
        before = _status("VmRSS")
        call()
        return max(0, _status("VmHWM") - before)
    except (OSError, KeyError):
        return None


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


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


def interleaved(
    calls: Mapping[str, Call], sets: int, repetitions: int, clock: Callable[[], float], warmup: int = 3,
    limit: float = 60,
) -> dict[str, Timing]:  # fmt: skip
    """Time every call `repetitions` times, in turn, after `warmup` turns that do not count; fewer, but at least 5,
    where all together would take longer than `limit` seconds.

    Each turn starts with another system: what one leaves in the caches and the clock frequency meets all others alike.
    Each turn takes another set of inputs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls.items())
    begun = time.perf_counter()
    with contextlib.ExitStack() as pinned:
        for turn in range(warmup + repetitions):
            if turn == warmup:
                pinned.enter_context(_caller_on_one_core())
            if turn >= warmup + 5 and time.perf_counter() - begun > limit:
                break
            order = [*order[1:], order[0]]
            for name, call in order:
                started = clock()
                call(turn % sets)
                taken = clock() - started
                if turn >= warmup:
                    seconds[name].append(taken)
    return {
        name: Timing(float(np.median(s)), float(np.percentile(s, 10)), float(np.percentile(s, 90)))
        for name, s in seconds.items()
    }
