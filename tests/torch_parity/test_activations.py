"""Activations beside torch's, values and derivatives in float64, also far out and at their kinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossc
from lossc.runtime.device import Device

torch = pytest.importorskip("torch")
F = torch.nn.functional

CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("relu", {}, F.relu), ("silu", {}, F.silu), ("sigmoid", {}, F.sigmoid), ("tanh", {}, torch.tanh),
    ("softplus", {}, lambda x: F.softplus(x, threshold=700)), ("gelu", {}, F.gelu),
    ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    ("leaky_relu", {"negative_slope": 0.3}, lambda x: F.leaky_relu(x, 0.3)),
    ("elu", {"alpha": 0.7}, lambda x: F.elu(x, 0.7)),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "attributes", "theirs"), CASES)
def test_values_and_derivatives(device: Device, operation: str, attributes: dict[str, Any], theirs: Any) -> None:
    g = lossc.Graph()
    g.set_outputs({"y": getattr(g, operation)(g.input("x", (None,), "f64"), **attributes)})
    x = np.concatenate([np.linspace(-12, 12, 101), [0.0, -0.0, 1e-8, -1e-8, 300, -300]])
    (y,), gradients = g.compile(grad=["x"], of="y", device=device)(x=x)
    expected = torch.tensor(x, requires_grad=True)
    result = theirs(expected)
    result.sum().backward()
    np.testing.assert_allclose(y, result.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gradients["x"], expected.grad.numpy(), rtol=1e-12, atol=1e-13)
