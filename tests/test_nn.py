"""Layers with parameters, and dropout."""

from __future__ import annotations

import numpy as np
import pytest

import lossc
from lossc import nn, optim
from lossc.dropout import key_at
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
        (
            lambda g: nn.Linear(g, "fc", 2, 3)(g.input("x", (None, 4))),
            r"has 4 features, and the weight, f32\[3, 2\], takes 2",
        ),
        (lambda g: nn.Mlp(g, "m", 2, 3, 4, "rellu"), "did you mean `relu`"),
    ],
)  # fmt: skip
def test_wrong_layers_are_refused(make, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        make(lossc.Graph())


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "silu"])
def test_mlp_is_layers_with_activations_between(device: Device, activation: str) -> None:
    g = lossc.Graph()
    net = nn.Mlp(g, "net", 5, (7, 6), 3, activation)
    assert list(g.parameters) == [f"net.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
    g.set_outputs([net(g.input("x", (None, 5)))])
    functions = {"relu": lambda v: np.maximum(v, 0), "sigmoid": lambda v: 1 / (1 + np.exp(-v)), "tanh": np.tanh,
                 "silu": lambda v: v / (1 + np.exp(-v))}  # fmt: skip
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


def test_layers_come_one_by_one() -> None:
    with pytest.raises(lossc.LirError, match=r"found list\n.*nn\.Sequential\(\*layers\)"):
        nn.Sequential([lambda x: x])  # type: ignore[arg-type]


def test_every_named_activation_works() -> None:
    g = lossc.Graph()
    x = g.input("x", (None, 2))
    g.set_outputs([nn.activation_of(g, name)(x) for name in nn.ACTIVATIONS])
    assert [op.name for op in g.to_module().entry.ops] == list(nn.ACTIVATIONS)


# --- dropout ------------------------------------------------------------------------------------------------


def noisy(p: float = 0.5, seed: int = 0, layer_seed: int | None = None) -> tuple[lossc.Graph, lossc.Tensor]:
    """The mean of x w after dropout, whose gradient by w is the mean of what was kept, scaled."""
    g = lossc.Graph(seed=seed)
    w = g.param("w", np.ones(64))
    kept = nn.Dropout(g, p, seed=layer_seed)(g.input("x", (None, 64)) * w)
    g.set_outputs({"loss": kept.mean().reshape([1]), "kept": kept})
    return g, kept


X = np.ones((16, 64), "f4")


def test_a_step_draws_a_new_mask_for_each_batch_and_repeats_from_a_seed(device: Device) -> None:
    def masks(seed: int, layer_seed: int | None = None) -> list[np.ndarray]:
        step = noisy(seed=seed, layer_seed=layer_seed)[0].compile_step(optim.SGD(0.0), device=device)
        return [step(x=X)[1] != 0 for _ in range(3)]

    first = masks(0)
    assert not np.array_equal(first[0], first[1])
    assert all(abs(mask.mean() - 0.5) < 5 * 0.5 / np.sqrt(mask.size) for mask in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, masks(0)))
    for other in (masks(1), masks(0, layer_seed=7)):
        assert abs((first[0] == other[0]).mean() - 0.5) < 5 * 0.5 / np.sqrt(first[0].size)


def test_a_step_feeds_the_key_itself(device: Device) -> None:
    step = noisy(seed=3)[0].compile_step(optim.SGD(0.0), device=device)
    assert list(step.inputs) == ["x"]
    by_itself = [step(x=X)[1] for _ in range(2)]
    assert np.array_equal(step(x=X, dropout_key=key_at(3, 1))[1], by_itself[1])


def test_the_gradient_in_a_step_belongs_to_the_mask_of_its_batch(device: Device) -> None:
    step = noisy(0.25)[0].compile_step(optim.SGD(0.0), device=device)
    for _ in range(2):
        _, kept = step(x=X)
        assert np.allclose(step.gradient("w"), kept.sum(0) / X.size, rtol=1e-5)


def test_micro_batches_draw_masks_of_their_own(device: Device) -> None:
    step = noisy()[0].compile_step(optim.SGD(0.0), device=device)
    assert not np.array_equal(step.accumulate(x=X)[1], step(x=X)[1])


