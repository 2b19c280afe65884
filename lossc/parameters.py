"""The parameter store of a graph: named arrays, read by every compiled function, written by training steps.

In: arrays, or rules to draw them by (`initializers.py`). Out: `Parameters`, a mapping from names to arrays. An array
taken out is a copy that cannot be written, so that nothing a user holds changes under training; assigning puts values
in.

While a step trains, its parameters live side by side in one piece of memory (`arena.py`); the store knows where.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lossc.arrays import check_parameter
from lossc.errors import RefusedCall
from lossc.initializers import Initializer, draw
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.types import Type
from lossc.other_words import missing

if TYPE_CHECKING:
    from lossc.runtime.device import Device
    from lossc.runtime.memory import Argument
    from lossc.training.arena import Arena


@dataclass(eq=False)
class Parameter:
    """One entry: `array` is None until a value is given; `arena` is where a step keeps it."""

    name: str
    type: Type
    array: np.ndarray | None = None
    frozen: bool = False
    group: str = "default"
    arena: Arena | None = None

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape in numbers. Raises LirError where the type has a named dimension and no value says its size."""
        if self.array is not None:
            return self.array.shape
        sizes = tuple(dim for dim in self.type.shape if isinstance(dim, int))
        if len(sizes) != self.type.rank:
            raise LirError(f"parameter `{self.name}` has type {self.type}: its size is not known",
                           f"give it a value: graph.parameters[{self.name!r}] = array")  # fmt: skip
        return sizes


# By id: mappings are equal where their values are, and have no hash.
_stores: weakref.WeakValueDictionary[int, Parameters] = weakref.WeakValueDictionary()


def _free_after_fork() -> None:
    """A thread that held a lock, and the step that it did, are not there in a forked process."""
    for store in list(_stores.values()):
        store.lock, store.is_under_way = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_after_fork)


class UnknownParameter(LirError, KeyError):
    """A name that the store lacks: a KeyError too, as mappings raise it."""

    # KeyError would print its text between quotation marks.
    __str__ = Exception.__str__


