"""Losses of NumPy arrays, one call each, with the names, arguments, defaults and shapes of torch.nn.functional.

    import lossc.functional as F

    loss = F.cross_entropy(logits, target, label_smoothing=0.1)      # an array of shape ()
    loss, gradient = F.value_and_grad(F.cross_entropy)(logits, target)
    loss, (by_logits, by_weight) = F.value_and_grad(F.cross_entropy, argnums=(0, 2))(logits, target, weight)

In: NumPy arrays of f64, f32, f16 and bf16 (ml_dtypes), labels of i8, u8, i16, i32 or i64; anything else that NumPy
makes such an array of. Out: new arrays; a reduced loss has shape () and is f32 for 16-bit input, an unreduced loss and
a gradient have the element type of what they belong to. Where element types differ, the widest of the predictions'
counts. A program is compiled for each combination of settings, element types and number of classes; other sizes, as
that of the batch, are free. What torch refuses is refused, by exceptions that are both lossc's and of torch's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossc.ir.diagnostics import CheckFailed, LirError
from lossc.ir.types import Type, dtype_of, is_float
from lossc.losses.errors import RefusedArgument, RefusedElementType, RefusedKind
from lossc.losses.functions import functions
from lossc.losses.programs import LossProgram, loss_program
from lossc.losses.shapes import Layout, axis_of_softmax
from lossc.losses.table import LOSSES, Row
from lossc.losses.warnings import warn

Loss = Callable[..., np.ndarray]


@dataclass(frozen=True)
class _Call:
    """A function with its arguments: what is to be run, and on which arrays."""

    program: LossProgram
    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]
    layout: Layout
    reduced: bool

    def views(self) -> list[np.ndarray]:
        return [array.reshape(self.layout.views[name]) for name, array in zip(self.names, self.arrays)]


def _prepare(row: Row, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> _Call:
    values = row.bind(arguments, keywords)
    settings = dict(zip(row.settings, row.settings_of(values)))
    arrays: dict[str, np.ndarray] = {}
    for name, place in zip(row.tensors, row.tensors_at):
        if values[place] is not None or name in row.required:
            arrays[name] = _array(row, name, values[place], arrays)
    if "dim" in settings:
        settings["dim"] = axis_of_softmax(row.name, settings["dim"], arrays["input"].ndim)
        dtype = row.value_of(values, "dtype")
        arrays["input"] = arrays["input"] if dtype is None else arrays["input"].astype(dtype)
    types = {name: Type(_dtype(row, name, array), array.shape) for name, array in arrays.items()}
    layout = row.layout(types, settings)
    if layout.warning:
        warn(layout.warning)
    program = loss_program(row, types, layout, settings, narrow=False)
    return _Call(program, tuple(arrays), tuple(arrays.values()), layout, settings.get("reduction", "none") != "none")


def _array(row: Row, name: str, value: Any, others: Mapping[str, np.ndarray]) -> np.ndarray:
    if value is None:
        raise RefusedKind(f"{row.name}: {name} must be an array, found None")
    if isinstance(value, float) and others:
        # A Python number has neither an element type nor a shape of its own.
        like = next(iter(others.values()))
        value = np.full(like.shape, value, like.dtype if is_float(_dtype(row, name, like)) else np.float32)
    array = np.asarray(value)
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    # Not np.ascontiguousarray, which makes a scalar an array of shape [1].
    return np.require(array, array.dtype.newbyteorder("="), ("C", "A")).reshape(array.shape)


_HINTS = {"c": "take the real part, the absolute value, ...", "u": "labels are i8, u8, i16, i32 or i64: convert them"}


def _dtype(row: Row, name: str, array: np.ndarray) -> str:
    found = dtype_of(array.dtype)
    if found is None:
        hint = _HINTS.get(array.dtype.kind, "convert it with .astype(...)")
        raise RefusedElementType(f"{row.name}: {name} is an array of {array.dtype}, which lossc does not have", hint,
                                 code="LIR0031")  # fmt: skip
    return found


def _run(row: Row, program: LossProgram, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    try:
        return program.run(arrays)
    except CheckFailed as error:
        raise row.failed(error) from None


def _function(row: Row) -> Loss:
    def loss(*arguments: Any, **keywords: Any) -> np.ndarray:
        call = _prepare(row, arguments, keywords)
        (value,) = _run(row, call.program, call.views())
        return value if call.reduced else value.reshape(call.layout.result)

    loss.__name__ = loss.__qualname__ = row.name
    loss.__signature__ = row.signature  # type: ignore[attr-defined]
    loss.__doc__ = row.help
    return loss


def value_and_grad(function: Loss, argnums: int | Sequence[int] = 0) -> Callable[..., tuple[np.ndarray, Any]]:
    """A function that returns the loss and its gradient by the argument at position `argnums`, of the same program.

    With a tuple of positions it returns a tuple of gradients. `function` is one of this module's; the loss is reduced.
    The gradient has the shape and the element type of its argument, which is a float array.
    """
    row = LOSSES.get(getattr(function, "__name__", ""))
    if row is None or _FUNCTIONS.get(row.name) is not function:
        name = getattr(function, "__qualname__", repr(function))
        raise LirError(f"value_and_grad takes a loss of lossc.functional, found {name}",
                       "for a loss of your own write a Graph: lossc.Graph().compile(grad=True)")  # fmt: skip
    known = tuple(row.signature.parameters)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for position in positions:
        if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < len(known):
            raise LirError(f"argnums counts the arguments of {row.name} from 0 to {len(known) - 1}, found {position!r}")
        if known[position] not in row.tensors:
            raise LirError(f"argument {position} of {row.name}, {known[position]}, is no tensor")
    if not positions:
        raise LirError("argnums names no argument")
    wanted = tuple(known[position] for position in positions)

    def value_and_gradient(*arguments: Any, **keywords: Any) -> tuple[np.ndarray, Any]:
        call = _prepare(row, arguments, keywords)
        if not call.reduced:
            way = "take reduction='sum'" if "reduction" in row.settings else \
                "lossc.Graph().compile(grad=True, upstream=True) takes an incoming gradient"  # fmt: skip
            raise LirError(f"value_and_grad differentiates one number, and {row.name} was not reduced", way)
        for name in wanted:
            if name not in call.names:
                raise LirError(f"{row.name} was not given {name}: there is nothing to differentiate by")
            array = call.arrays[call.names.index(name)]
            if not is_float(_dtype(row, name, array)):
                raise RefusedArgument(f"{name} is an array of {array.dtype}: only floats have gradients",
                                      code="LIR0031")  # fmt: skip
        places = tuple(sorted({call.names.index(name) for name in wanted}))
        value, *found = _run(row, call.program.with_gradient(places), call.views())
        gradients = {place: found[i].reshape(call.arrays[place].shape) for i, place in enumerate(places)}
        chosen = tuple(gradients[call.names.index(name)] for name in wanted)
        return value, chosen[0] if isinstance(argnums, int) else chosen

    value_and_gradient.__name__ = f"value_and_grad_of_{row.name}"
    value_and_gradient.__doc__ = f"The value of {row.name} and its gradient by {', '.join(wanted)}."
    return value_and_gradient


_FUNCTIONS = functions(_function, np.minimum, __name__)
globals().update(_FUNCTIONS)
