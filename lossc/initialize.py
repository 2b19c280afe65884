"""The first values of parameters: what type a declaration means, and what layers of a text start from.

In: what `Graph.param` was given; operations that read parameters. Out: types; values in the parameter store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from lossc.arrays import element_type, unmasked
from lossc.ir.composites import COMPOSITES
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Op, Value
from lossc.ir.types import Type, dtype_of, is_float
from lossc.parameters import Parameters

_RESERVED = "optimizer."


def declared_type(name: str, value: Any, is_filled: bool, dtype: Any) -> tuple[Type, bool]:
    """The type of a parameter, and whether `value` is its shape in place of its values; `is_filled` says that there is
    a rule for them. Raises LirError."""
    is_shape = isinstance(value, tuple) and all(isinstance(size, (int, np.integer)) for size in value)
    if is_shape:
        type_ = Type(element_type(dtype or "f32"), tuple(int(size) for size in value))
    elif is_filled:
        raise LirError(f"parameter `{name}`: init fills a shape, found an array or list of values",
                       "a shape is a tuple of sizes, (10, 128)")  # fmt: skip
    else:
        array = np.asarray(unmasked(f"parameter `{name}`", value))
        given = dtype_of(array.dtype) if dtype is None else element_type(dtype)
        # NumPy makes Python's numbers f64 or i64 where nothing was said.
        unsaid = dtype is None and (given in (None, "f64") or not isinstance(value, (np.ndarray, np.generic)))
        type_ = Type("f32" if unsaid else given or "f32", array.shape)
    if name.startswith(_RESERVED):
        raise LirError(f"a parameter's name cannot begin with `{_RESERVED}`: checkpoints use that")
    if not is_float(type_.dtype):
        raise LirError(f"parameter `{name}` has type {type_}: parameters are floats", code="LIR0031")
    return type_, is_shape


def initialize_layers(ops: Iterable[Op], params: Collection[Value], parameters: Parameters) -> None:
    """Weights and biases of `linear` without values get U(-b, b) with b = 1 / sqrt(inputs), as torch's Linear has them.

    Raises LirError for a parameter without values that no `linear` reads.
    """
    for op in ops:
        composite = COMPOSITES.get(op.name)
        if composite is None or "bias?" not in composite.operands:
            continue
        names = op.attributes.get("operands") or [name.rstrip("?") for name in composite.operands]
        weight, *bias = [v for key, v in zip(names, op.operands) if key in ("weight", "bias")]
        for value in (weight, *bias):
            if value in params and parameters.entry(value.name).array is None:
                inputs = weight.type.shape[1]
                if not isinstance(inputs, int):
                    parameters.entry(weight.name).static_shape  # noqa: B018 (says what to do)
                parameters.fill(value.name, 1 / max(1, int(str(inputs))) ** 0.5)
    left = [name for name in parameters if parameters.entry(name).array is None]
    if left:
        raise LirError(f"no rule says how to initialize parameter `{left[0]}`, which no `linear` reads",
                       f"set its values: graph.parameters[{left[0]!r}] = array")  # fmt: skip