class Parameters(Mapping[str, np.ndarray]):
    """Parameters by name, in the order in which they were made. Names may hold dots: `fc1.weight`.

    Who changes values that others may be reading, or reads several that belong together, holds the `lock`: a step of
    training, and while there are steps (`is_trained`) every run that reads parameters. `is_under_way` while a step is.
    Arrays of parameters are written to by steps alone: a run without the lock may be reading those that no step keeps.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._entries: dict[str, Parameter] = {}
        self.lock = threading.RLock()
        self.is_under_way = False
        self._steps: dict[int, weakref.ref[object]] = {}
        _stores[id(self)] = self

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{p.name}: {p.type}' for p in self._entries.values())})"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has, or a pickle: the values, not the lock, and not what the steps of this store keep."""
        with self.lock:
            entries = {}
            for name, entry in self._entries.items():
                values = None if entry.array is None else self.live(name).copy()
                entries[name] = replace(entry, array=values, arena=None)
            return {"seed": self.seed, "_entries": entries, "is_under_way": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.RLock(), _steps={})
        _stores[id(self)] = self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(type(self), name)

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """`model.parameters()` of torch. Raises RefusedCall."""
        raise RefusedCall("graph.parameters is a mapping from names to arrays, and is not called",
                          "g.compile_step(optim.SGD(lr)) trains all of them that are not frozen")  # fmt: skip

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> np.ndarray:
        """The present values: a copy, read-only so that a write into it is not lost unseen.

        Raises UnknownParameter, a KeyError, for another name.
        """
        with self.lock:
            values = self.live(name).copy()
        values.flags.writeable = False
        return values

    def __setitem__(self, name: str, value: Any) -> None:
        """Set the values of a parameter; floats are converted, the shape must be its own. Raises LirError."""
        entry = self.entry(name)
        fresh = check_parameter(name, value, Type(entry.type.dtype, _expected_shape(entry, value)))
        with self.lock:
            self.check_at_rest()
            # Not into the arena of a step, which takes them at its next turn: a run may be reading that.
            entry.array, entry.arena = fresh, None

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several parameters, or none of them where one does not fit."""
        for name, value in values.items():
            entry = self.entry(name)
            check_parameter(name, value, Type(entry.type.dtype, _expected_shape(entry, value)))
        with self.lock:
            self.check_at_rest()
            for name, value in values.items():
                self[name] = value

    @property
    def is_trained(self) -> bool:
        """Whether there is a step that may change them."""
        return bool(self._steps)

    def trained_by(self, step: object) -> None:
        """From now on there is this step, until it is gone."""
        steps, key = self._steps, id(step)
        steps[key] = weakref.ref(step, lambda _: steps.pop(key, None))

    def check_at_rest(self) -> None:
        """Raise LirError in the middle of a step of this thread. Who asks holds the lock."""
        if self.is_under_way:
            raise LirError("a step of this graph is under way in this thread",
                           "a signal handler may read parameters; to train, compile a step, set, save or load, have it "
                           "set a flag, and do that after the step")  # fmt: skip

    def entry(self, name: str) -> Parameter:
        """The entry itself. Raises LirError, with the nearest name."""
        if name not in self._entries:
            known = ", ".join(self._entries) or "none"
            near = did_you_mean(name, self._entries) if isinstance(name, str) else ()
            raise UnknownParameter(f"no parameter `{name}`", *near, f"there are: {known}")
        return self._entries[name]

    def live(self, name: str) -> np.ndarray:
        """The array that compiled functions read: not a copy. Raises LirError where there are no values yet."""
        entry = self.entry(name)
        if entry.array is None:
            raise LirError(f"parameter `{name}`: {entry.type} has no values",
                           f"set them: graph.parameters[{name!r}] = array, graph.initialize(), or load a file",
                           )  # fmt: skip
        if entry.arena is not None:
            entry.arena.receive()
        return entry.array

    def argument(self, name: str, device: Device) -> np.ndarray | Argument:
        """What a kernel on `device` reads: memory of the device itself where a step keeps the parameter there."""
        arena = self.entry(name).arena
        if arena is None or arena.device is not device:
            return self.live(name)
        arena.to_device()
        return arena.part(name)

    def add(self, entry: Parameter) -> None:
        if entry.name in self._entries:
            raise LirError(f"there is a parameter `{entry.name}` already", code="LIR0048")
        self._entries[entry.name] = entry

    def fill(self, name: str, rule: str | float | Initializer) -> None:
        """Draw new values by a rule: its name, a bound for U(-bound, bound), or a function of generator and shape."""
        self[name] = self.drawn(self.entry(name), rule)

    def drawn(self, entry: Parameter, rule: str | float | Initializer) -> np.ndarray:
        """Values for a parameter, which need not be in the store yet."""
        return draw(rule, self.seed, entry.name, entry.static_shape)

    def freeze(self, *patterns: str) -> None:
        """Keep parameters out of `grad=True` and of steps compiled from now on: `freeze("fc1.*")`."""
        for entry in self._matching(patterns):
            entry.frozen = True

    def unfreeze(self, *patterns: str) -> None:
        """Undo `freeze`."""
        for entry in self._matching(patterns):
            entry.frozen = False

    def set_group(self, group: str, *patterns: str) -> None:
        """Put parameters in a group, which may have an optimizer's settings of its own."""
        for entry in self._matching(patterns):
            entry.group = group

    def _matching(self, patterns: Sequence[str]) -> list[Parameter]:
        found = []
        for pattern in patterns:
            matching = [entry for name, entry in self._entries.items() if fnmatchcase(name, pattern)]
            if not matching:
                raise LirError(f"no parameter matches `{pattern}`", *did_you_mean(pattern, self._entries))
            found += matching
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write all values to a safetensors file, at once or not at all."""
        from lossc.tensor_files import write_tensors

        with self.lock:
            self.check_at_rest()
            write_tensors(path, {name: self.live(name) for name in self}, {})

    def load(self, path: str | PathLike[str]) -> None:
        """Read all values from a safetensors file, also from one that a step saved. Raises LirError where one is
        missing, unknown or does not fit; then nothing has changed."""
        from lossc.tensor_files import parameters_in, read_tensors

        self.replace_all(parameters_in(read_tensors(path)[0]), path)

    def replace_all(self, found: Mapping[str, np.ndarray], path: str | PathLike[str]) -> None:
        """Set every parameter from what was found in a file. Raises LirError; then nothing has changed."""
        missing = [name for name in self if name not in found]
        unknown = [name for name in found if name not in self]
        holds = f"the file holds: {', '.join(found) or 'nothing'}"
        if missing:
            raise LirError(f"{fspath(path)} lacks parameter `{missing[0]}`", *did_you_mean(missing[0], found), holds)
        if unknown:
            raise LirError(f"{fspath(path)} holds `{unknown[0]}`, which the graph lacks",
                           *did_you_mean(unknown[0], self), holds)  # fmt: skip
        self.update({name: found[name] for name in self})


def _expected_shape(entry: Parameter, value: Any) -> tuple[int, ...]:
    """The shape that new values must have: dimensions with a name take the size they are first given."""
    if entry.array is not None or all(isinstance(dim, int) for dim in entry.type.shape):
        return entry.static_shape
    given = np.shape(value)
    if len(given) != entry.type.rank:
        raise LirError(f"parameter `{entry.name}` has type {entry.type}, found an array of shape {list(given)}")
    return tuple(dim if isinstance(dim, int) else size for dim, size in zip(entry.type.shape, given))
