"""Gradients of every loss and layer: against differences in float64, in the middle of a graph, at kinks; on devices.

Operations, their operands and attributes are those of the agreement matrix: a new loss joins by itself. That devices
compute the same gradients is the matrix's affair; here it is their mathematics.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from agreement.agree import Arrays, Problem, in_float64
from agreement.cases import AUTO, Case
from agreement.selection import few_cases, is_differentiable, operations
from device_runs import run

from lossc.ir.diagnostics import CheckFailed
from lossc.ir.function import Function
from lossc.ir.interp import interpret
from lossc.ir.types import is_float
from lossc.runtime.device import Device

OPERATIONS = [op for op in operations() if is_differentiable(op)]
GRADIENTS = ("all", "upstream", "middle")
"""Of the sum; with an upstream gradient of each element; of 3 f + a penalty, where the first operand is used again."""


@lru_cache(maxsize=1)
def small_cases() -> dict[str, list[Case]]:
    """What each differentiable operation accepts, in small: all operands, reductions and attributes."""
    found: dict[str, dict[Case, None]] = {op: {} for op in OPERATIONS}
    for case in few_cases():
        columns, rows = (min(size, most) if isinstance(size, int) else most
                         for size, most in ((case.columns, 7), (case.rows, 4)))  # fmt: skip
        small = replace(case, columns=columns, rows=max(rows, 1), features=min(case.features, 5), dtype="f64")
        if case.op in found:
            found[case.op][replace(small, gradient="all", strategy=AUTO, executor="intel")] = None
    return {op: list(cases) for op, cases in found.items()}


@pytest.mark.parametrize("op", OPERATIONS)
def test_differences_in_a_random_direction(op: str) -> None:
    """(f(x + h d) - f(x - h d)) / 2h = <gradient, d>, for every float operand at once."""
    cases = small_cases()[op]
    assert cases
    for case in cases:
        for gradient in GRADIENTS:
            function = Differentiated(replace(case, gradient=gradient))
            function.assert_difference(3e-7)


LABELS = {"cosine_embedding_loss": ("t",), "hinge_embedding_loss": ("t",)}
"""Floats that are only compared with 1 or -1: the function jumps, its gradient by them is 0."""


class Differentiated:
    """A case as a function of its float operands, in float64, with its gradients."""

    def __init__(self, case: Case):
        problem = Problem(case)
        self.name, self.op = str(case), case.op
        self.entry: Function = in_float64(problem.as_written.entry)
        self.arrays: Arrays = dict(problem.arrays[case.sizings[-1]])
        self.wide = {
            v.name: self.arrays[v.name].astype(np.float64) for v in self.entry.inputs if is_float(v.type.dtype)
        }
        self.names = [n.removeprefix("grad_") for n in self.entry.names_of_outputs if n.startswith("grad_")]

    def results(self, **moved: np.ndarray) -> dict[str, np.ndarray]:
        found = interpret(self.entry, {**self.arrays, **self.wide, **moved})
        return dict(zip(self.entry.names_of_outputs, found))

    def at(self, h: float, direction: dict[str, np.ndarray]) -> float:
        """The function at a point of a line, weighed with the upstream gradient."""
        moved = {name: self.wide[name] + h * along for name, along in direction.items()}
        upstream = self.wide.get("grad_out0", np.ones(()))
        return float((self.results(**moved)[self.entry.names_of_outputs[0]] * upstream).sum())

    def gradients(self) -> dict[str, np.ndarray]:
        results = self.results()
        return {name: results[f"grad_{name}"] for name in self.names}

    def assert_difference(self, h: float) -> None:
        generator = np.random.default_rng(7)
        gradients = self.gradients()
        assert gradients, self.name
        for name in LABELS.get(self.op, ()):
            label = gradients.pop(name, np.zeros(1))
            assert not label.any(), f"{self.name}: the gradient by {name}"
        direction = {name: generator.normal(size=self.wide[name].shape) for name in gradients}
        difference = (self.at(h, direction) - self.at(-h, direction)) / (2 * h)
        products = {name: gradient * direction[name] for name, gradient in gradients.items()}
        product = sum(float(each.sum()) for each in products.values())
        scale = sum(float(np.abs(each).sum()) for each in products.values())
        # The last term: what 10 units in the last place of intermediate values near 1 make of a difference.
        assert abs(product - difference) <= 1e-6 * scale + 1e-8 * abs(self.at(0, direction)) + 3e-9, self.name


@pytest.mark.parametrize("op", OPERATIONS)
def test_at_zero_and_at_ties(op: str) -> None:
    """Where all scores are 0, hence all equal, and equal to the targets: along each axis the gradient lies between the
    derivatives on both sides. Where a function has a kink that is a subgradient, where it has none the derivative."""
    checked = 0
    for case in small_cases()[op]:
        function = Differentiated(case)
        scores = [name for name in function.names if name == function.names[0] or _is_like_first(function, name)]
        function.wide.update({name: np.zeros_like(function.wide[name]) for name in scores})
        try:
            gradients = function.gradients()
            for name in set(scores) - set(LABELS.get(op, ())):
                checked += _assert_between_sides(function, name, gradients[name])
        except CheckFailed:
            # A score of 0, or one below it, is refused.
            continue
    assert checked or op in STARTS_AWAY_FROM_ZERO


STARTS_AWAY_FROM_ZERO = {"bce_loss"}
"""0 is at the end of what the first operand can be: there is no left side."""


def _is_like_first(function: Differentiated, name: str) -> bool:
    """Whether an operand is a target or another score: of the first one's shape, and not something positive."""
    values = function.wide[name]
    return values.shape == function.wide[function.names[0]].shape and bool((values <= 0).any())


