"""Layers with parameters, and losses as objects, on top of graphs.

In: a graph and sizes. Out: callables on graph values. A layer called `fc1` makes parameters `fc1.weight` and
`fc1.bias` in the graph's store; weights are [out, in]. Initial values are distributed as in torch.nn, and decided by
the graph's seed. Every loss is a class here, `nn.CrossEntropyLoss`, by the name that torch has for it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from lossc.dropout import DROPOUT_KEY
from lossc.errors import RefusedCall
from lossc.graph import Graph
from lossc.initializers import kaiming_uniform, uniform
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.tensor import Tensor
from lossc.losses.classes import *  # noqa: F403 (the names are those of the losses: as many as there are)
from lossc.losses.classes import LOSSES
from lossc.other_words import missing

Layer = Callable[[Tensor], Tensor]

Made = TypeVar("Made")

ACTIVATIONS = ("relu", "leaky_relu", "elu", "silu", "gelu", "softplus", "sigmoid", "tanh")


class _Layer:
    """A layer of a graph, which stands first in the parentheses: where it does not, what to write is said."""

    def __new__(cls: type[Made], *arguments: Any, **keywords: Any) -> Made:
        # A copy is made without arguments.
        found = _wrong_arguments(cls, arguments, keywords) if arguments or keywords else ""
        if found:
            parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
            needed = ", ".join(p.name for p in parameters if p.default is p.empty)
            raise RefusedCall(f"{cls.__name__}: {found}", f"write nn.{cls.__name__}({needed})", code="LIR0025")
        return object.__new__(cls)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(type(self), name)


def _wrong_arguments(kind: type, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of a layer, or nothing."""
    try:
        given = inspect.signature(kind.__init__).bind(None, *arguments, **keywords).arguments
    except TypeError as error:
        return str(error)
    expected = {"graph": Graph, "name": str}
    wrong = [name for name in expected if name in given and not isinstance(given[name], expected[name])]
    return f"its {wrong[0]} is {given[wrong[0]]!r}" if wrong else ""


class Linear(_Layer):
    """x[..., in] -> x weight^T + bias, of shape [..., out].

    weight and bias are U(-1/sqrt(in), 1/sqrt(in)). `weight` ties the layer to a weight that is there already.
    """

    def __init__(
        self, graph: Graph, name: str, in_features: int, out_features: int, bias: bool = True, *,
        weight: Tensor | None = None, dtype: str = "f32",
    ) -> None:  # fmt: skip
        for size in (in_features, out_features):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise LirError(f"Linear `{name}`: a number of features is a whole number from 1, found {size!r}")
        if weight is not None and weight.shape != (out_features, in_features):
            raise LirError(f"Linear `{name}`: expected a weight of shape [{out_features}, {in_features}], found "
                           f"{weight.type}", "weights are [out, in]", code="LIR0030")  # fmt: skip
        if weight is None:
            weight = graph.param(f"{name}.weight", (out_features, in_features), kaiming_uniform, dtype=dtype)
        self.graph, self.weight = graph, weight
        self.bias: Tensor | None = None
        if bias:
            self.bias = graph.param(f"{name}.bias", (out_features,), uniform(1 / math.sqrt(in_features)), dtype=dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return self.graph.linear(x, self.weight, self.bias)


class Sequential:
    """Layers one after another: anything that takes a value and gives one."""

    def __init__(self, *layers: Layer) -> None:
        wrong = next((layer for layer in layers if not callable(layer)), None)
        if wrong is not None:
            several = isinstance(wrong, (list, tuple))
            raise LirError(f"Sequential takes layers one by one, found {type(wrong).__name__}",
                           *(["write nn.Sequential(*layers)"] if several else []))  # fmt: skip
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Dropout(_Layer):
    """Drops each element with probability p and scales the others by 1 / (1 - p), in training steps only.

    A step draws a new mask for every batch, from the graph's seed and the number of batches so far, so that a training
    repeats exactly. Each call of a layer has a mask of its own, unless a `seed` (0 to 2^22 - 1) is given: layers with
    the same seed drop the same elements. `g.compile` drops nothing; `g.compile(training=True)` does, by its input
    `dropout_key`. `g.dropout(x, key)` drops always.
    """

    def __init__(self, graph: Graph, p: float = 0.5, *, seed: int | None = None) -> None:
        if not isinstance(p, (int, float)) or isinstance(p, bool) or not 0 <= p <= 1:
            raise LirError(f"Dropout: p must be a number in [0, 1], found {p!r}")
        self.graph, self.p, self.seed = graph, float(p), seed

    def __call__(self, x: Tensor) -> Tensor:
        known = DROPOUT_KEY in self.graph.inputs
        key = self.graph.value(DROPOUT_KEY) if known else self.graph.input(DROPOUT_KEY, (), "i64")
        stream = self.seed
        if stream is None:
            taken = {op.attributes["stream"] for op in x.builder.ops if op.name == "dropout"}
            stream = next(number for number in range(len(taken) + 1) if number not in taken)
        return self.graph.dropout(x, key, p=self.p, stream=stream)


class Mlp(_Layer):
    """Linear layers `<name>.0`, `<name>.1`, ... with an activation between them.

    `hidden` is the width of the hidden layer, or the widths of several. `activation` is relu, leaky_relu, elu, silu,
    gelu, softplus, sigmoid, tanh or a function of a value.
    """

    def __init__(
        self, graph: Graph, name: str, in_features: int, hidden: int | Sequence[int], out_features: int,
        activation: str | Layer = "relu", bias: bool = True,
    ) -> None:  # fmt: skip
        self.activation = activation_of(graph, activation)
        widths = [in_features, *([hidden] if isinstance(hidden, int) else hidden), out_features]
        self.layers = [Linear(graph, f"{name}.{number}", *pair, bias) for number, pair in enumerate(pairwise(widths))]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def activation_of(graph: Graph, activation: str | Layer) -> Layer:
    """The activation of that name. Raises LirError, with the nearest name."""
    if callable(activation):
        return activation
    known = ACTIVATIONS
    if activation not in known:
        raise LirError(f"no activation `{activation}`", *did_you_mean(activation, known),
                       f"there are {', '.join(known)}")  # fmt: skip
    return getattr(graph, activation)


if not TYPE_CHECKING:
    # A checker finds such names by itself.

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        spelled = {known.replace("_", ""): known for known in ACTIVATIONS}.get(name.lower())
        near = () if name == "CTCLoss" else did_you_mean(name, [*LOSSES, "Linear", "Sequential", "Dropout", "Mlp"])
        hints = (f"an activation is a method of a value: x.{spelled}()",) if spelled else near
        if name in ("Softmax", "LogSoftmax"):
            hints = ("a softmax is a method of a value: x.softmax(-1), x.log_softmax(-1)",)
        raise AttributeError(
            "; ".join([f"lossc.nn has losses and Linear, Mlp, Sequential, Dropout, no `{name}`", *hints])
        )
