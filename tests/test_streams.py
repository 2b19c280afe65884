"""Kernels that store past the cache, on shapes far below the size from which they are chosen.

Rows that start anywhere in a cache line share lines with their neighbours: every element is stored once, by one of
them, with the right row's values.
"""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner
from functions import PLAIN, evaluate, passes

from lossc.compiler import vectors
from lossc.ir.parser import parse
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


@pytest.fixture(autouse=True)
def every_size_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)


def arrays_for(program: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows * columns)
    shape = (rows, 3, columns) if "3," in program else (rows, columns)
    arrays = {"x": random.standard_normal(shape).astype(np.float32) * 4}
    if "%t: i32" in program:
        arrays["t"] = random.integers(0, columns, rows).astype(np.int32)
        arrays["t"][:: max(1, rows // 2)] = columns - 1
    elif "%t: f32" in program:
        arrays["t"] = random.uniform(0, 1, shape).astype(np.float32)
        arrays["w"] = random.uniform(0.5, 2, columns).astype(np.float32)
    return arrays


def agree(name: str, rows: tuple[int, ...], columns: int, device: Device | None) -> None:
    program = PROGRAMS[name].format(C=columns)
    runner = Runner(program, device, "row-pipeline")
    assert any("_stream" in kernel.name for kernel in runner.compiled.program.kernels)
    reference = passes(parse(program).entry, PLAIN)
    for count in rows:
        arrays = arrays_for(program, count, columns)
        found = runner(**arrays)
        for (output, _), wanted in zip(runner.compiled.program.outputs, evaluate(reference, arrays)):
            np.testing.assert_allclose(found[output], wanted, rtol=2e-5, atol=2e-6, err_msg=output)


@pytest.mark.parametrize("columns", [64, 65, 72, 79])
@pytest.mark.parametrize("name", PROGRAMS)
def test_in_the_simulator(name: str, columns: int) -> None:
    agree(name, (1, 2, 19), columns, None)


@pytest.mark.parametrize("name", PROGRAMS)
def test_on_devices(name: str, device: Device) -> None:
    agree(name, (0, 1, 40, 700), 71, device)
