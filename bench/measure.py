"""How it is measured: correctness first, then all systems in turn, again and again, in one process."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .data import ROUNDING, Arrays, Data
from .systems import Call

RELATIVE_LOSS = RELATIVE_L2 = 1e-6
RELATIVE_ELEMENT = 1e-5
SAMPLES = 4096
STATUS = Path("/proc/self/status")
FEWEST_TURNS = 5
PAUSE = 0.01
"""Seconds between two calls: idle threads of the system before have stopped spinning (2 ms are too few for torch)."""
SHORT = 0.5
"""Seconds: a shorter call follows, after the pause, one of its own that does not count, as in a loop that trains. Cores
that slept for the pause take 5 ms for what takes 3.3 otherwise."""


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float

    def figures(self, unit: float = 1e3, name: str = "ms") -> dict[str, float]:
        return {name: self.median * unit, "p10": self.low * unit, "p90": self.high * unit}


@dataclass(frozen=True)
class Errors:
    """The relative error of the loss, and of the gradients by norm; `fault` says what is wrong, if anything is."""

    loss: float
    gradient: float
    fault: str | None


def errors(data: Data, result: tuple[Any, Arrays], tolerance: float = 1) -> Errors:
    """Compare loss and gradients with float64: the loss and the gradients' norms to 1e-6, sampled elements to 1e-5,
    times `tolerance`. With a tolerance small elements may be off by roundings of the largest."""
    loss, gradients = result
    found = float(np.asarray(loss).reshape(-1)[0])
    of_loss = abs(found - data.loss) / max(abs(data.loss), 1e-30)
    fault = f"loss {found!r} in place of {data.loss!r}" if not of_loss <= RELATIVE_LOSS * tolerance else None
    norms = []
    random = np.random.default_rng(1)
    for name, expected in data.gradients.items():
        gradient = gradients[name].reshape(-1)
        wanted = expected.reshape(-1)
        norms.append(float(np.linalg.norm(gradient - wanted) / max(np.linalg.norm(wanted), 1e-30)))
        if not norms[-1] <= RELATIVE_L2 * tolerance:
            fault = fault or f"the gradient by {name} is off by {norms[-1]:.1e} in norm"
        picked = random.integers(0, wanted.size, SAMPLES)
        off = np.abs(gradient[picked] - wanted[picked])
        slack = data.slack[name] if tolerance == 1 else tolerance * ROUNDING * float(np.abs(wanted).max())
        if not np.all(off <= RELATIVE_ELEMENT * tolerance * np.abs(wanted[picked]) + slack):
            fault = fault or f"single elements of the gradient by {name} are off by more than {RELATIVE_ELEMENT}"
    return Errors(of_loss, max(norms), fault)


def peak_memory(calls: dict[str, Call], name: str) -> int | None:
    """Bytes of memory that this process has at most during a call of `calls[name]`, beyond what it has without that
    system, which is gone afterwards: results, working memory, and whatever the system keeps from call to call. None
    where the operating system does not tell."""
    try:
        resident_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes what there is now
        calls[name](0)
        most = _status("VmHWM")
        del calls[name]
        return max(0, most - resident_memory())
    except (OSError, KeyError):
        return None


def page_faults(call: Call) -> int | None:
    """Pages that a call has to ask the operating system for; None where that does not tell."""
    try:
        import resource
    except ImportError:
        return None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call(0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_memory() -> int:
    """Bytes that this process has, once everything idle is given back."""
    from lossc.runtime.memory import POOL

    gc.collect()
    POOL.clear()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


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
    calls: Mapping[str, Callable[[int], object]], sets: int, repetitions: int, clock: Callable[[], float],
    limit: float = 2, batch: int = 1, warmup: int = 2, fewest: int = FEWEST_TURNS, pause: float = PAUSE,
) -> dict[str, Timing]:  # fmt: skip
    """Time every call `repetitions` times, in turn, after `warmup` turns that do not count.

    All together take about `limit` seconds: one whose share would not last for all turns takes part in some of them,
    spread evenly, at least in `fewest`; without `warmup` each takes part in so many. Each turn has another order and
    takes another set of inputs: what one leaves in the caches and the clock frequency meets all others alike. A call
    of microseconds is timed in a `batch`. A `pause` keeps the calls apart; short ones are timed in their second call.
    """

    def seconds(call: Callable[[int], object], number: int, clock: Callable[[], float]) -> float:
        started = clock()
        for _ in range(batch):
            call(number % sets)
        return (clock() - started) / batch

    turns: dict[str, int] = {}
    woken = set()
    for name, call in calls.items():
        taken = [math.inf, *(seconds(call, number, time.perf_counter) for number in range(warmup))][-1]
        if pause and batch * taken < SHORT:
            woken.add(name)
        affordable = int(limit / len(calls) / (batch * taken * (1 + (name in woken)) + pause))
        turns[name] = min(repetitions, max(fewest, affordable))
    found: dict[str, list[float]] = {name: [] for name in calls}
    random = np.random.default_rng(0)
    with _caller_on_one_core():
        for turn in range(repetitions):
            for name in random.permutation(list(calls)):
                if (turn + 1) * turns[name] // repetitions > turn * turns[name] // repetitions:
                    time.sleep(pause)
                    if name in woken:
                        seconds(calls[name], turn + 1, clock)
                    found[name].append(seconds(calls[name], turn, clock))
    return {
        name: Timing(float(np.median(s)), float(np.percentile(s, 10)), float(np.percentile(s, 90)))
        for name, s in found.items()
    }
