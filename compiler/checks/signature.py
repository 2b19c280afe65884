"""What a kernel asks of its device before it runs a statement: names, arguments, local memory, work-groups.

In: a kernel and what is known of the device. Out: a sentence for each rule that is broken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ...ir.kernel import Kernel, register_dtype
from ...ir.kernel_ops import spell_type
from ...ir.target import DeviceInfo
from ...ir.types import DTYPES, ITEM_SIZE

_POINTER_BYTES = 8
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")

# What a kernel cannot be called. Other names get a prefix when C is printed.
_WORDS_OF_C = """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile
    while bool complex half imaginary quad size_t ptrdiff_t intptr_t uintptr_t uchar ushort uint ulong main
    kernel global local constant private generic pipe read_only write_only read_write uniform barrier
"""
_RESERVED = frozenset(_WORDS_OF_C.split())


def signature_problems(kernel: Kernel) -> Iterator[str]:
    """Names that cannot be, arguments and arrays of no type or size."""
    if not _IDENTIFIER.fullmatch(kernel.name) or kernel.name in _RESERVED or kernel.name.startswith("__"):
        yield f"`{kernel.name}` cannot be the name of a kernel in OpenCL C"
    arrays = (*kernel.local_arrays, *kernel.private_arrays)
    for name, count in Counter(item.name for item in (*kernel.buffers, *kernel.scalars, *arrays)).items():
        yield from name_problems(name)
        if count > 1:
            yield f"{count} arguments or arrays are called {name}"
    for memory in (*kernel.buffers, *arrays):
        if memory.dtype not in DTYPES:
            yield f"{memory.name} has elements of unknown type {memory.dtype}"
    for buffer in kernel.buffers:
        if buffer.access not in ("read", "write", "readwrite"):
            yield f"buffer {buffer.name} has access {buffer.access}, not read, write or readwrite"
    for array in arrays:
        if array.size < 1:
            yield f"array {array.name} has {array.size} elements"
    for scalar in kernel.scalars:
        if scalar.width != 1 or scalar.dtype not in DTYPES or register_dtype(scalar.dtype) != scalar.dtype:
            yield f"scalar {scalar.name} has type {spell_type(scalar.dtype, scalar.width)}"
    for line in kernel.comment:
        if "\n" in line:
            yield f"a line of the comment has a line break: {line!r}"


def name_problems(name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"{name!r} is no name: letters, digits, `_` and `.`, no digit first"


def limit_problems(kernel: Kernel, device: DeviceInfo) -> Iterator[str]:
    """Where the kernel is too large for the device, or needs what it does not have."""
    if not 1 <= kernel.local_size <= device.max_work_group_size:
        yield f"work-groups of {kernel.local_size}; {device.name} has up to {device.max_work_group_size}"
    local = sum(array.size * ITEM_SIZE.get(array.dtype, 0) for array in kernel.local_arrays)
    if local > device.local_memory:
        yield f"{local} bytes of local memory; {device.name} has {device.local_memory}"
    arguments = _argument_bytes(kernel)
    if arguments > device.max_argument_bytes:
        yield f"{arguments} bytes of arguments; {device.name} takes {device.max_argument_bytes}"
    memories = (*kernel.buffers, *kernel.scalars, *kernel.local_arrays, *kernel.private_arrays)
    if not device.has_f64 and any(memory.dtype == "f64" for memory in memories):
        yield f"{device.name} has no f64"


def _argument_bytes(kernel: Kernel) -> int:
    """Pointers first, then scalars, each at a multiple of its size; a bool is passed as an int."""
    total = _POINTER_BYTES * len(kernel.buffers)
    for scalar in kernel.scalars:
        size = 4 if scalar.dtype == "bool" else ITEM_SIZE.get(scalar.dtype, 8)
        total = -(-total // size) * size + size
    return total
