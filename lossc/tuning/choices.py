"""The programs of each class of sizes: tuned when the first of these sizes comes, then found by the shapes of arrays.

In: a program, arrays. Out: the program that is the fastest for them, ready to run. Compiled functions and
training steps choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from lossc.ir.program import Program
from lossc.ir.shapes import bind_dimensions
from lossc.kept import keep
from lossc.ready import Ready
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable, Given

from .kernels import kernels_in_turn
from .memory import class_of
from .tuned import tuned_program

MOST_SHAPES = 1024


class Chosen(NamedTuple):
    ready: Ready
    executable: Executable


class Choices:
    """`load` makes a program ready to run, of its sources and options."""

    def __init__(
        self, untuned: Ready, device: Device, load: Callable[[Program, Mapping[str, str], str], Executable]
    ) -> None:
        self._untuned, self._device, self._load = untuned, device, load
        self._of_shapes: dict[Hashable, Chosen] = {}
        self._of_class: dict[Hashable, Chosen] = {}

    def of(
        self, free: Mapping[str, Given], arrays: Callable[[], Mapping[str, Given]],
        sizes: Mapping[str, int] | None = None,
    ) -> Chosen:  # fmt: skip
        """What was chosen for inputs of these shapes before; `arrays` gives all that the program takes, to choose."""
        shapes = tuple([(name, array.shape) for name, array in free.items()])
        key = (shapes, tuple(sorted(sizes.items())) if sizes else ())
        known = self._of_shapes.get(key)
        return self._choose(key, arrays(), sizes) if known is None else known

    def _choose(self, shapes: Hashable, arrays: Mapping[str, Given], sizes: Mapping[str, int] | None) -> Chosen:
        """What there is for the arrays, or else is the fastest with them; remembered by their `shapes`."""
        inputs = self._untuned.program.inputs
        bound = bind_dimensions(inputs, {name: arrays[name].shape for name, _ in inputs}, sizes)
        # Within a class some sizes may be done by one launch, of which nothing is measured.
        group = (class_of(bound), tuple(kernels_in_turn(self._untuned.program, bound)))
        if group not in self._of_class:
            ready = tuned_program(self._untuned, self._device, [arrays[name] for name, _ in inputs], bound)
            executable = self._load(ready.program, ready.sources, ready.options)
            self._of_class[group] = Chosen(ready, executable)
        return keep(self._of_shapes, shapes, self._of_class[group], MOST_SHAPES)
