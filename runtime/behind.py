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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..ir.diagnostics import CheckFailed, DeviceError, LosscError
from .binding import Given
from .plan import Plan

if TYPE_CHECKING:
    from .execute import Executable

Result = TypeVar("Result")


class BrokenOff(DeviceError):
    """The driver refused something when others may have begun to write to their memory."""


class _Planned(NamedTuple):
    executable: Executable
    plan: Plan
    arguments: Mapping[str, Given]


def run_behind(
    first: Executable, plan: Plan, given: Sequence[Given], behind: Sequence[Executable], done: Callable[[], None] | None
) -> list[Any]:
    """Run `first` and the others behind it. `done` is called when all have run and no check has failed; it may be
    called twice. Interrupts are raised afterwards. Raises BrokenOff, DeviceError, CheckFailed."""
    others = [_Planned(other, other._plan(other._of_thread.runs, (), None), {}) for other in behind]
    first._binding.settle(given)
    arguments = first._binding.bind(plan, given)
    first._binding.bind_fresh(plan, given, arguments, {})
    parts = list(_parts([_Planned(first, plan, arguments), *others]))
    results: list[Any] = []
    interrupts: list[BaseException] = []
    for number, part in enumerate(parts):

        def finish(part: Sequence[_Planned] = part, last: bool = number == len(parts) - 1) -> list[list[Any]]:
            failures = [one.executable._binding.failure(one.plan, one.arguments) for one in part]
            if any(failures):
                raise next(filter(None, failures))
            found = [_handed_out(one) for one in part]
            if last and done is not None:
                done()
            return found

        _launch(first, part, number > 0, interrupts)
        try:
            found = _to_the_end(finish, interrupts)
        except CheckFailed:
            if interrupts:
                raise interrupts[0] from None
            raise
        if number == 0:
            results = found[0]
    if interrupts:
        raise interrupts[0]
    return results


def _parts(planned: Sequence[_Planned]) -> Iterator[list[_Planned]]:
    """What is launched together. Some fixed outputs are copies, made when the kernels are done: what follows may read
    them."""
    if all(len(one.plan.outputs) == len(one.plan.free_outputs) for one in planned[:-1]):
        yield list(planned)
        return
    part: list[_Planned] = []
    for one in planned:
        part.append(one)
        if len(one.plan.outputs) > len(one.plan.free_outputs):
            yield part
            part = []
    if part:
        yield part


def _launch(first: Executable, part: Sequence[_Planned], begun: bool, interrupts: list[BaseException]) -> None:
    """Launch all kernels and wait for them. An interrupt before the first one is raised, unless something has `begun`;
    later ones come into `interrupts`."""
    plans = [one.plan for one in part]
    queue, synchronous = plans[0].queue, plans[0].synchronous
    launches: list[tuple[Any, ...]] = []
    for plan in plans:
        if synchronous:
            # What was launched so far is done: any queue will do.
            queue, synchronous = plan.queue, plan.synchronous
        launches += plan.calls if plan.queue is queue else [(queue, *launch) for launch in plan.launches]
    left = iter(launches)
    try:
        while True:
            try:
                # One call of C, in which no signal handler of Python's comes to its turn.
                deque(starmap(first._enqueue, left), 0)
                if not synchronous:
                    queue.finish()
                break
            except first._driver_error:
                raise
            except BaseException as interrupt:
                if not begun and length_hint(left) == len(launches):
                    raise
                interrupts.append(interrupt)
    except first._driver_error as error:
        with suppress(first._driver_error):
            queue.finish()
        broken = first._refused(plans[0], error)
        if begun or len(launches) - length_hint(left) > len(plans[0].launches):
            raise BrokenOff(broken.diagnostics) from error
        raise broken from error
    if not synchronous:
        for plan in plans:
            while plan.unsaved:
                plan.unsaved.pop().store()


def _handed_out(one: _Planned) -> list[Any]:
    if not one.plan.outputs:
        return []
    binding = one.executable._binding
    if not one.executable.device.info.shared_pointers:
        for fresh in one.plan.fresh:
            binding.on_host(one.arguments[fresh.root])
    return binding.handed_out(one.plan, one.arguments, {})


def _to_the_end(action: Callable[[], Result], interrupts: list[BaseException]) -> Result:
    """Do something, and where an interrupt comes, once more."""
    try:
        return action()
    except LosscError:
        raise
    except BaseException as interrupt:
        interrupts.append(interrupt)
        return action()
