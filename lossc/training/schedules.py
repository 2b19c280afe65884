"""Learning rates as functions of the step, 0 at the first: what an optimizer takes as `lr`.

In: rates and numbers of steps. Out: plain functions, which compose: `warmup(cosine(1e-3, 900), 100)` or
`sequence((100, linear(0, 1e-3, 100)), (900, cosine(1e-3, 900)))`. A rate is a run-time scalar of the update, so a
schedule compiles nothing again, and one that resumes at a step goes on as if it had never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.other_words import notes_on_training

Schedule = Callable[[int], float]


def constant(rate: float) -> Schedule:
    """The same rate at every step."""
    return lambda step: rate


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """rate factor^(step // every)."""
    _check_steps("step_decay", every=every)
    return lambda step: rate * factor ** (step // every)


def multistep(rate: float, at: Sequence[int], factor: float = 0.1) -> Schedule:
    """rate, multiplied by `factor` from each of the steps `at` on."""
    return lambda step: rate * factor ** sum(step >= milestone for milestone in at)


def exponential(rate: float, factor: float) -> Schedule:
    """rate factor^step."""
    return lambda step: rate * factor**step


def linear(first: float, last: float, steps: int) -> Schedule:
    """From `first` to `last` in a straight line over `steps` steps, `last` from then on."""
    _check_steps("linear", steps=steps)
    return lambda step: first + (last - first) * min(step / steps, 1.0)


def polynomial(rate: float, steps: int, power: float = 1.0, least: float = 0.0) -> Schedule:
    """least + (rate - least) (1 - step / steps)^power, `least` from `steps` on."""
    _check_steps("polynomial", steps=steps)
    return lambda step: least + (rate - least) * (1 - min(step / steps, 1.0)) ** power


def cosine(rate: float, steps: int, least: float = 0.0) -> Schedule:
    """From `rate` to `least` along half a cosine over `steps` steps (Loshchilov and Hutter, 2017), `least` after."""
    _check_steps("cosine", steps=steps)
    return lambda step: least + (rate - least) * _half_cosine(step / steps)


def cosine_restarts(rate: float, steps: int, growth: int = 1, least: float = 0.0) -> Schedule:
    """`cosine` that begins again after `steps` steps, then after `growth` times as many, and so on."""
    _check_steps("cosine_restarts", steps=steps, growth=growth)

    def at(step: int) -> float:
        period = steps
        while step >= period:
            step, period = step - period, period * growth
        return least + (rate - least) * _half_cosine(step / period)

    return at


def one_cycle(
    most: float, steps: int, warm: float = 0.3, first: float = 25.0, last: float = 1e4
) -> Schedule:  # fmt: skip
    """Up to `most` and down again along half cosines (Smith and Topin, 2018).

    It begins at most / first, is at `most` after the share `warm` of the steps, and ends, at step steps - 1, at
    most / first / last. The defaults are torch's.
    """
    _check_steps("one_cycle", steps=steps)
    peak = warm * steps - 1
    if not 0 < peak < steps - 1:
        raise LirError(f"one_cycle: warm = {warm} of {steps} steps leaves no steps to go up or down")
    low = most / first

    def at(step: int) -> float:
        if step <= peak:
            return most + (low - most) * _half_cosine(step / peak)
        return low / last + (most - low / last) * _half_cosine((step - peak) / (steps - 1 - peak))

    return at


def warmup(schedule: Schedule | float, steps: int, first: float = 0.0) -> Schedule:
    """The schedule, which begins at its step 0 after `steps` steps that rise in a straight line from `first` to it."""
    _check_steps("warmup", steps=steps)
    return sequence((steps, linear(first, _as_schedule(schedule)(0), steps)), (1, schedule))


def sequence(*parts: tuple[int, Schedule | float]) -> Schedule:
    """Schedules one after another, each for its number of steps and counting them from 0; the last one goes on."""
    if not parts:
        raise LirError("a sequence of schedules needs at least one")
    known = [(steps, _as_schedule(schedule)) for steps, schedule in parts]
    for steps, _ in known:
        _check_steps("sequence", steps=steps)

    def at(step: int) -> float:
        for steps, schedule in known[:-1]:
            if step < steps:
                return schedule(step)
            step -= steps
        return known[-1][1](step)

    return at


def scaled(schedule: Schedule | float, by: Schedule | float) -> Schedule:
    """The product of two schedules, or of a schedule and a number."""
    one, other = _as_schedule(schedule), _as_schedule(by)
    return lambda step: one(step) * other(step)


def _half_cosine(share: float) -> float:
    """1 at 0, 0 from 1 on."""
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _as_schedule(schedule: Schedule | float) -> Schedule:
    return schedule if callable(schedule) else constant(float(schedule))


def _check_steps(name: str, **numbers: int) -> None:
    for what, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise LirError(f"{name}: {what} must be a whole number from 1, found {number!r}")


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = [other for other, found in globals().items() if getattr(found, "__module__", "") == __name__]
        hints = notes_on_training(name) or did_you_mean(name, known)
        raise AttributeError("; ".join([f"lossc.optim.schedules has no `{name}`", *hints]))
