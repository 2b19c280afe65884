"""Sums of long columns keep the digits of an f32: they are added up strip by strip."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest

import lossc
from lossc.compiler.rows.strips import STRIP
from lossc.ir.tensor import Tensor

THIRD = np.float32(1 / 3)
"""Each sum of equal numbers rounds to the same side: the worst that there is for one accumulator."""


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


LAYOUTS = {
    "pixels of channels": (("B", 3, 64, 64), (0, 2, 3), (30, 3, 64, 64)),
    "named pixels": (("B", 3, "H", "W"), (0, 2, 3), (2, 3, 300, 200)),
    "columns": (("B", 3), (0,), (100_000, 3)),
    "few elements within": (("B", 3, 4), (0, 2), (30_000, 3, 4)),
    "nearly a strip within": (("B", 3, STRIP - 1), (0, 2), (100, 3, STRIP - 1)),
    "a strip within": (("B", 3, STRIP), (0, 2), (100, 3, STRIP)),
    "more within": (("B", 2, STRIP + 1, 3), (0, 2), (100, 2, STRIP + 1, 3)),
    "three axes": (("B", 2, 50, 3, 40), (0, 2, 4), (60, 2, 50, 3, 40)),
    "nothing known": (("A", "B", "C", "D"), (0, 2), (40, 3, 2000, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("strategy", ["row-lanes", "row-split", None])
def test_a_sum_of_equal_numbers(layout: str, strategy: str | None) -> None:
    shape, axes, sizes = LAYOUTS[layout]
    g = lossc.Graph()
    x = g.input("x", shape)
    g.set_outputs([(x * x).sum(axes), (x * x).sum(axes).sqrt()])
    total, root = g.compile(strategy=strategy)(x=np.full(sizes, THIRD))
    count = prod(sizes[axis] for axis in axes)
    expected = np.full(total.shape, count * float(THIRD) ** 2)
    assert relative_error(total, expected) < 2e-5
    assert relative_error(root, np.sqrt(expected)) < 2e-5


@pytest.mark.parametrize("columns", [1_000_000, 999_989, "N"])
@pytest.mark.parametrize("strategy", ["row-item", "row-pipeline", None])
@pytest.mark.filterwarnings("ignore:.*the strategy row-pipeline applies to no kernel")
def test_a_row_of_equal_numbers(columns: int | str, strategy: str | None) -> None:
    g = lossc.Graph()
    x, weight = g.input("x", (3, columns)), g.input("weight", (3, 1))
    softmax = x.exp() / x.exp().sum(1, keepdims=True)
    g.set_outputs([(x * x).sum(1), (softmax + 1).sum(), (x * weight).sum()])
    count = 1_000_000 if columns == "N" else columns
    assert isinstance(count, int)
    rows, all_softmax, weighted = g.compile(strategy=strategy)(
        x=np.full((3, count), THIRD), weight=np.full((3, 1), THIRD)
    )
    square = float(THIRD) ** 2
    assert relative_error(rows, np.full(3, count * square)) < 2e-5
    assert relative_error(all_softmax, np.array(3 * count + 3)) < 2e-5
    assert relative_error(weighted, np.array(3 * count * square)) < 2e-5


@pytest.mark.parametrize("columns", [1, 3, 1000, 16_000, "N"])
def test_a_sum_over_rows_of_equal_numbers(columns: int | str) -> None:
    """With a weight for each row they are no run of elements."""
    g = lossc.Graph()
    x, weight = g.input("x", ("B", columns)), g.input("weight", ("B", 1))
    g.set_outputs([(x * weight).sum()])
    width = 3 if columns == "N" else columns
    assert isinstance(width, int)
    rows = 4_000_000 // width
    (total,) = g.compile(strategy="row-item")(x=np.full((rows, width), THIRD), weight=np.full((rows, 1), THIRD))
    assert relative_error(total, np.array(rows * width * float(THIRD) ** 2)) < 1e-4


def _standardized(x: Tensor) -> Tensor:
    """Batch normalisation of the second axis of four."""
    mean = x.mean((0, 2, 3), keepdims=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    return ((x - mean) / (variance + 1e-5).sqrt()).tanh().mean()


def _gradient(x: np.ndarray) -> np.ndarray:
    """That of `_standardized` in float64."""
    axes, count = (0, 2, 3), x.size // x.shape[1]
    centred = x - x.mean(axes, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axes, keepdims=True) + 1e-5)
    y = centred * scale
    by_y = (1 - np.tanh(y) ** 2) / x.size
    return scale * (by_y - by_y.mean(axes, keepdims=True) - y * (by_y * y).sum(axes, keepdims=True) / count)


@pytest.mark.parametrize("sizes", [(64, 3, 64, 64), (1, 2, 500, 700)])
@pytest.mark.parametrize("shape_of", [lambda sizes: ("B", *sizes[1:]), lambda sizes: ("B", sizes[1], "H", "W")])
def test_batch_normalisation(sizes: tuple[int, ...], shape_of: Callable[[tuple[int, ...]], tuple[int | str]]) -> None:
    g = lossc.Graph()
    g.set_outputs({"loss": _standardized(g.input("x", shape_of(sizes)))})
    x = (np.random.default_rng(0).standard_normal(sizes) + 1).astype(np.float32)
    _, gradients = g.compile(grad=["x"])(x=x)
    assert relative_error(gradients["x"], _gradient(x.astype(np.float64))) < 3e-6
