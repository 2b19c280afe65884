"""What counts as an array for an input, and what is converted on the way.

In: whatever a user passed under the name of an input: NumPy arrays, lists and numbers, anything with
`__array_interface__`, `__array__` or `__dlpack__` (torch tensors on the CPU), pyopencl arrays. Out: a C-contiguous
NumPy array of exactly the declared element type, the user's own memory wherever that fits.

Kinds of numbers never change: floats become other floats, integers other integers if every value fits. A Python
number or list has no element type yet, so whole numbers there serve as floats too.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from lossc.ir.diagnostics import LirError
from lossc.ir.types import DTYPES, Type, dtype_of, is_float, is_integer, numpy_dtype


def to_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a LIR element type. Raises LirError where ml_dtypes is missing for bf16."""
    try:
        return numpy_dtype(name)
    except ImportError:
        raise LirError("NumPy has no bf16 of its own", "install it with: pip install ml_dtypes") from None


def element_type(dtype: Any) -> str:
    """The LIR element type that `dtype` means: `"f32"`, `"float32"`, `np.float32`, ... Raises LirError."""
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    if type(dtype).__module__ == "torch":
        dtype = str(dtype).removeprefix("torch.")
    try:
        found = dtype_of(np.dtype(dtype))
    except TypeError:
        found = "bf16" if dtype == "bfloat16" else None
    if found is None:
        raise LirError(f"unknown element type {dtype!r}", f"expected one of {', '.join(DTYPES)}", code="LIR0034")
    return found


def convert(name: str, value: Any, type_: Type, noun: str = "input") -> tuple[np.ndarray, str | None]:
    """`value` as a C-contiguous array of the dtype of `type_`, and what had to be done for that, in words.

    The shape is the value's own: binding dimensions checks it. Raises LirError naming the input, or what else `noun`
    says that it is.
    """
    wanted = to_dtype(type_.dtype)
    if type(value) is np.ndarray and value.dtype == wanted and value.flags.c_contiguous and value.flags.aligned:
        return value, None
    what = f"{noun} `{name}`"
    array, literal = _as_array(what, value, type_)
    if array.dtype == wanted:
        if array.flags.c_contiguous and array.flags.aligned:
            return array, None
        return _compact(array), "copied: its elements do not lie one after another"
    return _compact(_same_kind(what, array, type_, wanted, literal)), f"converted from {array.dtype} to {type_.dtype}"


def _compact(array: np.ndarray) -> np.ndarray:
    # np.ascontiguousarray would make a scalar an array of shape [1].
    return np.require(array, requirements=("C", "A")).reshape(array.shape)


def _as_array(what: str, value: Any, type_: Type) -> tuple[np.ndarray, bool]:
    """A NumPy array, and whether it came from Python numbers, which have no element type of their own."""
    if isinstance(value, (np.ndarray, np.generic)):
        return unmasked(what, value), False
    if isinstance(value, (bool, int, float)):
        return _literal(what, value, type_), True
    if isinstance(value, (list, tuple, range)):
        typed = any(hasattr(item, "dtype") for item in value)
        return _literal(what, value, type_), not typed
    if is_device_array(value):
        return _from_device(what, value), False
    return _foreign(what, value, f"{what} has type {type_}"), False


def unmasked(what: str, value: Any) -> np.ndarray:
    """The array that NumPy makes of a value. Raises LirError for one that has masked elements."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise LirError(f"{what} is a masked array: a kernel reads all of its elements",
                       "pass weights that are 0 there, labels that are ignored, or .filled(...)")  # fmt: skip
    if is_device_array(value):
        return _from_device(what, value)
    readable = any(hasattr(value, name) for name in ("__array_interface__", "__array__", "__dlpack__"))
    if readable and not isinstance(value, np.ndarray):
        return _foreign(what, value, what)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise LirError(f"{what} is a list that is no array: {error}") from None


def is_device_array(value: Any) -> bool:
    """Whether this is a pyopencl array, without loading pyopencl."""
    return hasattr(value, "base_data") and hasattr(value, "map_to_host")


def _from_device(what: str, value: Any) -> np.ndarray:
    if value.queue is None or not value.flags.forc:
        lacks = "has no queue" if value.queue is None else "does not lie in one piece"
        raise LirError(f"{what}: the device array {lacks}", "pass array.with_queue(queue), or a copy")
    return np.asarray(value.get())


def _literal(what: str, value: Any, type_: Type) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise LirError(f"{what} has type {type_}, found a list that is no array: {error}") from None
    if array.size == 0:
        return array.astype(to_dtype(type_.dtype))
    return array


def _foreign(what: str, value: Any, declared: str) -> np.ndarray:
    """Another library's array, in its own memory where that can be shared. Raises LirError."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    for attribute, read in (
        ("__array_interface__", np.asarray), ("__dlpack__", np.from_dlpack), ("__array__", np.asarray)
    ):  # fmt: skip
        if hasattr(type(value), attribute) or hasattr(value, attribute):
            try:
                return np.asarray(read(value))
            except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                of_torch = ("lossc.torch has losses of tensors, with gradients",) if kind.startswith("torch.") else ()
                raise LirError(f"{what}: the {kind} cannot be read as an array: {reason}",
                               "move it to the host's memory as a NumPy array", *of_torch) from None  # fmt: skip
    with suppress(TypeError, ValueError):
        # What has a buffer, as `array.array` and `memoryview` have.
        return np.asarray(memoryview(value))
    raise LirError(f"{declared}, found an object of type {kind}",
                   "pass a NumPy array, or anything with __array_interface__ or __dlpack__")  # fmt: skip


