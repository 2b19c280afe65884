"""An element that is NaN has NaN for its gradient, also where the loss is linear in pieces; others do not see it."""

from __future__ import annotations

import numpy as np
import pytest

import lossc

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
