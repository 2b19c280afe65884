"""Programs that run behind another one, launched as one before anything is waited for.

In: an executable with arrays for its inputs, and executables whose inputs and outputs are all fixed. Out: the results
of the first. Once the first kernel is launched all of it happens, whatever interrupt comes: the memory of the others
lives on, and half of what they do is worse than none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import starmap
from operator import length_hint
from typing import Any, NamedTuple

from ..ir.diagnostics import CheckFailed, DeviceError
from .binding import Given
from .plan import Plan, reset
from .prepared import Prepared

MOST_INTERRUPTS = 4
"""Signals that are there at once, each with a handler that raises something, of which no half is done."""


class BrokenOff(DeviceError):
    """The driver refused something when others may have begun to write to their memory."""


class _Planned(NamedTuple):
    executable: Prepared
    plan: Plan
    arguments: Mapping[str, Given]


class _Part(NamedTuple):
    """Programs that are launched together. `launches` are those that are left."""

    planned: Sequence[_Planned]
    launches: Iterator[tuple[Any, ...]]
    queue: Any
    synchronous: bool


def run_behind(
    first: Prepared, plan: Plan, given: Sequence[Given], behind: Sequence[Prepared], done: Callable[[], None] | None
) -> list[Any]:
    """Run `first` and the others behind it. `done` is called when all have run and no check has failed; it may be
    called twice. Interrupts are raised afterwards. Raises BrokenOff, DeviceError, CheckFailed."""
    others = [_Planned(other, other._plan(other._of_thread.runs, (), None), {}) for other in behind]
    first._binding.settle(given)
    arguments = first._binding.bind(plan, given)
    first._binding.bind_fresh(plan, given, arguments, {})
    run = _Run(first, [*_parts([_Planned(first, plan, arguments), *others])], done)
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


class _Run:
    """All of it, under way."""

    def __init__(self, first: Prepared, parts: Sequence[_Part], done: Callable[[], None] | None) -> None:
        self.first, self.parts = first, parts
        self.results: list[Any] = []
        self.failure: CheckFailed | None = None
        self._done, self._left = done, deque(parts)
        self._launches = self._to_launch()

    @property
    def launched(self) -> int:
        """How many kernels have been, the one among them that the driver refused."""
        return self._launches - self._to_launch()

    def _to_launch(self) -> int:
        return sum([length_hint(part.launches) for part in self.parts])

    def advance(self) -> None:
        """Do what is left: where something broke this off, what is done twice is what does no harm."""
        while self._left and self.failure is None:
            part = self._left[0]
            # One call of C, in which no signal handler of Python's comes to its turn.
            deque(starmap(self.first._enqueue, part.launches), 0)
            if not part.synchronous:
                part.queue.finish()
                for one in part.planned:
                    while one.plan.unsaved:
                        one.plan.unsaved[-1].store()
                        one.plan.unsaved.pop()
            failures = [one.executable._binding.what_failed(one.plan, one.arguments) for one in part.planned]
            self.failure = next(filter(None, failures), None)
            if self.failure is not None:
                break
            found = [_handed_out(one) for one in part.planned]
            if part is self.parts[0]:
                self.results = found[0]
            if part is self.parts[-1] and self._done is not None:
                self._done()
            self._left.popleft()
        if self.failure is not None:
            for one in self._left[0].planned:
                if one.plan.status is not None:
                    reset(one.executable.device, one.plan.status)


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


def _parts(planned: Sequence[_Planned]) -> Iterator[_Part]:
    """What is launched together. Some fixed outputs are copies, made when the kernels are done: what follows may read
    them."""
    if all(len(one.plan.outputs) == len(one.plan.free_outputs) for one in planned[:-1]):
        yield _together(planned)
        return
    part: list[_Planned] = []
    for one in planned:
        part.append(one)
        if len(one.plan.outputs) > len(one.plan.free_outputs):
            yield _together(part)
            part = []
    if part:
        yield _together(part)


def _together(planned: Sequence[_Planned]) -> _Part:
    queue, synchronous = planned[0].plan.queue, planned[0].plan.synchronous
    launches: list[tuple[Any, ...]] = []
    for _, plan, _ in planned:
        if synchronous:
            # What was launched so far is done: any queue will do.
            queue, synchronous = plan.queue, plan.synchronous
        launches += plan.calls if plan.queue is queue else [(queue, *launch) for launch in plan.launches]
    return _Part(planned, iter(launches), queue, synchronous)


def _handed_out(one: _Planned) -> list[Any]:
    if not one.plan.outputs:
        return []
    binding = one.executable._binding
    if not one.executable.device.info.shared_pointers:
        for fresh in one.plan.fresh:
            binding.on_host(one.arguments[fresh.root])
    return binding.handed_out(one.plan, one.arguments, {})