_WAYS = {
    "c": "there are no complex numbers in LIR: pass array.real and array.imag as two inputs, or abs(array)",
    "V": "its elements have fields: pass them one by one, array['name']",
    "O": "its elements are Python objects: np.array(values, dtype='{}') converts them, or says which is no number",
    **dict.fromkeys("US", "its elements are texts: where they name classes, number these from 0"),
    **dict.fromkeys("Mm", "its elements are times: (array - array.min()) / np.timedelta64(1, 's') counts seconds"),
}
"""What to do with elements that are no numbers of ours, by NumPy's kinds of element types."""


def way_to_numbers(found: np.dtype, wanted: np.dtype) -> str:
    """How to make an array of another kind one of `wanted`."""
    way = _WAYS.get(found.kind, "convert it yourself where that is meant: array.astype('{}')")
    return way.replace("{}", wanted.name)


def _kind(dtype: np.dtype) -> str:
    known = dtype_of(dtype.newbyteorder("=") if dtype.kind in "fiu" else dtype)
    if known is not None and is_float(known):
        return "float"
    if dtype.kind in "iu":
        return "integer"
    return {"b": "bool", "f": "float", "c": "complex"}.get(dtype.kind, str(dtype))


def _same_kind(what: str, array: np.ndarray, type_: Type, wanted: np.dtype, literal: bool) -> np.ndarray:
    found = _kind(array.dtype)
    kind = "float" if is_float(type_.dtype) else "integer" if is_integer(type_.dtype) else "bool"
    if found != kind and not (literal and (found, kind) == ("integer", "float")):
        raise LirError(f"{what} has type {type_}, found an array of {array.dtype}", way_to_numbers(array.dtype, wanted))
    if kind == "integer" and array.size:
        limits = np.iinfo(wanted)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            outside = low if low < limits.min else high
            place = [int(i) for i in np.argwhere(array == outside)[0]]
            raise LirError(f"{what} has type {type_}, found {outside} at index {place}",
                           f"{type_.dtype} holds {limits.min} to {limits.max}")  # fmt: skip
    with np.errstate(over="ignore"):
        # A float beyond the range becomes infinite, as it does on the device.
        return array.astype(wanted)


def check_parameter(name: str, value: Any, type_: Type) -> np.ndarray:
    """A new array, aligned and of exactly `type_`, for the parameter store. Raises LirError."""
    array, _ = convert(name, value, type_, "parameter")
    if array.shape != type_.shape:
        raise LirError(f"parameter `{name}` has type {type_}, found an array of shape {list(array.shape)}")
    fresh = empty(array.shape, type_.dtype)
    fresh[...] = array
    return fresh


def empty(shape: int | tuple[int, ...] | list[int], dtype: Any = "f32") -> np.ndarray:
    """An uninitialised C-contiguous array, aligned to 64 bytes as `out=` wants it.

    `dtype` is a LIR element type (`"f32"`) or anything NumPy takes.
    """
    from lossc.runtime.memory import POOL

    sizes = tuple(shape) if isinstance(shape, (list, tuple)) else (shape,)
    wrong = [size for size in sizes if not isinstance(size, (int, np.integer)) or size < 0]
    if wrong:
        raise LirError(f"a shape is whole numbers from 0, found {wrong[0]!r}")
    return POOL.empty(sizes, to_dtype(element_type(dtype)))
