"""Arrays on the device: pyopencl arrays as inputs, and as results of runs that go on while the caller does.

In: pyopencl arrays that a user passed. Out: what kernels take for them, and `DeviceArray`: a pyopencl array that raises
what went wrong with its run before it hands out a value. Import this once a device is in use: it loads pyopencl.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyopencl as cl
import pyopencl.array

from .device import Device, driver_errors
from .memory import PLACEHOLDER_BYTES, Argument


class Pending:
    """A run that nobody has waited for yet. `failure` waits, and gives the exception for a check that failed.

    `before` are the runs whose results this one reads: their errors are its own.
    """

    def __init__(self, failure: Callable[[], Exception | None], before: Sequence[Pending]) -> None:
        self._failure: Callable[[], Exception | None] | None = failure
        self._before = tuple(before)
        self._error: Exception | None = None
        # A signal handler may ask while we do.
        self._lock = threading.RLock()

    @property
    def is_settled(self) -> bool:
        """Whether somebody has waited, and was told what failed."""
        return self._failure is None

    def settle(self) -> None:
        """Wait for the run. Raises CheckFailed, also when asked again: what it computed is never handed out."""
        with self._lock:
            failure = self._failure
            if failure is not None:
                try:
                    for pending in self._before:
                        pending.settle()
                except Exception as error:
                    self._error = error
                # Also where an earlier run failed: this one's status is to be read and put back.
                own = failure()
                self._error = self._error or own
                self._failure, self._before = None, ()
        if self._error is not None:
            raise self._error


class DeviceArray(pyopencl.array.Array):
    """A result on the device. `get`, `get_async`, `finish` and `map_to_host` raise the error of its run; what takes its
    memory, as `cl.enqueue_copy` or a kernel of the user's, does not."""

    pending: Pending | None = None

    def get(self, *arguments: Any, **keywords: Any) -> Any:
        self._settle()
        return super().get(*arguments, **keywords)

    def get_async(self, *arguments: Any, **keywords: Any) -> Any:
        self._settle()
        return super().get_async(*arguments, **keywords)

    def map_to_host(self, *arguments: Any, **keywords: Any) -> Any:
        self._settle()
        return super().map_to_host(*arguments, **keywords)

    def finish(self) -> None:
        self._settle()
        super().finish()

    def _settle(self) -> None:
        if self.pending is not None:
            self.pending.settle()

    # Views and what is computed from this one stand and fall with it.

    def _new_with_changes(self, *arguments: Any, **keywords: Any) -> Any:
        return self._followed_by(super()._new_with_changes(*arguments, **keywords))

    def _new_like_me(self, *arguments: Any, **keywords: Any) -> Any:
        return self._followed_by(super()._new_like_me(*arguments, **keywords))

    def _followed_by(self, other: Any) -> Any:
        other.pending = self.pending
        return other


def new_array(device: Device, shape: tuple[int, ...], dtype: np.dtype) -> Argument:
    """An uninitialised `DeviceArray` on the device's ordinary queue, and what kernels take for it."""
    with driver_errors(f"cannot allocate an array of shape {list(shape)} on {device}"):
        array: Any = DeviceArray(device.queue, shape, dtype)
    return Argument(array.base_data, array, copied=True)


def lies_on(device: Device, array: Any) -> bool:
    """Whether kernels on `device` can use the memory of a pyopencl array as it is."""
    return (
        array.context is not None
        and array.context.int_ptr == device.context.int_ptr
        and array.flags.c_contiguous
        and (array.base_data is None or isinstance(array.base_data, cl.MemoryObjectHolder))
    )


def argument_on(device: Device, array: Any) -> Argument:
    """The kernel argument for an array that lies on the device. Its `array` is the pyopencl array itself."""
    with driver_errors(f"cannot read an array of shape {list(array.shape)} on {device}"):
        if array.size == 0:
            placeholder = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, PLACEHOLDER_BYTES)
            return Argument(placeholder, array, copied=True)
        if array.offset:
            # A part of a buffer may begin only at multiples of what the device says: a copy has no such trouble.
            array = array.copy(queue=array.queue or device.queue)
        return Argument(array.base_data, array, copied=True)


def range_of(array: Any) -> tuple[int, int, int]:
    """The memory of a pyopencl array that is not empty: of what buffer, from which byte to before which."""
    memory = array.base_data
    whole = memory.get_info(cl.mem_info.ASSOCIATED_MEMOBJECT)
    start = array.offset + (memory.get_info(cl.mem_info.OFFSET) if whole is not None else 0)
    return (whole or memory).int_ptr, start, start + array.nbytes


def wait_for_writers(array: Any, queue: Any) -> None:
    """Wait for what other queues than `queue` are still writing to a pyopencl array."""
    with driver_errors("cannot wait for a queue"):
        if array.events:
            cl.wait_for_events(array.events)
        if array.queue is not None and array.queue.int_ptr != queue.int_ptr:
            array.queue.finish()
