"""An element that is NaN has NaN for its gradient, also where the loss is linear in pieces; others do not see it."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import run

import lossc
from lossc.runtime.device import Device

ONES = np.ones((3, 4), "f4")
LOSSES: dict[str, dict[str, np.ndarray]] = {
    "hinge_loss": {"t": ONES}, "squared_hinge_loss": {"t": ONES}, "hinge_embedding_loss": {"t": -ONES},
    "margin_ranking_loss": {"x2": ONES, "t": ONES},
}  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_an_element_that_is_nan_has_nan_for_its_gradient(name: str, reduction: str):
    graph, others = lossc.Graph(), LOSSES[name]
    x = graph.input("x", (3, 4))
    values = [graph.input(key, array.shape) for key, array in others.items()]
    graph.set_outputs([getattr(graph, name)(x, *values, reduction=reduction)])
    array = np.array([[0.5, -0.2, 0.1, 0.7], [0.1, 0.2, 0.3, 0.4], [-1, 0, 0.5, 0.25]], "f4")
    call = graph.compile(grad=["x"])
    _, before = call(x=array, **others)
    array[1, 2] = np.nan
    (loss,), after = call(x=array, **others)
    assert np.isnan(loss).all()
    assert np.isnan(after["x"][1, 2])
    np.testing.assert_array_equal(after["x"][[0, 2]], before["x"][[0, 2]])


EXPONENTIALS = """func @f(%x: f32[B]) -> (%bell: f32[B], %sigmoid: f32[B], %softplus: f32[B], %tanh: f32[B]) {
  %square = mul %x, %x
  %minus = neg %square
  %bell = exp %minus
  %sigmoid = sigmoid %x
  %softplus = softplus %x
  %tanh = tanh %x
  return %bell, %sigmoid, %softplus, %tanh
}"""


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_nan_stays_one_whatever_its_bits(device: Device, bits: int) -> None:
    """That of inf - inf has a sign on x86: exp(-x^2) of it was 0, and the sigmoid of one with low bits 1."""
    found = run(EXPONENTIALS, device, x=np.full(37, bits, np.uint32).view(np.float32))
    assert all(np.isnan(result).all() for result in found.values()), found
