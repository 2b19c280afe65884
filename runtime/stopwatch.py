"""How long each step of a program takes on a device.

In: a program as `Executable` takes it, a clock. Out: after each run, the seconds of every step, where those before it
have just run. A run is otherwise like any other, with its checks and its results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from ..ir.integers import evaluate_integer
from ..ir.program import Program, choose_variant, turns
from .device import Device
from .execute import Executable, Given
from .memory import Argument, argument_for
from .plan import Plan

Clock = Callable[[], float]


def placed(device: Device, arrays: Sequence[Given]) -> list[Given]:
    """The same arrays where the device has them, so that runs do not begin with copies."""
    there = device.info.shared_pointers
    return [a if there or isinstance(a, Argument) else argument_for(device, a) for a in arrays]


class Stopwatch(Executable):
    """An executable that waits for each step. `seconds` are those of the last run, by step; a step that is repeated
    counts all its pieces."""

    _may_be_short = False

    def __init__(
        self, program: Program, device: Device, sources: Mapping[str, str], options: str,
        clock: Clock = time.perf_counter,
    ) -> None:  # fmt: skip
        # A launch of several steps says nothing of one of them.
        super().__init__(program.step_by_step, device, sources, options)
        self.seconds: dict[str, float] = {}
        self._clock = clock

    def time_steps(self, given: Sequence[Given], sizes: Mapping[str, int] | None = None) -> dict[str, float]:
        """The seconds of one run whose results stay on the device."""
        if self.device.info.shared_pointers:
            self.run(given, None, sizes)
        else:
            self.start(given, sizes)
            self.settle()
        return self.seconds

    def _launch(self, plan: Plan, wait: bool) -> None:
        steps = self._step_of_each_launch(plan)
        self.seconds = dict.fromkeys(steps, 0.0)
        for name, group in groupby(zip(steps, plan.launches), key=lambda pair: pair[0]):
            some = replace(plan, launches=tuple(launch for _, launch in group))
            started = self._clock()
            super()._launch(some, wait=True)
            self.seconds[name] += self._clock() - started

    def _step_of_each_launch(self, plan: Plan) -> list[str]:
        return [
            turn.step.name
            for turn in turns(self.program, plan.sizes)
            for launch in choose_variant(turn.step.variants, turn.sizes).launches
            if evaluate_integer(launch.global_size, turn.sizes)
        ]
