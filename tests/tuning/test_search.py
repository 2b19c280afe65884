"""The search for the fastest candidate, with times that are made up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lossc.compiler.decisions import Candidate
from lossc.tuning.search import ENOUGH, MOST_CANDIDATES, WORTH, Outcome, Pair, search

NAMES = [Candidate(f"s{number}") for number in range(15)]
NO_FLOOR, NO_DEADLINE = 0.0, 1e9


class World:
    """Candidates with their times; measuring one takes a second."""

    def __init__(self, seconds: Mapping[Candidate, float], same: tuple[Candidate, ...] = ()):
        self.seconds, self.same, self.now = seconds, same, 0.0
        self.measured: list[Candidate] = []

    def clock(self) -> float:
        return self.now

    def measure(self, candidate: Candidate, deadline: float) -> Pair | None:
        if candidate in self.same:
            return None
        self.now += 1.0
        self.measured.append(candidate)
        return Pair(self.seconds[candidate], self.seconds[NAMES[0]])

    def search(self, floor: float = NO_FLOOR, deadline: float = NO_DEADLINE, before: Outcome | None = None) -> Outcome:
        return search(tuple(self.seconds), self.measure, floor, deadline, self.clock, before)


def test_the_fastest_is_taken() -> None:
    found = World({NAMES[0]: 4.0, NAMES[1]: 2.0, NAMES[2]: 3.0}).search()
    assert found == Outcome(4.0, ((NAMES[0], 1.0), (NAMES[1], 0.5), (NAMES[2], 0.75)))
    assert (found.candidate, found.seconds) == (NAMES[1], 2.0)
    assert str(found) == "measurement: 2000.00 ms, default 4000.00 ms, 3 candidates"


def test_a_difference_within_noise_changes_nothing() -> None:
    almost = 1.0 * WORTH + 0.001
    assert World({NAMES[0]: 1.0, NAMES[1]: almost}).search().candidate == NAMES[0]
    assert World({NAMES[0]: 1.0, NAMES[1]: WORTH - 0.001}).search().candidate == NAMES[1]


def test_what_slows_down_the_machine_counts_for_both() -> None:
    """The second candidate was measured while everything took three times as long."""

    def measure(candidate: Candidate, deadline: float) -> Pair:
        return Pair(1.0, 1.0) if candidate == NAMES[0] else Pair(2.4, 3.0)

    found = search(NAMES[:2], measure, NO_FLOOR, NO_DEADLINE, lambda: 0.0)
    assert found.candidate == NAMES[1]
    assert found.seconds == pytest.approx(0.8)


def test_at_most_ten_are_measured() -> None:
    world = World({candidate: 0.5**place for place, candidate in enumerate(NAMES)})
    found = world.search()
    assert len(found.ratios) == len(world.measured) == MOST_CANDIDATES == 10
    assert found.complete


def test_what_is_the_same_program_does_not_count() -> None:
    world = World({candidate: 0.5**place for place, candidate in enumerate(NAMES)}, same=tuple(NAMES[1:4]))
    found = world.search()
    assert len(found.ratios) == MOST_CANDIDATES
    assert world.measured == [NAMES[0], *NAMES[4:13]]
    assert found.tried[1:4] == tuple((name, None) for name in NAMES[1:4])


def test_it_ends_at_its_deadline() -> None:
    world = World({candidate: 0.5**place for place, candidate in enumerate(NAMES)})
    found = world.search(deadline=3.0)
    assert found.candidate == NAMES[2]
    assert not found.complete
    assert world.measured == NAMES[:3]


def test_a_deadline_after_the_last_candidate_cuts_nothing_off() -> None:
    assert World({NAMES[0]: 2.0, NAMES[1]: 1.0}).search(deadline=2.0).complete


def test_without_time_the_first_is_measured() -> None:
    world = World({NAMES[0]: 2.0, NAMES[1]: 1.0})
    found = world.search(deadline=0.0)
    assert found == Outcome(2.0, ((NAMES[0], 1.0),), complete=False)
    assert str(found) == "measurement: 2000.00 ms, default 2000.00 ms, 1 candidate so far"


def test_what_was_cut_off_goes_on() -> None:
    """By one candidate at least, whatever the time: so it ends, and finds what a search without interruption finds."""
    seconds = {candidate: 0.5**place for place, candidate in enumerate(NAMES)}
    same = (NAMES[2], NAMES[5])
    whole = World(seconds, same).search()
    world, found, searches = World(seconds, same), None, 0
    while found is None or not found.complete:
        found = world.search(deadline=0.0, before=found)
        searches += 1
    assert found == whole
    assert world.measured == World(seconds, same).measured + [name for name in NAMES[:12] if name not in same]
    assert searches <= MOST_CANDIDATES + len(same) + 1


def test_a_finished_search_measures_nothing() -> None:
    world = World({NAMES[0]: 2.0, NAMES[1]: 1.0})
    found = world.search()
    assert world.search(before=found) == found
    assert world.measured == NAMES[:2]


@pytest.mark.parametrize(("floor", "measured"), [(ENOUGH * 4.0, 1), (ENOUGH * 3.0, 2), (ENOUGH * 1.9, 3)])
def test_it_ends_at_95_percent_of_copy_speed(floor: float, measured: int) -> None:
    world = World({NAMES[0]: 4.0, NAMES[1]: 3.0, NAMES[2]: 2.0})
    found = world.search(floor=floor, deadline=measured)
    assert len(found.ratios) == measured
    assert found.complete
