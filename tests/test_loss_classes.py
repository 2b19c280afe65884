"""Losses as classes: one for every loss, with the signature that is written down for editors, and what they compute."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from loss_examples import EXAMPLES, arrays_for

import lossc
from lossc import nn, optim
from lossc.ir.composites import COMPOSITES
from lossc.ir.interp import interpret
from lossc.losses import classes
from lossc.losses.classes import LOSSES, class_name, stub
from lossc.runtime.device import Device


def graph_of(operation: str) -> tuple[lossc.Graph, dict[str, lossc.Tensor], Mapping[str, np.ndarray]]:
    g, arrays = lossc.Graph(), arrays_for(operation)
    values = {n: g.input(n, a.shape, "f64" if a.dtype.kind == "f" else "i64") for n, a in arrays.items()}
    return g, values, arrays


def test_every_loss_is_a_class_of_nn() -> None:
    operations = {name for name, composite in COMPOSITES.items() if composite.kind == "loss"}
    assert {cls.operation for cls in LOSSES.values()} == operations
    assert all(getattr(nn, class_name(name)) is LOSSES[class_name(name)] for name in operations)
    assert {"CrossEntropyLoss", "BCEWithLogitsLoss", "KLDivLoss", "TripletMarginLoss", "HuberLoss"} <= set(dir(nn))
    assert issubclass(nn.HuberLoss, nn.Loss)


def test_the_signatures_for_editors_are_those_of_the_classes() -> None:
    path = Path(classes.__file__).with_suffix(".pyi")
    assert path.read_text(encoding="utf-8") == stub(), f"python -m lossc.losses.classes > {path}"


def test_signatures_docs_and_representations() -> None:
    assert list(inspect.signature(nn.TripletMarginLoss).parameters) == ["margin", "p", "eps", "swap", "reduction"]
    assert str(inspect.signature(nn.HuberLoss)) == "(reduction: 'str' = 'mean', delta: 'float | Tensor' = 1.0)"
    assert list(inspect.signature(nn.HuberLoss()).parameters) == ["x", "t", "sample_weight"]
    assert nn.HuberLoss.__doc__ is not None
    assert "Formula:" in nn.HuberLoss.__doc__
    assert repr(nn.HuberLoss("sum", 2.0)) == "HuberLoss(reduction='sum', delta=2.0)"
    with pytest.raises(TypeError, match="unexpected keyword argument 'deltas'"):
        nn.HuberLoss(deltas=2.0)  # pyright: ignore[reportCallIssue]
    assert not hasattr(nn, "HubberLoss")


@pytest.mark.parametrize("operation", EXAMPLES)
def test_a_class_computes_what_its_operation_does(operation: str) -> None:
    g, values, arrays = graph_of(operation)
    cls = LOSSES[class_name(operation)]
    total: nn.Loss = cls(reduction="sum")
    results = [cls()(*values.values()), total(**values), getattr(g, operation)(**values)]
    g.set_outputs([*results, getattr(g, operation)(**values, reduction="sum")])
    found = interpret(g.to_module().entry, arrays)
    assert found[0] == pytest.approx(found[2], rel=1e-12)
    assert found[1] == pytest.approx(found[3], rel=1e-12)


def test_settings_and_sample_weights_reach_the_operation() -> None:
    g, values, arrays = graph_of("cross_entropy_loss")
    s = g.input("s", (6,), "f64")
    loss = nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1, reduction="sum", axis=1)
    same = g.cross_entropy_loss(**values, ignore_index=1, label_smoothing=0.1, reduction="sum", sample_weight=s)
    g.set_outputs([loss(*values.values(), sample_weight=s), same])
    a, b = interpret(g.to_module().entry, {**arrays, "s": np.arange(6.0)})
    assert a == pytest.approx(b, rel=1e-12)


def test_a_margin_may_be_a_value_of_the_graph(device: Device) -> None:
    g = lossc.Graph()
    x, t, delta = g.input("x", (None,)), g.input("t", (None,)), g.input("delta")
    g.set_outputs([nn.HuberLoss("sum", delta=delta)(x, t)])
    fn = g.compile(device=device)
    for number in (0.5, 1.0, 4.0):
        (found,) = fn(x=np.array([3.0], "f4"), t=np.zeros(1, "f4"), delta=number)
        assert found == pytest.approx([4.5 if number > 3 else number * (3 - number / 2)])


def test_losses_are_called_on_values() -> None:
    g, values, _ = graph_of("mse_loss")
    with pytest.raises(lossc.LirError, match="called on values of a graph, found ndarray"):
        nn.MSELoss()(np.ones(2), values["t"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="missing a required argument: 't'"):
        nn.MSELoss()(values["x"])  # pyright: ignore[reportCallIssue]
    with pytest.raises(lossc.LirError, match="unknown reduction 'average'"):
        nn.MSELoss("average")(*values.values())
    assert not g.to_module().entry.ops if g.outputs else True


# --- weights that are arrays --------------------------------------------------------------------------------

LOGITS = np.array([[1.0, 2, 0], [0, 1, 1], [3, 0, 0]], "f4")
LABELS = np.array([0, 1, 2])


def weighted_mean(weight: np.ndarray) -> float:
    rows = np.log(np.exp(LOGITS).sum(1)) - LOGITS[range(3), LABELS]
    return float((rows * weight[LABELS]).sum() / weight[LABELS].sum())


def classifier(weight: object) -> lossc.Graph:
    g = lossc.Graph()
    x, y = g.input("x", (None, 3)), g.input("y", (None,), "i32")
    bias = g.param("bias", np.zeros(3))
    loss = nn.CrossEntropyLoss(weight)(x + bias, y)  # pyright: ignore[reportArgumentType]
    g.set_outputs([loss])
    return g


@pytest.mark.parametrize("weight", [[1, 2, 4], (1.0, 2.0, 4.0), np.array([1, 2, 4]), np.array([1, 2, 4], "f4")])
def test_a_weight_may_be_an_array_or_a_list(device: Device, weight: object) -> None:
    g = classifier(weight)
    assert list(g.inputs) == ["x", "y"]
    (loss,), gradients = g.compile(grad=True, device=device)(x=LOGITS, y=LABELS)
    assert loss == pytest.approx([weighted_mean(np.array([1.0, 2, 4]))], rel=1e-6)
    assert list(gradients) == ["bias"]


def test_such_a_weight_is_saved_read_and_never_trained(device: Device, tmp_path: Path) -> None:
    g = classifier([1, 2, 4])
    name = "cross_entropy_loss.weight"
    step = g.compile_step(optim.SGD(1.0), device=device)
    step(x=LOGITS, y=LABELS)
    np.testing.assert_array_equal(g.parameters[name], [1, 2, 4])
    assert g.parameters["bias"].any()
    g.parameters.unfreeze("*")
    g.compile_step(optim.SGD(1.0), device=device)(x=LOGITS, y=LABELS)
    np.testing.assert_array_equal(g.parameters[name], [1, 2, 4])
    step.save(tmp_path / "c.safetensors")
    other = classifier([1, 1, 1])
    other.compile_step(optim.SGD(1.0), device=device).load(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(other.parameters[name], [1, 2, 4])
    # In the text it is an input: whoever runs the text gives it.
    assert f"%{name}: f32[3]" in str(g)
    assert name in lossc.parse(str(g)).inputs


def test_one_loss_makes_one_input_a_graph(device: Device) -> None:
    loss = nn.CrossEntropyLoss(np.array([1.0, 2, 4]))
    for _ in range(2):
        g = lossc.Graph()
        x, y = g.input("x", (None, 3)), g.input("y", (None,), "i32")
        g.set_outputs([loss(x, y), loss(x, y), nn.CrossEntropyLoss([1, 1, 1])(x, y)])
        assert list(g.parameters) == ["cross_entropy_loss.weight", "cross_entropy_loss.weight_2"]
        first, second, third = g.compile(device=device)(x=LOGITS, y=LABELS)
        assert first == second == pytest.approx([weighted_mean(np.array([1.0, 2, 4]))], rel=1e-6)
        assert third == pytest.approx([weighted_mean(np.ones(3))], rel=1e-6)


def test_only_inputs_are_differentiated_where_there_are_no_params(device: Device) -> None:
    g = lossc.Graph()
    x, y = g.input("x", (None, 3)), g.input("y", (None,), "i32")
    g.set_outputs([nn.CrossEntropyLoss([1, 2, 4])(x, y)])
    assert list(g.compile(grad=True, device=device)(x=LOGITS, y=LABELS)[1]) == ["x"]


@pytest.mark.parametrize(
    ("weight", "message"),
    [("heavy", "cross_entropy_loss.weight"), ([1, 2], "one weight a class"), ([[1, 2], [3]], "different lengths")],
)  # fmt: skip
def test_a_weight_that_is_none_is_refused(weight: object, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        classifier(weight)


def test_a_weight_may_be_a_value() -> None:
    g = lossc.Graph()
    x, y, w = g.input("x", (None, 3)), g.input("y", (None,), "i32"), g.input("w", (3,))
    g.set_outputs([nn.CrossEntropyLoss(weight=w)(x, y)])
    assert "cross_entropy_loss %x, %y, %w" in str(g)
    assert not g.parameters
