"""Few cases that together have every combination of a few choices: covering arrays, greedily.

In: for each starting point the factors that vary and their choices; a rule for what goes together. Out: cases, in an
order that covers most first. The same input gives the same cases.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Choices = Mapping[str, Sequence[Any]]
Row = dict[str, Any]
Combination = tuple[tuple[str, Any], ...]

TRIES = 40
"""Candidates for each case: the best of them is taken."""

MOST_TRIES = 2000
"""Candidates until a combination counts as impossible."""


def cover(
    starts: Iterable[Choices], allowed: Callable[[Row], bool], strength: int = 2, seed: int = 0,
    wanted: Callable[[Combination], bool] = lambda combination: True,
) -> tuple[list[Row], list[Combination]]:  # fmt: skip
    """Rows that have every allowed (and `wanted`) combination of `strength` choices, and the combinations that no
    allowed row has.

    Each of `starts` maps factors to choices; factors of the same name in several are the same factor.
    """
    generator = random.Random(seed)
    spaces = list(starts)
    missing: dict[Combination, list[Choices]] = {}
    for space in spaces:
        for factors in itertools.combinations(sorted(space), strength):
            for values in itertools.product(*(dict.fromkeys(space[factor]) for factor in factors)):
                combination = tuple(zip(factors, values))
                if wanted(combination):
                    missing.setdefault(combination, []).append(space)
    rows: list[Row] = []
    impossible: list[Combination] = []
    while missing:
        target = next(iter(missing))
        best: Row | None = None
        best_gain = 0
        for attempt in range(MOST_TRIES):
            if attempt >= TRIES and best is not None:
                break
            space = generator.choice(missing[target])
            row = {factor: generator.choice(list(choices)) for factor, choices in space.items()} | dict(target)
            gain = sum(combination in missing for combination in _combinations(row, strength))
            if gain > best_gain and allowed(row):
                best, best_gain = row, gain
        if best is None:
            impossible.append(target)
            del missing[target]
            continue
        rows.append(best)
        for combination in _combinations(best, strength):
            missing.pop(combination, None)
    return rows, impossible


def _combinations(row: Row, strength: int) -> Iterable[Combination]:
    return itertools.combinations(sorted(row.items()), strength)
