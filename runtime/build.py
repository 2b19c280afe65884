"""From OpenCL C to kernels that can be launched.

In: a device, source text and build options. Out: a `BuiltProgram`; its binary comes from the cache on disk
where the driver takes it, else the source is built. Source that a driver refuses is a bug of ours: lossc
wrote it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..ir.diagnostics import CompilerBug, DeviceError
from .cache import Cache, cache_enabled, cache_folder, cache_key
from .device import Device, device_error, driver_errors
from .drivers import load_pyopencl

if TYPE_CHECKING:
    import pyopencl as cl

Result = TypeVar("Result")

# Drivers have raced when several threads build at once, Python's warning filters are one for all threads, and so are
# the names of what pyopencl generates for a kernel.
_building = threading.RLock()
_in_use: weakref.WeakValueDictionary[tuple[str, int], BuiltProgram] = weakref.WeakValueDictionary()


class BuiltProgram:
    """Kernels of one source text on one device. So many bytes of its binary are `stored` under a key."""

    def __init__(self, handle: cl.Program, key: str, stored: int = 0):
        self.handle = handle
        self._key, self._stored = key, stored
        self._idle: dict[str, list[cl.Kernel]] = {}

    @property
    def is_stored(self) -> bool:
        """Whether some of it lies on disk."""
        return self._stored > 0

    def store(self) -> None:
        """Put the binary on disk if the driver has compiled more of it than lies there. Some drivers compile at the
        first launch of a size."""
        if cache_enabled():
            _one_at_a_time(lambda: self.put(_binary(self.handle)))

    def put(self, binary: bytes) -> None:
        """Put this binary on disk if it is more than lies there."""
        if len(binary) > self._stored and cache_enabled():
            self._stored = len(binary)
            Cache(cache_folder("programs")).put(self._key, binary)

    def new_kernel(self, name: str) -> cl.Kernel:
        """A kernel object, which does not keep the program alive."""
        cl = load_pyopencl()
        try:
            return _one_at_a_time(lambda: cl.Kernel(self.handle, name))
        except sqlite3.Error as error:
            raise DeviceError(
                f"pyopencl's own cache is damaged: {error}",
                "delete the folder pytools in your cache folder, or set PYOPENCL_NO_CACHE=1",
            ) from error
        except cl.Error as error:
            if getattr(error, "code", None) == cl.status_code.INVALID_KERNEL_NAME:
                raise CompilerBug(f"the program has no kernel {name}") from error
            raise device_error(error, f"cannot make the kernel {name}") from error

    def idle_kernel(self, name: str) -> cl.Kernel | None:
        """One that was given back, with the arguments that it had."""
        try:
            return self._idle[name].pop()
        except (KeyError, IndexError):
            return None

    def give_back(self, name: str, kernel: cl.Kernel) -> None:
        """Nobody uses the kernel any more. For each new one pyopencl makes Python code, which stays for good."""
        self._idle.setdefault(name, []).append(kernel)


class Kernels:
    """Kernel objects, one for each program and name that is wanted. They are nobody else's until this is gone: the
    arguments set on one that threads share go to the wrong launch now and then."""

    def __init__(self, wanted: Sequence[tuple[BuiltProgram, str]]) -> None:
        self._wanted = wanted
        self.objects: list[Any] = [program.idle_kernel(name) for program, name in wanted]
        if None in self.objects:
            self.objects = _one_at_a_time(self._completed)

    def _completed(self) -> list[Any]:
        return [program.new_kernel(name) if kernel is None else kernel
                for kernel, (program, name) in zip(self.objects, self._wanted)]  # fmt: skip

    def __del__(self) -> None:
        # An interrupt may have come before there were any, an error before there were all.
        for kernel, (program, name) in zip(getattr(self, "objects", ()), self._wanted):
            if kernel is not None:
                program.give_back(name, kernel)


def build(device: Device, source: str, options: str = "") -> BuiltProgram:
    """Builds `source` for `device`, or finds it built: in this process, or on disk from an earlier one.

    Raises CompilerBug with the driver's log where the driver refuses the source, DeviceError where it fails.
    """
    # pyopencl adds the options in PYOPENCL_BUILD_OPTIONS to ours.
    key = cache_key([device.key, source, options, os.environ.get("PYOPENCL_BUILD_OPTIONS", "")])
    with driver_errors(f"cannot open {device}"):
        place = (key, device.context.int_ptr)
    program = _in_use.get(place)
    if program is None:
        program = _one_at_a_time(lambda: _found_or_built(place, device, source, options, key))
    # Where kernels are compiled at their launch the first run does this; elsewhere there is something left to do only
    # where the cache was switched on later.
    if not device.compiles_at_launch and not program.is_stored:
        program.store()
    return program


def _one_at_a_time(work: Callable[[], Result]) -> Result:
    """What `work` gives, which builds. Handlers of signals come to the main thread, in the middle of anything, and may
    wait there for a thread that waits to build: so another one builds in its stead."""
    # A thread that begins when the process ends does nothing, and who waits for it waits for ever.
    if threading.current_thread() is not threading.main_thread() or sys.is_finalizing():
        with _building:
            return work()
    found: list[Result] = []
    errors: list[BaseException] = []

    def build_now() -> None:
        try:
            with _building:
                found.append(work())
        except BaseException as error:
            errors.append(error)

    builder = threading.Thread(target=build_now, name="lossc builds")
    try:
        builder.start()
    except RuntimeError:
        # When the process ends no thread begins any more.
        build_now()
    else:
        builder.join()
    if errors:
        raise errors[0]
    return found[0]


def _found_or_built(
    place: tuple[str, int], device: Device, source: str, options: str, key: str
) -> BuiltProgram:  # fmt: skip
    program = _in_use.get(place)
    if program is None:
        program = _in_use[place] = _from_disk_or_source(device, source, options, key)
    return program


def _from_disk_or_source(device: Device, source: str, options: str, key: str) -> BuiltProgram:
    binary = Cache(cache_folder("programs")).get(key) if cache_enabled() else None
    program = _from_binary(device, binary, options) if binary is not None else None
    if binary is not None and program is not None:
        return BuiltProgram(program, key, len(binary))
    built = _from_source(device, source, options)
    if device.compiles_at_launch:
        return BuiltProgram(built, key)
    # A program made from its binary takes the driver a quarter of the memory: the rest is what its compiler leaves.
    binary = _binary(built)
    found = BuiltProgram((_from_binary(device, binary, options) if binary else None) or built, key)
    found.put(binary)
    return found


def _from_binary(device: Device, binary: bytes, options: str) -> cl.Program | None:
    """The program in `binary`, or None: a driver may refuse any binary at any time."""
    cl = load_pyopencl()
    try:
        return _quietly(cl.Program(device.context, [device.handle], [binary]), device, options)
    except cl.Error:
        return None


def _from_source(device: Device, source: str, options: str) -> cl.Program:
    cl = load_pyopencl()
    refusals = (cl.status_code.BUILD_PROGRAM_FAILURE, cl.status_code.COMPILE_PROGRAM_FAILURE)
    refusals += (cl.status_code.INVALID_BUILD_OPTIONS, cl.status_code.INVALID_COMPILER_OPTIONS)
    try:
        program = cl.Program(device.context, source)
        return _quietly(program, device, options)
    except cl.Error as error:
        if getattr(error, "code", None) not in refusals:
            raise device_error(error, f"cannot build a program on {device}") from error
        raise _refused(device, source, options, str(error)) from error


def _quietly(program: cl.Program, device: Device, options: str) -> cl.Program:
    """Builds without pyopencl's source cache and its warning that the compiler said something."""
    cl = load_pyopencl()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A question asked before the build makes pyopencl leave its cache out; imported before us it has one.
        program.get_info(cl.program_info.REFERENCE_COUNT)
        return program.build(options, [device.handle])


