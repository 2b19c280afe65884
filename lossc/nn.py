"""Layers with parameters, and losses as objects, on top of graphs.

In: a graph and sizes. Out: callables on graph values. A layer called `fc1` makes parameters `fc1.weight` and
`fc1.bias` in the graph's store; weights are [out, in]. Initial values are distributed as in torch.nn, and decided by
the graph's seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from lossc.calls import call_operation
from lossc.graph import Graph
from lossc.ir.builder import Tensor
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.parameters import kaiming_uniform, uniform

Layer = Callable[[Tensor], Tensor]

ACTIVATIONS = ("relu", "sigmoid", "tanh")


class Linear:
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
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Mlp:
    """Linear layers `<name>.0`, `<name>.1`, ... with an activation between them.

    `hidden` is the width of the hidden layer, or the widths of several. `activation` is relu, sigmoid,
    tanh or a function of a value.
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


class _Loss:
    """A loss of the IR with its attributes and weights set, called on values. Subclasses say which."""

    operation = ""

    def __init__(self, reduction: str = "mean", **settings: object) -> None:
        self.settings = {"reduction": reduction, **{k: v for k, v in settings.items() if v is not None}}

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        if not isinstance(prediction, Tensor):
            raise LirError(f"a loss is called on values of a graph, found {type(prediction).__name__}")
        result = call_operation(prediction.builder, self.operation, (prediction, target), self.settings)
        assert isinstance(result, Tensor)
        return result


class MSELoss(_Loss):
    """(x - t)^2."""

    operation = "mse_loss"


class L1Loss(_Loss):
    """|x - t|."""

    operation = "l1_loss"


class CrossEntropyLoss(_Loss):
    """-log softmax(x)[y]; `weight` is one value a class."""

    operation = "cross_entropy_loss"

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int | None = None, reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(reduction, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing)


class BCELoss(_Loss):
    """-(t log x + (1 - t) log(1 - x)) for probabilities x."""

    operation = "bce_loss"

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction, weight=weight)


class BCEWithLogitsLoss(_Loss):
    """softplus(x) - x t for logits x."""

    operation = "bce_with_logits_loss"

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(reduction, weight=weight, pos_weight=pos_weight)
