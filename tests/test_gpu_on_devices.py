"""Kernels for a GPU on the devices there are: the values are right, whatever the shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gpu_examples import PIXELS, arrays_for, assert_right, cross_entropy

from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import H200
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable

ON_DEVICES = [
    (cross_entropy(10), "row-group", 77, 10),
    (cross_entropy(1000), "row-group", 19, 1000),
    (cross_entropy(1003), "row-group", 19, 1003),
    (cross_entropy(8192), "row-group", 3, 8192),
    (cross_entropy(49152), "row-group", 2, 49152),
    (cross_entropy(50176), "row-group", 2, 50176),
    (cross_entropy("C"), None, 3, 16385),
    (cross_entropy("C"), None, 3, 4099),
    (cross_entropy("C"), None, 2, 50257),
    (cross_entropy(50257, 2), None, 2, 50257),
    (cross_entropy(65536, 2), "row-parts", 2, 65536),
]


@pytest.mark.parametrize(("text", "strategy", "rows", "columns"), ON_DEVICES)
def test_rows_on_devices(text: str, strategy: str | None, rows: int, columns: int, device: Device) -> None:
    compiled = compile_module(parse(text), H200, strategy)
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    given = arrays_for(compiled, rows, columns)
    first = run(given)
    assert_right(first, given)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, run(given)))


@pytest.mark.parametrize("classes", [2, 21, 150])
def test_pixels_on_devices(classes: int, device: Device) -> None:
    compiled = compile_module(parse(PIXELS.format(c=classes)), H200)
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    given = arrays_for(compiled, 2, classes, classes, 19)
    _, gradient = run(given)
    x = given["x"].astype(np.float64)
    e = np.exp(x - x.max(1, keepdims=True))
    expected = e / e.sum(1, keepdims=True) - (np.arange(classes)[:, None, None] == given["t"][:, None])
    np.testing.assert_allclose(gradient, expected / given["t"].size, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "units"), [((1, 1, 1), 1), ((37, 30, 20), 132), ((130, 33, 129), 1), ((256, 100, 512), 20)],
    ids=lambda s: "x".join(map(str, s)) if isinstance(s, tuple) else "",
)  # fmt: skip
def test_products_on_devices(sizes: tuple[int, int, int], units: int, device: Device) -> None:
    """Ragged and whole tiles, every way an operand may lie, a bias and an activation after it; large tiles and
    small."""
    rows, depth, columns = sizes
    text = f"""func @f(%x: f32[N, {depth}], %w: f32[{columns}, {depth}], %b: f32[{columns}], %g: f32[N, {columns}])
        -> (%y: f32[N, {columns}], %gx: f32[N, {depth}], %gw: f32[{columns}, {depth}]) {{
      %h = linear %x, %w, %b
      %y = relu %h
      %gx = matmul %g, %w {{transpose_left = false, transpose_right = false}}
      %gw = matmul %g, %x {{transpose_left = true, transpose_right = false}}
      return %y, %gx, %gw
    }}"""
    compiled = compile_module(parse(text), replace(H200, compute_units=units))
    assert "matmul-group" in {choice.strategy for choice in compiled.lowered.choices.values()}
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    generator = np.random.default_rng(sizes)
    shapes = {"x": (rows, depth), "w": (columns, depth), "b": (columns,), "g": (rows, columns)}
    given = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    x, w, b, g = (given[name].astype(np.float64) for name in "xwbg")
    expected = (np.maximum(x @ w.T + b, 0), g @ w, g.T @ x)
    for found, right in zip(run(given), expected):
        np.testing.assert_allclose(
            found, right, rtol=1e-5, atol=2e-6 * np.sqrt(max(sizes)) * max(1.0, np.abs(right).max())
        )
