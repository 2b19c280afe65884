"""Memory that kernels and NumPy share.

In: shapes and dtypes, or arrays that a user passed. Out: aligned arrays, taken from a pool because fresh
pages cost more than most kernels, and kernel arguments made from arrays. An array handed to a user owns its
memory: the pool has it back only when the array and every view of it are gone, so nothing that a user holds
ever changes.

On devices with shared pointers an argument is the array's own memory; on others it is a copy on the device,
and `fetch` brings a result home. An empty array becomes a small placeholder, as no driver takes zero bytes.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..ir.diagnostics import CompilerBug, DeviceError, LirError
from ..ir.target import GIB, KIB
from .device import Device, driver_errors
from .drivers import load_pyopencl

if TYPE_CHECKING:
    import pyopencl as cl

ALIGNMENT = 64
"""Bytes: a cache line and a vector of 16 f32, what non-temporal stores need."""
PAGE = 4 * KIB
SMALLEST_POOLED = 64 * KIB
"""Bytes: what is smaller comes from the allocator's own free lists without new pages."""
PLACEHOLDER_BYTES = 64

Access = Literal["read", "write", "readwrite"]


class _Lease:
    """Holds a block for the arrays made over it, and gives it back when the last of them is gone.

    NumPy shortens chains of views to the first object that is no array: this one, never the block itself.
    """

    __slots__ = ("__array_interface__", "__weakref__", "_block", "_pool")

    def __init__(self, block: np.ndarray, pool: OutputPool):
        self._block = block
        self._pool: OutputPool | None = pool
        self.__array_interface__ = block.__array_interface__

    def __del__(self) -> None:
        # An interrupt may have come before there was one.
        pool = getattr(self, "_pool", None)
        if pool is not None:
            pool._give_back(self._block)


