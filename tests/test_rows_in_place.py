"""Rows in flight through the passes: where they wait in each other's place, in how many loops, and what their maxima
are of."""

from __future__ import annotations

import re

import numpy as np
import pytest
from device_runs import Runner, agree

from lossc.compiler import compile_module
from lossc.compiler.emission import vectors
from lossc.compiler.fused import Fused
from lossc.compiler.rows import pass_order
from lossc.compiler.strategies import row_pipeline
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device

TWO = """func @f(%x: f32[N, {C}], %y: f32[N, {C}]) -> (%loss: f32[N], %g: f32[N, {C}]) {{
  %loss = {name} %x, %y {{reduction = "none"}}
  %g = grad %loss, %x
  return %loss, %g
}}"""
PROGRAMS = {
    "three passes": TWO.replace("{name}", "distillation_loss").replace('"none"', '"none", temperature = 3.0'),
    "four passes": """func @f(%x: f32[N, {C}], %y: f32[N, {C}]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
      %loss = js_div_loss %x, %y
      %g = grad %loss, %x
      return %loss, %g
    }}""",
    "a label": """func @f(%x: f32[N, {C}], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
      %loss = cross_entropy_loss %x, %t
      %g = grad %loss, %x
      return %loss, %g
    }}""",
    "capped": """func @f(%x: f32[N, {C}], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
      %e = tanh %x
      %z = mul %e, 5.0
      %loss = cross_entropy_loss %z, %t
      %g = grad %loss, %x
      return %loss, %g
    }}""",
    "used by three": """func @f(%x: f32[N, {C}]) -> (%p: f32[N, {C}]) {{
      %e = tanh %x
      %a = softmax %e {{axis = -1}}
      %b = mul %a, %e
      %p = softmax %b {{axis = -1}}
      return %p
    }}""",
}


def arrays_for(text: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows * columns)
    arrays: dict[str, np.ndarray] = {"x": random.standard_normal((rows, columns)).astype(np.float32) * 3}
    if "%y" in text:
        arrays["y"] = random.standard_normal((rows, columns)).astype(np.float32) * 3
    if "%t" in text:
        arrays["t"] = random.integers(0, columns, rows).astype(np.int32)
    return arrays


def rows_that_wait(runner: Runner, columns: int) -> float:
    """How many, in all private arrays of elements of the longest kernel."""
    kernel = max(runner.compiled.program.kernels, key=lambda kernel: len(kernel.body))
    return sum(array.size for array in kernel.private_arrays if array.size >= columns) / columns


def runs_right(text: str, columns: int, rows: tuple[int, ...], device: Device | None) -> None:
    text = text.format(C=columns)
    runner = Runner(text, device, "row-pipeline")
    assert any("_row_pipeline" in kernel.name for kernel in runner.compiled.program.kernels)
    agree(runner, text, (arrays_for(text, count, columns) for count in rows), rtol=5e-5)


