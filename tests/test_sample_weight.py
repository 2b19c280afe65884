"""Weights of samples, for every loss: 0 and 1 pick samples, any others average by their sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graph_examples import value_of as value_in
from loss_examples import CLASSES, EXAMPLES, ROWS, Arrays, arrays_for

import lossc
from lossc.ir.composites import COMPOSITES
from lossc.ir.interp import interpret
from lossc.runtime.device import Device

LOSSES = sorted(name for name, composite in COMPOSITES.items() if composite.kind == "loss")
SHARED = ("linear_cross_entropy_loss", "info_nce_loss")
"""Losses with an operand that is not one row a sample: leaving out a sample is not leaving out a row of everything."""

WITH_CLASS_WEIGHT = sorted(name for name in LOSSES if {"weight?", "class_weight?"} & set(COMPOSITES[name].operands))


def graph_of(operation: str, arrays: Arrays, settings: dict[str, Any], sample_weight: bool) -> lossc.Graph:
    g = lossc.Graph()
    values = {
        name: g.input(name, array.shape, "f64" if array.dtype.kind == "f" else "i64") for name, array in arrays.items()
    }
    weights = {"sample_weight": g.input("s", (ROWS,), "f64")} if sample_weight else {}
    g.set_outputs([getattr(g, operation)(**values, **settings, **weights)])
    return g


def value_of(operation: str, arrays: Arrays, s: Any = None, **settings: Any) -> np.ndarray:
    g = graph_of(operation, arrays, settings, s is not None)
    given = {**arrays, **({} if s is None else {"s": np.asarray(s, float)})}
    return interpret(g.to_module().entry, given)[0]


def test_every_loss_has_an_example() -> None:
    assert sorted(EXAMPLES) == LOSSES


@pytest.mark.parametrize("operation", LOSSES)
def test_equal_weights_change_nothing(operation: str) -> None:
    arrays = arrays_for(operation)
    for reduction in ("mean", "none"):
        plain = value_of(operation, arrays, reduction=reduction)
        assert value_of(operation, arrays, np.full(ROWS, 1.0), reduction=reduction) == pytest.approx(plain)
    assert value_of(operation, arrays, np.full(ROWS, 3.5)) == pytest.approx(value_of(operation, arrays))


@pytest.mark.parametrize("operation", [name for name in LOSSES if name not in SHARED])
def test_weights_of_zero_leave_samples_out(operation: str) -> None:
    arrays = arrays_for(operation)
    kept = np.array([True, False, True, True, False, True])
    some = {name: array[kept] for name, array in arrays.items()}
    for reduction in ("mean", "sum"):
        found = value_of(operation, arrays, kept, reduction=reduction)
        assert found == pytest.approx(value_of(operation, some, reduction=reduction))


@pytest.mark.parametrize("operation", LOSSES)
def test_any_weights_average_by_their_sum(operation: str) -> None:
    arrays, s = arrays_for(operation), np.array([0.5, 2, 0, 1, 3, 0.25])
    rows = value_of(operation, arrays, reduction="none")
    each = np.broadcast_to(s.reshape(-1, *[1] * (rows.ndim - 1)), rows.shape)
    assert value_of(operation, arrays, s) == pytest.approx([(rows * each).sum() / each.sum()])
    assert value_of(operation, arrays, s, reduction="sum") == pytest.approx([(rows * each).sum()])
    assert value_of(operation, arrays, s, reduction="none") == pytest.approx(rows * each)


@pytest.mark.parametrize("operation", [name for name in WITH_CLASS_WEIGHT if name not in SHARED])
def test_beside_other_weights_whole_numbers_repeat_samples(operation: str) -> None:
    """The definition that settles what both weights together mean: s = 3 is that sample three times."""
    composite = COMPOSITES[operation]
    name = "class_weight" if "class_weight?" in composite.operands else "weight"
    arrays, times = dict(arrays_for(operation)), np.array([1, 3, 0, 2, 1, 2])
    repeated: dict[str, np.ndarray] = {key: np.repeat(array, times, axis=0) for key, array in arrays.items()}
    weight = np.random.default_rng(1).uniform(0.2, 2, CLASSES)
    for reduction in ("mean", "sum"):
        found = value_of(operation, {**arrays, name: weight}, times, reduction=reduction)
        assert found == pytest.approx(value_of(operation, {**repeated, name: weight}, reduction=reduction))


def test_batchmean_divides_by_the_weights_of_the_batch() -> None:
    arrays, s = arrays_for("kl_div_loss"), np.array([0.5, 2, 0, 1, 3, 0.25])
    rows = value_of("kl_div_loss", arrays, reduction="none")
    found = value_of("kl_div_loss", arrays, s, reduction="batchmean")
    assert found == pytest.approx([(rows * s[:, None]).sum() / s.sum()])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("empty", "expected"), [("nan", np.nan), ("zero", 0.0)])
def test_nothing_counts(device: Device, weighted: bool, empty: str, expected: float) -> None:
    g = lossc.Graph()
    x, y, s = g.input("x", (None, 3)), g.input("y", (None,), "i32"), g.input("s", (None,))
    w = g.input("w", (3,)) if weighted else None
    g.set_outputs([g.cross_entropy_loss(x, y, w, sample_weight=s, ignore_index=-1, empty=empty)])
    fn = g.compile(grad=["x"], device=device)
    weights = {"w": np.ones(3, "f4")} if weighted else {}
    for labels, samples in (([-1, -1], [1, 2]), ([0, 1], [0, 0])):
        (loss,), gradients = fn(x=np.ones((2, 3), "f4"), y=labels, s=np.array(samples, "f4"), **weights)
        np.testing.assert_array_equal(loss, [expected])
        if empty == "zero":
            np.testing.assert_array_equal(gradients["x"], np.zeros((2, 3)))


def test_nothing_counts_can_be_an_error(device: Device) -> None:
    g = lossc.Graph()
    x, y, s = g.input("x", (None, 3)), g.input("y", (None,), "i32"), g.input("s", (None,))
    g.set_outputs([g.cross_entropy_loss(x, y, sample_weight=s, empty="error")])
    fn = g.compile(device=device)
    assert np.isfinite(fn(x=np.ones((1, 3), "f4"), y=[0], s=[1.0])[0])
    with pytest.raises(lossc.LirError, match="at least one row"):
        fn(x=np.ones((1, 3), "f4"), y=[0], s=[0.0])


def test_nothing_of_an_ignored_sample_matters(device: Device) -> None:
    g = lossc.Graph()
    x, y, s, w = g.input("x", (None, 3)), g.input("y", (None,), "i32"), g.input("s", (None,)), g.input("w", (3,))
    g.set_outputs([g.cross_entropy_loss(x, y, w, sample_weight=s, ignore_index=-1)])
    x_values = np.array([[1, 2, 0], [np.nan, np.inf, 0], [0, 1, 1]], "f4")
    arrays = {"x": x_values, "y": [1, -1, 0], "s": np.array([2, np.nan, 3], "f4"), "w": np.array([1, 2, 3], "f4")}
    (loss,), gradients = g.compile(grad=["x", "w", "s"], device=device)(**arrays)
    rows = np.log(np.exp(x_values[[0, 2]]).sum(1)) - [2, 0]
    assert loss == pytest.approx([(rows * [4, 3]).sum() / 7], rel=1e-6)
    np.testing.assert_array_equal(gradients["x"][1], np.zeros(3))
    assert gradients["s"][1] == 0
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_sixteen_bit_rows_are_weighed_in_f32(device: Device, dtype: str) -> None:
    g = lossc.Graph()
    x, t, s = g.input("x", (None,), dtype), g.input("t", (None,), dtype), g.input("s", (None,))
    outputs = {kind: g.mse_loss(x, t, sample_weight=s, reduction=kind) for kind in ("mean", "none")}
    g.set_outputs(outputs)
    assert [str(type_) for type_ in g.outputs.values()] == ["f32[1]", f"{dtype}[B]"]
    values = np.full(4096, 1.0, "f4")
    mean, _ = g.compile(device=device)(x=values, t=values * 0, s=values * 3)
    assert mean == pytest.approx([1.0], rel=1e-6)


def test_sample_weights_average_by_their_sum() -> None:
    g = lossc.Graph()
    x, t, w = g.input("x", (3, 2)), g.input("t", (3, 2)), g.input("w", (3,))
    arrays = {"x": np.arange(6.0).reshape(3, 2), "t": np.ones((3, 2)), "w": [1.0, 0.0, 3.0]}
    squares = (arrays["x"] - arrays["t"]) ** 2 * np.array([[1.0], [0.0], [3.0]])
    assert value_in(g.mse_loss(x, t, sample_weight=w), g, **arrays) == pytest.approx([squares.sum() / 8])
    assert value_in(g.mse_loss(x, t, sample_weight=w, reduction="sum"), g, **arrays) == pytest.approx([squares.sum()])
    assert value_in(g.mse_loss(x, t, sample_weight=w, reduction="none"), g, **arrays) == pytest.approx(squares)


def test_sample_weights_of_ignored_rows_do_not_count() -> None:
    g = lossc.Graph()
    x, y, w = g.input("x", (3, 2)), g.input("y", (3,), "i32"), g.input("w", (3,))
    logits = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    loss = g.cross_entropy_loss(x, y, sample_weight=w, ignore_index=-1)
    rows = np.log(np.exp(logits).sum(1)) - logits[[0, 1, 2], [1, 0, 0]]
    expected = (2 * rows[0] + 5 * rows[2]) / 7
    assert value_in(loss, g, x=logits, y=[1, -1, 0], w=[2.0, 3.0, 5.0]) == pytest.approx([expected])


def test_sample_weights_that_do_not_fit_are_refused() -> None:
    g = lossc.Graph()
    x, t = g.input("x", (None, 2)), g.input("t", (None, 2))
    with pytest.raises(lossc.LirError, match="does not fit its unreduced loss"):
        g.mse_loss(x, t, sample_weight=g.input("w", (2,)))
    with pytest.raises(lossc.LirError, match="no operand or attribute `sample_weight`"):
        g.relu(x, sample_weight=x)
