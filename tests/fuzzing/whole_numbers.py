"""Functions of integers of all types, computed exactly: random operations, and arrays for them.

In: a seed. Out: a function with its arrays. Narrow types wrap around, as NumPy's do; wide ones are kept from where
they would.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from lossc.ir.builder import Builder
from lossc.ir.function import Function
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, dim_value, named, numpy_dtype

from .sample import reduced

Array = np.ndarray[Any, Any]

NARROW = ("i8", "u8", "i16")
TYPES = (*NARROW, "i32", "i64")
FARTHEST = 1000
"""From 0, of numbers of wide types."""
ROWS, COLUMNS = (1, 3, 17, 40), (1, 2, 3, 5, 16, 17, 33, 100)
NUMBERS = (0, 1, 2, 3, 5, 7, 100, 127)
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min")
LENGTHS = (2, 3, 5, 8)


def make_integers(seed: int) -> tuple[Function, dict[str, Array]]:
    return _Maker(seed).make()


class _Maker:
    def __init__(self, seed: int):
        self.seed, self.random, self.builder = seed, random.Random(seed), Builder()
        self.sizes = {"N": self.random.choice(ROWS), "C": self.random.choice(COLUMNS)}
        self.dims = tuple(named(name) if self.random.random() < 0.3 else size for name, size in self.sizes.items())
        self.wide = [self.input(name, 2) for name in "abc"[: self.random.randint(1, 3)]]
        if self.random.random() < 0.4:
            self.wide.append(self.input("r", 1).insert_axis(1, self.dims[1]))
        self.outputs: list[Tensor] = []

    def input(self, name: str, rank: int) -> Tensor:
        return Tensor(self.builder.input(name, Type(self.random.choice(TYPES), self.dims[:rank])), self.builder)

    def make(self) -> tuple[Function, dict[str, Array]]:
        for _ in range(self.random.choice(LENGTHS)):
            self.step()
        found = [self.kept_small(value) for value in self.outputs + self.wide[-2:]]
        names = tuple(f"out{number}" for number in range(len(found)))
        function = self.builder.function("f", [value.value for value in found], names)
        generator = np.random.default_rng(self.seed)
        return function, {value.name: self.array(generator, value.type) for value in function.inputs}

    def array(self, generator: np.random.Generator, type_: Type) -> Array:
        """Small numbers, some or all of them anything, or the ends of the type."""
        shape, dtype = tuple(dim_value(dim, self.sizes) for dim in type_.shape), numpy_dtype(type_.dtype)
        low, high = -FARTHEST, FARTHEST
        if type_.dtype in NARROW:
            low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        small = generator.integers(max(low, -20), 20, shape)
        ends = generator.choice([low, high, low + 1, high - 1], shape)
        anything = generator.integers(low, high, shape, endpoint=True)
        other = anything if generator.random() < 0.7 else ends
        return np.where(generator.random(shape) < generator.choice([0, 0.5, 1]), other, small).astype(dtype)

    def kept_small(self, x: Tensor) -> Tensor:
        return x if x.dtype in NARROW else x.maximum(-FARTHEST).minimum(FARTHEST)

    def step(self) -> None:
        draw, choose = self.random.random, self.random.choice
        x = choose(self.wide[-3:] + self.wide)
        other = choose(self.wide).cast(x.dtype) if draw() < 0.7 else x.constant(choose(NUMBERS))
        match self.random.randrange(10):
            case 0 | 1:
                x = x.binary(choose(("add", "sub", "mul")), other)
            case 2:
                x = x.binary("div", other.maximum(1) if draw() < 0.5 else x.constant(choose((1, 2, 3, 5, 7, 16))))
            case 3:
                x = x.binary(choose(("max", "min")), other)
            case 4:
                x = choose((x.abs, x.sign))()
            case 5:
                compared = x.binary(choose(COMPARISONS), other)
                x = choose((compared.select(x, other), (~compared).select(x.constant(3), x), compared.cast(x.dtype)))
            case 6 | 7:
                x = x.cast(choose(TYPES))
            case 8:
                axis = choose((0, 1))
                x = reduced(x, choose(REDUCTIONS), (axis,), True).broadcast_to(x.shape)
            case 9:
                self.outputs.append(choose((
                    lambda: reduced(x, choose(REDUCTIONS), choose(((0,), (1,), (0, 1)))),
                    lambda: x.gather(reduced(other, "reduce_min", (1,)), 1),
                    lambda: reduced(x.cast("f32"), "reduce_max", (1,)).cast("i32"),
                ))())  # fmt: skip
        self.wide.append(self.kept_small(x))
