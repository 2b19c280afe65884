"""The main table: loss and gradient of every loss, beside a copy of as many bytes and beside other systems."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .cases import CASES, Case
from .data import Data, make_data
from .measure import errors, interleaved, page_faults, peak_memory
from .rates import arithmetic_seconds, floor_seconds, measure_rates
from .systems import INTO_OLD, OURS, SYSTEMS, Absent, Call, Setting, copy, dynamo_counters, left_uncompiled
from .tables import Row, losses_table

TOLERANCE_OF_PEERS = 100
"""What others may be off by, times our own bounds: their sums of 16 million f32 are less exact, and no mistake."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for. `limit`: seconds of timing a row, all systems together."""

    device: str
    repetitions: int
    limit: float
    only: str
    systems: Sequence[str]
    cpu_time: bool

    @property
    def clock(self) -> Callable[[], float]:
        return time.thread_time if self.cpu_time else time.perf_counter

    def setting(self) -> Setting:
        from lossc.runtime.device import from_queue, select

        device = select(self.device)
        if not self.cpu_time:
            return Setting(device, device.handle.max_compute_units)
        queue = device.local_thread_queue
        if queue is None:
            raise SystemExit(f"{device} does not run kernels in the calling thread: leave out --cpu-time")
        return Setting(from_queue(queue), 1)


def rows(options: Options) -> Iterator[Row]:
    """One row a case."""
    setting = options.setting()
    rates = measure_rates(setting.device, options.clock)
    for case in CASES:
        if options.only in case.name:
            yield {"name": case.name, "rates": rates, **measure(case, setting, options, rates)}


def measure(case: Case, setting: Setting, options: Options, rates: dict[str, float]) -> dict[str, Any]:
    """For each system its figures, or why there are none; and what no system can go below.

    What writes into arrays that are there takes turns with the copy alone, all by the device's own threads: without a
    pause (cores that slept take 5 ms in place of 3.3); both meet the same state of a memory which others use too.
    What makes new arrays takes turns after that.
    """
    data = make_data(case)
    calls, figures = prepare(case, data, {name: SYSTEMS[name] for name in options.systems}, setting)
    into_old = {"copy": copy(data, setting), **{name: call for name, call in calls.items() if name in INTO_OLD}}
    into_new = {name: call for name, call in calls.items() if name not in INTO_OLD}
    timings = interleaved(into_old, len(data.sets), 4 * options.repetitions, options.clock, options.limit, pause=0)
    moved = timings.pop("copy").median
    timings |= interleaved(into_new, len(data.sets), options.repetitions, options.clock, options.limit)
    arithmetic = arithmetic_seconds(case.shape, case.loss.work, rates)
    for name, timing in timings.items():
        figures[name] |= timing.figures()
    del into_old, into_new
    for name in list(calls):
        figures[name] |= {"page_faults": page_faults(calls[name]), "peak_bytes": peak_memory(calls, name)}
    return {
        "fewest_bytes": data.fewest_bytes, "copy_ms": moved * 1e3, "arithmetic_ms": arithmetic * 1e3,
        "floor_ms": floor_seconds(moved, arithmetic) * 1e3, "systems": figures,
    }  # fmt: skip


def prepare(
    case: Case, data: Data, systems: dict[str, Callable[[Case, Data, Setting], Call]], setting: Setting
) -> tuple[dict[str, Call], dict[str, dict[str, Any]]]:
    """The systems' calls that give the right answer, and what is known of each system so far."""
    calls: dict[str, Call] = {}
    figures: dict[str, dict[str, Any]] = {}
    for name, system in systems.items():
        started = time.perf_counter()
        try:
            call = system(case, data, setting)
            result = call(0)
            first = time.perf_counter() - started
            found = errors(data, result, 1 if name in OURS else TOLERANCE_OF_PEERS)
            del result
        except Absent:
            continue
        except ModuleNotFoundError as error:
            figures[name] = {"fault": f"not installed: {error.name}"}
            continue
        except Exception as error:  # one system's failure on one row is a finding; the other rows are still wanted
            figures[name] = {"fault": f"failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}"}
            continue
        figures[name] = {"compile_seconds": first, "error": found.gradient, "error_of_loss": found.loss}
        if found.fault is not None:
            figures[name]["fault"] = f"incorrect: {found.fault}"
            continue
        if name == "torch.compile" and (left := left_uncompiled(dynamo_counters())):
            figures[name]["note"] = left
        calls[name] = call
    return calls, figures


def table(rows: Sequence[Row]) -> str:
    return losses_table(rows, list(SYSTEMS))
