"""Mistakes that other systems are known to make, each by its name: none of them is made here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import run

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(6, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2, 1, 3], np.int32)
UNIT = GENERATOR.uniform(0.1, 0.9, size=(6, 5)).astype(np.float32)
SIGNS = np.sign(GENERATOR.normal(size=(6, 5))).astype(np.float32)
LISTS = np.array([[0, 2, -1, 0, 0], [1, -1, 0, 0, 0], [4, 3, 2, -1, 0]] * 2, np.int32)

# What each takes beside x: f32[6, 5], and the shape of what is not reduced.
LOSSES = {
    "cross_entropy_loss": ("i32[6]", LABELS, "[6]"), "nll_loss": ("i32[6]", LABELS, "[6]"),
    "focal_cross_entropy_loss": ("i32[6]", LABELS, "[6]"), "poly_cross_entropy_loss": ("i32[6]", LABELS, "[6]"),
    "multi_margin_loss": ("i32[6]", LABELS, "[6]"), "multilabel_margin_loss": ("i32[6, 5]", LISTS, "[6]"),
    "multilabel_soft_margin_loss": ("f32[6, 5]", UNIT, "[6]"), "bce_with_logits_loss": ("f32[6, 5]", UNIT, "[6, 5]"),
    "sigmoid_focal_loss": ("f32[6, 5]", UNIT, "[6, 5]"), "hinge_loss": ("f32[6, 5]", SIGNS, "[6, 5]"),
    "squared_hinge_loss": ("f32[6, 5]", SIGNS, "[6, 5]"), "soft_margin_loss": ("f32[6, 5]", SIGNS, "[6, 5]"),
    "dice_loss": ("f32[6, 5]", UNIT, "[6, 5]"), "tversky_loss": ("f32[6, 5]", UNIT, "[6, 5]"),
    "mse_loss": ("f32[6, 5]", UNIT, "[6, 5]"), "l1_loss": ("f32[6, 5]", UNIT, "[6, 5]"),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_a_reduction_of_none_is_not_silently_zero(device: Device, loss: str) -> None:
    """Its values are there and add up to the sum; so do its gradients."""
    target, t, shape = LOSSES[loss]
    source = f"""func @f(%x: f32[6, 5], %t: {target})
        -> (%each: f32{shape}, %sum: f32[1], %a: f32[6, 5], %b: f32[6, 5]) {{
      %each = {loss} %x, %t {{reduction = "none"}}
      %sum = {loss} %x, %t {{reduction = "sum"}}
      %a = grad %each, %x
      %b = grad %sum, %x
      return %each, %sum, %a, %b
    }}"""
    found = run(source, device, x=X, t=t)
    assert np.count_nonzero(found["each"]) > found["each"].size / 3
    np.testing.assert_allclose(found["each"].sum(), found["sum"][0], rtol=1e-5)
    assert found["a"].any(axis=1).all()
    np.testing.assert_allclose(found["a"], found["b"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_upstream_gradient_of_every_row_is_kept(device: Device, loss: str) -> None:
    """Row n of the gradient is that of its own loss, times its own factor."""
    target, t, shape = LOSSES[loss]
    source = f"""func @f(%x: f32[6, 5], %t: {target}, %u: f32{shape}) -> (%plain: f32[6, 5], %g: f32[6, 5]) {{
      %each = {loss} %x, %t {{reduction = "none"}}
      %plain = grad %each, %x
      %g = grad %each, %u, %x {{upstream = true}}
      return %plain, %g
    }}"""
    rows = np.array([1, 0, -2, 0.5, 3, -1], np.float32)
    upstream = rows if shape == "[6]" else np.ascontiguousarray(np.broadcast_to(rows[:, None], (6, 5)))
    found = run(source, device, x=X, t=t, u=upstream)
    np.testing.assert_allclose(found["g"], found["plain"] * rows[:, None], rtol=2e-6, atol=1e-7)
    assert not found["g"][1].any()


@pytest.mark.parametrize("loss", ["cross_entropy_loss", "nll_loss"])
def test_a_weighted_mean_of_labels_divides_by_the_weights(device: Device, loss: str) -> None:
    source = f"""func @f(%x: f32[6, 5], %t: i32[6], %w: f32[5]) -> (%mean: f32[1], %each: f32[6]) {{
      %mean = {loss} %x, %t, %w {{ignore_index = 4}}
      %each = {loss} %x, %t, %w {{ignore_index = 4, reduction = "none"}}
      return %mean, %each
    }}"""
    w = np.array([1, 0.5, 3, 2, 100], np.float32)
    found = run(source, device, x=X, t=LABELS, w=w)
    np.testing.assert_allclose(found["mean"], [found["each"].sum() / w[LABELS[LABELS != 4]].sum()], rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss"])
def test_a_weighted_mean_of_elements_divides_by_the_weights(device: Device, loss: str) -> None:
    source = f"""func @f(%x: f32[6, 5], %t: f32[6, 5], %w: f32[6, 5]) -> (%mean: f32[1]) {{
      %mean = {loss} %x, %t, %w
      return %mean
    }}"""
    d = np.abs(X - UNIT).astype(np.float64)
    value = d * d if loss == "mse_loss" else d
    w = np.random.default_rng(1).uniform(1, 5, size=(6, 5)).astype(np.float32)
    found = run(source, device, x=X, t=UNIT, w=w)
    np.testing.assert_allclose(found["mean"], [(w * value).sum() / w.sum()], rtol=1e-6)


@pytest.mark.parametrize(
    "loss", ["cross_entropy_loss", "nll_loss", "focal_cross_entropy_loss", "poly_cross_entropy_loss"]
)
def test_the_mean_of_ignored_rows_is_not_silently_zero(device: Device, loss: str) -> None:
    """It is 0/0, unless 0 is asked for; the gradient is 0 either way."""
    for empty, expected in (("nan", math.nan), ("zero", 0.0)):
        source = f"""func @f(%x: f32[6, 5], %t: i32[6]) -> (%mean: f32[1], %g: f32[6, 5]) {{
          %mean = {loss} %x, %t {{ignore_index = -1, empty = "{empty}"}}
          %g = grad %mean, %x
          return %mean, %g
        }}"""
        found = run(source, device, x=X, t=np.full(6, -1, np.int32))
        np.testing.assert_array_equal(found["mean"], [expected])
        np.testing.assert_array_equal(found["g"], np.zeros((6, 5)))


def test_pos_weight_is_right_for_positive_logits(device: Device) -> None:
    """-(p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))) on both sides of 0; with p max(x, 0) it is wrong on one."""
    source = """func @f(%x: f32[N], %t: f32[N], %p: f32[N]) -> (%loss: f32[N], %g: f32[N]) {
      %loss = bce_with_logits_loss %x, %t, pos_weight = %p {reduction = "none"}
      %g = grad %loss, %x
      return %loss, %g
    }"""
    x = np.array([-30, -3, -0.5, 0, 0.5, 3, 30] * 3, np.float32)
    t = np.repeat(np.array([0, 1, 0.25], np.float32), 7)
    p = np.full(21, 3, np.float32)
    wide = x.astype(np.float64)
    on, off = np.logaddexp(0, -wide), np.logaddexp(0, wide)
    sigmoid, beside = 1 / (1 + np.exp(-wide)), 1 / (1 + np.exp(wide))
    found = run(source, device, x=x, t=t, p=p)
    # Also where both are tiny: 1 - sigmoid(-x) in f32 is 0 for a negative that the model is sure of.
    np.testing.assert_allclose(found["loss"], 3 * t * on + (1 - t) * off, rtol=2e-6)
    np.testing.assert_allclose(found["g"], (1 - t) * sigmoid - 3 * t * beside, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["g"][:7], sigmoid[:7], rtol=1e-5)


LABELLED = [loss for loss, (target, _, _) in LOSSES.items() if target.startswith("i32")]


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("wrong", [5, -7, 2**31 - 1])
def test_a_label_out_of_range_is_not_silent(device: Device, loss: str, wrong: int) -> None:
    target, t, _ = LOSSES[loss]
    source = f"""func @f(%x: f32[6, 5], %t: {target}) -> (%loss: f32[1], %g: f32[6, 5]) {{
      %loss = {loss} %x, %t
      %g = grad %loss, %x
      return %loss, %g
    }}"""
    bad = t.copy()
    bad[3] = wrong
    with pytest.raises(LirError, match=rf"found {wrong} at.*3"):
        run(source, device, x=X, t=bad)


def test_cosine_has_gradients_for_both_inputs(device: Device) -> None:
    """cos has the derivative (x2 / |x2| - cos x1 / |x1|) / |x1| by x1, and the like by x2."""
    source = """func @f(%a: f32[6, 5], %b: f32[6, 5], %t: f32[6]) -> (%loss: f32[6], %ga: f32[6, 5], %gb: f32[6, 5]) {
      %loss = cosine_embedding_loss %a, %b, %t {reduction = "none"}
      %ga, %gb = grad %loss, %a, %b
      return %loss, %ga, %gb
    }"""
    found = run(source, device, a=X, b=UNIT, t=np.ones(6, np.float32))
    a, b = X.astype(np.float64), UNIT.astype(np.float64)
    length_a, length_b = (np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    cosine = (a * b).sum(1, keepdims=True) / (length_a * length_b)
    np.testing.assert_allclose(found["loss"], 1 - cosine[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found["ga"], -(b / length_b - cosine * a / length_a) / length_a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["gb"], -(a / length_a - cosine * b / length_b) / length_b, rtol=1e-5, atol=1e-6)


def test_triplet_has_gradients_for_all_three_inputs(device: Device) -> None:
    source = """func @f(%a: f32[6, 5], %p: f32[6, 5], %n: f32[6, 5])
        -> (%loss: f32[6], %ga: f32[6, 5], %gp: f32[6, 5], %gn: f32[6, 5]) {
      %loss = triplet_loss %a, %p, %n {margin = 10.0, reduction = "none"}
      %ga, %gp, %gn = grad %loss, %a, %p, %n
      return %loss, %ga, %gp, %gn
    }"""
    found = run(source, device, a=X, p=UNIT, n=SIGNS)
    near, far = (X.astype(np.float64) - other + 1e-6 for other in (UNIT, SIGNS))
    near_length, far_length = (np.linalg.norm(v, axis=1, keepdims=True) for v in (near, far))
    np.testing.assert_allclose(found["loss"], (near_length - far_length + 10)[:, 0], rtol=1e-5)
    for name, expected in (("ga", near / near_length - far / far_length), ("gp", -near / near_length),
                           ("gn", far / far_length)):  # fmt: skip
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_log_cosh_of_little_differences_is_their_square(device: Device) -> None:
    """|d| + log1p(exp(-2 |d|)) - log 2 loses every digit of them."""
    d = np.concatenate([np.geomspace(1e-15, 80, 1000), np.linspace(0.19, 0.22, 100)]).astype(np.float32)
    source = """func @f(%x: f32[N], %t: f32[N]) -> (%each: f32[N]) {
      %each = log_cosh_loss %x, %t {reduction = "none"}
      return %each
    }"""
    found = run(source, device, x=d, t=np.zeros_like(d))["each"]
    exact = d.astype(np.float64)
    with np.errstate(over="ignore"):
        # Of log1p(cosh d - 1) nothing cancels.
        expected = np.log1p(2 * np.sinh(exact / 2) ** 2)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    np.testing.assert_array_equal(run(source, device, x=-d, t=np.zeros_like(d))["each"], found)
