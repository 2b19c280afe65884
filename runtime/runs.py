"""What the runs of one thread have of their own.

In: a device. Out: `Runs`: plans by shapes, memory for their temporaries, and the run that was started and not
waited for. A plan is for one run at a time: its kernel objects hold the arguments. So a run that begins in the middle
of another of the same thread, in a signal handler or a finalizer, has all of this for itself.
"""

from __future__ import annotations

import threading
from typing import Any

from .device import Device
from .plan import Plan
from .temporaries import Temporaries


class Runs:
    """`busy` while a run uses this; `planning` counts the plans that are being made, one in the middle of another."""

    __slots__ = ("_device", "_inner", "busy", "pending", "planning", "plans", "temporaries")

    def __init__(self, device: Device) -> None:
        self.busy, self.planning = False, 0
        self.plans: dict[Any, Plan] = {}
        self.temporaries = {where: Temporaries(device, where, self.plans.clear) for where in (False, True)}
        self.pending: Any = None
        self._device = device
        self._inner: Runs | None = None

    def inside(self) -> Runs:
        """What a run has that begins in the middle of these."""
        found = self
        while found.busy:
            if found._inner is None:
                found._inner = Runs(found._device)
            found = found._inner
        return found

    def forget(self) -> None:
        """Let go of all plans."""
        self.plans.clear()
        if self._inner is not None:
            self._inner.forget()


class OfThread(threading.local):
    """Each thread's own."""

    def __init__(self, device: Device) -> None:
        self.runs = Runs(device)
