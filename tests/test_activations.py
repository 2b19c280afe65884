"""Activations against their formulas in float64: values, derivatives, kinks, and how exact the device's erf is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import lossc
from lossc.runtime.device import Device

erf = np.vectorize(math.erf)


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS: dict[str, tuple[str, dict[str, object], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": ("relu", {}, lambda x: np.maximum(x, 0)),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "elu": ("elu", {"alpha": 1.5}, lambda x: np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0)))),
    "silu": ("silu", {}, lambda x: x / (1 + np.exp(-x))),
    "gelu": ("gelu", {}, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
    "gelu tanh": ("gelu", {"approximate": "tanh"}, tanh_gelu),
    "sigmoid": ("sigmoid", {}, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": ("tanh", {}, np.tanh),
    "softplus": ("softplus", {}, lambda x: np.logaddexp(0, x)),
}


def compiled(case: str, device: Device, dtype: str = "f32") -> lossc.CompiledFunction:
    operation, attributes, _ = FORMULAS[case]
    g = lossc.Graph()
    y = getattr(g, operation)(g.input("x", (None,), dtype), **attributes)
    g.set_outputs({"y": y})
    return g.compile(grad=["x"], of="y", device=device)


@pytest.mark.parametrize("case", FORMULAS)
def test_values_and_derivatives(device: Device, case: str) -> None:
    formula = FORMULAS[case][2]
    # No kink of any of them lies at these points.
    x = np.concatenate([np.linspace(-9, 9, 400), [-80.5, 80.5, 1e-3, -1e-3]]).astype("f4")
    (y,), gradients = compiled(case, device)(x=x)
    wide = x.astype(float)
    np.testing.assert_allclose(y, formula(wide), rtol=3e-6, atol=6e-7)
    slope = (formula(wide + 1e-5) - formula(wide - 1e-5)) / 2e-5
    np.testing.assert_allclose(gradients["x"], slope, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("case", "expected"),
    [("relu", 0), ("leaky_relu", 0.2), ("elu", 1.5), ("silu", 0.5), ("gelu", 0.5), ("gelu tanh", 0.5),
     ("softplus", 0.5)],
)  # fmt: skip
def test_derivatives_at_zero(device: Device, case: str, expected: float) -> None:
    assert compiled(case, device)(x=np.zeros(3, "f4"))[1]["x"] == pytest.approx([expected] * 3, rel=1e-6)


@pytest.mark.parametrize("case", FORMULAS)
def test_far_out_nothing_overflows(device: Device, case: str) -> None:
    (y,), gradients = compiled(case, device)(x=np.array([-1e4, 1e4], "f4"))
    assert np.isfinite(y).all()
    assert np.isfinite(gradients["x"]).all()
    assert np.isnan(compiled(case, device)(x=np.array([np.nan], "f4"))[0][0]).all()


@pytest.mark.parametrize("case", FORMULAS)
def test_sixteen_bit_storage(device: Device, case: str) -> None:
    x = np.linspace(-4, 4, 33).astype("f2")
    (y,), gradients = compiled(case, device, "f16")(x=x)
    assert y.dtype == gradients["x"].dtype == np.float16
    np.testing.assert_allclose(y, FORMULAS[case][2](x.astype(float)), rtol=2e-3, atol=2e-3)


def test_erf_is_exact_to_four_units_in_the_last_place(device: Device) -> None:
    g = lossc.Graph()
    g.set_outputs({"y": g.input("x", (None,)).erf()})
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    x = np.concatenate([bits[np.isfinite(bits)], np.linspace(-5, 5, 20_001, dtype="f4"), [0, -0.0]]).astype("f4")
    (found,) = g.compile(device=device)(x=x)
    expected = erf(x.astype(float))
    normal = np.abs(expected) > 2.0**-126
    off = np.abs(found - expected)[normal] / np.spacing(np.abs(expected[normal]).astype("f4"))
    assert off.max() <= 4
    assert np.abs(found - expected)[~normal].max() <= 2.0**-126


def test_an_unknown_approximation_is_refused() -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match="unknown approximation 'fast' of gelu"):
        g.gelu(g.input("x", (3,)), approximate="fast")
