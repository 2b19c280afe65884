"""Measured choices for all fused kernels of a program that has launches for each. Where one launch does all of it
(sizes for a lone work-item, or a program that goes block by block) nothing is measured.

In: a compiled program, a device, inputs. Out: the program with the fastest candidate of each kernel, from memory or
from a search of at most two seconds in all. What there was no time for is left to the cost model, and to the next time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lossc.compiler import Compiled
from lossc.compiler.decisions import Candidate, Decision
from lossc.compiler.reports.traffic import traffic
from lossc.compiler.strategies import candidates
from lossc.runtime.device import Device
from lossc.runtime.execute import Given
from lossc.runtime.stopwatch import Clock

from .copy_speed import copy_seconds
from .kernels import kernels_in_turn
from .memory import kernel_key, recall, remember, remembered, share_key, write
from .search import Outcome, search
from .trials import Trials

SECONDS = 2.0
LEAST_SHARE = 0.05
"""Of a program's time: kernels that take less are left to the cost model. In another program they may take more."""
NEXT_TO_NOTHING = {"share": "next to nothing"}
"""What is written of such a kernel."""


class Tuned(NamedTuple):
    """A program with its decisions. They are `final` where the next process has nothing left to measure."""

    compiled: Compiled
    decisions: Mapping[str, Decision]
    final: bool


def tune(
    compiled: Compiled, device: Device, given: Sequence[Given], sizes: Mapping[str, int],
    clock: Clock = time.perf_counter,
) -> Tuned:  # fmt: skip
    """The same program with measured choices. `given` are its inputs in order, `sizes` those of its dimension names.

    Raises CheckFailed where the inputs break a rule of the program and nothing is remembered of it.
    """
    options: dict[str, tuple[Candidate, ...]] = {}
    keys: dict[str, str] = {}
    for name in kernels_in_turn(compiled.program, sizes):
        fused = compiled.lowered.fused[name]
        options[name] = candidates(fused, device.info, compiled.strategy)
        keys[name] = kernel_key(device, fused.schedule.written, sizes, options[name])
    shares = {name: share_key(device, key, keys.values()) for name, key in keys.items()}
    before = {name: found for name, key in keys.items() if (found := recall(key, options[name])) is not None}
    unfinished = {
        name: several for name, several in options.items()
        if len(several) > 1
        and not (name in before and before[name].complete)
        and remembered(shares[name]) != NEXT_TO_NOTHING
    }  # fmt: skip
    if not unfinished:
        return _tuned(compiled, before, final=True)
    measured, short = _measured(compiled, device, given, sizes, clock, before, unfinished)
    for name, outcome in measured.items():
        remember(keys[name], outcome)
    for name in short:
        write(shares[name], NEXT_TO_NOTHING)
    final = all(name in short or (name in measured and measured[name].complete) for name in unfinished)
    return _tuned(compiled, {**before, **measured}, final)


def _tuned(compiled: Compiled, outcomes: Mapping[str, Outcome], final: bool) -> Tuned:
    decisions = _decisions(outcomes)
    return Tuned(compiled.decided(decisions), decisions, final)


def _decisions(outcomes: Mapping[str, Outcome]) -> dict[str, Decision]:
    return {name: Decision(outcome.candidate, str(outcome)) for name, outcome in outcomes.items()}


def _measured(
    compiled: Compiled, device: Device, given: Sequence[Given], sizes: Mapping[str, int], clock: Clock,
    before: Mapping[str, Outcome], options: Mapping[str, tuple[Candidate, ...]],
) -> tuple[dict[str, Outcome], list[str]]:  # fmt: skip
    """Search kernel by kernel, the slowest first, each in its share of the time that is left; at least one is brought
    forward. Also the kernels that take next to nothing."""
    deadline = clock() + SECONDS
    known = {name: outcome for name, outcome in before.items() if name not in options}
    trials = Trials(compiled.decided(_decisions(known)), device, given, sizes, clock)
    # Nothing is launched where there is nothing to do.
    seconds = {**dict.fromkeys(options, 0.0), **trials.kernel_seconds(deadline)}
    total = sum(seconds.values())
    fewest = {kernel.name: kernel.fewest for kernel in traffic(compiled, sizes).kernels}
    left = sorted((name for name in options if seconds[name] > LEAST_SHARE * total), key=lambda name: -seconds[name])
    short = [name for name in options if name not in left]
    found: dict[str, Outcome] = {}
    while left and (clock() < deadline or not found):
        share = seconds[left[0]] / sum(seconds[name] for name in left)
        name = left.pop(0)
        until = clock() + share * (deadline - clock())
        floor = copy_seconds(device, fewest[name], clock, seconds[name])
        begun = before.get(name)
        measure = trials.measure(name, [] if begun is None else [candidate for candidate, _ in begun.tried])
        found[name] = search(options[name], measure, floor, until, clock, begun)
        trials.decide(compiled, _decisions({**known, **found}))
    return found, short
