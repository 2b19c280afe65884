"""Candidates of the fused kernels of a program, run on real data beside what the cost model takes.

In: a compiled program, a device, its inputs. Out: seconds of one kernel with a candidate, and meanwhile without it.
Only candidates whose results are those of the usual program, up to rounding, have a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lossc.compiler import Compiled
from lossc.compiler.decisions import Candidate, Decision
from lossc.compiler.reports.report import assumed_sizes
from lossc.differences import differs, relative_difference
from lossc.ir.diagnostics import LosscError
from lossc.ir.program import Launch, choose_variant
from lossc.runtime.device import Device
from lossc.runtime.execute import Given
from lossc.runtime.stopwatch import Clock, Stopwatch, placed

from .search import Measure, Pair

ROUNDS, FEWEST_ROUNDS = 40, 3
SECONDS = 0.1
"""For one candidate, about, beside its build."""
SLOW = 1.5
"""After the fewest rounds a candidate that takes so many times as long as the usual one is done with."""


class Trials:
    """A program with its inputs, ready to be run with some kernel lowered otherwise. Raises CheckFailed where the data
    break a rule of the program."""

    def __init__(
        self, compiled: Compiled, device: Device, given: Sequence[Given], sizes: Mapping[str, int], clock: Clock
    ) -> None:
        self.device, self.given, self.sizes, self.clock = device, placed(device, given), sizes, clock
        self._named = {name: size for name, size in sizes.items() if name in compiled.program.dims}
        self.decide(compiled, {})
        self.expected = self._run(self.usual)

    def decide(self, compiled: Compiled, decisions: Mapping[str, Decision]) -> None:
        """What the candidates of further kernels are measured in."""
        self.decisions = dict(decisions)
        self.compiled = compiled.decided(self.decisions) if decisions else compiled
        self.usual = self._stopwatch(self.compiled)

    def kernel_seconds(self, deadline: float) -> dict[str, float]:
        """Seconds of every kernel as it is."""
        runs = [self._time(self.usual) for _ in self._rounds(deadline)]
        return {name: min(run[name] for run in runs) for name in runs[0]}

    def measure(self, kernel: str, before: Sequence[Candidate]) -> Measure:
        """How `search` measures the candidates of a kernel; those `before` were tried in an earlier process."""
        seen = [self._launches(self._with(kernel, candidate), kernel) for candidate in before]

        def measure(candidate: Candidate, deadline: float) -> Pair | None:
            other = self._with(kernel, candidate)
            launches = self._launches(other, kernel)
            if launches in seen:
                return None
            seen.append(launches)
            stopwatch = self._stopwatch(other)
            try:
                wrong = self._difference(self._run(stopwatch))
            except LosscError as error:
                wrong = f"fails: {error}"
            if wrong is not None:
                warnings.warn(f"{candidate} is not taken for {kernel}: it {wrong}. Please report this", RuntimeWarning,
                              stacklevel=2)  # fmt: skip
                return None
            return self._beside(kernel, stopwatch, deadline)

        return measure

    def _with(self, kernel: str, candidate: Candidate) -> Compiled:
        return self.compiled.decided({**self.decisions, kernel: Decision(candidate, "a trial")})

    def _beside(self, kernel: str, stopwatch: Stopwatch, deadline: float) -> Pair:
        best = Pair(np.inf, np.inf)
        for number in self._rounds(deadline):
            seconds, usual = self._time(stopwatch)[kernel], self._time(self.usual)[kernel]
            # Whatever disturbs a run only adds to its time.
            best = Pair(min(best.seconds, seconds), min(best.usual, usual))
            if number >= FEWEST_ROUNDS and best.seconds > SLOW * best.usual:
                break
        return best

    def _rounds(self, deadline: float) -> Iterator[int]:
        """At least one, a few unless they take long, then as many as there is time for."""
        soon = self.clock() + SECONDS
        for number in range(1, ROUNDS + 1):
            yield number
            # One run alone may be the one that something else disturbs.
            if self.clock() >= (max(deadline, soon) if number < FEWEST_ROUNDS else min(deadline, soon)):
                return

    def _stopwatch(self, compiled: Compiled) -> Stopwatch:
        return Stopwatch(compiled.program, self.device, compiled.sources(), compiled.build_options, self.clock)

    def _run(self, stopwatch: Stopwatch) -> list[np.ndarray]:
        return stopwatch.run(self.given, None, self._named)

    def _time(self, stopwatch: Stopwatch) -> dict[str, float]:
        return stopwatch.time_steps(self.given, self._named)

    def _launches(self, compiled: Compiled, kernel: str) -> tuple[Launch, ...]:
        """What runs at these sizes."""
        step = next(step for step in compiled.program.steps if step.name == kernel)
        return choose_variant(step.variants, assumed_sizes(compiled.program, self.sizes)).launches

    def _difference(self, results: Sequence[np.ndarray]) -> str | None:
        types = [type_.dtype for _, type_ in self.compiled.program.outputs]
        names = [name for name, _ in self.compiled.program.outputs]
        for name, dtype, found, expected in zip(names, types, results, self.expected):
            error = relative_difference(found, expected)
            if differs(dtype, error):
                return f"gives another `{name}`, by {error:.1e}"
        return None
