"""Losses of one's own on NumPy arrays, as `lossc.functional` has them.

In: the definition. Out: a function of arrays, and its value with gradients.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lossc.arrays import convert, unmasked, way_to_numbers
from lossc.errors import RefusedArgument, RefusedElementType, RefusedKind
from lossc.ir.diagnostics import LirError
from lossc.ir.shapes import bind_dimensions
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, dtype_of, is_float
from lossc.losses.own import SETTING, Definition, OwnLoss, is_one_number
from lossc.losses.programs import LossProgram


def named_by(argnums: int | Sequence[int], function: str, known: Sequence[str]) -> tuple[str, ...]:
    """The arguments of a function that `argnums` counts. Raises LirError."""
    one = isinstance(argnums, (int, np.integer, str))
    positions = (argnums,) if one else tuple(argnums)  # type: ignore[arg-type]
    for position in positions:
        whole = isinstance(position, (int, np.integer)) and not isinstance(position, bool)
        if not whole or not 0 <= position < len(known):
            raise LirError(f"argnums counts the arguments of {function} from 0 to {len(known) - 1}, found {position!r}")
    if not positions:
        raise LirError("argnums names no argument")
    return tuple(known[position] for position in positions)


def _first_float(values: Iterable[Any]) -> np.dtype | None:
    """The element type of the first array of floats."""
    arrays = (value for value in values if isinstance(value, np.ndarray))
    return next((a.dtype for a in arrays if is_float(dtype_of(a.dtype) or "")), None)


class OwnFunction:
    """A loss of one's own, called on arrays."""

    def __init__(self, definition: Definition) -> None:
        self.own = OwnLoss(definition)
        self.__name__ = self.__qualname__ = self.own.name
        self.__doc__, self.__module__ = self.own.help, self.own.module

    def __reduce__(self) -> str | tuple[Any, ...]:
        """The name where it stands in a module, as functions are pickled; else what it is made of."""
        if getattr(sys.modules.get(self.__module__), self.__name__, None) is self:
            return self.__name__
        return OwnFunction, (self.own.definition,)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        program, arrays = self._prepare(arguments, keywords)
        found = self._run(program, program, arrays)
        return found[0] if len(found) == 1 else tuple(found)

    def value_and_grad(self, argnums: int | Sequence[int]) -> Callable[..., tuple[Any, Any]]:
        """What `lossc.functional.value_and_grad` returns for it."""
        known = tuple(self.own.inputs if self.own.signature is None else self.own.signature.parameters)
        wanted = named_by(argnums, self.__name__, known)

        def value_and_gradient(*arguments: Any, **keywords: Any) -> tuple[Any, Any]:
            program, arrays = self._prepare(arguments, keywords)
            if not is_one_number(program):
                raise LirError(f"value_and_grad differentiates one number, and {self.__name__} gives "
                               f"{', '.join(str(output.type) for output in program.function.outputs)}",
                               "add it up: .mean(), .sum(), or reduce_sum in a text")  # fmt: skip
            inputs = program.function.inputs
            names = [value.name for value in inputs]
            for name in wanted:
                if name not in names or not is_float(inputs[names.index(name)].type.dtype):
                    raise RefusedArgument(f"{self.__name__}: {name} is no array of floats: it has no gradient",
                                          code="LIR0031")  # fmt: skip
            places = tuple(sorted({names.index(name) for name in wanted}))
            value, *found = self._run(program.with_gradient(places), program, arrays)
            gradients = dict(zip((names[place] for place in places), found))
            one = isinstance(argnums, (int, np.integer))
            return value, gradients[wanted[0]] if one else tuple(gradients[name] for name in wanted)

        value_and_gradient.__name__ = f"value_and_grad_of_{self.__name__}"
        value_and_gradient.__doc__ = f"The value of {self.__name__} and its gradient by {', '.join(wanted)}."
        return value_and_gradient

    def _prepare(self, arguments: Sequence[Any], keywords: Any) -> tuple[LossProgram, list[np.ndarray]]:
        """The program of a call, and its arrays."""
        values, own = self.own.read(arguments, keywords), self.own
        arrays: dict[str, np.ndarray] = {}
        for name, value in values.items():
            if name in own.inputs:
                arrays[name], _ = convert(name, value, own.inputs[name])
            elif not isinstance(value, SETTING):
                if isinstance(value, Tensor):
                    raise RefusedKind(f"{own.name}: {name} must be an array, found a value of a graph",
                                      "call the Python function itself, or g.call(graph, ...)")  # fmt: skip
                arrays[name] = np.require(unmasked(f"{own.name}: {name}", value), requirements=("C", "A"))
                if isinstance(value, (list, tuple)) and arrays[name].dtype == np.float64:
                    # Python's numbers have no element type of their own.
                    arrays[name] = arrays[name].astype(_first_float(values.values()) or np.float64)
        settings = {name: value for name, value in values.items() if name not in arrays}
        types = {name: Type(self._dtype(name, array), array.shape) for name, array in arrays.items()}
        program = own.program(types, settings)
        # Refuses shapes that do not fit, in words that name the input.
        bind_dimensions([(v.name, v.type) for v in program.function.inputs], {n: a.shape for n, a in arrays.items()})
        return program, list(arrays.values())

    def _dtype(self, name: str, array: np.ndarray) -> str:
        found = dtype_of(array.dtype)
        if found is None:
            raise RefusedElementType(f"{self.__name__}: {name} is an array of {array.dtype}, which lossc does not have",
                                     way_to_numbers(array.dtype, np.dtype(np.float32)), code="LIR0031")  # fmt: skip
        return found

    @staticmethod
    def _run(program: LossProgram, loss: LossProgram, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs, where the loss is one number without axes."""
        value, *others = program.run(arrays)
        return [value.reshape(()) if is_one_number(loss) else value, *others]
