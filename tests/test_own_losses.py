"""`lossc.functional.function`: losses of one's own on arrays, and what is no loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossc
import lossc.functional as F

RANDOM = np.random.default_rng(3)
X, T = (RANDOM.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
PINBALL = Path(__file__).parents[1] / "samples" / "pinball.lir"
MEAN_SQUARE = """
func @square(%x: f32[N], %t: f32[N]) -> f32[] {
  %d = sub %x, %t
  %e = mul %d, %d
  %sum = reduce_sum %e {axes = [0]}
  %n = dim %x {axis = 0}
  %count = cast %n {dtype = f32}
  %loss = div %sum, %count
  return %loss
}
"""


@F.function
def smooth(x: Any, t: Any, eps: float = 1.0) -> Any:
    """A square that becomes a line."""
    return ((x - t) ** 2 + eps).sqrt().mean()


def test_a_python_function() -> None:
    root = np.sqrt((X.astype(np.float64) - T) ** 2 + 1)
    value = smooth(X, T)
    assert value.shape == ()
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, root.mean(), rtol=1e-6)
    value, (by_t, by_x) = F.value_and_grad(smooth, (1, 0))(X, t=T)
    np.testing.assert_allclose(value, root.mean(), rtol=1e-6)
    np.testing.assert_allclose(by_x, (X - T) / root / 20, atol=1e-7)
    np.testing.assert_allclose(by_t, -by_x)
    np.testing.assert_allclose(smooth(X, T, eps=0.1), np.sqrt((X - T) ** 2 + 0.1).mean(), rtol=1e-6)
    assert smooth(X.astype(np.float64), T.astype(np.float64)).dtype == np.float64
    assert (smooth.__name__, smooth.__doc__) == ("smooth", "A square that becomes a line.")


def test_a_text_says_what_it_takes() -> None:
    assert F.function(MEAN_SQUARE).__doc__ == "square(x: f32[N], t: f32[N])"
    assert F.function(lambda x: x.sum()).__doc__ is None


def test_a_text_takes_any_size_and_converts_floats() -> None:
    square = F.function(MEAN_SQUARE)
    for count in (3, 5):
        value, gradient = F.value_and_grad(square)(X[0, :count].astype(np.float64), T[0, :count])
        difference = X[0, :count] - T[0, :count]
        np.testing.assert_allclose(value, (difference**2).mean(), rtol=1e-6)
        np.testing.assert_allclose(gradient, 2 * difference / count, rtol=1e-5)
        assert gradient.dtype == np.float32
    assert len(square.own._programs) == 1


def test_a_gradient_of_its_own_is_the_one_that_is_taken() -> None:
    pinball = F.function(lossc.load(PINBALL))
    mean = F.function(lambda x, t, q: mean_of(pinball_graph, x, t, q))
    pinball_graph = lossc.load(PINBALL)
    quantile = np.full(5, 0.25, np.float32)
    x = T[0].copy()
    x[1] += 1
    x[2] -= 1
    assert pinball(x, T[0], quantile).shape == (5,)
    _, gradient = F.value_and_grad(mean)(x, T[0], quantile)
    # At the kinks, where x is t, the text says 0; max would have split it.
    np.testing.assert_allclose(gradient * 5, [0, 0.75, -0.25, 0, 0], atol=1e-7)


def mean_of(graph: lossc.Graph, *values: Any) -> Any:
    return values[0].builder.graph.call(graph, *values).mean()


def test_several_results_are_a_tuple() -> None:
    both = F.function(lambda x, t: ((x - t).mean(), x * t))
    mean, product = both(X, T)
    np.testing.assert_allclose(mean, (X - T).mean(), rtol=1e-5)
    np.testing.assert_allclose(product, X * T, rtol=1e-6)


def test_a_graph_counts_as_it_stood() -> None:
    g = lossc.Graph()
    x = g.input("x", (None,))
    g.set_outputs([x.sum()])
    total = F.function(g)
    for factor in (3, 5):
        g.set_outputs([(x * factor).sum()])
        assert total(np.ones(4, np.float32)) == 4


def test_settings_that_python_finds_equal_are_not_the_same() -> None:
    seen: list[Any] = []

    @F.function
    def scaled(x: Any, by: Any = 1) -> Any:
        seen.append(by)
        return (x * (10.0 if by is True else math.copysign(2.0, by))).sum()

    ones = np.ones(3, np.float32)
    found = [scaled(ones, by) for by in (True, 1, 0.0, -0.0, math.nan, math.nan)]
    assert found[:4] == [30, 6, 6, -6]
    assert len(seen) == 5


def test_no_more_programs_are_kept_than_of_other_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossc.losses.own.MOST_PROGRAMS", 2)
    double = F.function(lambda x: x * 2)
    for count in (1, 2, 3, 1):
        assert double(np.ones(count, np.float32)).sum() == 2 * count
    assert [key[0][1].shape for key in double.own._programs] == [(3,), (1,)]


def starred(*x: Any) -> Any:
    return x[0]


REFUSED: tuple[tuple[Any, type[Exception], str], ...] = (
    (lambda: F.function(3), lossc.LirError, "a graph, LIR text or a Python function, found int"),  # pyright: ignore
    (lambda: F.function("func @"), lossc.LirError, "LIR0011"),
    (lambda: F.function(starred), lossc.LirError, "every argument of a loss has a name"),
    (lambda: smooth(X), TypeError, r"smooth\(\) missing a required argument: 't'"),
    (lambda: smooth(X, T, eps={}), lossc.LirError, "eps is an array of object"),  # pyright: ignore
    (lambda: smooth(X, T[:3]), lossc.LirError, "do not broadcast"),
    (lambda: smooth(X, T.astype(complex)), lossc.LirError, "t is an array of complex128"),
    (lambda: F.function(lambda x: 3)(X), lossc.LirError, "loss returned 3"),
    (lambda: F.function(lambda x: x > 0)(X), lossc.Limitation, "only floats are results"),
    (lambda: F.function(MEAN_SQUARE)(X[0]), TypeError, r"square needs t: f32\[N\]"),
    (lambda: F.function(MEAN_SQUARE)(X[0], x=X[0]), TypeError, "square is given `x` twice"),
    (lambda: F.function(MEAN_SQUARE)(X[0], target=X[0]), TypeError, "square has no input `target`"),
    (lambda: F.function(MEAN_SQUARE)(X[0], T[0], 3), TypeError, "square is given 3 arguments"),
    (lambda: F.function(MEAN_SQUARE)(X[0], T[0, :3]), lossc.LirError, "input `t` has type .* where N is 5"),
    (lambda: F.function(MEAN_SQUARE)(X[0], [1, 2, 3, 4, True + 0j]), lossc.LirError, "input `t`"),
    (lambda: F.value_and_grad(smooth, 2)(X, T), RuntimeError, "eps is no array of floats"),
    (lambda: F.value_and_grad(smooth, 3), lossc.LirError, "from 0 to 2, found 3"),
    (lambda: F.value_and_grad(smooth, ()), lossc.LirError, "argnums names no argument"),
    (lambda: F.value_and_grad(F.function(lambda x: x * x))(X), lossc.LirError, r"gives f32\[4, 5\]"),
    (lambda: F.value_and_grad(len), lossc.LirError, r"lossc.functional.function\(loss\)"),  # pyright: ignore
)


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED, ids=[row[2][:30] for row in REFUSED])
def test_what_is_no_loss_is_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        call()
    assert isinstance(raised.value, lossc.LosscError)
