"""OpenCL devices: which there are, and which one to use.

In: a name, or the environment variable `LOSSC_DEVICE`, or a context or queue that the user already has. Out:
a `Device`, with its context, its queues and its `DeviceInfo`. Nothing is loaded before the first call here.
"""

from __future__ import annotations

import contextlib
import os
import platform as host
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import DeviceError, did_you_mean
from ..ir.target import DeviceInfo
from .description import ask, describe, device_key
from .drivers import embedded_driver, imported_before, load_pyopencl

if TYPE_CHECKING:
    import pyopencl as cl

DEVICE_VARIABLE = "LOSSC_DEVICE"
ALIASES = ("cpu", "gpu", "intel", "pocl")
# cl_intel_exec_by_local_thread: commands run in the thread that enqueues them, before that call returns. In order,
# threads would wait for each other.
LOCAL_THREAD_QUEUE = 1 << 31 | 1 << 0
LOCAL_THREAD_EXTENSION = "cl_intel_exec_by_local_thread"

# A signal handler may ask for devices in the middle of each of these.
_listing = threading.RLock()
_listed: list[Device] = []
_opened: weakref.WeakSet[Device] = weakref.WeakSet()


def _mark_forked() -> None:
    for device in _opened:
        device.is_forked = True


if hasattr(os, "register_at_fork"):
    # To ask for the process's number in every call takes as long as a tenth of a small kernel.
    os.register_at_fork(after_in_child=_mark_forked)


class Device:
    """One OpenCL device with the context and queues that lossc uses on it.

    `info` is what compilers see; `handle` is pyopencl's object; `key` changes whenever binaries built for the
    device could stop being valid. Context and queues are made when first asked for.
    """

    def __init__(self, handle: cl.Device, queue: cl.CommandQueue | None = None, context: cl.Context | None = None):
        self.handle = handle
        self.info = describe(handle)
        self.driver_version: str = ask(handle, "driver_version", "unknown").strip()
        self.key = device_key(handle, self.info, self.driver_version)
        self._lock = threading.RLock()
        self.is_forked = False
        self._queue = queue
        self._context = queue.context if queue is not None else context
        self._local_thread_queue: cl.CommandQueue | None = None
        _opened.add(self)

    @property
    def compiles_at_launch(self) -> bool:
        """Whether the driver compiles a kernel only when it is launched, for each size of its groups."""
        return self.info.platform == "Portable Computing Language"

    @property
    def context(self) -> cl.Context:
        self.refuse_after_fork()
        if self._context is None:
            with self._lock, driver_errors(f"cannot open {self}"):
                made = self._context or load_pyopencl().Context([self.handle])
                self._context = self._context or made
        return self._context

    @property
    def queue(self) -> cl.CommandQueue:
        """The in-order queue that all ordinary work goes through."""
        if self._queue is None:
            context = self.context
            with self._lock, driver_errors(f"cannot make a queue on {self}"):
                made = self._queue or load_pyopencl().CommandQueue(context, self.handle)
                self._queue = self._queue or made
        self.refuse_after_fork()
        return self._queue

    @property
    def local_thread_queue(self) -> cl.CommandQueue | None:
        """A queue that runs commands in the calling thread, faster for small work; None where there is none.

        A command on it is done when the call that enqueues it returns, and threads do not wait for each other. It does
        not wait for `queue`: finish that before using the same memory here.
        """
        if LOCAL_THREAD_EXTENSION not in ask(self.handle, "extensions", "").split():
            return None
        if self._local_thread_queue is None:
            context = self.context
            with self._lock, driver_errors(f"cannot make a queue on {self}"):
                made = self._local_thread_queue or load_pyopencl().CommandQueue(
                    context, self.handle, properties=LOCAL_THREAD_QUEUE
                )
                self._local_thread_queue = self._local_thread_queue or made
        self.refuse_after_fork()
        return self._local_thread_queue

    def refuse_after_fork(self) -> None:
        """Raise DeviceError in a process that was forked off the one in which the device was opened."""
        if self.is_forked:
            raise DeviceError(
                f"{self} was opened before this process was forked, and drivers do not survive a fork",
                "start workers with multiprocessing.get_context('spawn'), or use devices only after the fork",
            )

    def __copy__(self) -> Device:
        return self

    def __deepcopy__(self, copied: object) -> Device:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle says which device it is; who reads it has that one in a context of its own."""
        alike = [device for device in devices() if str(device) == str(self)]
        if self not in alike:
            raise DeviceError(f"{self} with a context or a queue of yours is in this process alone",
                              "pickle what was made for a device of lossc.devices(), or for none")  # fmt: skip
        return _device_like, (str(self), alike.index(self))

    def __str__(self) -> str:
        return f"{self.info.name} ({self.info.platform})"

    def __repr__(self) -> str:
        return f"<Device {self}>"


def devices() -> list[Device]:
    """Every device of every driver, the one that `select()` would take first. Made once a process."""
    with _listing:
        if not _listed:
            found = sorted(_find(), key=_rank)
            if not _listed:
                _listed.extend(found)
        return list(_listed)


def select(name: str | None = None) -> Device:
    """The device called `name`: its number in `devices()`, `cpu`, `gpu`, `intel`, `pocl`, or a part of its
    name or of its platform's name. Without a name `LOSSC_DEVICE` decides, and without that a GPU goes before
    Intel's CPU runtime and that before other CPUs. Raises DeviceError, listing what there is, where nothing
    fits.
    """
    if name is None:
        name = os.environ.get(DEVICE_VARIABLE)
        asked_by = f"{DEVICE_VARIABLE}={name}"
    else:
        asked_by = f"`{name}`"
    found = devices()
    if not found:
        raise DeviceError("no OpenCL device was found", *_how_to_get_one())
    if name is None or not name.strip():
        return found[0]
    wanted = name.strip().lower()
    # A short number counts devices; a long one, 4090, is a part of a name.
    is_number = wanted.isdecimal() and len(wanted) <= 2
    if is_number and int(wanted) < len(found):
        return found[int(wanted)]
    for device in () if is_number else found:
        if _answers_to(device.info, wanted):
            return device
    usable = [word for word in ALIASES if any(_answers_to(device.info, word) for device in found)]
    notes = [f"{number}: {device}" for number, device in enumerate(found)]
    notes += () if wanted in ALIASES else did_you_mean(wanted, usable)
    notes += () if "intel" in usable else _how_to_get_one()
    raise DeviceError(f"no OpenCL device answers to {asked_by}; these were found:", *notes)


def _device_like(text: str, number: int) -> Device:
    """The device that a pickle speaks of: of those with one name it is the one of that number."""
    found = devices()
    alike = [device for device in found if str(device) == text]
    if number >= len(alike):
        raise DeviceError(f"there is no {text} here, which the pickle was made with; these were found:",
                          *map(str, found))  # fmt: skip
    return alike[number]


def from_queue(queue: cl.CommandQueue) -> Device:
    """A Device that works on the user's own queue and in its context."""
    load_pyopencl()
    return Device(queue.device, queue=queue)


