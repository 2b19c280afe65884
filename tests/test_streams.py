"""Kernels that store past the cache, on shapes far below the size from which they are chosen.

Rows that start anywhere in a cache line share lines with their neighbours: every element is stored once, by one of
them, with the right row's values.
"""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner, agree

from lossc.compiler.emission import vectors
from lossc.runtime.device import Device

PROGRAMS = {
    "labels": """func @f(%x: f32[N, {C}], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
      %loss = cross_entropy_loss %x, %t
      %g = grad %loss, %x
      return %loss, %g
    }}""",
    # Weights vary along the columns alone: beyond a row's end they have no element.
    "weights": """func @f(%x: f32[N, {C}], %t: f32[N, {C}], %w: f32[{C}]) -> (%loss: f32[N], %g: f32[N, {C}]) {{
      %loss = cross_entropy_loss %x, %t, %w {{label_smoothing = 0.1, reduction = "none"}}
      %g = grad %loss, %x
      return %loss, %g
    }}""",
    "stored twice": """func @f(%x: f32[N, {C}], %t: i32[N]) -> (%p: f32[N, {C}], %q: f32[N, {C}]) {{
      %p = softmax %x {{axis = -1}}
      %q = log_softmax %x {{axis = -1}}
      return %p, %q
    }}""",
    "stored and summed in one pass": """func @f(%x: f32[N, {C}]) -> (%p: f32[N, {C}], %s: f32[]) {{
      %p = softmax %x {{axis = -1}}
      %q = mul %p, %p
      %s = reduce_sum %q {{axes = [0, 1]}}
      return %p, %s
    }}""",
    "blocks of rows": """func @f(%x: f32[N, 3, {C}]) -> (%p: f32[N, 3, {C}]) {{
      %p = softmax %x {{axis = -1}}
      return %p
    }}""",
}

LANES = {
    "pixels": """func @f(%x: f32[N, 5, {C}], %t: i32[N, {C}]) -> (%loss: f32[1], %g: f32[N, 5, {C}]) {{
      %loss = cross_entropy_loss %x, %t {{ignore_index = 1}}
      %g = grad %loss, %x
      return %loss, %g
    }}""",
    "pixels, distributions": """func @f(%x: f32[N, 5, {C}], %t: f32[N, 5, {C}]) -> (%l: f32[1], %g: f32[N, 5, {C}]) {{
      %l = cross_entropy_loss %x, %t
      %g = grad %l, %x
      return %l, %g
    }}""",
}


@pytest.fixture(autouse=True)
def every_size_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)


def arrays_for(program: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows * columns)
    middle = 5 if "N, 5," in program else 3 if "N, 3," in program else None
    shape = (rows, columns) if middle is None else (rows, middle, columns)
    arrays: dict[str, np.ndarray] = {"x": random.standard_normal(shape).astype(np.float32) * 4}
    if middle == 5 and "%t: i32" in program:
        arrays["t"] = random.integers(0, 5, (rows, columns)).astype(np.int32)
    elif "%t: i32" in program:
        arrays["t"] = random.integers(0, columns, rows).astype(np.int32)
        arrays["t"][:: max(1, rows // 2)] = columns - 1
    elif "%t: f32" in program:
        arrays["t"] = random.uniform(0, 1, shape).astype(np.float32)
        if "%w" in program:
            arrays["w"] = random.uniform(0.5, 2, columns).astype(np.float32)
    return arrays


def runs_right(
    program: str, rows: tuple[int, ...], columns: int, device: Device | None, strategy: str = "row-pipeline"
) -> None:
    program = program.format(C=columns)
    runner = Runner(program, device, strategy)
    assert any("_stream" in kernel.name for kernel in runner.compiled.program.kernels)
    agree(runner, program, (arrays_for(program, count, columns) for count in rows), rtol=2e-5)


@pytest.mark.parametrize("columns", [64, 65, 72, 79])
@pytest.mark.parametrize("name", PROGRAMS)
def test_in_the_simulator(name: str, columns: int) -> None:
    runs_right(PROGRAMS[name], (1, 2, 19), columns, None)


@pytest.mark.parametrize("name", PROGRAMS)
def test_on_devices(name: str, device: Device) -> None:
    runs_right(PROGRAMS[name], (0, 1, 40, 700), 71, device)


@pytest.mark.parametrize("strategy", ["row-lanes", "lane-pipeline"])
@pytest.mark.parametrize("name", LANES)
def test_rows_side_by_side(name: str, strategy: str, device: Device) -> None:
    runs_right(LANES[name], (1, 3), 48, None, strategy)
    runs_right(LANES[name], (0, 1, 30), 48, device, strategy)


@pytest.mark.parametrize("name", LANES)
def test_pixels_that_are_no_whole_number_of_blocks(name: str, device: Device) -> None:
    """80 pixels are two and a half blocks of two vectors: the third overlaps the second."""
    runs_right(LANES[name], (1, 3), 80, None, "lane-pipeline")
    runs_right(LANES[name], (0, 1, 30), 80, device, "lane-pipeline")


@pytest.mark.parametrize("name", ["labels", "weights", "stored twice", "stored and summed in one pass"])
def test_short_rows(name: str, device: Device) -> None:
    runs_right(PROGRAMS[name], (1, 16, 19), 16, None, "short-rows")
    runs_right(PROGRAMS[name], (0, 1, 40, 700), 16, device, "short-rows")