def without_room(monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    """As many bytes as the rows take if none is spare."""
    most = 0
    monkeypatch.setattr(pass_order, "PRIVATE_BYTES", most)
    while refusal(name, columns):
        most += 4 * columns
        monkeypatch.setattr(pass_order, "PRIVATE_BYTES", most)


@pytest.mark.parametrize(("columns", "streams"), [(64, True), (80, False)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_rows_take_each_others_place(
    name: str, columns: int, streams: bool, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0 if streams else 1 << 40)
    text = PROGRAMS[name].format(C=columns)
    roomy = rows_that_wait(Runner(text, None, "row-pipeline"), columns)
    without_room(monkeypatch, name, columns)
    assert rows_that_wait(Runner(text, None, "row-pipeline"), columns) < roomy
    runs_right(PROGRAMS[name], columns, (1, 2, 5), None)
    runs_right(PROGRAMS[name], columns, (0, 1, 2, 300), device)


def test_stores_go_beside_a_costly_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the row before, in one loop; the passes between have loops of their own."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    monkeypatch.setattr(pass_order, "PRIVATE_BYTES", 2 * 1024 * 4)
    source = compile_module(parse(PROGRAMS["capped"].format(C=1024)), CPU_AVX512).sources()
    (kernel,) = (text for kernel, text in source.items() if kernel.endswith("_row_pipeline16_stream"))
    full, _ = kernel.split("if (!v_full)")
    beside, between = full.rsplit("lossc_reduce_max", 1)
    assert "nontemporal_store" in beside
    assert "fabs" in beside  # tanh begins with |x|
    assert "nontemporal_store" not in between
    assert len(re.findall(r"for \(long v_column", between)) == 1
    monkeypatch.setattr(pass_order, "PRIVATE_BYTES", 2 * 1024 * 4 - 1)
    assert "do not fit" in refusal("capped", 1024)


@pytest.mark.parametrize("name", ["capped", "used by three"])
@pytest.mark.parametrize("streams", [True, False])
def test_a_costly_first_pass_runs_right(
    name: str, streams: bool, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0 if streams else 1 << 40)
    monkeypatch.setattr(pass_order, "SHORTEST_FOR_IT", 64)
    runs_right(PROGRAMS[name], 96, (1, 2, 5), None)
    runs_right(PROGRAMS[name], 96, (0, 1, 2, 300), device)


def test_a_ragged_row_takes_no_other_rows_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last vector overlaps the one before: it would read what has been stored over."""
    monkeypatch.setattr(pass_order, "PRIVATE_BYTES", 0)
    monkeypatch.setattr(pass_order, "MOST_BYTES", 3 * 79 * 4 - 1)
    assert "do not fit" in refusal("a label", 79)
    monkeypatch.setattr(pass_order, "MOST_BYTES", 3 * 79 * 4)
    assert refusal("a label", 79) == ""
    monkeypatch.setattr(pass_order, "MOST_BYTES", 80 * 4)
    assert refusal("a label", 80) == ""


def test_a_costly_first_pass_has_nothing_to_overlap() -> None:
    """Its rows wait only where they are short."""
    assert refusal("used by three", 2 * 1024) == ""
    assert "do not fit" in refusal("used by three", 48 * 1024)
    assert refusal("three passes", 48 * 1024) == ""


def refusal(name: str, columns: int) -> str:
    (schedule,) = compile_module(parse(PROGRAMS[name].format(C=columns)), CPU_AVX512).outlined.schedules.values()
    return row_pipeline.applies(Fused("f", schedule, {}, {}), CPU_AVX512) or ""


@pytest.mark.parametrize(("name", "loops"), [("a label", 1), ("three passes", 1), ("four passes", 2)])
def test_four_passes_take_two_loops(name: str, loops: int) -> None:
    source = compile_module(parse(PROGRAMS[name].format(C=128)), CPU_AVX512).sources()
    (kernel,) = (text for kernel, text in source.items() if kernel.endswith("_row_pipeline16_stream"))
    full, _ = kernel.split("if (!v_full)")
    assert len(re.findall(r"for \(long v_column\w* = 0L;", full)) == loops


SCALED = """func @f(%x: f32[N, 64]) -> (%m: f32[N], %s: f32[N], %p: f32[N, 64]) {
  %y = mul %x, FACTOR
  %m = reduce_max %y {axes = [1]}
  %b = broadcast %m {dims = [0], shape = [N, 64]}
  %d = sub %y, %b
  %e = exp %d
  %s = reduce_sum %e {axes = [1]}
  %c = broadcast %s {dims = [0], shape = [N, 64]}
  %p = div %e, %c
  return %m, %s, %p
}"""


@pytest.mark.parametrize(("factor", "is_bare"), [("0.3", True), ("3.0e+38", False), ("-0.3", False)])
def test_the_largest_multiple_is_that_of_the_largest(factor: str, is_bare: bool, device: Device) -> None:
    text = SCALED.replace("FACTOR", factor)
    for where in (None, device):
        runner = Runner(text, where, "row-pipeline")
        random = np.random.default_rng(1)
        x = random.standard_normal((5, 64)).astype(np.float32)
        x[1, 3], x[2, :], x[3, 7] = -np.inf, -np.inf, 0.0
        found = runner(x=x)
        with np.errstate(invalid="ignore", over="ignore"):
            np.testing.assert_array_equal(found["m"], np.max(x * np.float32(factor), axis=1))
    (kernel,) = (text for kernel, text in runner.compiled.sources().items() if kernel.endswith("_row_pipeline16"))
    first = kernel.split("for (long v_column")[1]
    assert (re.search(r"(v_\w*_part) = select\(\1, v_x", first) is not None) is is_bare