def from_context(context: cl.Context) -> Device:
    """A Device in the user's own context, on the first of its devices."""
    load_pyopencl()
    return Device(context.devices[0], context=context)


def device_error(error: cl.Error, action: str) -> DeviceError:
    """What the driver said, as our error. `action` says what was being done: `cannot run the kernel k`."""
    status = getattr(error, "code", None)
    codes = load_pyopencl().status_code
    name = codes.to_string(status) if isinstance(status, int) else str(error)
    routine = getattr(error, "routine", None)
    where = f" in {routine}" if routine else ""
    advice = {
        "MEM_OBJECT_ALLOCATION_FAILURE": "the device has too little memory: use smaller batches",
        "OUT_OF_RESOURCES": "a kernel failed, or needs more of the device than it has",
        "OUT_OF_HOST_MEMORY": "this machine has too little memory left",
        "DEVICE_NOT_AVAILABLE": "the device is gone or busy: `lossc devices` lists what is left",
    }.get(name)
    return DeviceError(f"{action}: the driver answers {name}{where}", *([advice] if advice else []))


@contextlib.contextmanager
def driver_errors(action: str) -> Iterator[None]:
    """Turns any error of pyopencl into a DeviceError."""
    try:
        yield
    except load_pyopencl().Error as error:
        raise device_error(error, action) from error


def _find() -> Iterator[Device]:
    cl = load_pyopencl()
    try:
        platforms = cl.get_platforms()
    except cl.Error:
        return
    for platform in platforms:
        try:
            handles = platform.get_devices()
        except cl.Error:
            continue
        yield from (Device(handle) for handle in handles if ask(handle, "available", True))


def _rank(device: Device) -> int:
    if device.info.kind == "gpu":
        return 0
    order = ("intel", "pocl", "cpu")
    return 1 + next(place for place, word in enumerate(order) if _answers_to(device.info, word))


def _answers_to(info: DeviceInfo, wanted: str) -> bool:
    match wanted:
        case "cpu" | "gpu":
            return info.kind == wanted
        case "intel":
            return info.kind == "cpu" and info.platform.startswith("Intel")
        case "pocl":
            return info.platform == "Portable Computing Language"
        case _:
            return wanted in info.name.lower() or wanted in info.platform.lower()


def _how_to_get_one() -> tuple[str, ...]:
    if imported_before():
        return ("pyopencl was imported before lossc and may have missed drivers: use a lossc device first",)
    if "OCL_ICD_VENDORS" in os.environ:
        return (f"OCL_ICD_VENDORS={os.environ['OCL_ICD_VENDORS']} is all that was searched: unset it",)
    if sys.platform == "linux" and host.machine() == "x86_64":
        if embedded_driver() is None:
            return ("the embedded CPU device comes with: pip install 'lossc[cpu]'",)
        return (f"the embedded CPU device is installed but its driver does not load: {embedded_driver()}",)
    return ("install an OpenCL driver for this system (PoCL runs on most CPUs: conda install pocl)",)
