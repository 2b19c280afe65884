"""Losses of NumPy arrays, one call each, with the names, arguments, defaults and shapes of torch.nn.functional.

    import lossc.functional as F

    loss = F.cross_entropy(logits, target, label_smoothing=0.1)      # an array of shape ()
    loss, gradient = F.value_and_grad(F.cross_entropy)(logits, target)
    loss, (by_logits, by_weight) = F.value_and_grad(F.cross_entropy, argnums=(0, 2))(logits, target, weight)

In: NumPy arrays of f64, f32, f16 and bf16 (ml_dtypes), labels of i8, u8, i16, i32 or i64; anything else that NumPy
makes such an array of. Out: new arrays; a reduced loss has shape () and is f32 for 16-bit input, an unreduced loss and
a gradient have the element type of what they belong to. Where element types differ, the widest of the predictions'
counts. A program is compiled for each combination of settings, element types and number of classes; other sizes, as
that of the batch, are free. All run on the device that `LOSSC_DEVICE` names at the first call. What torch refuses is
refused, by exceptions that are both lossc's and of torch's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import Any

import numpy as np

from lossc.arrays import unmasked, way_to_numbers
from lossc.errors import RefusedArgument, RefusedElementType, RefusedKind
from lossc.ir.diagnostics import CheckFailed, LirError
from lossc.ir.frozen import frozen
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, dtype_of, is_float
from lossc.losses.calls import Calls
from lossc.losses.functions import functions, notes_on_function
from lossc.losses.own import Definition
from lossc.losses.own_arrays import OwnFunction, named_by
from lossc.losses.programs import LossProgram
from lossc.losses.row import Row
from lossc.losses.shapes import Layout
from lossc.losses.table import LOSSES
from lossc.warnings import warn, warn_once

Loss = Callable[..., np.ndarray]


@frozen(eq=False)
class _Plan:
    """A program for arrays of known shapes. `names` are those of the arrays that were given, `views` their shapes in
    the program, None where they are the same."""

    row: Row
    program: LossProgram
    names: tuple[str, ...]
    views: tuple[tuple[int, ...] | None, ...]
    layout: Layout
    reduced: bool
    _gradients: dict[tuple[str, ...], tuple[int, ...]] = field(default_factory=dict)

    def run(self, program: LossProgram, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = [array if view is None else array.reshape(view) for array, view in zip(arrays, self.views)]
        try:
            return program.run(given)
        except CheckFailed as error:
            views = [array.shape for array in given]
            raise self.row.failed(error, self.names, views, [array.shape for array in arrays]) from None

    def places(self, wanted: tuple[str, ...], arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
        """The places of the arrays to differentiate by. Raises LirError where that cannot be done."""
        found = self._gradients.get(wanted)
        if found is None:
            found = self._gradients[wanted] = self._checked_places(wanted, arrays)
        return found

    def _checked_places(self, wanted: tuple[str, ...], arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
        row = self.row
        if not self.reduced:
            way = "take reduction='sum'" if "reduction" in row.settings else \
                "lossc.Graph().compile(grad=True, upstream=True) takes an incoming gradient"  # fmt: skip
            raise LirError(f"value_and_grad differentiates one number, and {row.name} was not reduced", way)
        for name in wanted:
            if name not in self.names:
                raise LirError(f"{row.name} was not given {name}: there is nothing to differentiate by")
            array = arrays[self.names.index(name)]
            if not is_float(_dtype(row, name, array)):
                raise RefusedArgument(f"{name} is an array of {array.dtype}: only floats have gradients",
                                      code="LIR0031")  # fmt: skip
        return tuple(sorted({self.names.index(name) for name in wanted}))


class _Calls(Calls[_Plan]):
    """Calls of one function on arrays."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self._told: set[str] = set()

    def prepare(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[_Plan, list[np.ndarray]]:
        """The plan of a call, and its arrays."""
        row = self.row
        values, settings = row.read(arguments, keywords)
        given: list[np.ndarray | None] = [values[place] for place in row.tensors_at]
        for place, value in enumerate(given):
            if value is None and row.tensors[place] not in row.required:
                continue
            if type(value) is not np.ndarray or not value.flags.carray or not value.dtype.isnative:
                given[place] = _array(row, row.tensors[place], value, given[0] if place else None)
        if row.settings == ("dim",):
            (array,) = given
            assert array is not None
            given = [self.operand_of_softmax(settings, values, array, array.ndim, array.astype)]
        arrays = [array for array in given if array is not None]
        key = (*settings, *[None if array is None else (array.shape, array.dtype) for array in given])
        plan = self.plans.get(key)
        if plan is None:
            plan = self.keep(key, self._planned(settings, given))
        if plan.layout.warning:
            warn(plan.layout.warning)
        return plan, arrays

    def _planned(self, settings: Sequence[Any], given: Sequence[np.ndarray | None]) -> _Plan:
        row = self.row
        arrays = {name: array for name, array in zip(row.tensors, given) if array is not None}
        types = {name: Type(_dtype(row, name, array), array.shape) for name, array in arrays.items()}
        program, layout, reduced = self.specialised(settings, types, narrow=False)
        warn_once(program.module, self._told)
        views = [layout.views[name] for name in arrays]
        changed = tuple(None if view == a.shape else view for view, a in zip(views, arrays.values()))
        return _Plan(row, program, tuple(arrays), changed, layout, reduced)


@cache
def _calls(row: Row) -> _Calls:
    """The calls of one function, whoever makes them."""
    return _Calls(row)


def _array(row: Row, name: str, value: Any, like: np.ndarray | None) -> np.ndarray:
    """An array that a kernel can read. `like` is the first one, None where this is it."""
    if value is None:
        raise RefusedKind(f"{row.name}: {name} must be an array, found None")
    if isinstance(value, float) and like is not None:
        # A Python number has neither an element type nor a shape of its own.
        value = np.full(like.shape, value, like.dtype if is_float(_dtype(row, name, like)) else np.float32)
    if isinstance(value, Tensor):
        others = ", ".join(row.required[1:])
        raise RefusedKind(f"{row.name}: {name} must be an array, found a value of a graph",
                          f"values have it as a method: {row.tensors[0]}.{row.operation}({others})",
                          "or lossc.nn as a class")  # fmt: skip
    array = unmasked(f"{row.name}: {name}", value)
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    # Not np.ascontiguousarray, which makes a scalar an array of shape [1].
    return np.require(array, array.dtype.newbyteorder("="), ("C", "A")).reshape(array.shape)


_FLOAT = np.dtype(np.float32)


def _dtype(row: Row, name: str, array: np.ndarray) -> str:
    found = dtype_of(array.dtype)
    if found is None:
        labels = array.dtype.kind == "u"
        hint = "labels are i8, u8, i16, i32 or i64: convert them" if labels else way_to_numbers(array.dtype, _FLOAT)
        raise RefusedElementType(f"{row.name}: {name} is an array of {array.dtype}, which lossc does not have", hint,
                                 code="LIR0031")  # fmt: skip
    return found


def _function(row: Row) -> Loss:
    calls = _calls(row)

    def loss(*arguments: Any, **keywords: Any) -> np.ndarray:
        plan, arrays = calls.prepare(arguments, keywords)
        (value,) = plan.run(plan.program, arrays)
        return value if plan.reduced else value.reshape(plan.layout.result)

    return loss


def function(loss: Definition) -> OwnFunction:
    """A loss of your own as a function of arrays: a `lossc.Graph` (lossc.load reads one from a file), LIR text, or a
    Python function over values of a graph. It may be a decorator.

    Inputs are the arguments, params among them, in their order or by name; a graph counts as it stands at this call. A
    result of one element is an array without axes; several results are a tuple. Named dimensions of a graph or a text
    take any size; a Python function, whose arguments may also be numbers, strings, truth values or None, is compiled
    for each combination of these and of shapes.
    """
    return OwnFunction(loss)


def value_and_grad(function: Loss, argnums: int | Sequence[int] = 0) -> Callable[..., tuple[np.ndarray, Any]]:
    """A function that returns the loss and its gradient by the argument at position `argnums`, of the same program.

    With a tuple of positions it returns a tuple of gradients. `function` is one of this module's, or what its
    `function` makes; the loss is reduced.
    The gradient has the shape and the element type of its argument, which is a float array.
    """
    if isinstance(function, OwnFunction):
        return function.value_and_grad(argnums)
    row = LOSSES.get(getattr(function, "__name__", ""))
    if row is None or _FUNCTIONS.get(row.name) is not function:
        name = getattr(function, "__qualname__", repr(function))
        raise LirError(f"value_and_grad takes a loss of lossc.functional, found {name}",
                       "for a loss of your own, value_and_grad(lossc.functional.function(loss))")  # fmt: skip
    known = tuple(row.signature.parameters)
    wanted = named_by(argnums, row.name, known)
    for name in wanted:
        if name not in row.tensors:
            raise LirError(f"argument {known.index(name)} of {row.name}, {name}, is no tensor")

    calls = _calls(row)

    def value_and_gradient(*arguments: Any, **keywords: Any) -> tuple[np.ndarray, Any]:
        plan, arrays = calls.prepare(arguments, keywords)
        places = plan.places(wanted, arrays)
        value, *found = plan.run(plan.program.with_gradient(places), arrays)
        if len(wanted) == 1:
            gradient = found[0] if plan.views[places[0]] is None else found[0].reshape(arrays[places[0]].shape)
            return value, gradient if isinstance(argnums, (int, np.integer)) else (gradient,)
        gradients = {plan.names[p]: found[i].reshape(arrays[p].shape) for i, p in enumerate(places)}
        return value, tuple(gradients[name] for name in wanted)

    value_and_gradient.__name__ = f"value_and_grad_of_{row.name}"
    value_and_gradient.__doc__ = f"The value of {row.name} and its gradient by {', '.join(wanted)}."
    return value_and_gradient


_FUNCTIONS = functions(_function, np.minimum, __name__)
globals().update(_FUNCTIONS)


def __getattr__(name: str) -> Any:
    hint = "".join(f"; {note}" for note in notes_on_function(name, [*_FUNCTIONS, "function", "value_and_grad"]))
    raise AttributeError(f"module 'lossc.functional' has no attribute {name!r}{hint}")
