"""The device's arithmetic at its best, and the floor of a row: what no kernel of a loss can go below.

The floor is the longer of two times, each measured in the same run: that of a copy of as many bytes as the loss must
move, and that of the arithmetic that the loss cannot do without, at the rates measured here. Divisions, comparisons and
all else that a loss may need are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import lossc

from .cases import Shape

VECTORS, LANES, ROUNDS, CHAINS = 64, 16, 2000, 12
REPETITIONS = 15


def measure_rates(device: Any, clock: Callable[[], float]) -> dict[str, float]:
    """Operations a second of the whole device, over numbers in the first-level cache: the best of 15 turns."""
    import pyopencl as cl

    from .handwritten.kernels import build_kernel

    items = 8 * device.handle.max_compute_units
    numbers = lossc.empty((items * VECTORS * LANES,), np.float32)
    found = {}
    for name in ("exp", "log1p", "log", "fma"):
        kernel = build_kernel(device.context, "rates.cl", f"{name}_rate", VECTORS=VECTORS, ROUNDS=ROUNDS)
        kernel.set_arg(0, cl.SVM(numbers))
        numbers[...] = 0.5
        seconds = []
        for _ in range(REPETITIONS):
            started = clock()
            cl.enqueue_nd_range_kernel(device.queue, kernel, (items,), (1,))
            device.queue.finish()
            seconds.append(clock() - started)
        operations = items * ROUNDS * VECTORS * LANES * (CHAINS if name == "fma" else 1)
        found[name] = operations / min(seconds)
    return found


def arithmetic_seconds(shape: Shape, work: Mapping[str, float], rates: Mapping[str, float]) -> float:
    """The time of `work` for each element of `shape`: no rate is reached by two operations at once."""
    return math.prod(shape) * sum(count / rates[name] for name, count in work.items())


def floor_seconds(copy: float, arithmetic: float) -> float:
    """Bytes and arithmetic can be under way at the same time: the longer of the two."""
    return max(copy, arithmetic)
