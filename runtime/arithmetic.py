"""What the operations of the kernel IR compute, in NumPy and in the declared element types.

In: operands as arrays whose first axis is work-items and whose second, where there is one, is lanes. Out: an
array of the result's element type. An operation means what its row in the table of primitives says; here are
only those that the table lacks or says in another way. Floats are rounded to their type after every
operation, integers wrap around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ir.diagnostics import CompilerBug
from ..ir.kernel import register_dtype
from ..ir.op_meanings import Evaluation
from ..ir.ops import PRIMITIVES
from ..ir.types import is_float, numpy_dtype

Array = np.ndarray[Any, Any]

# One of these takes about as long as an exponential; tests count them.
EXPONENTIALS = ("exp", "expm1", "power_of_two", "sigmoid", "softplus", "tanh")


def pointwise(op: str, dtype: str, lanes: int) -> Callable[..., Array]:
    """The function that `Apply(op, ..., dtype, lanes)` applies to its operands."""
    result = numpy_dtype(dtype)
    if op in _KERNEL_OPERATIONS:
        return _KERNEL_OPERATIONS[op]
    if op == "cast":
        return lambda x: x.astype(result)
    definition = PRIMITIVES.get(op)
    if definition is None or definition.kind != "pointwise" or definition.evaluate is None:
        raise CompilerBug(f"`{op}` is no pointwise operation")
    evaluate = definition.evaluate
    context = Evaluation({}, dtype, (lanes,))
    return lambda *operands: evaluate(context, *operands).astype(result, copy=False)


def reduce_lanes(op: str, values: Array) -> Array:
    """`op` over the lanes, as a tree: the upper half joins the lower half until one lane is left.

    For 4 lanes that is (v0 + v2) + (v1 + v3), in the order of OpenCL's `.lo` and `.hi`.
    """
    join = _JOINS[op]
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        values = join(values[:, :half], values[:, half:])
    return values[:, 0]


def _divide(a: Array, b: Array) -> Array:
    # Integers truncate toward zero; division by zero gives 0.
    if a.dtype.kind == "f":
        return a / b
    safe = np.where(b == 0, np.ones((), b.dtype), b)
    floor = a // safe
    truncated = floor + ((a % safe != 0) & ((a < 0) != (safe < 0)))
    return np.where(b == 0, 0, truncated).astype(a.dtype)


def _remainder(a: Array, b: Array) -> Array:
    # a - (a / b) b, with the sign of a, for the division above.
    return np.where(b == 0, 0, np.fmod(a, np.where(b == 0, np.ones((), b.dtype), b))).astype(a.dtype)


def _fused_multiply_add(a: Array, b: Array, c: Array) -> Array:
    # f32: the product is exact in float64, so this is the fused result up to a double rounding.
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _exponent(x: Array) -> Array:
    """The bits of n in x = 2^n m, m from sqrt(1/2) on, where f32 has its exponent."""
    return (x.view(np.uint32) - np.uint32(0x3F3504F3)) & np.uint32(0xFF800000)


def _rounded_to(dtype: str) -> Callable[[Array], Array]:
    return lambda x: x.astype(numpy_dtype(dtype)).astype(x.dtype)


def _zip(high: bool) -> Callable[[Array, Array], Array]:
    def run(a: Array, b: Array) -> Array:
        # What is the same for all work-items comes once.
        a, b = np.broadcast_arrays(a, b)
        half = a.shape[-1] // 2
        part = slice(half, None) if high else slice(half)
        return np.stack([a[..., part], b[..., part]], axis=-1).reshape(a.shape)

    return run


_KERNEL_OPERATIONS: Mapping[str, Callable[..., Array]] = {
    "div": _divide, "mod": _remainder, "fma": _fused_multiply_add,
    "exponent_of": lambda x: _exponent(x).view(np.int32).astype(np.float32),
    "significand_of": lambda x: (x.view(np.uint32) - _exponent(x)).view(np.float32),
    "reciprocal_power": lambda x: (np.uint32(0x3F800000) - _exponent(x)).view(np.float32),
    "power_of_two": lambda z: (z.view(np.int32) << 23).view(np.float32),
    "copysign": np.copysign,
    "max_number": lambda a, b: np.where(b > a, b, a),
    "zip_low": _zip(False), "zip_high": _zip(True),
    "round_f16": _rounded_to("f16"), "round_bf16": _rounded_to("bf16"),
}  # fmt: skip

_JOINS: Mapping[str, Callable[..., Array]] = {
    "add": np.add, "max": np.maximum, "min": np.minimum, "or": np.logical_or, "and": np.logical_and,
    "max_number": _KERNEL_OPERATIONS["max_number"],
}  # fmt: skip


def register_type(dtype: str) -> np.dtype[Any]:
    """The NumPy type of a register that holds an element of a buffer of `dtype`."""
    return numpy_dtype(register_dtype(dtype))


def memory_type(dtype: str) -> np.dtype[Any]:
    """The NumPy type of memory that holds elements of `dtype`."""
    return np.dtype(np.uint8) if dtype == "bool" else numpy_dtype(dtype)


def poison(dtype: str, count: int) -> Array:
    """Memory that nobody has written: NaN, or a pattern that is a wrong answer as an integer."""
    if is_float(dtype):
        return np.full(count, np.nan, numpy_dtype(dtype))
    return np.full(count * memory_type(dtype).itemsize, 0xA5, np.uint8).view(memory_type(dtype))
