"""A function in the making: a sample with some axes, and parts of it, each along some of those.

In: a seed. Out: inputs, and ways to bring parts together: repeated along missing axes, reduced along their own, each in
one of several spellings that mean the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from lossc.ir.builder import Builder
from lossc.ir.tensor import Tensor
from lossc.ir.types import DimLike, Type, named

Choice = TypeVar("Choice")
Axes = tuple[int, ...]

ROWS = (1, 2, 3, 5, 16, 17, 37, 64)
COLUMNS = (1, 2, 3, 5, 7, 10, 16, 17, 21, 31, 33, 48, 64, 100, 130, 257, 1000, 1024, 3072, 4100)
CHANNELS = (1, 2, 3, 5, 10, 16, 21)
PIXELS = (1, 3, 5, 16, 17, 32, 33, 48, 64, 100)
WIDTHS = (1, 3, 5, 16, 17, 33)
EQUAL = (3, 5, 16, 17, 32)
"""Sizes of axes that are all the same: an axis that is taken for another one changes no type then."""
MOST_ELEMENTS = 12_000
LARGEST_MATRIX = 2_000
"""Elements. The simulator takes seconds for a product of larger ones."""
NAMES = "NCHW"
NAMED = (0.25, 0.1)
"""How often the first axis has a name in place of its size, and any other."""
IGNORED = {"i32": -100, "i64": -100, "i8": -100, "u8": 0}
"""Integer types of labels, each with the one that is ignored."""


@dataclass(frozen=True)
class Part:
    """A tensor, and which axes of the sample its own are, ascending."""

    tensor: Tensor
    axes: Axes

    @property
    def rank(self) -> int:
        return len(self.axes)


@dataclass(frozen=True)
class Labels:
    """Integers that pick along `axis`, one for each place of the others. Those that are `ignored` count for nothing."""

    part: Part
    axis: int

    @property
    def ignored(self) -> int:
        return IGNORED[self.part.tensor.dtype]


def reduced(x: Tensor, name: str, places: Axes, keepdims: bool = False) -> Tensor:
    found = x.apply(name, axes=places)
    if not keepdims:
        return found
    return found.reshape(tuple(1 if place in places else size for place, size in enumerate(x.shape)))


class Sample:
    """`floats`, `truths` and `integers` are what there is so far; steps take of it and add to it."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.builder = Builder()
        self.sizes = self._choose_sizes()
        self.axes: Axes = tuple(range(len(self.sizes)))
        self.dims: tuple[DimLike, ...] = tuple(
            named(name) if self.chance(NAMED[axis > 0]) else size
            for axis, (name, size) in enumerate(zip(NAMES, self.sizes))
        )
        self.floats = [self._float_input("x", self.axes)]
        if self.chance(0.5):
            self.floats.append(self._float_input("y", self.axes))
        for name in "uv"[: self.random.randint(0, 2)]:
            self.floats.append(self._float_input(name, self._some_axes()))
        self.truths = [self._input("p", "bool", self._some_axes())] if self.chance(0.25) else []
        self.integers: list[Part] = []
        self.labels = self._choose_labels() if self.chance(0.5) else None
        self.matrix = self._choose_matrix() if self.chance(0.3) else None

    # --- choices ---

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        return self.random.choice(choices)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _choose_sizes(self) -> list[int]:
        match self.one_of(("rows", "rows", "rows", "rows", "equal", "pixels", "pixels", "image", "row", "cube")):
            case "rows":
                columns = self.one_of(COLUMNS)
                rows = 0 if self.chance(0.03) else self.one_of(ROWS)
                return [min(rows, max(2, MOST_ELEMENTS // columns)), columns]
            case "equal":
                return [self.one_of(EQUAL)] * 2
            case "cube":
                return [self.one_of(EQUAL[:3])] * 3
            case "pixels":
                return [self.one_of(ROWS[:4]), self.one_of(CHANNELS), self.one_of(PIXELS)]
            case "image":
                return [self.one_of(sizes) for sizes in (ROWS[:3], CHANNELS[:6], PIXELS[:3], PIXELS[:7])]
            case _:
                return [self.one_of((1, 3, 17, 100, 1000, 4099))]

    def class_axis(self, usual: float) -> int:
        """The second axis with that probability, or any that has elements."""
        if len(self.axes) > 1 and self.chance(usual):
            return 1
        return self.one_of([axis for axis in self.axes if self.sizes[axis]])

    def _some_axes(self) -> Axes:
        """Not all of them."""
        found = [axis for axis in self.axes if self.chance(0.5)]
        return tuple(found[: len(self.axes) - 1])

    def _choose_labels(self) -> Labels:
        axis = self.class_axis(0.9)
        others = tuple(each for each in self.axes if each != axis)
        return Labels(self._input("t", self.one_of(("i32", *IGNORED)), others), axis)

    def _choose_matrix(self) -> Tensor | None:
        if len(self.axes) != 2 or math.prod(self.sizes) > LARGEST_MATRIX:
            return None
        return Tensor(self.builder.input("w", Type("f32", (self.one_of(WIDTHS), self.dims[1]))), self.builder)

    def _input(self, name: str, dtype: str, axes: Axes) -> Part:
        return Part(Tensor(self.builder.input(name, Type(dtype, self.shape(axes))), self.builder), axes)

    def _float_input(self, name: str, axes: Axes) -> Part:
        """An input of f32, or of another type and widened or rounded."""
        if not self.chance(0.15):
            return self._input(name, "f32", axes)
        given = self._input(name, self.one_of(("f16", "bf16", "f64", "i32", "u8")), axes)
        return Part(given.tensor.cast("f32"), axes)

    # --- parts ---

    def shape(self, axes: Axes) -> tuple[DimLike, ...]:
        return tuple(self.dims[axis] for axis in axes)

    def add(self, tensor: Tensor, axes: Axes) -> None:
        self.floats.append(Part(tensor, axes))

    def pick(self) -> Part:
        """Most often something recent."""
        return self.one_of(self.floats[-6:] + self.floats[-3:] + self.floats[:3])

    def pick_wide(self) -> Part:
        """Something along all axes."""
        return self.one_of([part for part in (self.floats[0], *self.floats[-8:]) if part.axes == self.axes])

    def spread(self, part: Part, axes: Axes) -> Tensor:
        """The part repeated along more axes: at once, from axes of size 1, or one after the other."""
        if part.axes == axes:
            return part.tensor
        if part.axes and self.chance(0.3):
            thin = tuple(self.dims[axis] if axis in part.axes else 1 for axis in axes)
            return part.tensor.reshape(thin).broadcast_to(self.shape(axes))
        between = tuple(axis for axis in axes if axis in part.axes or self.chance(0.1))
        return self._repeat(self._repeat(part.tensor, part.axes, between), between, axes)

    def _repeat(self, tensor: Tensor, axes: Axes, to: Axes) -> Tensor:
        if axes == to:
            return tensor
        return tensor.apply("broadcast", dims=tuple(to.index(axis) for axis in axes), shape=self.shape(to))

    def together(self, *parts: Part) -> tuple[list[Tensor], Axes]:
        """The parts along all axes that any of them has."""
        axes = tuple(sorted({axis for part in parts for axis in part.axes}))
        return [self.spread(part, axes) for part in parts], axes

    def some_places(self, part: Part) -> tuple[int, ...]:
        """Axes to reduce, by their places in a part: one, all, all but the first, all but the last, the outer two."""
        every = tuple(range(part.rank))
        choices = [(place,) for place in every] + [every, every[1:], every[:-1], (0, part.rank - 1)[: part.rank]]
        return self.one_of([places for places in choices if places])

    def reduce(self, name: str, part: Part, places: tuple[int, ...]) -> Part:
        """At once, with axes of size 1 left and dropped, or one axis after the other."""
        rest = tuple(axis for place, axis in enumerate(part.axes) if place not in places)
        if rest and self.chance(0.2):
            return Part(reduced(part.tensor, name, places, True).reshape(self.shape(rest)), rest)
        if len(places) > 1 and self.chance(0.3):
            return Part(reduced(reduced(part.tensor, name, places[-1:]), name, places[:-1]), rest)
        return Part(reduced(part.tensor, name, places), rest)

    def reduced(self, name: str, part: Part) -> Part:
        return self.reduce(name, part, self.some_places(part))
