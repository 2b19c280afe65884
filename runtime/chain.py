"""Programs that run one after another, launched as one before anything is waited for.

In: an executable with arrays for its inputs, and executables to run then, whose inputs and outputs are all fixed. Out:
the results of the first. Once the first kernel is launched all of it happens, whatever interrupt comes: the memory of
the others lives on, and half of what they do is worse than none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import starmap
from operator import length_hint
from typing import Any, NamedTuple

from ..ir.diagnostics import CheckFailed, DeviceError
from .binding import Bound, Given
from .outcome import handed_out, what_failed
from .plan import Plan
from .prepared import Prepared

MOST_INTERRUPTS = 4
"""Signals that are there at once, each with a handler that raises something, of which no half is done."""
MOST_CHAINS = 16
"""Chains that a plan keeps. A step has three: what adds a batch, the first and others, and what updates."""

NOTHING = Bound({}, [])
"""What a program uses whose inputs and outputs are all fixed."""


class BrokenOff(DeviceError):
    """The driver refused something when others may have begun to write to their memory."""


class _Part(NamedTuple):
    """Those of a chain's programs that are launched together."""

    programs: slice
    calls: tuple[tuple[Any, ...], ...]
    queue: Any
    synchronous: bool


class Chain(NamedTuple):
    """What follows a plan, which keeps it, and how all of it is launched."""

    followers: tuple[tuple[Prepared, Plan, Bound], ...]
    parts: tuple[_Part, ...]


def run_chain(
    first: Prepared, plan: Plan, given: Sequence[Given], then: Sequence[Prepared], done: Callable[[], None] | None
) -> list[Any]:
    """Run `first`, `then` the others. `done` is called when all have run and no check has failed; it may be called
    twice. Interrupts are raised afterwards. Raises BrokenOff, DeviceError, CheckFailed."""
    run = _Run(first, plan, given, _chain(plan, then), done)
    interrupts: list[BaseException] = []
    try:
        _to_the_end(run, interrupts, MOST_INTERRUPTS)
    except (first._driver_error, DeviceError) as error:
        for part in run.parts:
            with suppress(first._driver_error):
                part.queue.finish()
        told = error.diagnostics if isinstance(error, DeviceError) else first._refused(plan, error).diagnostics
        kind = BrokenOff if run.launched > len(plan.launches) else DeviceError
        raise kind(told) from error
    if interrupts:
        raise interrupts[0]
    if run.failure is not None:
        raise run.failure
    return run.results


def _chain(plan: Plan, then: Sequence[Prepared]) -> Chain:
    """The plan's chain with these programs: made when it is first asked for, and when one of them has another plan."""
    followers = tuple([(one, one._plan(one._of_thread.runs, (), None), NOTHING) for one in then])
    for chain in plan.chains:
        if chain.followers == followers:
            return chain
    if len(plan.chains) >= MOST_CHAINS:
        plan.chains.clear()
    chain = Chain(followers, tuple(_parts((plan, *[follower for _, follower, _ in followers]))))
    plan.chains.append(chain)
    return chain


class _Run:
    """All of it, under way."""

    def __init__(
        self, first: Prepared, plan: Plan, given: Sequence[Given], chain: Chain, done: Callable[[], None] | None
    ) -> None:  # fmt: skip
        self.first, self.parts = first, chain.parts
        self.results: list[Any] = []
        self.failure: CheckFailed | None = None
        self._programs = ((first, plan, first._binding.bind(plan, given)), *chain.followers)
        self._done, self._finished = done, 0
        self._launches: list[Iterator[tuple[Any, ...]]] = [iter(part.calls) for part in chain.parts]

    @property
    def launched(self) -> int:
        """How many kernels have been, the one among them that the driver refused."""
        return sum(len(part.calls) - length_hint(left) for part, left in zip(self.parts, self._launches))

    def advance(self) -> None:
        """Do what is left: where something broke this off, what is done twice is what does no harm."""
        while self._finished < len(self.parts) and self.failure is None:
            part = self.parts[self._finished]
            programs = self._programs[part.programs]
            # One call of C, in which no signal handler of Python's comes to its turn.
            deque(starmap(self.first._enqueue, self._launches[self._finished]), 0)
            if not part.synchronous:
                part.queue.finish()
                for _, plan, _ in programs:
                    plan.save()
            for one, plan, bound in programs:
                if plan.status is not None and self.failure is None:
                    self.failure = what_failed(one._loaded, plan, bound)
            if self.failure is not None:
                break
            for one, plan, bound in programs:
                if plan.outputs:
                    handed = handed_out(one._loaded, plan, bound)
                    self.results = handed if one is self.first else self.results
            if self._finished == len(self.parts) - 1 and self._done is not None:
                self._done()
            self._finished += 1
        if self.failure is not None:
            for _, plan, _ in self._programs[self.parts[self._finished].programs]:
                if plan.status is not None:
                    plan.status.reset()


def _to_the_end(run: _Run, interrupts: list[BaseException], more: int) -> None:
    """Advance until all is done. What comes before the first launch is raised, later interrupts come into `interrupts`:
    what is raised here is not ours, but for what the driver says."""
    try:
        if more:
            _to_the_end(run, interrupts, more - 1)
        else:
            run.advance()
    except run.first._driver_error:
        raise
    except BaseException as interrupt:
        if not run.launched:
            raise
        # The next one may come in any of these lines: the caller is this function, too.
        interrupts.append(interrupt)
        run.advance()


def _parts(plans: Sequence[Plan]) -> Iterator[_Part]:
    """What is launched together. Some fixed outputs are copies, made when the kernels are done: what follows may read
    them."""
    first = 0
    for stop, plan in enumerate(plans, 1):
        if stop == len(plans) or len(plan.outputs) > len(plan.free_outputs):
            yield _together(plans, first, stop)
            first = stop


def _together(plans: Sequence[Plan], first: int, stop: int) -> _Part:
    queue, synchronous = plans[first].queue, plans[first].synchronous
    calls: list[tuple[Any, ...]] = []
    for plan in plans[first:stop]:
        if synchronous:
            # What was launched so far is done: any queue will do.
            queue, synchronous = plan.queue, plan.synchronous
        calls += plan.calls if plan.queue is queue else [(queue, *launch) for launch in plan.launches]
    return _Part(slice(first, stop), tuple(calls), queue, synchronous)
