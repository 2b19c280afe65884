"""Which candidate is the fastest: a search that ends soon.

In: candidates, a way to measure one beside the first, the least time that is possible, a clock, what an earlier search
found that had no time for all. Out: what is known of them then, with the best. The first candidate is what is taken
without a search: another one has to be better by more than noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lossc.compiler.decisions import Candidate
from lossc.ir.frozen import frozen

Measure = Callable[[Candidate, float], "Pair | None"]
"""Seconds of a candidate, and of the first one meanwhile. The second argument is when to stop, by the clock. None
where the candidate is no other program than one before, or does not work."""

MOST_CANDIDATES = 10
ENOUGH = 0.95
"""Of copy speed: there is nothing left to win."""
WORTH = 0.97
"""Of the first candidate's time: a difference below that is noise."""


@frozen
class Pair:
    """Seconds of a candidate, and of the first candidate in turn with it."""

    seconds: float
    usual: float


@frozen
class Outcome:
    """What is known of a kernel's candidates: the seconds of the first, and of those that were tried, in order, the
    time over that of the first. None: no other program than one before, or it does not work. Where the search is not
    `complete` one of those that are left may be better."""

    usual_seconds: float
    tried: tuple[tuple[Candidate, float | None], ...]
    complete: bool = True

    @property
    def ratios(self) -> list[tuple[Candidate, float]]:
        """Of those that were measured."""
        return [(candidate, ratio) for candidate, ratio in self.tried if ratio is not None]

    @property
    def best(self) -> tuple[Candidate, float]:
        """The candidate to take, and its time over that of the first."""
        better = [pair for pair in self.ratios if pair[1] < WORTH]
        return min(better, key=lambda pair: pair[1], default=self.ratios[0])

    @property
    def candidate(self) -> Candidate:
        return self.best[0]

    @property
    def seconds(self) -> float:
        return self.best[1] * self.usual_seconds

    def __str__(self) -> str:
        number = len(self.ratios)
        count = f"{number} candidate{'s' * (number != 1)}{'' if self.complete else ' so far'}"
        return f"measurement: {_told(self.seconds)}, default {_told(self.usual_seconds)}, {count}"


def _told(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def search(
    candidates: Sequence[Candidate], measure: Measure, fastest_possible: float, deadline: float,
    clock: Callable[[], float], before: Outcome | None = None,
) -> Outcome:  # fmt: skip
    """Measure candidates in order until ten are done, the deadline is over, or one runs at 95 % of copy speed. It goes
    on from what was found `before`, and measures one more at least."""
    found = _first(candidates[0], measure, deadline) if before is None else replace(before, complete=False)
    fewest = len(found.ratios) + (before is not None)
    for candidate in candidates[len(found.tried) :]:
        if fastest_possible >= ENOUGH * found.seconds or len(found.ratios) == MOST_CANDIDATES:
            break
        if clock() >= deadline and len(found.ratios) >= fewest:
            return found
        pair = measure(candidate, deadline)
        # What else the machine does meanwhile slows down both.
        ratio = None if pair is None else pair.seconds / pair.usual
        found = replace(found, tried=(*found.tried, (candidate, ratio)))
    return replace(found, complete=True)


def _first(usual: Candidate, measure: Measure, deadline: float) -> Outcome:
    first = measure(usual, deadline)
    if first is None:
        raise ValueError(f"{usual}, which is taken without a search, cannot be measured")
    return Outcome(first.seconds, ((usual, 1.0),), complete=False)
