"""Memory that all plans of one thread share.

In: what a plan needs for its temporaries and status words. Out: that memory, which the next plan gets, too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.program import STATUS
from .device import Device
from .memory import Argument, working_memory
from .status import StatusWords


class Temporaries:
    """Memory for the temporaries of all plans of one thread. Their runs follow each other, so that plans for however
    many sizes need as much as the largest of them.

    `forget_plans` lets go of the plans made so far: it is called before memory is replaced by larger memory, so that
    there are never both. Runs that go on `in_background` need memory of the driver's, which keeps it until the kernels
    are done.
    """

    def __init__(self, device: Device, in_background: bool, forget_plans: Callable[[], None]) -> None:
        self.in_background = in_background
        self._device, self._forget_plans = device, forget_plans
        self._held: dict[str, Argument] = {}
        self._status: StatusWords | None = None

    def take(self, name: str, elements: int, dtype: np.dtype) -> Argument:
        """The memory for the temporary `name`, which the next plan gets, too."""
        nbytes = elements * dtype.itemsize
        held = self._held.get(name)
        if held is None or held.array.nbytes < nbytes:
            capacity = nbytes
            if held is not None:
                # Sizes that grow by one from batch to batch are not to make new memory for each.
                capacity = max(nbytes, held.array.nbytes * 5 // 4)
                self._held.pop(name, None)
                del held
                self._forget_plans()
            held = self._held[name] = working_memory(self._device, capacity, self.in_background)
        return held._replace(array=held.array[:nbytes].view(dtype), keep=(held,))

    def status(self, checks: int) -> StatusWords:
        """The words of the program's checks, whose number no size changes."""
        if self._status is None:
            self._status = StatusWords(self._device, self.take(STATUS, checks, np.dtype(np.int32)))
        return self._status
