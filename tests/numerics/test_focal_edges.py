"""Focal and poly losses where it matters: extreme logits, exponents that are none, masked classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import run
from numerics.edges import INF, NAN, C, Row, assert_rows, by_rows, elementwise, row, sigmoid, softplus, text

from lossc.ir.diagnostics import LirError
from lossc.ir.parser import parse
from lossc.runtime.device import Device


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 2.5])
def test_sigmoid_focal_is_finite_far_out(device: Device, gamma: float) -> None:
    """Where the prediction is right beyond doubt, 1 - p_t is 0: the value and its derivative are 0 for every gamma."""
    rows: list[Row] = [
        (1e4, 1, 0, 0), (-1e4, 0, 0, 0), (1e4, 0, 1e4, 1), (-1e4, 1, 1e4, -1), (3e38, 1, 0, 0), (3e38, 0, 3e38, 1),
        (-3e38, 1, 3e38, -1), (-3e38, 0, 0, 0), (NAN, 1, NAN, NAN),
        (0, 1, 0.5**gamma * math.log(2), 0.5**gamma * (-0.5 - gamma * 0.5 * math.log(2))),
        (0, 0, 0.5**gamma * math.log(2), 0.5**gamma * (0.5 + gamma * 0.5 * math.log(2))),
        # d/dx of (1 - p)^gamma softplus(-x) is -(1 - p)^gamma (1 - p + gamma p softplus(-x)).
        *[(x, 1, sigmoid(-x) ** gamma * softplus(-x),
           -sigmoid(-x) ** gamma * (sigmoid(-x) + gamma * sigmoid(x) * softplus(-x))) for x in (3.0, -3.0, 12.0, 20.0)],
    ]  # fmt: skip
    assert_rows(device, elementwise("sigmoid_focal_loss", f"gamma = {gamma}"), rows)


def test_sigmoid_focal_without_focus_is_binary_cross_entropy(device: Device) -> None:
    x = np.linspace(-20, 20, 41).astype(np.float32)
    t = np.linspace(0, 1, 41).astype(np.float32)
    focal = run(elementwise("sigmoid_focal_loss", "gamma = 0.0"), device, x=x, t=t)
    plain = run(elementwise("bce_with_logits_loss"), device, x=x, t=t)
    for name in ("loss", "gx"):
        np.testing.assert_allclose(focal[name], plain[name], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("gamma", ["-1.0", "nan", "inf"])
@pytest.mark.parametrize(
    ("loss", "target"), [("sigmoid_focal_loss", "f32[N, 4]"), ("focal_cross_entropy_loss", "i32[N]")]
)
def test_a_gamma_that_is_no_exponent_is_refused(loss: str, target: str, gamma: str) -> None:
    with pytest.raises(LirError, match="gamma must be a number from 0"):
        parse(text(loss, "f32[N, 4]", target, f"gamma = {gamma}"))


def test_focal_cross_entropy_of_extreme_logits(device: Device) -> None:
    x = np.stack([row(at0=1e4, at1=-1e4), row(at0=1e4, at1=-1e4), row(at0=3e38, at1=-3e38), row(at0=3e38, at1=-3e38),
                  row(-INF, at4=1, at17=1), row(-INF, at4=1), row(at6=NAN), row()])  # fmt: skip
    t = np.array([0, 1, 0, 1, 17, 3, 0, 3], np.int32)
    for gamma in (0.5, 2.0):
        found = run(by_rows("focal_cross_entropy_loss", f'reduction = "none", gamma = {gamma}'), device, x=x, t=t)
        half, missed = 0.5**gamma * math.log(2), 1 - 1 / C
        expected = [0, 2e4, 0, INF, half, INF, NAN, missed**gamma * math.log(C)]
        np.testing.assert_allclose(found["loss"], expected, rtol=2e-6)
        gradient = np.zeros((8, C))
        gradient[[1, 3], 0], gradient[[1, 3], 1] = 1, -1
        slope = 0.5**gamma * (1 + gamma * math.log(2))
        gradient[4, 4], gradient[4, 17] = slope / 2, -slope / 2
        gradient[5, 4], gradient[5, 3] = 1, -1
        gradient[6] = NAN
        slope = missed**gamma + gamma * missed ** (gamma - 1) / C * math.log(C)
        gradient[7] = slope / C
        gradient[7, 3] -= slope
        np.testing.assert_allclose(found["gx"], gradient, rtol=3e-6, atol=1e-18)


def test_poly_cross_entropy_of_extreme_logits(device: Device) -> None:
    x = np.stack([row(at0=1e4, at1=-1e4), row(at0=1e4, at1=-1e4), row(at0=3e38, at1=-3e38), row(-INF, at4=1, at17=1),
                  row(-INF, at4=1), row(at6=NAN), row()])  # fmt: skip
    t = np.array([0, 1, 1, 17, 3, 0, 3], np.int32)
    found = run(by_rows("poly_cross_entropy_loss"), device, x=x, t=t)
    expected = [0, 2e4 + 2, INF, math.log(2) + 1, INF, NAN, math.log(C) + 2 * (1 - 1 / C)]
    np.testing.assert_allclose(found["loss"], expected, rtol=2e-6)
    gradient = np.zeros((7, C))
    gradient[[1, 2], 0], gradient[[1, 2], 1] = 1, -1
    gradient[3, 4], gradient[3, 17] = 1, -1
    gradient[4, 4], gradient[4, 3] = 1, -1
    gradient[5] = NAN
    gradient[6] = (1 + 2 / C) * (1 / C - (np.arange(C) == 3))
    np.testing.assert_allclose(found["gx"], gradient, rtol=2e-6, atol=1e-7)


def test_poly_cross_entropy_without_mass_on_a_mask(device: Device) -> None:
    """0 * log 0 = 0 for soft targets: finite, and exactly 0 at the mask."""
    source = text("poly_cross_entropy_loss", f"f32[N, {C}]", f"f32[N, {C}]", 'reduction = "none"', "f32[N]")
    x, t = np.stack([row(-INF, at3=2, at9=2)]), np.stack([row(at3=0.25, at9=0.75)])
    found = run(source, device, x=x, t=t)
    np.testing.assert_allclose(found["loss"], [math.log(2) + 2 * 0.5], rtol=1e-6)
    np.testing.assert_allclose(found["gx"][0, [3, 9]], [0.5 - 0.25 + 0.25, 0.5 - 0.75 - 0.25], rtol=1e-6)
    assert (found["gx"][x == -INF] == 0).all()
