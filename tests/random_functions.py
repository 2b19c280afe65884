"""Random functions for property tests: pointwise work, broadcasts, reductions, gathers and selects over few shapes.

A function is made from a seed and a number of steps, so that a failure shrinks to the fewest steps that show it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lossc.ir.builder import Builder
from lossc.ir.function import Function
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, named

ROWS, COLUMNS = 3, 4
_UNARY = ("neg", "neg", "abs", "exp", "log", "log1p", "tanh", "sigmoid", "softplus", "sign", "stop_gradient", "sqrt")
_SMOOTH = ("neg", "neg", "tanh", "sigmoid", "softplus")
_BINARY = ("add", "sub", "mul", "div", "max", "min")
_SMOOTH_BINARY = ("add", "sub", "mul", "mul")
_COMPARE = ("lt", "le", "gt", "ge", "eq", "ne")
_NUMBERS = (0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -0.25)
_STEPS = (
    "unary", "unary", "binary", "binary", "binary", "number", "broadcast", "reduce", "gather", "one_hot", "select",
    "select", "compare", "view", "softmax",
)  # fmt: skip


def functions(smooth: bool = False, steps: int = 16) -> st.SearchStrategy[Function]:
    """Functions of x, y: [rows, columns], r: [rows], c: [columns], labels t: [rows], truth p: [rows].

    With `smooth` all values stay finite and moderate, so that gradients can be compared with differences.
    """
    seeds = st.integers(0, 2**32 - 1)
    return st.builds(lambda seed, count: make_function(seed, count, smooth), seeds, st.integers(1, steps))


def make_function(seed: int, steps: int, smooth: bool = False) -> Function:
    return _Maker(seed, smooth).make(steps)


class _Maker:
    def __init__(self, seed: int, smooth: bool):
        self.random, self.smooth = random.Random(seed), smooth
        self.builder = Builder()
        rows = self.one_of((named("N"), ROWS))
        shapes = {"x": (rows, COLUMNS), "y": (rows, COLUMNS), "r": (rows,), "c": (COLUMNS,)}
        self.floats = [self.input(name, Type("f64", shape)) for name, shape in shapes.items()]
        self.labels = self.input("t", Type(self.one_of(("i32", "i64", "u8")), (rows,)))
        self.truths = [self.input("p", Type("bool", (rows,)))]

    def input(self, name: str, type_: Type) -> Tensor:
        return Tensor(self.builder.input(name, type_), self.builder)

    def one_of(self, choices: Iterable[Any]) -> Any:
        return self.random.choice(list(choices))

    def perhaps(self) -> bool:
        return self.random.random() < 0.5

    def make(self, steps: int) -> Function:
        if self.perhaps():
            inside = (self.labels >= 0) & (self.labels < COLUMNS)
            inside.check(self.labels, code="label", message="a label must lie in [0, 4)")
        for _ in range(steps):
            self.step()
        last = self.floats[-8:]
        outputs = self.random.sample(last, min(len(last), self.random.randint(1, 4)))
        return self.builder.function("main", [value.value for value in outputs])

    def step(self) -> None:
        x = self.one_of(self.floats[-6:] + self.floats[-3:] + self.floats[:4])
        made = getattr(self, "_" + self.one_of(_STEPS))(x)
        if made is not None:
            self.floats.append(made)

    def _unary(self, x: Tensor) -> Tensor:
        return x.apply(self.one_of(_SMOOTH if self.smooth else _UNARY))

    def _binary(self, x: Tensor) -> Tensor:
        y = self.one_of(y for y in self.floats[-5:] + self.floats[:4] + [x] if _fit(x, y))
        if self.smooth:
            result = x.binary(self.one_of(_SMOOTH_BINARY), y)
            return result.tanh() if self.perhaps() else result * 0.5
        name = self.one_of(_BINARY)
        return x.binary(name, _never_zero(y) if name == "div" else y)

    def _number(self, x: Tensor) -> Tensor:
        name, swapped = self.one_of(_BINARY[:3] if self.smooth else _BINARY), self.perhaps()
        x = _never_zero(x) if name == "div" and swapped else x
        return x.binary(name, self.one_of(_NUMBERS), swapped)

    def _broadcast(self, x: Tensor) -> Tensor | None:
        if x.shape == self.floats[2].shape:
            return x.insert_axis(1, COLUMNS)
        return x.broadcast_to(self.floats[0].shape) if x.rank < 2 else None

    def _reduce(self, x: Tensor) -> Tensor | None:
        if not x.rank:
            return None
        reduce = x.sum if self.smooth else self.one_of((x.sum, x.sum, x.amax, x.amin))
        axes = self.one_of([(axis,) for axis in range(x.rank)] + [tuple(range(x.rank))])
        return reduce(axes, self.perhaps()) * self.one_of((0.25, 1.0, -0.3))

    def _gather(self, x: Tensor) -> Tensor | None:
        return x.gather(self.labels, 1) if x.shape == self.floats[0].shape else None

    def _one_hot(self, x: Tensor) -> Tensor | None:
        if x.shape != self.floats[0].shape:
            return None
        hit = x.iota(1, self.labels.dtype) == self.labels.insert_axis(1, COLUMNS)
        product = self.one_of((lambda: hit.select(x, 0), lambda: hit.cast("f64") * x, lambda: hit.select(0.5, 0 * x)))()
        return product if self.perhaps() else (product + self.one_of((x, 0 * x))).sum(1)

    def _select(self, x: Tensor) -> Tensor | None:
        fitting = [p for p in self.truths if p.shape == x.shape]
        rowwise = [p.insert_axis(1, x.shape[1]) for p in self.truths if p.rank == 1 and x.shape[:-1] == p.shape]
        if not fitting and not rowwise:
            return None
        p = self.one_of(fitting + rowwise)
        y = self.one_of([y for y in [*self.floats[-6:], x] if y.shape == x.shape])
        # An arm that has the same condition inside is what propagate-conditions looks for.
        inner = self.one_of((
            lambda: x, lambda: p.select(x, 0) * 2, lambda: -p.select(x, y), lambda: (~p).select(x, y) + y,
            lambda: p.select(x, 0).tanh(), lambda: p.select(x, 0) * p.select(y, 0),
        ))()  # fmt: skip
        return p.select(inner, self.one_of((lambda: y, lambda: 0, lambda: inner * 0 + 1))())

    def _compare(self, x: Tensor) -> None:
        if self.smooth:
            x = x.stop_gradient()
        y = self.one_of([y for y in self.floats if y.shape == x.shape])
        truth = x.binary(self.one_of(_COMPARE), y)
        same = [p for p in self.truths if p.shape == truth.shape]
        match self.one_of(("alone", "and", "or", "not", "row", "cast")):
            case "and" if same:
                truth = truth & same[-1]
            case "or" if same:
                truth = truth | same[-1]
            case "not":
                truth = ~truth
            case "row" if x.shape == self.floats[0].shape:
                truth = truth & self.truths[0].insert_axis(1, x.shape[1])
            case "cast":
                truth = truth.cast("f64") != self.one_of((0, 1))
        self.truths.append(truth)

    def _view(self, x: Tensor) -> Tensor:
        if x.rank == 2:
            turned = x.transpose()
            return self.one_of((turned.transpose(), x.reshape((*x.shape, 1)).sum(2), (turned * 2).transpose()))
        return x.reshape((1, *x.shape)).reshape(x.shape) * 2

    def _softmax(self, x: Tensor) -> Tensor | None:
        if x.rank != 2:
            return None
        x = x.tanh()
        e, along = x.exp(), x.shape[1]
        total = e.sum(1)
        moved = x - x.amax(1).insert_axis(1, along)
        return self.one_of((
            lambda: e / total.insert_axis(1, along),
            lambda: e * (1 / total).insert_axis(1, along),
            lambda: (e / total.insert_axis(1, along)).log(),
            lambda: x - total.log().insert_axis(1, along),
            lambda: total.log(),
            lambda: moved - moved.exp().sum(1).log().insert_axis(1, along),
            lambda: moved.exp() / moved.exp().sum(1, keepdims=True),
            lambda: moved.exp().sum(1).log() + x.amax(1),
        ))()  # fmt: skip


def _never_zero(x: Tensor) -> Tensor:
    """A divisor: exact passes may change the sign of a zero, and 1 / 0 would show it."""
    return x.abs() + 0.5


def _fit(x: Tensor, y: Tensor) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(x.shape[::-1], y.shape[::-1]))


@st.composite
def inputs(draw: st.DrawFn, special: bool = False) -> dict[str, np.ndarray]:
    """Arrays for such a function; with `special`, NaN, infinities, zeros and huge numbers among them."""
    random_ = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = {"x": (ROWS, COLUMNS), "y": (ROWS, COLUMNS), "r": (ROWS,), "c": (COLUMNS,)}
    arrays = {name: random_.uniform(-2, 2, shape) for name, shape in shapes.items()}
    if special:
        for array in arrays.values():
            spots = random_.random(array.shape) < 0.2
            array[spots] = random_.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e300], spots.sum())
    labels = random_.integers(0, COLUMNS, ROWS)
    return {**arrays, "t": labels, "p": random_.integers(0, 2, ROWS).astype(bool)}
