"""Which candidate is the fastest: a search that ends soon.

In: candidates, a way to measure one beside the first, the least time that is possible, a clock. Out: the best of them.
The first candidate is what is taken without a search: another one has to be better by more than noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lossc.compiler.strategies import MOST_CANDIDATES, Candidate

Measure = Callable[[Candidate, float], "Pair | None"]
"""Seconds of a candidate, and of the first one meanwhile. The second argument is when to stop, by the clock. None
where the candidate is no other program than one before, or does not work."""

ENOUGH = 0.95
"""Of copy speed: there is nothing left to win."""
WORTH = 0.97
"""Of the first candidate's time: a difference below that is noise."""


@dataclass(frozen=True)
class Pair:
    """Seconds of a candidate, and of the first candidate in turn with it."""

    seconds: float
    usual: float


@dataclass(frozen=True)
class Outcome:
    """The candidate to take, its seconds, those of the first one, how many were measured, and whether the search came
    to its end: one that the deadline cut off might have found a better one."""

    candidate: Candidate
    seconds: float
    usual_seconds: float
    measured: int
    complete: bool = True

    def __str__(self) -> str:
        count = f"{self.measured} candidate{'s' * (self.measured != 1)}"
        return f"measurement: {_told(self.seconds)}, default {_told(self.usual_seconds)}, {count}"


def _told(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def search(
    candidates: Sequence[Candidate], measure: Measure, fastest_possible: float, deadline: float,
    clock: Callable[[], float],
) -> Outcome:  # fmt: skip
    """Measure candidates in order until ten are done, the deadline is over, or one runs at 95 % of copy speed. The
    first is always measured."""
    usual = candidates[0]
    first = measure(usual, deadline)
    if first is None:
        raise ValueError(f"{usual}, which is taken without a search, cannot be measured")
    best, best_ratio, measured, complete = usual, 1.0, 1, True
    for candidate in candidates[1:]:
        reached = fastest_possible >= ENOUGH * best_ratio * first.seconds
        if reached or measured == MOST_CANDIDATES:
            break
        if clock() >= deadline:
            complete = False
            break
        pair = measure(candidate, deadline)
        if pair is None:
            continue
        measured += 1
        # What else the machine does meanwhile slows down both.
        ratio = pair.seconds / pair.usual
        if ratio < min(best_ratio, WORTH):
            best, best_ratio = candidate, ratio
    return Outcome(best, best_ratio * first.seconds, first.seconds, measured, complete)
