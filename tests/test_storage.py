"""What lies in memory in other types than arithmetic has: 16-bit floats, and integers that become floats."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from device_runs import Runner

from lossc.compiler.emission import vectors
from lossc.runtime.device import Device

SHORT = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}


def only(runner: Runner, **arrays: np.ndarray) -> np.ndarray:
    ((output, _),) = runner.compiled.program.outputs
    return runner(**arrays)[output]


SCALED = """func @f(%x: {dtype}[N]) -> (%y: {dtype}[N]) {{
  %wide = cast %x {{dtype = f32}}
  %c = constant {{value = 0.3, dtype = f32, shape = [N]}}
  %scaled = mul %wide, %c
  %y = cast %scaled {{dtype = {dtype}}}
  return %y
}}"""


@pytest.mark.parametrize("past_the_cache", [False, True])
@pytest.mark.parametrize("dtype", SHORT)
def test_a_store_rounds_once(dtype: str, past_the_cache: bool, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    if past_the_cache:
        monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    everything = np.arange(2**16, dtype=np.uint16).view(SHORT[dtype])
    for where in (device, None):
        runner = Runner(SCALED.format(dtype=dtype), where, "pointwise")
        found = only(runner, x=everything)
        with np.errstate(all="ignore"):
            wanted = (everything.astype(np.float32) * np.float32(0.3)).astype(SHORT[dtype])
        np.testing.assert_array_equal(found.astype(np.float32), wanted.astype(np.float32))
        sources = "".join(runner.compiled.sources().values())
        assert "_stream" in sources
        assert f"= lossc_round_{dtype}" not in sources


@pytest.mark.parametrize("columns", [9, 15, 33, 100, 1000])
@pytest.mark.parametrize("name", ["reduce_max", "reduce_sum"])
def test_rows_of_halves_start_anywhere(name: str, columns: int, device: Device) -> None:
    """PoCL takes the address that it loads a vector of halves from for a multiple of 16 bytes, and the process ends."""
    text = f"""func @f(%x: f16[N, {columns}]) -> (%y: f32[N]) {{
      %wide = cast %x {{dtype = f32}}
      %y = {name} %wide {{axes = [1]}}
      return %y
    }}"""
    x = np.random.default_rng(0).standard_normal((7, columns)).astype(np.float16)
    wide = x.astype(np.float64)
    wanted = wide.max(1) if name == "reduce_max" else wide.sum(1)
    np.testing.assert_allclose(only(Runner(text, device), x=x), wanted, rtol=1e-5)


@pytest.mark.parametrize("columns", [64, 80])
def test_rows_of_half_lines(columns: int, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 80 halves end in the middle of a line, which is no place for a store past the cache."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    text = f"""func @f(%x: f16[N, {columns}]) -> (%p: f16[N, {columns}]) {{
      %wide = cast %x {{dtype = f32}}
      %s = softmax %wide {{axis = -1}}
      %p = cast %s {{dtype = f16}}
      return %p
    }}"""
    x = np.random.default_rng(0).standard_normal((33, columns)).astype(np.float16)
    power = np.exp(x.astype(np.float64))
    wanted = power / power.sum(1, keepdims=True)
    for strategy in ("row-item", "row-pipeline"):
        runner = Runner(text, device, strategy)
        assert any("_stream" in kernel.name for kernel in runner.compiled.program.kernels) == (columns == 64)
        np.testing.assert_allclose(only(runner, x=x), wanted, rtol=2e-3, atol=1e-6)


def test_wide_integers_as_f32(device: Device) -> None:
    """Those that fit 32 bits go a shorter way: side by side with others, and at its ends."""
    text = """func @f(%t: i64[N]) -> (%y: f32[N]) {
      %y = cast %t {dtype = f32}
      return %y
    }"""
    random = np.random.default_rng(0)
    small = random.integers(-(2**31), 2**31, 16 * 40)
    ends = np.array([0, -1, 2**31 - 1, -(2**31), 2**31, -(2**31) - 1, 2**32, 2**53 + 1, 2**62 + 3, -(2**63), 2**63 - 1])
    mixed = np.concatenate([small, random.integers(-(2**63), 2**63 - 1, 160), small])
    mixed[:: len(mixed) // len(ends) - 1][: len(ends)] = ends
    for integers in (small, mixed, np.tile(ends, 5)):
        for where in (device, None):
            found = only(Runner(text, where, "pointwise"), t=integers)
            np.testing.assert_array_equal(found, integers.astype(np.float32))