def _binary(program: cl.Program) -> bytes:
    cl = load_pyopencl()
    try:
        return program.binaries[0]
    except cl.Error:
        return b""


def _refused(device: Device, source: str, options: str, message: str) -> CompilerBug:
    """The driver's log, with the kernel and the lines around its first complaint."""
    lines = source.splitlines()
    log = message.split(":\n\n", 1)[-1].split("\n\n(options:")[0].strip()
    complaints = [line for line in log.splitlines() if "error" in line]
    places = [place for line in complaints if (place := re.search(r"(\d+):\d+: ", line))]
    number = min((int(place[1]) for place in places), default=0)
    number = min(number, len(lines))
    before = "\n".join(lines[:number] if number else lines)
    names = re.findall(r"\b(?:__)?kernel\s+void\s+(?:__attribute__\(\(.*?\)\)\s*)?(\w+)", before)
    name = f"kernel {names[-1]}" if names else "source"
    first, last = max(1, number - 4), min(len(lines), number + 3)
    excerpt = [f"{at:5} | {lines[at - 1]}" for at in range(first, last + 1)] if number else []
    return CompilerBug(
        f"the OpenCL compiler of {device} refuses the {name}",
        *([f"options: {options}"] if options else []),
        *(["source:\n" + "\n".join(excerpt)] if excerpt else []),
        "the compiler's log:\n" + log,
    )
