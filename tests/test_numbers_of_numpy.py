"""NumPy's numbers and arrays where a graph is built: numbers are numbers, arrays are refused on either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossc
import lossc.functional as F

W = np.array([1, 2, 3, 4], "f4")
X = np.arange(24, dtype="f4").reshape(6, 4)

SIDES: list[Callable[[Any], Any]] = [
    lambda x: W * x, lambda x: x * W, lambda x: W + x, lambda x: W - x, lambda x: W / x, lambda x: x > W,
    lambda x: x == W, lambda x: x == W, lambda x: W**x,
]  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
def test_an_array_is_no_operand(side: Callable[[Any], Any]) -> None:
    """On the left NumPy would make an array of tensors, one for each element."""
    with pytest.raises(lossc.LirError, match="found ndarray"):
        F.function(lambda x: side(x).sum())(X)


def of_twice(two: Any) -> Callable[[Any], Any]:
    return lambda x: (two * x + x * two + two).sum()


def test_numbers_of_numpy_are_numbers() -> None:
    for two in (np.float32(2), np.float64(2), np.int32(2), np.array(2.0)):
        assert F.function(of_twice(two))(X) == (4 * X + 2).sum()
    g = lossc.Graph()
    x, t = g.input("x", (None, 4)), g.input("t", (None, 4))
    assert g.constant(np.float32(2)).dtype == "f32"
    assert g.add(x, np.float32(2)).shape == x.shape
    assert g.reduce_sum(x, axes=[np.int64(1)]).rank == 1
    g.set_outputs([g.huber_loss(x, t, delta=np.float32(0.5))])
    assert "delta = 0.5" in g.to_lir()


def test_a_buffer_of_integers() -> None:
    g = lossc.Graph()
    x = g.input("x", (None, 3))
    for dtype in ("i8", "i32", "i64", "f32"):
        g.set_outputs([x * g.buffer(f"k_{dtype}", np.array([1, 2, 3]), dtype=dtype).cast("f32")])
        (found,) = g.compile()(x=X[:, :3])
        np.testing.assert_array_equal(found, X[:, :3] * [1, 2, 3])
