"""The inputs of a compiled function or a step: arrays by name.

In: what a caller passes, of whatever kind. Out: arrays as a program takes them on its device, or LirError that names
the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lossc.arrays import convert, is_device_array, to_dtype
from lossc.errors import RefusedCall
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.types import Type, dim_names
from lossc.runtime.device import Device
from lossc.runtime.memory import Argument


def refuse_positions(what: str, arguments: Sequence[Any], types: Mapping[str, Type]) -> None:
    """Raise RefusedCall for inputs without their names."""
    if arguments:
        given = ", ".join(f"{name}=..." for name in types)
        raise RefusedCall(f"inputs go by name, found {len(arguments)} without", f"write {what}({given})",
                          code="LIR0025")  # fmt: skip


class Inputs:
    """Conversion of what callers pass, to what a program takes on a device."""

    def __init__(
        self, types: Iterable[tuple[str, Type]], accepted: Mapping[str, Type] | None, device: Device | None = None
    ) -> None:
        self.types = dict(types)
        # Known to the graph though this program may not need them: one batch serves several functions.
        self.accepted = accepted or {}
        self.conversions: dict[str, str] = {}
        self._device = device

    @cached_property
    def _dtypes(self) -> dict[str, np.dtype]:
        return {name: to_dtype(type_.dtype) for name, type_ in self.types.items()}

    def __call__(self, given: Mapping[str, Any]) -> dict[str, np.ndarray | Argument]:
        """Arrays of the declared dtypes, by name. Raises LirError for an unknown name or what cannot be converted."""
        dtypes = self._dtypes
        arrays: dict[str, np.ndarray | Argument] = {}
        for name, value in given.items():
            if type(value) is np.ndarray and dtypes.get(name) is value.dtype:
                flags = value.flags
                if flags.c_contiguous and flags.aligned:
                    arrays[name] = value
                    continue
            if name in self.types:
                arrays[name] = self._converted(name, value, self.types[name])
            elif name not in self.accepted:
                known = ", ".join(f"{n}: {t}" for n, t in self.types.items())
                raise LirError(f"no input `{name}`", *did_you_mean(name, self.types), f"inputs: {known or 'none'}")
        return arrays

    def _converted(self, name: str, value: Any, type_: Type) -> np.ndarray | Argument:
        if is_device_array(value) and self._device is not None:
            from lossc.runtime.device_arrays import argument_on, lies_on

            if value.dtype != self._dtypes[name]:
                raise LirError(f"input `{name}` has type {type_}, found a device array of {value.dtype}",
                               "device arrays are not converted: make one of that dtype")  # fmt: skip
            if lies_on(self._device, value):
                return argument_on(self._device, value)
            self.conversions[name] = "copied: it lies on another device, or not in one piece"
        array, done = convert(name, value, type_)
        if done is not None:
            self.conversions[name] = done
        return array

    def check_sizes(self, sizes: Any) -> None:
        """Raise LirError for what gives no sizes to dimensions of these inputs."""
        if not isinstance(sizes, Mapping):
            raise LirError(f"sizes names dimensions, found {type(sizes).__name__}", 'write sizes={"B": 32}')
        types = [*self.types.values(), *self.accepted.values()]
        known = list(dict.fromkeys(name for type_ in types for dim in type_.shape for name in dim_names(dim)))
        for name, size in sizes.items():
            if name not in known:
                raise LirError(f"no input has a dimension `{name}`", *did_you_mean(str(name), known),
                               f"dimensions with names: {', '.join(known) or 'none'}")  # fmt: skip
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
                raise LirError(f"the size of `{name}` is a whole number from 0, found {size!r}")

    def in_order(
        self, arrays: Mapping[str, np.ndarray | Argument], order: Sequence[str]
    ) -> list[np.ndarray | Argument]:
        """The arrays as a program takes them. Raises LirError where some are missing."""
        try:
            return [arrays[name] for name in order]
        except KeyError:
            missing = [f"`{name}`: {self.types[name]}" for name in order if name not in arrays]
            raise LirError(f"missing input {', '.join(missing)}") from None
