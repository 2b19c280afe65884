"""Functions of random matrix products, as networks have them: in every layout, of ragged sizes, with work before and
after, with outputs on the way and gradients.

In: a seed. Out: an example. Axes are numbers, each with a size; a matrix lies along two of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from lossc.compiler.gradient import request_gradients
from lossc.ir.builder import Builder
from lossc.ir.composites import make_op
from lossc.ir.function import Function
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, is_float, named

from .functions import Example

NAMES = "MKNP"
SIZES = (1, 2, 3, 5, 7, 8, 11, 12, 13, 15, 16, 17, 24, 31, 32, 33)
LARGE_SIZES = (1, 3, 8, 16, 31, 33, 47, 64, 65, 96, 100, 128, 129, 200, 257)
MOST_PRODUCTS = 1_000_000
"""Of numbers, in one product of matrices."""
NARROW = ("f16", "bf16", "i8")
BUDGETS = (1000, 20_000)
ACTIVATIONS = ("relu", "gelu", "silu")
GRADIENTS = ("none", "all", "all", "some", "upstream")


@dataclass(frozen=True)
class Matrix:
    tensor: Tensor
    axes: tuple[int, int]


def make_network(seed: int) -> Example:
    return _Maker(seed).make(seed)


class _Maker:
    def __init__(self, seed: int):
        self.random, self.builder = random.Random(seed), Builder()
        choices = LARGE_SIZES if self.chance(0.15) else SIZES
        while True:
            self.sizes = [self.random.choice(choices) for _ in range(self.random.randint(3, 4))]
            if self.chance(0.2):
                self.sizes = self.sizes[:1] * len(self.sizes)
            a, b, c = sorted(self.sizes)[-3:]
            if a * b * c <= MOST_PRODUCTS:
                break
        self.dims = [named(name) if self.chance(0.3) else size for name, size in zip(NAMES, self.sizes)]
        axes = range(len(self.sizes))
        self.matrices = [self.matrix(self.random.sample(axes, 2)) for _ in range(self.random.randint(2, 4))]
        self.reduced: list[Tensor] = []

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def input(self, axes: tuple[int, ...]) -> Tensor:
        dtype = self.random.choice(NARROW) if self.chance(0.15) else "f32"
        type_ = Type(dtype, tuple(self.dims[axis] for axis in axes))
        return Tensor(self.builder.input(f"a{len(self.builder.inputs)}", type_), self.builder).cast("f32")

    def matrix(self, axes: list[int]) -> Matrix:
        first, second = axes
        return Matrix(self.input((first, second)), (first, second))

    def line(self, axes: tuple[int, int]) -> Tensor:
        """An input along one of two axes, repeated along the other."""
        place = self.random.randrange(2)
        shape = tuple(self.dims[axis] for axis in axes)
        return self.input((axes[place],)).apply("broadcast", dims=(place,), shape=shape)

    def beside(self, axes: tuple[int, int]) -> Tensor:
        """A matrix along the same axes."""
        same = [each.tensor for each in self.matrices if each.axes == axes]
        return self.random.choice(same) if same else self.input(axes)

    def make(self, seed: int) -> Example:
        for _ in range(self.random.randint(1, 3)):
            self.multiply()
        made = [each.tensor for each in self.matrices if each.tensor.value not in self.builder.inputs]
        outputs = made[-self.random.randint(1, 2) :] + self.reduced[-2:]
        names = tuple(f"out{number}" for number in range(len(outputs)))
        function = self.builder.function("f", [output.value for output in outputs], names)
        return Example(seed, self.with_gradients(function), dict(zip(NAMES, self.sizes)), min(self.sizes))

    def with_gradients(self, function: Function) -> Function:
        floats = [value.name for value in function.inputs if is_float(value.type.dtype)]
        kind = self.random.choice(GRADIENTS)
        if kind == "none" or not floats:
            return function
        some = self.random.sample(floats, self.random.randint(1, len(floats))) if kind == "some" else floats
        output = self.random.randrange(len(function.outputs))
        return request_gradients(function, some, of=output, upstream=kind == "upstream")

    def multiply(self) -> None:
        """A product along an axis that two matrices share; the second may be a new one."""
        x = self.random.choice(self.matrices[-3:])
        inner = self.random.choice(x.axes)
        partners = [each for each in self.matrices if inner in each.axes and each.axes != x.axes]
        other = self.random.choice([axis for axis in range(len(self.sizes)) if axis not in x.axes])
        fresh = self.matrix(self.random.sample([inner, other], 2))
        y = self.random.choice(partners) if partners and self.chance(0.7) else fresh
        operands: list[Tensor] = []
        for each in (x, y):
            operands.append(self.before(each.tensor, each.axes))
        left, right = x.axes[0] == inner, y.axes[1] == inner
        if self.chance(0.15):
            operands[0], left = operands[0].transpose((1, 0)), not left
        if self.chance(0.15):
            operands[1], right = operands[1].transpose((1, 0)), not right
        budget = self.random.choice(BUDGETS) if self.chance(0.12) else None
        product = operands[0].apply("matmul", operands[1], transpose_left=left, transpose_right=right,
                                    memory_budget=budget)  # fmt: skip
        axes = (x.axes[1 - x.axes.index(inner)], y.axes[1 - y.axes.index(inner)])
        if axes[0] == axes[1]:
            self.reduced.append((product * 0.1).sum(0))
            return
        for _ in range(self.random.randint(0, 3)):
            product = self.after(product, axes)
        self.matrices.append(Matrix(product, axes))

    def before(self, x: Tensor, axes: tuple[int, int]) -> Tensor:
        return self.random.choice((
            lambda: x, lambda: x, lambda: x, lambda: x.tanh(), lambda: x.maximum(0), lambda: x * 0.5,
            lambda: x + self.line(axes), lambda: x * self.line(axes), lambda: (x > 0).select(x, x * 0.1),
            lambda: x * self.beside(axes).sigmoid(), lambda: self.op("softmax", x, axis=self.random.randrange(2)),
        ))()  # fmt: skip

    def after(self, x: Tensor, axes: tuple[int, int]) -> Tensor:
        reduced = self.random.choice((
            lambda: x.sum(0), lambda: x.sum(1), lambda: x.sum(), lambda: x.amax(1), lambda: self.loss(x, axes),
        ))  # fmt: skip
        if self.chance(0.3):
            self.reduced.append(reduced())
            return x
        return self.random.choice((
            lambda: x + self.line(axes), lambda: x + self.line(axes), lambda: x * 0.1, lambda: x.tanh(),
            lambda: self.op(self.random.choice(ACTIVATIONS), x), lambda: x + self.beside(axes),
            lambda: self.op(self.random.choice(("softmax", "log_softmax")), x, axis=self.random.randrange(2)),
            lambda: x * self.beside(axes), lambda: x - x.sum(1, keepdims=True).broadcast_to(x.shape) * 0.1,
        ))()  # fmt: skip

    def loss(self, x: Tensor, axes: tuple[int, int]) -> Tensor:
        type_ = Type("i32", (self.dims[axes[0]],))
        labels = Tensor(self.builder.input(f"t{len(self.builder.inputs)}", type_), self.builder)
        reduction = self.random.choice(("mean", "sum", "none"))
        return self.op("cross_entropy_loss", x, labels, reduction=reduction, ignore_index=-100)

    def op(self, name: str, *operands: Tensor, **attributes: Any) -> Tensor:
        values = [operand.value for operand in operands]
        return Tensor(self.builder.append(make_op(name, values, attributes))[0], self.builder)