def test_a_batch_that_is_refused_draws_nothing(device: Device) -> None:
    g = lossc.Graph()
    w = g.param("w", np.ones((3, 4)))
    x, y = g.input("x", (None, 4)), g.input("y", (None,), "i32")
    kept = nn.Dropout(g)(x)
    g.set_outputs([g.cross_entropy_loss(g.linear(kept, w), y), kept])
    step = g.compile_step(optim.SGD(0.0), device=device)
    ones = np.ones((8, 4), "f4")
    with pytest.raises(lossc.LirError, match="a label must lie in"):
        step(x=ones, y=np.full(8, 3))
    again = g.compile_step(optim.SGD(0.0), device=device)
    assert np.array_equal(step(x=ones, y=[0] * 8)[1], again(x=ones, y=[0] * 8)[1])


def test_predictions_drop_nothing_and_need_no_key(device: Device) -> None:
    g, kept = noisy()
    fn = g.compile(outputs=[kept], device=device)
    assert "dropout" not in fn.compiled.program.name
    assert list(fn.inputs) == ["x"]
    np.testing.assert_array_equal(fn(x=X)[0], X)
    (loss, _), gradients = g.compile(grad=True, device=device)(x=X)
    assert loss == pytest.approx([1.0])
    assert np.allclose(gradients["w"], 1 / 64)
    (_, kept_of), _ = g.compile(grad=True, of=kept, device=device)(x=X)
    np.testing.assert_array_equal(kept_of, X)


def test_training_on_request_takes_a_key(device: Device) -> None:
    fn = noisy()[0].compile(outputs=["kept"], training=True, device=device)
    assert list(fn.inputs) == ["x", "dropout_key"]
    assert abs((fn(x=X, dropout_key=5)[0] == 0).mean() - 0.5) < 0.1
    with pytest.raises(lossc.LirError, match="missing input `dropout_key`"):
        fn(x=X)


def test_dropout_with_a_key_of_ones_own_stays(device: Device) -> None:
    g = lossc.Graph()
    x, key = g.input("x", (None, 64)), g.input("mask_seed", (), "i64")
    g.set_outputs([g.dropout(x, key, p=0.5)])
    assert (g.compile(device=device)(x=X, mask_seed=1)[0] == 0).any()


def test_text_with_the_same_input_is_trained_and_predicted_alike(device: Device) -> None:
    g, _ = noisy()
    again = lossc.parse(str(g))
    again.parameters["w"] = np.ones(64)
    np.testing.assert_array_equal(again.compile(outputs=["kept"], device=device)(x=X)[0], X)
    step, same = (graph.compile_step(optim.SGD(0.1), device=device) for graph in (g, again))
    for _ in range(3):
        assert all(np.array_equal(a, b) for a, b in zip(step(x=X), same(x=X)))
    assert np.array_equal(g.parameters["w"], again.parameters["w"])


def test_layers_have_masks_of_their_own_unless_they_share_a_seed(device: Device) -> None:
    g = lossc.Graph()
    g.param("unused", np.ones(1))
    x, w = g.input("x", (None, 64)), g.param("w", np.ones(64))
    one, a, b = nn.Dropout(g), nn.Dropout(g, seed=9), nn.Dropout(g, seed=9)
    values = [layer(x * w) for layer in (one, one, a, b)]
    g.set_outputs([sum((v.mean() for v in values[1:]), values[0].mean()).reshape([1]), *values])
    masks = [value != 0 for value in g.compile_step(optim.SGD(0.0), device=device)(x=X)[1:]]
    assert np.array_equal(masks[2], masks[3])
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize("p", [-0.1, 1.5, "half", True, float("nan")])
def test_a_wrong_probability_is_refused(p) -> None:
    with pytest.raises(lossc.LirError, match=r"p must be a number in \[0, 1\]"):
        nn.Dropout(lossc.Graph(), p)


def test_a_wrong_seed_is_refused() -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match="stream must lie in"):
        nn.Dropout(g, seed=-1)(g.input("x", (3,)))
