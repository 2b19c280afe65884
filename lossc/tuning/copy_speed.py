"""How fast a device copies: the measure of every kernel, as none moves its bytes faster.

In: a device, a number of bytes. Out: the seconds in which a kernel of ours that reads half of them and writes the other
half does so. Measured once for each power of two on a device, then remembered.
"""

from __future__ import annotations

import numpy as np

from lossc.compiler import compile_module
from lossc.ir.builder import Builder
from lossc.ir.function import Module
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, named
from lossc.runtime.device import Device
from lossc.runtime.stopwatch import Clock, Stopwatch, placed

from .memory import copy_key, remembered, write

LEAST, MOST = 1 << 12, 1 << 28
"""Bytes: below, the launch is all that is measured; above, memory is."""
SECONDS = 0.05
FEWEST_RUNS = 5


def copying_module() -> Module:
    """-x of N elements: what a kernel that only moves data does, with a sign so that there is something to run."""
    build = Builder()
    x = Tensor(build.input("x", Type("f32", (named("N"),))), build)
    function = build.function("copy", [(-x).value], ("result",))
    return Module({function.name: function}, function.name)


def copy_seconds(device: Device, nbytes: int, clock: Clock, at_most: float = float("inf")) -> float:
    """The least time for moving so many bytes, as it was when it was measured. Something that moves them was done in
    `at_most`: where the copy took longer, the machine was busy then, and it is measured again."""
    measured = min(max(1 << max(0, nbytes - 1).bit_length(), LEAST), MOST)
    share = nbytes / measured if nbytes > LEAST else 1.0
    key = copy_key(device, measured)
    match remembered(key):
        case {"seconds": float(seconds)} if 0 < seconds * share <= at_most:
            pass
        case _:
            seconds = _measured(device, measured, clock)
            write(key, {"seconds": seconds})
    return seconds * share


def _measured(device: Device, nbytes: int, clock: Clock) -> float:
    compiled = compile_module(copying_module(), device.info)
    stopwatch = Stopwatch(compiled.program, device, compiled.sources(), compiled.build_options, clock)
    given = placed(device, [np.zeros(nbytes // 8, np.float32)])
    stopwatch.time_steps(given)
    times: list[float] = []
    end = clock() + SECONDS
    while len(times) < FEWEST_RUNS or clock() < end:
        times.append(sum(stopwatch.time_steps(given).values()))
    # Whatever disturbs a run only adds to its time.
    return min(times)
