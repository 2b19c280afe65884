"""`python -m bench`: the table, on one device, in one process.

Systems that are not installed are left out and named. Every answer is compared with float64 before anything is timed:
a system whose answer is off stands there as `incorrect`. `--cpu-time` measures the calling thread's own time on one
core (lossc's kernels run in it, torch has one thread): repeatable on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .cases import CASES, Case, make_data
from .measure import errors, interleaved, peak_memory
from .systems import SYSTEMS, Absent, Call, Setting
from .table import Row, table

COPY_FLOATS = 1 << 24


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--device", default="intel", help="a device as LOSSC_DEVICE names it (default: intel)")
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="which to measure, by comma")
    parser.add_argument("--cpu-time", action="store_true", help="the calling thread's time, on one core")
    parser.add_argument("--save", type=Path, help="write the table as PATH.md and all figures as PATH.json")
    arguments = parser.parse_args()
    # Cold compile times: nothing from earlier runs.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        os.environ.setdefault("LOSSC_CACHE_DIR", folder)
        warnings.simplefilter("ignore")  # drivers that report every build they have done
        setting = _setting(arguments.device, arguments.cpu_time)
        clock = time.thread_time if arguments.cpu_time else time.perf_counter
        bandwidth = copy_bandwidth(setting, clock)
        systems = [name for name in SYSTEMS if name in arguments.systems.split(",")]
        rows = []
        for case in CASES:
            if arguments.only in case.name:
                rows.append(measure(case, systems, setting, arguments.repetitions, clock, bandwidth))
                print(*table(rows[-1:], systems).splitlines()[2:3], sep="\n", flush=True)
    text = table(rows, systems)
    print("\n" + text)
    if arguments.save:
        arguments.save.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
        arguments.save.with_suffix(".md").write_text(text + "\n")


def _setting(name: str, cpu_time: bool) -> Setting:
    from lossc.runtime.device import from_queue, select

    device = select(name)
    if not cpu_time:
        return Setting(device, os.cpu_count() or 1)
    queue = device.local_thread_queue
    if queue is None:
        raise SystemExit(f"{device} does not run kernels in the calling thread: leave out --cpu-time")
    return Setting(from_queue(queue), 1)


def copy_bandwidth(setting: Setting, clock: Callable[[], float]) -> float:
    """Bytes a second of a copy of 64 MiB past the cache: read once, written once."""
    import lossc

    from .handwritten.kernels import device_copy

    source, target = lossc.empty((COPY_FLOATS,)), lossc.empty((COPY_FLOATS,))
    source[...], target[...] = 1, 0
    copy = device_copy(setting.device.context, setting.device.queue, 1, True)
    seconds = []
    for _ in range(15):
        started = clock()
        copy(source, target)
        seconds.append(clock() - started)
    return 2 * source.nbytes / float(np.median(seconds))


def measure(
    case: Case, systems: list[str], setting: Setting, repetitions: int, clock: Callable[[], float], bandwidth: float
) -> Row:
    """One row: for each system its figures, or why there are none."""
    data = make_data(case)
    calls: dict[str, Call] = {}
    figures: dict[str, dict[str, Any]] = {}
    for name in systems:
        started = time.perf_counter()
        try:
            call = SYSTEMS[name](case, data, setting)
            call(0)
            first = time.perf_counter() - started
            found = errors(data, call)
        except Absent:
            continue
        except ImportError as error:
            figures[name] = {"fault": f"not installed: {error.name}"}
            continue
        figures[name] = {"compile_seconds": first, "error": found.gradient, "error_of_loss": found.loss}
        if found.fault is not None:
            figures[name]["fault"] = f"incorrect: {found.fault}"
            continue
        figures[name]["peak_bytes"] = peak_memory(lambda call=call: call(0))
        calls[name] = call
    for name, timing in interleaved(calls, len(data.sets), repetitions, clock).items():
        figures[name] |= {
            "ms": timing.median * 1e3, "p10": timing.low * 1e3, "p90": timing.high * 1e3,
            "of_copy": data.fewest_bytes / timing.median / bandwidth,
        }  # fmt: skip
    return {"name": case.name, "fewest_bytes": data.fewest_bytes, "copy_bandwidth": bandwidth, "systems": figures}


if __name__ == "__main__":
    main()
