"""Gradients of every loss and layer: against differences in float64, in the middle of a graph, on devices, at kinks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agreement.agree import Problem, in_float64
from agreement.cases import Case, covering_cases, operations
from device_runs import run

from lossc.ir.function import Function
from lossc.ir.interp import interpret
from lossc.ir.types import is_float
from lossc.runtime.device import Device

SMALL = [
    replace(case, columns=min(case.columns, 7), rows=min(max(case.rows, 1), 4), dtype="f64", gradient=gradient)
    for case in covering_cases()
    for gradient in [{"none": "all"}.get(case.gradient, case.gradient)]
    if case.op != "argmax"
]
"""What differentiable operations accept, in small."""


@pytest.mark.parametrize("op", [op for op in operations() if op != "argmax"])
def test_differences_in_a_random_direction(op: str) -> None:
    """(f(x + h d) - f(x - h d)) / 2h = <gradient, d>, for every float operand at once."""
    cases = list(dict.fromkeys(case for case in SMALL if case.op == op))
    assert cases
    for case in cases:
        problem = Problem(case)
        entry = in_float64(problem.as_written.entry)
        arrays = dict(problem.arrays[case.row_counts[-1]])
        _assert_difference(entry, arrays, str(case))


def _assert_difference(entry: Function, arrays: dict[str, np.ndarray], name: str) -> None:
    generator = np.random.default_rng(7)
    wide = {v.name: arrays[v.name].astype(np.float64) for v in entry.inputs if is_float(v.type.dtype)}
    names = entry.names_of_outputs
    results = dict(zip(names, interpret(entry, {**arrays, **wide})))
    by = {n.removeprefix("grad_"): g for n, g in results.items() if n.startswith("grad_")}
    upstream = wide.get("grad_out0", np.ones(()))
    direction = {n: generator.normal(size=wide[n].shape) for n in by}

    def at(h: float) -> float:
        moved = {n: wide[n] + h * direction[n] for n in by}
        return float((interpret(entry, {**arrays, **wide, **moved})[0] * upstream).sum())

    h = 1e-5
    difference = (at(h) - at(-h)) / (2 * h)
    product = sum(float((by[n] * direction[n]).sum()) for n in by)
    scale = sum(float(np.abs(by[n] * direction[n]).sum()) for n in by)
    assert abs(product - difference) <= 1e-6 * scale + 1e-8 * abs(at(0.0)), name


# Every operation that gives floats, with the plainest operands that it takes.
PLAIN = {case.op: case for case in reversed(SMALL)}


@pytest.mark.parametrize("op", sorted(PLAIN))
def test_in_the_middle_of_a_graph(op: str, device: Device) -> None:
    """3 f + penalty on a device: the gradient reaches the operation multiplied, and meets another one afterwards."""
    case = replace(PLAIN[op], dtype="f32", gradient="middle", strategy="auto", columns=33, rows=5, named="none")
    wrong = [*Problem(case).check_rewrites(), *Problem(case).check_device(device)]
    assert not wrong, "\n".join([str(case), *wrong])


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


def test_the_same_bits_backward_twice(device: Device) -> None:
    case = Case("cross_entropy_loss", columns=1000, rows=37, operands=(("target", "i32:rows"), ("weight", "x:classes")))
    assert not [line for line in Problem(case).check_device(device) if "bits" in line]
