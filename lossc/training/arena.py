"""Arenas: many tensors of one element type in one piece of memory, with a table of segments.

In: names and shapes. Out: an `Arena`: one array on the host, one kernel argument for all of it, one for each segment.
Every segment begins at a multiple of the alignment and ends with padding up to the next, so that kernels can run over
whole arenas in full vectors, with no tail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from lossc.arrays import to_dtype
from lossc.ir.frozen import frozen
from lossc.runtime.device import Device
from lossc.runtime.memory import ALIGNMENT, POOL, Argument, argument_for, fetch, send


@frozen
class Segment:
    """The elements `offset` to `offset + count` of an arena; `stop` includes the padding."""

    name: str
    shape: tuple[int, ...]
    offset: int
    count: int
    stop: int


def segments_of(shapes: Iterable[tuple[str, tuple[int, ...]]], itemsize: int, alignment: int) -> dict[str, Segment]:
    """The segment table of tensors that lie one after another, each at a multiple of `alignment` bytes."""
    table: dict[str, Segment] = {}
    offset, step = 0, max(1, alignment // itemsize)
    for name, shape in shapes:
        count = math.prod(shape)
        stop = offset + -(-count // step) * step
        table[name] = Segment(name, tuple(shape), offset, count, stop)
        offset = stop
    return table


def arena_alignment(device: Device) -> int:
    """Bytes: where the device has memory of its own, a part of a buffer may begin only at multiples of this."""
    if device.info.shared_pointers:
        return ALIGNMENT
    return max(ALIGNMENT, device.handle.mem_base_addr_align // 8)


class Arena:
    """One array for tensors that are used together. It begins as zeros.

    Where the device reads the host's memory `array` is all there is. Elsewhere the device has a copy: `receive` and
    `send` bring one side up to date. Who runs kernels that read it says so before (`to_device`), or that write to it
    (`to_kernels`).
    """

    def __init__(self, device: Device, dtype: str, segments: Mapping[str, Segment]) -> None:
        self.device, self.dtype, self.segments = device, dtype, dict(segments)
        self.size = max((segment.stop for segment in segments.values()), default=0)
        self.array = POOL.empty((self.size,), to_dtype(dtype))
        self.array[...] = 0
        self.argument: Argument = argument_for(device, self.array, "readwrite")
        self.device_is_newer = self.host_is_newer = False
        self._parts: dict[str, Argument] = {}

    def view(self, name: str) -> np.ndarray:
        """A segment of the host's array, in its own shape."""
        segment = self.segments[name]
        return self.array[segment.offset : segment.offset + segment.count].reshape(segment.shape)

    def write(self, name: str, values: np.ndarray) -> None:
        """Set a segment; `send` is to follow. Where an interrupt comes between, the next run sends it."""
        self.receive()
        self.host_is_newer = self.argument.copied
        self.view(name)[...] = values

    def part(self, name: str) -> Argument:
        """The kernel argument for one segment."""
        if name not in self._parts:
            self._parts[name] = self._argument(self.view(name), self.segments[name].offset)
        return self._parts[name]

    def range(self, start: int, stop: int) -> Argument:
        """The kernel argument for whole segments with their padding, as one flat array."""
        return self._argument(self.array[start:stop], start)

    def _argument(self, view: np.ndarray, offset: int) -> Argument:
        if not self.argument.copied or view.size == 0:
            return argument_for(self.device, view, "readwrite")
        region = self.argument.value.get_sub_region(offset * view.itemsize, view.nbytes)
        return Argument(region, view, (self.argument,), copied=True)

    def to_device(self) -> None:
        """Kernels are about to read it."""
        if self.host_is_newer:
            self.send()

    def to_kernels(self) -> None:
        """Kernels are about to read and write it."""
        self.to_device()
        self.device_is_newer = self.argument.copied

    def receive(self) -> None:
        """Bring the host's array up to date."""
        if self.device_is_newer:
            fetch(self.device, self.argument)
            self.device_is_newer = False

    def send(self) -> None:
        """Bring the device's copy up to date with what the host has written."""
        send(self.device, self.argument)
        self.host_is_newer = False