class OutputPool:
    """Aligned arrays over blocks of memory that are used again. Idle blocks take at most `limit` bytes
    together.

    Safe to use from many threads. Contents of a new array are whatever was there before.
    """

    def __init__(self, limit: int):
        self.limit = limit
        # By identity, the longest idle first. Blocks come back from __del__, which can run in the middle of anything,
        # as signal handlers can, this class's own methods included: a lock would lock them up. So every change is one
        # operation of the dictionary.
        self._idle: dict[int, np.ndarray] = {}

    @property
    def idle_bytes(self) -> int:
        """Bytes that are kept for later."""
        return sum(block.nbytes for block in list(self._idle.values()))

    def empty(self, shape: Sequence[int], dtype: np.dtype, apart_from: int = 0) -> np.ndarray:
        """A C-contiguous array aligned to 64 bytes. Raises DeviceError where there is no memory for it.

        A large one lies half a page away from the address `apart_from`, counted within pages: a load whose low 12
        address bits are those of a store that is under way waits for it (cross-entropy of 1008 classes, input and
        gradient at the same place in their pages: 0.37 ns an element, half a page apart 0.21).
        """
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < SMALLEST_POOLED:
            memory = np.empty(nbytes + ALIGNMENT, np.uint8)
            return np.ndarray(shape, dtype, memory, -address_of(memory) % ALIGNMENT)
        size = _block_size(nbytes + PAGE)
        block = self._idle_block(size)
        if block is None:
            block = _new_block(size)
        start = (apart_from + PAGE // 2) % PAGE // ALIGNMENT * ALIGNMENT if apart_from else 0
        return np.asarray(_Lease(block, self))[start : start + nbytes].view(dtype).reshape(shape)

    def clear(self) -> None:
        """Lets go of every idle block."""
        self._idle.clear()

    def _idle_block(self, nbytes: int) -> np.ndarray | None:
        """The idle block of this size that was used last, which is idle no more."""
        for block in reversed(list(self._idle.values())):
            if block.nbytes == nbytes and self._idle.pop(id(block), None) is not None:
                return block
        return None

    def _give_back(self, block: np.ndarray) -> None:
        self._idle[id(block)] = block
        while self.idle_bytes > self.limit:
            for oldest in list(self._idle)[:1]:
                self._idle.pop(oldest, None)


def _new_block(nbytes: int) -> np.ndarray:
    """`nbytes` from the start of a page. NumPy asks the system for huge pages where the block is large."""
    try:
        memory = np.empty(nbytes + PAGE - 1, np.uint8)
    except MemoryError as error:
        raise DeviceError(f"no memory for an array of {nbytes} bytes", "use smaller batches") from error
    start = -address_of(memory) % PAGE
    return memory[start : start + nbytes]


_from_buffer: Any = ctypes.c_char.from_buffer
_addressof = ctypes.addressof


def address_of(memory: Any) -> int:
    """Where the first byte of a C-contiguous array lies."""
    try:
        # A fourth of the time that NumPy takes to say it, for every array of a run of a few microseconds.
        return _addressof(_from_buffer(memory))
    except (TypeError, ValueError, BufferError):
        if is_buffer(memory):
            # Of a signal handler.
            raise
        if not memory.flags.c_contiguous:
            raise CompilerBug(f"an array with strides {memory.strides} is taken for one in one piece") from None
        return memory.__array_interface__["data"][0]


def is_buffer(array: np.ndarray) -> bool:
    """Whether ctypes and pyopencl take the array: not if it is read-only, empty, in several pieces, or of a dtype that
    Python's buffers do not have, such as bfloat16."""
    flags = array.flags
    return flags.c_contiguous and flags.writeable and array.nbytes > 0 and array.dtype.isbuiltin == 1


def _block_size(nbytes: int) -> int:
    """`nbytes` rounded up to an eighth of a power of two, so that like sizes share blocks: at most 1/8 is
    lost.
    """
    step = 1 << max(12, nbytes.bit_length() - 4)
    return -(-nbytes // step) * step


def _default_limit() -> int:
    """An eighth of the machine's memory, at most 4 GiB."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 * GIB
    return min(memory // 8, 4 * GIB)


POOL = OutputPool(_default_limit())
"""The pool that results come from."""


class Argument(NamedTuple):
    """A kernel argument and what must stay alive while a kernel may use it.

    `value` goes to `Kernel.set_arg`. `array` is the host's side; where `copied`, the device's side is
    another one.
    """

    value: Any
    array: np.ndarray
    keep: tuple[object, ...] = ()
    copied: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


def argument_for(device: Device, array: np.ndarray, access: Access = "read") -> Argument:
    """The kernel argument for `array`, which must be C-contiguous. Zero copy where the device allows it,
    else its contents are copied to the device (not for `write`) and `fetch` copies results back.
    """
    flags = array.flags
    if not flags.c_contiguous:
        raise CompilerBug(f"an array of shape {array.shape} and strides {array.strides} reached a kernel")
    if access != "read" and not flags.writeable:
        raise LirError("a read-only array cannot take a result", "pass an array that can be written")
    nbytes = array.nbytes
    if nbytes == 0:
        placeholder = device_memory(device, PLACEHOLDER_BYTES)
        return Argument(placeholder.value, array, (placeholder,))
    if device.info.shared_pointers:
        svm = load_pyopencl().SVM
        if is_buffer(array):
            return Argument(svm(array), array)
        window = _writable_bytes(array)
        return Argument(svm(window), array, (window,))
    argument = Argument(_buffer(device, nbytes), array, copied=True)
    if access != "write":
        cl = load_pyopencl()
        with driver_errors(f"cannot copy {array.nbytes} bytes to {device}"):
            cl.enqueue_copy(device.queue, argument.value, _writable_bytes(array), is_blocking=True)
    return argument


def fetch(device: Device, argument: Argument) -> np.ndarray:
    """The argument's array with what kernels have written, once everything on the device's queue is done."""
    if argument.copied:
        cl = load_pyopencl()
        with driver_errors(f"cannot copy {argument.array.nbytes} bytes from {device}"):
            cl.enqueue_copy(device.queue, _writable_bytes(argument.array), argument.value, is_blocking=True)
    else:
        with driver_errors(f"a kernel on {device} failed"):
            device.queue.finish()
    return argument.array


def send(device: Device, argument: Argument) -> None:
    """Bring what the host has written into the argument's array to the device: the inverse of `fetch`."""
    if argument.copied and argument.array.nbytes:
        cl = load_pyopencl()
        with driver_errors(f"cannot copy {argument.array.nbytes} bytes to {device}"):
            cl.enqueue_copy(device.queue, argument.value, _writable_bytes(argument.array), is_blocking=True)


def copy(device: Device, source: Argument, target: Argument) -> None:
    """The contents of one argument into another of the same size and dtype, wherever they are."""
    if not source.array.nbytes:
        return
    if not target.copied:
        if source.copied:
            fetch(device, source)
        target.array.reshape(-1)[...] = source.array.reshape(-1)
        return
    cl = load_pyopencl()
    with driver_errors(f"cannot copy {source.array.nbytes} bytes on {device}"):
        if source.copied:
            cl.enqueue_copy(device.queue, target.value, source.value, byte_count=source.array.nbytes).wait()
        else:
            cl.enqueue_copy(device.queue, target.value, _writable_bytes(source.array), is_blocking=True)


def device_memory(device: Device, nbytes: int) -> Argument:
    """Uninitialised memory for kernels to write and read: aligned host memory where pointers are shared,
    else a buffer on the device, whose `array` is empty.
    """
    nbytes = max(nbytes, PLACEHOLDER_BYTES)
    if device.info.shared_pointers:
        array = POOL.empty((nbytes,), np.dtype(np.uint8))
        return Argument(load_pyopencl().SVM(array), array)
    return Argument(_buffer(device, nbytes), np.empty(0, np.uint8), copied=True)


def buffer_argument(device: Device, array: np.ndarray) -> Argument:
    """Uninitialised memory of the driver's for as much as `array` holds, which stays the host's side of it."""
    return Argument(_buffer(device, max(array.nbytes, PLACEHOLDER_BYTES)), array, copied=True)


def working_memory(device: Device, nbytes: int, of_driver: bool) -> Argument:
    """Uninitialised bytes for what kernels hand to each other. They are not of the pool: who has them keeps them.
    Memory `of_driver` stays until the kernels that use it are done, whoever lets it go."""
    block = _new_block(nbytes)
    return buffer_argument(device, block) if of_driver else argument_for(device, block, "write")


def _buffer(device: Device, nbytes: int) -> cl.Buffer:
    if nbytes > device.info.max_allocation:
        raise DeviceError(
            f"{nbytes} bytes are more than {device} gives in one piece ({device.info.max_allocation})",
            "use smaller batches, or another device",
        )
    cl = load_pyopencl()
    with driver_errors(f"cannot allocate {nbytes} bytes on {device}"):
        return cl.Buffer(device.context, cl.mem_flags.READ_WRITE, nbytes)


class _Window:
    """An array's memory as writable bytes, whatever its dtype and flags."""

    __slots__ = ("__array_interface__", "_array")

    def __init__(self, array: np.ndarray):
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = {
            "version": 3, "typestr": "|u1", "shape": (array.nbytes,), "data": (address, False)
        }  # fmt: skip
        self._array = array


def _writable_bytes(array: np.ndarray) -> np.ndarray:
    """The array's memory as writable bytes; it keeps the array alive."""
    return np.asarray(_Window(array))
