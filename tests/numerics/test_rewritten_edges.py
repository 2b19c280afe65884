"""Rewrites keep the numbers of what is written at the edges: terms that cancel, quotients that are exact, NaN, weights
of 0 beside huge numbers, counts that wrap around, axes of no elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from device_runs import Runner, agree
from functions import build, evaluate, module_of, op

import lossc
from lossc.compiler.pipeline import run_passes
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.printer import print_module
from lossc.ir.tensor import Tensor
from lossc.ir.types import numpy_dtype

COLUMNS = 49
TYPES = {"x": f"f64[N, {COLUMNS}]", "y": f"f64[N, {COLUMNS}]", "r": "f64[N]", "s": "f64[N]", "p": f"bool[N, {COLUMNS}]"}
NAN, INF = math.nan, math.inf

Body = Callable[..., "Tensor | tuple[Tensor, ...]"]


@dataclass(frozen=True)
class Edge:
    """What is computed of x, y: f64[N, 49], r, s: f64[N], p: bool[N, 49], and their rows: numbers that repeat."""

    body: Body
    x: list
    y: list = field(default_factory=lambda: [1.0])
    r: list = field(default_factory=lambda: [1.0])
    s: list = field(default_factory=lambda: [1.0])
    p: bool = True

    def arrays(self) -> dict[str, np.ndarray]:
        rows = max(map(len, (self.x, self.y, self.r, self.s)))
        wide = {name: _rows(given, rows, COLUMNS) for name, given in (("x", self.x), ("y", self.y))}
        long = {name: _rows(given, rows, 1)[:, 0] for name, given in (("r", self.r), ("s", self.s))}
        return {**wide, **long, "p": np.full((rows, COLUMNS), self.p)}


def _rows(given: list, rows: int, columns: int) -> np.ndarray:
    return np.array([np.resize(given[row % len(given)], columns) for row in range(rows)], float)


def wide(row: Tensor) -> Tensor:
    return row.insert_axis(1, COLUMNS)


def full(x: Tensor, number: float) -> Tensor:
    return x.constant(number)


def power_and_total(x: Tensor, guarded: bool = False) -> tuple[Tensor, Tensor]:
    largest = x.amax(1)
    if guarded:
        largest = (largest.abs() == INF).select(0, largest)
    power = (x - wide(largest)).exp()
    return power, wide(power.sum(1))


def times_its_sum(x: Tensor, guarded: bool) -> Tensor:
    power, total = power_and_total(x, guarded)
    return power / total * total


def chosen(truth: Tensor) -> Tensor:
    return truth.select(truth.constant(1, "f64"), 0)


MULTIPLES = [[49.0 * n for n in range(1, 41)], [41.0 * n for n in range(1, 41)]]
INVALID = [[0.0, 1.0, NAN, 2.0], [-INF], [INF, 1.0], [0.5, 1.0]]
EDGES = {
    # terms
    "terms that repeat are not added first": Edge(
        lambda x, y, r, s, p: x * y - p.select(wide(r), full(x, 2)) - wide(s), [[1e17]], r=[1e17], s=[0.5]),
    "nor where that overflows": Edge(
        lambda x, y, r, s, p: x * y - p.select(wide(r), full(x, 2)) - wide(s), [[1e308]], r=[1e308], s=[1e308]),
    "products that cancel are not scaled one by one": Edge(
        lambda x, y, r, s, p: (x * 3 - y * 7) * wide(r), [[7.0]], [3.0], r=[0.1, 0.3, 0.7, 1.1, 1.3, 1e-5, 1.7, 1e9]),
    "what is compared with its maximum": Edge(
        lambda x, **_: chosen(x * (1 / 3) == wide((x * (1 / 3)).amax(1))),
        [[0.3, 1.7, 2.9], [5.0]],
    ),
    # quotients
    "floor of a quotient": Edge(lambda x, **_: (x / 49).apply("floor"), MULTIPLES),
    "a quotient as an integer": Edge(lambda x, **_: (x / 49).cast("i32").cast("f64"), MULTIPLES),
    "a quotient beside a number": Edge(lambda x, **_: chosen(x / 49 >= 1), MULTIPLES),
    "the sign of a difference": Edge(lambda x, **_: (x / 49 - 1).apply("sign"), MULTIPLES),
    "floor of the largest quotient": Edge(lambda x, **_: (x / 49).amax(1).apply("floor"), [[49.0]]),
    "a quotient beside its row's": Edge(lambda x, r, **_: chosen(x / 49 == wide(r)), MULTIPLES, r=[1.0, 2.0]),
    "floor of a product's quotient": Edge(
        lambda x, r, **_: ((x * wide(r)) / 49).apply("floor"), MULTIPLES, r=[1.0, 3.0]),
    "floor of quotients by one number": Edge(
        lambda x, y, r, **_: tuple((z / wide(r.maximum(1).minimum(100))).apply("floor") for z in (x, y + 1)),
        MULTIPLES, r=[49.0, 41.0]),
    "floor of a quotient by a sum of powers": Edge(
        lambda x, y, **_: (y / power_and_total(x)[1]).apply("floor"), [[1.0]], [49.0, 98.0]),
    # what is not a number
    "sum of a softmax": Edge(lambda x, **_: op("softmax", x, axis=1).sum(1), INVALID),
    "a softmax times its sum": Edge(lambda x, **_: times_its_sum(x, guarded=False), INVALID),
    "a guarded softmax times its sum": Edge(lambda x, **_: times_its_sum(x, guarded=True), INVALID),
    # large and small
    "a row's factor stays in a sum of small products": Edge(
        lambda x, y, r, **_: (power_and_total(x)[0] * wide(r) * y).sum(1), [[0.0, -460.0]], [[0.0, 1e-200]], r=[1e200]),
    "a row's weight stays in a sum": Edge(lambda x, r, **_: (x * wide(r)).sum(1), [[1e308]], r=[0.0, 1e-3, 1e-300]),
    "so does a small constant": Edge(lambda x, **_: (x * 1e-200).sum(1), [[1e308]]),
    "exp above a large number": Edge(lambda x, **_: chosen(x.maximum(701).exp() < 1e308), [[0.0, 702.0, 708.0, 720.0]]),
    "a quotient by the smallest number": Edge(
        lambda x, **_: chosen(x.maximum(1e-300) / 5e-324 <= 1e200), [[0.0, 1e-300, 1.0]]),
    "a power of minus 0": Edge(
        lambda x, **_: chosen((-x).sqrt().apply("pow", full(x, -3)) == -INF), [[0.0, -4.0]]),
}  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
def test_numbers_stay(edge: str) -> None:
    body, arrays = EDGES[edge].body, EDGES[edge].arrays()
    module = module_of(build(TYPES, lambda *values: body(**dict(zip(TYPES, values)))))
    plain, prepared = (run_passes(module, passes).entry for passes in (("inline", "expand"), ("prepare",)))
    for expected, found in zip(evaluate(plain, arrays), evaluate(prepared, arrays)):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


def runs_as_written(inputs: dict[str, str], body: Body, **arrays: np.ndarray) -> None:
    """What the kernels give, in the simulator, is what the text says."""
    text = print_module(module_of(build(inputs, body)))
    agree(Runner(text, None), text, [arrays], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "columns"), [("i8", 130), ("u8", 300), ("i8", 128), ("u8", 256), ("i16", 300)])
def test_counts_that_wrap_around(dtype: str, columns: int) -> None:
    """A column is below a number, or equal to it, wherever its count is: once more behind the largest of the type."""

    def body(x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        count, limit = x.iota(1, dtype), n.insert_axis(1, columns)
        below = (count < limit).cast("i32")
        return below.amax(1), (count < limit).select(x, 0).sum(1), (count == limit).select(x, 0).sum(1)

    x = np.linspace(1, 2, 8 * columns, dtype="f4").reshape(8, columns)
    n = np.array([-5, 0, 3, -128, 127, 43, 1, 2]).astype(numpy_dtype(dtype))
    runs_as_written({"x": f"f32[N, {columns}]", "n": f"{dtype}[N]"}, body, x=x, n=n)


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_integers_without_a_negative(dtype: str) -> None:
    def body(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        three = x.constant(3)
        return (-x).abs(), (-x).binary("div", y), -(x * three), -x * three, -x.binary("div", three)

    x = np.arange(256).astype(numpy_dtype(dtype))
    runs_as_written({"x": f"{dtype}[N]", "y": f"{dtype}[N]"}, body, x=x, y=x[::-1].copy())


@pytest.mark.parametrize("columns", [0, 1, 7])
def test_a_sum_over_what_may_be_nothing(columns: int) -> None:
    """A sum of exponentials beside the largest is not below 1, but of no elements."""

    def body(x: Tensor) -> tuple[Tensor, ...]:
        total = (x - x.amax(1).insert_axis(1, x.shape[1])).exp().sum(1)
        return total.log(), 1 / total

    x = np.linspace(-3, 3, 3 * columns, dtype="f4").reshape(3, columns)
    runs_as_written({"x": "f32[N, C]"}, body, x=x)


@pytest.mark.parametrize("rows", [0, 2])
def test_a_check_of_what_repeats(rows: int) -> None:
    """A check says something of what is behind a broadcast where that repeats it at all."""

    def body(x: Tensor, y: Tensor) -> Tensor:
        (x.insert_axis(0, y.shape[0]) < 1).check(code="test", message="x must lie below 1")
        return (x == INF).select(1, x.constant(2))

    x = np.array([INF if rows == 0 else 0.5, 0, -3], "f4")
    runs_as_written({"x": "f32[C]", "y": "f32[B, C]"}, body, x=x, y=np.zeros((rows, 3), "f4"))


@pytest.mark.parametrize("columns", [0, 2])
def test_the_largest_of_nothing_under_a_condition(columns: int) -> None:
    """max(3, 3, ...) is 3 where there is one at all."""

    def body(x: Tensor, p: Tensor) -> Tensor:
        return p.select(3, x.constant(3).amax(1))

    arrays = {"x": np.zeros((4, columns)), "p": np.array([True, False] * 2)}
    module = module_of(build({"x": "f64[N, C]", "p": "bool[N]"}, body))
    (expected,), (found,) = (
        evaluate(run_passes(module, passes).entry, arrays) for passes in (("expand",), ("prepare",))
    )
    np.testing.assert_array_equal(found, expected)


FOUR = dict.fromkeys("xyvw", "f32[N]")
TIES: dict[str, Callable[..., Tensor]] = {
    "sign": lambda x, y, v, w: (x * v - y * w).apply("sign"),
    "floor": lambda x, y, v, w: (x * v - y * w).apply("floor"),
    "root": lambda x, y, v, w: (x * v - y * w).sqrt(),
    "below 0": lambda x, y, v, w: chosen(x * v - y * w < 0),
    "a sum": lambda x, y, v, w: (x * v + -y * w).apply("sign"),
    "a product that is chosen": lambda x, y, v, w: (x * v - (v > 0).select(y * w, -y * -w)).apply("sign"),
    "squares": lambda x, y, v, w: chosen(x * x - y * -y * -1 < 0),
    "the gradient of a distance": lambda x, y, v, w: (x * v - y * w).abs() + (x * v - y * w).apply("sign"),
    "sums of products": lambda x, y, v, w: ((x * x + v * v) - (w * v + y * x)).sqrt(),
    "a square of a difference": lambda x, y, v, w: (x * x + y * y - 2 * x * y).sqrt(),
    "products behind a cast": lambda x, y, v, w: ((x * v).cast("f64") - (y * w).cast("f64")).sqrt().cast("f32"),
}


@pytest.mark.parametrize("case", TIES)
def test_products_that_are_equal_cancel(case: str) -> None:
    """Where it shows, of two products none is rounded less than the other."""
    random = np.random.default_rng(7)
    x, v = (random.normal(size=512).astype("f4") for _ in range(2))
    text = print_module(module_of(build(FOUR, TIES[case])))
    found = Runner(text, None)(x=x, y=x.copy(), v=v, w=v.copy())
    assert not np.any(next(iter(found.values())))


@pytest.mark.parametrize("columns", [1, 16])
@pytest.mark.parametrize("declared", [True, False])
def test_rows_of_equal_numbers_do_not_vary(columns: int, declared: bool) -> None:
    """The mean of the squares less the square of the mean, by a size that is known or not: no root of less than 0."""
    x = np.repeat(np.random.default_rng(7).normal(size=(512, 1)).astype("f4"), columns, axis=1)
    inputs = {"x": f"f32[B, {columns if declared else 'N'}]"}
    text = print_module(module_of(build(inputs, lambda x: ((x * x).mean(1) - x.mean(1) * x.mean(1)).sqrt())))
    assert not np.any(next(iter(Runner(text, None)(x=x).values())))


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_what_overflows_is_seen_to_be_infinite(factor: float) -> None:
    x = np.array([1e38, -1e38, 3e37, 1, INF, -INF], "f4")

    def body(x: Tensor) -> tuple[Tensor, ...]:
        scaled = x * factor
        return scaled, (scaled == INF).select(1, x.constant(0)), (scaled == -INF).select(1, x.constant(0))

    found = Runner(print_module(module_of(build({"x": "f32[N]"}, body))), None)(x=x)
    scaled, above, below = found.values()
    np.testing.assert_array_equal(above, scaled == INF)
    np.testing.assert_array_equal(below, scaled == -INF)


FAR_APART: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "probabilities": lambda x, t: (t * x.log_softmax(axis=1)).sum(1),
    "entropy": lambda x, t: (x.softmax(axis=1) * x.log_softmax(axis=1)).sum(1),
    "focal": lambda x, t: ((1 - x.softmax(axis=1)) ** 2 * t * x.log_softmax(axis=1)).sum(1),
    "a shift": lambda x, t: (t * (x - x.amax(1, keepdims=True))).sum(1),
}


@pytest.mark.parametrize("factor", [0.55, 0.5, 0.3, 1e-3])
@pytest.mark.parametrize("case", FAR_APART)
def test_logits_may_lie_further_apart_than_numbers_reach(case: str, factor: float) -> None:
    """Beside a factor below 1, such as a temperature: x * c - max(x) * c is finite where x - max(x) is not."""
    random = np.random.default_rng(7)
    x, t = random.normal(size=(4, 40)).astype("f4"), random.random((4, 40), "f4")
    x[:3, 3], x[:3, 4], t[:, 4] = [3e38, 1e38, 2e38], [-3e38, -3e38, -2.9e38], 0
    g = lossc.Graph()
    g.set_outputs([FAR_APART[case](g.input("x", ("N", 40)) * factor, g.input("t", ("N", 40)))])
    (found,) = Runner(g.to_lir(), None)(x=x, t=t / 100).values()
    (expected,) = interpret(parse(g.to_lir()).entry, {"x": x, "t": t / 100})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


SHARE = np.float32(0.7)
Arrays = np.ndarray
AS_WRITTEN: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Arrays, Arrays], Arrays]]] = {
    "floor of a product": (
        lambda x, y: (x * 0.7 * 3.0).apply("floor"), lambda x, y: np.floor(x * SHARE * np.float32(3))),
    "the sign of a difference": (
        lambda x, y: (x * 0.7 - y * 0.7).apply("sign"), lambda x, y: np.sign(x * SHARE - y * SHARE)),
    "the sign of a shift": (
        lambda x, y: (x * 0.7 - (x * 0.7).amax(0).insert_axis(0, x.shape[0])).apply("sign"),
        lambda x, y: np.sign(x * SHARE - (x * SHARE).max())),
    "the sign of a sum with a common factor": (
        lambda x, y: (x * y + (y - 1) * y).apply("sign"), lambda x, y: np.sign(x * y + (y - 1) * y)),
}  # fmt: skip


@pytest.mark.parametrize("case", AS_WRITTEN)
def test_what_shows_is_rounded_as_written(case: str) -> None:
    body, reference = AS_WRITTEN[case]
    text = print_module(module_of(build({"x": "f32[N]", "y": "f32[N]"}, body)))
    near = np.float32(1.9) + np.arange(1000, dtype="f4") * np.float32(2**-23)
    for x in (np.arange(1000, dtype="f4"), near):
        (found,) = Runner(text, None)(x=x, y=np.roll(x, 1)).values()
        np.testing.assert_array_equal(found, reference(x, np.roll(x, 1)))
