"""`lossc bench`: how long a program takes, beside a copy of as many bytes as it must move.

In: a program with inputs. Out: the median of many calls with the 10th and 90th percentile, and the fraction of the
device's copy bandwidth that this is. Program and copy take turns, so that a machine that is busy slows down both.
Or, kernel by kernel, the time that each strategy takes, beside what the cost model says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import typer

from lossc.compiler import Compiled, compile_module
from lossc.compiler.decisions import Candidate
from lossc.compiler.reports.report import total_counts
from lossc.compiler.reports.traffic import bytes_needed, traffic
from lossc.compiler.strategies import costs
from lossc.ir.frozen import frozen
from lossc.ir.types import DimLike, dim_value
from lossc.reports.kernels import total_moved
from lossc.reports.words import counted
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.memory import POOL, argument_for
from lossc.tuning.copy_speed import copy_seconds, copying_module
from lossc.tuning.trials import Trials

from . import options
from .console import note, say, say_json, say_table
from .programs import device_to_run_on, load_module, with_gradients
from .run import gather_inputs
from .tuned import ready_to_run

FEWEST_ROUNDS = 5
MOST_ROUNDS = 10_000
WARM_UP = 3
MOST_SECONDS = 2.0
"""For one strategy, once it is built."""


@frozen
class Timing:
    """Seconds a call."""

    median: float
    p10: float
    p90: float
    calls: int


def bench(
    file: options.Program,
    inputs: options.Inputs,
    bind: options.Bind,
    params: options.Params = None,
    random: Annotated[
        int, typer.Option("--random", metavar="SEED", min=0, help="The seed of inputs that are not given.")
    ] = 0,
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.RunDevice = None,
    strategy: options.Strategy = None,
    tune: options.Tune = None,
    strategies: Annotated[
        bool, typer.Option("--strategies", help="Compare the strategies that apply to each fused kernel.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.0, max=600.0, help="How long to measure, about.")
    ] = 1.0,
    json: options.Json = False,
) -> None:
    """Measure how long a program takes.

    Prints the time of a call and the fraction of the device's copy bandwidth: the bytes that any program must move,
    over the bytes that a copying kernel moves in the same time. What is not given is random; results go to memory that
    is there already. --strategies prints the time of every strategy beside its cost, the choice with a star.
    """
    module = load_module(file, function)
    arrays, sizes = gather_inputs(module, inputs, params, bind, random)
    chosen = device_to_run_on(device)
    ready = ready_to_run(with_gradients(module, grad, wrt, of), chosen, strategy, tune, arrays, sizes)
    compiled = ready.levels
    if strategies:
        given = [arrays[name] for name, _ in compiled.program.inputs]
        show_strategies(list(compare_strategies(compiled, chosen, given, sizes)), chosen, json)
        return
    needed, moved = _total(bytes_needed(compiled), sizes), total_moved(compiled, sizes)
    # A copy of n elements moves 8 n bytes.
    elements = max(1, needed // 8)
    copy = compile_module(copying_module(), chosen.info)
    run = call_of(compiled, chosen, {name: arrays[name] for name, _ in compiled.program.inputs}, sizes)
    run_copy = call_of(copy, chosen, {"x": np.zeros(elements, np.float32)}, {})
    timing, copy_timing = interleaved(run, run_copy, seconds)
    counts = total_counts(compiled, sizes)
    facts = {
        "device": str(chosen), "function": compiled.program.name, "sizes": dict(sizes),
        "fused_kernels": counts["fused-kernels"], "launches": counts["launches"],
        "seconds": vars(timing), "bytes_needed": needed, "bytes_moved": moved,
        "bytes_per_second": needed / timing.median, "copy_seconds": vars(copy_timing),
        "copy_bytes_per_second": 8 * elements / copy_timing.median,
        "floor_seconds": needed / (8 * elements / copy_timing.median),
        "fraction_of_copy": needed / timing.median / (8 * elements / copy_timing.median),
    }  # fmt: skip
    if json:
        say_json(facts)
        return
    note(f"ran on {chosen}")
    bound = "".join(f", {name} = {size}" for name, size in sizes.items())
    say(f"@{facts['function']}: {counted(facts['fused_kernels'], 'fused kernel')}, "
        f"{counted(facts['launches'], 'launch')}{bound}")  # fmt: skip
    say(f"time   {_told(timing)}")
    say(f"copy   {_told(copy_timing)}")
    say(f"bytes  {needed:,} are needed, {moved:,} moved: {facts['bytes_per_second'] / 1e9:.2f} GB/s")
    say(f"floor  {_seconds(facts['floor_seconds'])} for the bytes that are needed, at the copy's "
        f"{facts['copy_bytes_per_second'] / 1e9:.2f} GB/s: this is {facts['fraction_of_copy']:.0%} "
        "of the device's copy bandwidth")  # fmt: skip


def call_of(
    compiled: Compiled, device: Device, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> Callable[[], Any]:
    """One run of a program, with inputs and results where the device has them."""
    executable = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    known = {name: size for name, size in sizes.items() if name in compiled.program.dims}
    given = [arrays[name] for name in executable.free_inputs]
    if device.info.shared_pointers:
        results = executable.run(given, None, known)
        names = [name for name, _ in compiled.program.outputs]
        out = {name: POOL.empty(array.shape, array.dtype) for name, array in zip(names, results)}
        return lambda: executable.run(given, out, known)
    there = [argument_for(device, array) for array in given]

    def run() -> None:
        executable.start(there, known)
        executable.settle()

    return run


def interleaved(first: Callable[[], Any], second: Callable[[], Any], seconds: float) -> tuple[Timing, Timing]:
    """Times of two functions that are called in turn for about so many seconds."""
    for _ in range(WARM_UP):
        first()
        second()
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while len(times[0]) < FEWEST_ROUNDS or (time.perf_counter() < end and len(times[0]) < MOST_ROUNDS):
        for function, taken in zip((first, second), times):
            started = time.perf_counter()
            function()
            taken.append(time.perf_counter() - started)
    return _timing(times[0]), _timing(times[1])


def _timing(taken: list[float]) -> Timing:
    p10, median, p90 = np.percentile(taken, (10, 50, 90)).tolist()
    return Timing(median, p10, p90, len(taken))


def _total(terms: list[DimLike], sizes: Mapping[str, int]) -> int:
    return sum(dim_value(term, sizes) for term in terms)


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3f} us"


def _told(timing: Timing) -> str:
    unit, scale = ("ms", 1e3) if timing.median >= 1e-3 else ("us", 1e6)
    return (f"{timing.median * scale:.3f} {unit} (p10 {timing.p10 * scale:.3f}, p90 {timing.p90 * scale:.3f}, "
            f"{timing.calls} calls)")  # fmt: skip


# --- strategies ---------------------------------------------------------------------------------------------


@frozen
class StrategyFigures:
    """What a strategy costs and takes for one fused kernel; no seconds where it makes the same program as one before,
    or none that works."""

    kernel: str
    strategy: str
    cost: float
    chosen: bool
    seconds: float | None
    """`ratio` times the median of what the chosen one took."""
    ratio: float | None
    """Of the time that the chosen one took meanwhile."""
    fraction_of_copy: float | None


def compare_strategies(
    compiled: Compiled, device: Device, given: Sequence[np.ndarray], sizes: Mapping[str, int]
) -> Iterator[StrategyFigures]:
    """Every strategy that applies to each fused kernel, the cheapest first."""
    clock = time.perf_counter
    trials = Trials(compiled, device, given, sizes, clock)
    fewest = {kernel.name: kernel.fewest for kernel in traffic(compiled, sizes).kernels}
    for name, fused in compiled.lowered.fused.items():
        found, _ = costs(fused, device.info)
        measure = trials.measure(name, [])
        floor = copy_seconds(device, fewest[name], clock)
        choice = compiled.lowered.choices[name].strategy
        pairs = {strategy: measure(Candidate(strategy), clock() + MOST_SECONDS) for strategy in found}
        # Each took turns with the choice, at different times: their ratios can be compared, their seconds cannot.
        usual = float(np.median([pair.usual for pair in pairs.values() if pair] or [np.nan]))
        for strategy, cost in sorted(found.items(), key=lambda pair: pair[1]):
            pair = pairs[strategy]
            ratio = 1.0 if pair and strategy == choice else pair and pair.seconds / pair.usual
            yield StrategyFigures(
                name, strategy, cost, strategy == choice, ratio and ratio * usual, ratio,
                ratio and floor / (ratio * usual),
            )  # fmt: skip


def show_strategies(found: Sequence[StrategyFigures], device: Device, json: bool) -> None:
    if json:
        say_json({"device": str(device), "strategies": [vars(each) for each in found]})
        return
    note(f"ran on {device}")
    say_table(("kernel", "", "strategy", "cost", "time", "to the choice", "of copy speed"), [
        (f.kernel, "*" * f.chosen, f.strategy, f"{f.cost:.3f}",
         "-" if f.seconds is None else _seconds(f.seconds), "-" if f.ratio is None else f"{f.ratio:.2f}",
         "-" if f.fraction_of_copy is None else f"{f.fraction_of_copy:.0%}")
        for f in found
    ])  # fmt: skip
