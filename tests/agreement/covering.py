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


def cover(
    starts: Iterable[Choices], allowed: Callable[[Row], bool], strength: int = 2, seed: int = 0
) -> tuple[list[Row], list[Combination]]:
    """Rows that have every allowed combination of `strength` choices, and the combinations that no allowed row has.

    Each of `starts` maps factors to choices; factors of the same name in several are the same factor.
    """
    generator = random.Random(seed)
    spaces = list(starts)
    wanted: dict[Combination, list[Choices]] = {}
    for space in spaces:
        for factors in itertools.combinations(sorted(space), strength):
            for values in itertools.product(*(space[factor] for factor in factors)):
                wanted.setdefault(tuple(zip(factors, values)), []).append(space)
    rows: list[Row] = []
    impossible: list[Combination] = []
    while wanted:
        target = next(iter(wanted))
        best: Row | None = None
        best_gain = 0
        for _ in range(TRIES):
            space = generator.choice(wanted[target])
            row = {factor: generator.choice(list(choices)) for factor, choices in space.items()} | dict(target)
            if not allowed(row):
                continue
            gain = sum(combination in wanted for combination in _combinations(row, strength))
            if gain > best_gain:
                best, best_gain = row, gain
        if best is None:
            impossible.append(target)
            del wanted[target]
            continue
        rows.append(best)
        for combination in _combinations(best, strength):
            wanted.pop(combination, None)
    return rows, impossible


def _combinations(row: Row, strength: int) -> Iterable[Combination]:
    return itertools.combinations(sorted(row.items()), strength)
