"""Layers and losses with parameters."""

from __future__ import annotations

import numpy as np
import pytest

import lossc
from lossc import nn
from lossc.ir.interp import interpret
from lossc.runtime.device import Device


def test_linear_makes_its_parameters_as_torch_does() -> None:
    g = lossc.Graph(seed=1)
    layer = nn.Linear(g, "fc", 400, 300)
    assert list(g.parameters) == ["fc.weight", "fc.bias"]
    weight, bias = g.parameters["fc.weight"], g.parameters["fc.bias"]
    assert weight.shape == (300, 400)
    assert bias.shape == (300,)
    bound = 1 / np.sqrt(400)
    for values in (weight, bias):
        assert np.abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    assert layer(g.input("x", (None, 400))).shape[1] == 300


def test_initial_values_depend_on_the_seed_and_the_name_alone() -> None:
    def weight(seed: int, first: bool) -> np.ndarray:
        g = lossc.Graph(seed=seed)
        if first:
            nn.Linear(g, "other", 3, 3)
        nn.Linear(g, "fc", 4, 3)
        return g.parameters["fc.weight"]

    assert np.array_equal(weight(0, False), weight(0, True))
    assert not np.array_equal(weight(0, False), weight(1, False))
    g = lossc.Graph()
    nn.Mlp(g, "m", 4, 4, 4)
    assert not np.array_equal(g.parameters["m.0.weight"], g.parameters["m.1.weight"])


def test_a_layer_without_bias_and_a_tied_weight(device: Device) -> None:
    g = lossc.Graph()
    down = nn.Linear(g, "down", 4, 4, bias=False)
    up = nn.Linear(g, "up", 4, 4, weight=down.weight)
    assert list(g.parameters) == ["down.weight", "up.bias"]
    g.set_outputs([(up(down(g.input("x", (None, 4)))) ** 2).sum()])
    x = np.arange(8, dtype="f4").reshape(2, 4) / 8
    _, gradients = g.compile(grad=True, device=device)(x=x)
    w = g.parameters["down.weight"].astype(float)
    b = g.parameters["up.bias"].astype(float)

    def loss(w: np.ndarray) -> float:
        return float(((x @ w.T @ w.T + b) ** 2).sum())

    direction = np.random.default_rng(0).standard_normal(w.shape)
    slope = (loss(w + 1e-6 * direction) - loss(w - 1e-6 * direction)) / 2e-6
    assert float((gradients["down.weight"] * direction).sum()) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: nn.Linear(g, "fc", 0, 3), "whole number from 1"),
        (lambda g: nn.Linear(g, "fc", True, 3), "whole number from 1"),
        (lambda g: nn.Linear(g, "fc", 2, 3, weight=g.input("w", (2, 3))), r"expected a weight of shape \[3, 2\]"),
        (lambda g: nn.Linear(g, "f c", 2, 3), "is not a name"),
        (lambda g: (nn.Linear(g, "fc", 2, 3), nn.Linear(g, "fc", 2, 3)), "there is an input `fc.weight` already"),
        (lambda g: nn.Linear(g, "fc", 2, 3)(g.input("x", (None, 4))), "inner dimensions differ"),
        (lambda g: nn.Mlp(g, "m", 2, 3, 4, "rellu"), "did you mean `relu`"),
    ],
)  # fmt: skip
def test_wrong_layers_are_refused(make, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        make(lossc.Graph())


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_mlp_is_layers_with_activations_between(device: Device, activation: str) -> None:
    g = lossc.Graph()
    net = nn.Mlp(g, "net", 5, (7, 6), 3, activation)
    assert list(g.parameters) == [f"net.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
    g.set_outputs([net(g.input("x", (None, 5)))])
    functions = {"relu": lambda v: np.maximum(v, 0), "sigmoid": lambda v: 1 / (1 + np.exp(-v)), "tanh": np.tanh}
    values = x = np.random.default_rng(0).standard_normal((9, 5))
    for i in range(3):
        values = values @ g.parameters[f"net.{i}.weight"].T.astype(float) + g.parameters[f"net.{i}.bias"]
        values = functions[activation](values) if i < 2 else values
    (found,) = g.compile(device=device)(x=x)
    assert np.allclose(found, values, atol=2e-6)


def test_sequential_takes_anything_that_maps_values() -> None:
    g = lossc.Graph()
    x = g.input("x", (None, 2))
    net = nn.Sequential(nn.Linear(g, "a", 2, 2), g.relu, lambda v: v * 2)
    g.set_outputs([net(x)])
    assert [op.name for op in g.to_module().entry.ops] == ["linear", "relu", "constant", "mul"]


@pytest.mark.parametrize(
    ("loss", "operation", "integer"),
    [
        (nn.MSELoss("sum"), "mse_loss", False),
        (nn.L1Loss(), "l1_loss", False),
        (nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1), "cross_entropy_loss", True),
        (nn.BCELoss(reduction="none"), "bce_loss", False),
        (nn.BCEWithLogitsLoss(), "bce_with_logits_loss", False),
    ],
)  # fmt: skip
def test_losses_as_objects_are_the_operations(loss, operation: str, integer: bool) -> None:
    g = lossc.Graph()
    x, t = g.input("x", (4, 3)), g.input("t", (4,), "i32") if integer else g.input("t", (4, 3))
    same = getattr(g, operation)(x, t, **loss.settings)
    g.set_outputs({"a": loss(x, t), "b": same})
    generator = np.random.default_rng(0)
    target = np.array([0, 1, 2, 2]) if integer else generator.random((4, 3))
    a, b = interpret(g.to_module().entry, {"x": generator.random((4, 3)), "t": target})
    assert np.array_equal(a, b)
    with pytest.raises(lossc.LirError, match="called on values of a graph"):
        loss(np.ones(2), t)


def test_a_weight_of_a_loss_is_a_value() -> None:
    g = lossc.Graph()
    x, y, w = g.input("x", (None, 3)), g.input("y", (None,), "i32"), g.input("w", (3,))
    g.set_outputs([nn.CrossEntropyLoss(weight=w)(x, y)])
    assert "cross_entropy_loss %x, %y, %w" in str(g)