def _assert_between_sides(function: Differentiated, name: str, gradient: np.ndarray) -> int:
    h = 1e-9
    axes = np.random.default_rng(3).permutation(gradient.size)[:6]
    for axis in axes:
        along = np.zeros(gradient.size)
        along[axis] = 1
        direction = {name: along.reshape(gradient.shape)}
        here, right, left = (function.at(step, direction) for step in (0, h, -h))
        if not np.isfinite([here, right, left]).all():
            return 0
        sides = sorted([(right - here) / h, (here - left) / h])
        tolerance = 1e-5 * (1 + max(map(abs, sides))) + 2e-15 * abs(here) / h
        found = float(gradient.reshape(-1)[axis])
        assert sides[0] - tolerance <= found <= sides[1] + tolerance, f"{function.name}: {name}[{axis}] {found} {sides}"
    return len(axes)


def test_a_layer_between(device: Device) -> None:
    """Through two products, an activation and the loss, by every parameter: the closed form of a small network."""
    source = """func @f(%x: f32[N, 6], %t: i32[N], %w1: f32[5, 6], %b1: f32[5], %w2: f32[4, 5], %b2: f32[4])
        -> (%loss: f32[1], %gw1: f32[5, 6], %gb1: f32[5], %gw2: f32[4, 5], %gb2: f32[4], %gx: f32[N, 6]) {
      %h = linear %x, %w1, %b1
      %a = relu %h
      %y = linear %a, %w2, %b2
      %loss = cross_entropy_loss %y, %t
      %gw1, %gb1, %gw2, %gb2, %gx = grad %loss, %w1, %b1, %w2, %b2, %x
      return %loss, %gw1, %gb1, %gw2, %gb2, %gx
    }"""
    generator = np.random.default_rng(3)
    shapes = {"x": (9, 6), "w1": (5, 6), "b1": (5,), "w2": (4, 5), "b2": (4,)}
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    t = generator.integers(0, 4, 9).astype(np.int32)
    found = run(source, device, t=t, **arrays)
    x, w1, b1, w2, b2 = (arrays[name].astype(np.float64) for name in ("x", "w1", "b1", "w2", "b2"))
    h = x @ w1.T + b1
    y = np.maximum(h, 0) @ w2.T + b2
    p = np.exp(y - y.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    gy = (p - np.eye(4)[t]) / 9
    gh = (gy @ w2) * (h > 0)
    expected = {
        "loss": [-np.log(p[np.arange(9), t]).mean()], "gw2": gy.T @ np.maximum(h, 0), "gb2": gy.sum(0),
        "gw1": gh.T @ x, "gb1": gh.sum(0), "gx": gh @ w1,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-7, err_msg=name)


def test_ties_and_zeros(device: Device) -> None:
    """The documented subgradients: |.| and relu at 0 give 0, tied maxima share, a head that starts at 0."""
    source = """func @f(%x: f32[N, 4], %t: f32[N, 4], %labels: i32[N])
        -> (%abs: f32[N, 4], %relu: f32[N, 4], %max: f32[N, 4], %pair: f32[N, 4], %l1: f32[N, 4], %bce: f32[N, 4],
            %ce: f32[N, 4]) {
      %a = abs %x
      %abs = grad %a, %x
      %r = relu %x
      %relu = grad %r, %x
      %m = reduce_max %x {axes = [1]}
      %max = grad %m, %x
      %p = max %x, %t
      %pair = grad %p, %x
      %l = l1_loss %x, %t {reduction = "sum"}
      %l1 = grad %l, %x
      %b = bce_with_logits_loss %x, %t {reduction = "sum"}
      %bce = grad %b, %x
      %c = cross_entropy_loss %x, %labels {reduction = "sum"}
      %ce = grad %c, %x
      return %abs, %relu, %max, %pair, %l1, %bce, %ce
    }"""
    x = np.array([[0, 0, 0, 0], [0, -0.0, 1, 1], [2, 2, 2, -1]], np.float32)
    t = np.array([[0, 1, 0, 1], [0, 0, 1, 0], [2, 0, 1, 1]], np.float32)
    found = run(source, device, x=x, t=t, labels=np.array([0, 2, 3], np.int32))
    third = np.float32(1 / 3)
    np.testing.assert_array_equal(found["abs"], [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, -1]])
    np.testing.assert_array_equal(found["relu"], [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0]])
    np.testing.assert_allclose(
        found["max"], np.array([[0.25] * 4, [0, 0, 0.5, 0.5], [third, third, third, 0]]), rtol=1e-6
    )
    np.testing.assert_array_equal(found["pair"], [[0.5, 0, 0.5, 0], [0.5, 0.5, 0.5, 1], [0.5, 1, 1, 0]])
    np.testing.assert_array_equal(found["l1"], [[0, -1, 0, -1], [0, 0, 0, 1], [0, 1, 1, -1]])
    np.testing.assert_array_equal(found["bce"][0], [0.5, -0.5, 0.5, -0.5])
    np.testing.assert_allclose(found["ce"][0], [-0.75, 0.25, 0.25, 0.25], rtol=1e-6)
