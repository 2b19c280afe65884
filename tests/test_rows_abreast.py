"""Columns that are added up several vectors abreast: against NumPy at ragged ends, with totals that count each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from device_runs import Runner

from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate

# With each: a sum and a maximum of every column, a sum over everything, what is stored of every element.
TEXT = """func @f(%x: f32[{n}, {c}], %w: f32[{c}])
    -> (%sum: f32[{c}], %largest: f32[{c}], %total: f32[], %g: f32[{n}, {c}]) {{
  %wide = broadcast %w {{dims = [1], shape = [{n}, {c}]}}
  %g = mul %x, %wide
  %sum = reduce_sum %g {{axes = [0]}}
  %largest = reduce_max %x {{axes = [0]}}
  %total = reduce_sum %g {{axes = [0, 1]}}
  return %sum, %largest, %total, %g
}}"""
TWO_CORES = replace(CPU_AVX512, compute_units=2)


def arrays(rows: int, columns: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([rows, columns])
    return {
        "x": generator.uniform(size=(rows, columns)).astype("f4"),
        "w": generator.uniform(size=columns).astype("f4"),
    }


def assert_right(found: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> None:
    g = given["x"].astype(np.float64) * given["w"]
    np.testing.assert_allclose(found["g"], g, rtol=1e-6)
    np.testing.assert_allclose(found["sum"], g.sum(0), rtol=3e-6)
    np.testing.assert_allclose(found["total"], g.sum(), rtol=3e-6)
    np.testing.assert_array_equal(found["largest"], given["x"].max(0))


@pytest.mark.parametrize(("columns", "abreast"), [(100, 1), (256, 2), (1000, 4), (1025, 4)])
def test_ragged_ends(columns: int, abreast: int) -> None:
    """In the simulator, which looks for races: up to four vectors where each has three accumulators."""
    for n in ("N", 70):
        program = compile_module(parse(TEXT.format(n=n, c=columns)), TWO_CORES, "row-lanes").program
        given = arrays(70, columns)
        found = simulate(program, given)
        assert_right({name: array for (name, _), array in zip(program.outputs, found)}, given)
        comments = {line for kernel in program.kernels for line in kernel.comment}
        assert f"one row a lane, {16 * abreast} rows at a time" in comments


@pytest.mark.parametrize("rows", [20, 100, 1500])
def test_on_devices(rows: int, device: Device) -> None:
    runner = Runner(TEXT.format(n=rows, c=1000), device, "row-lanes")
    given = arrays(rows, 1000)
    first = runner(**given)
    assert_right(first, given)
    assert all(runner(**given)[name].tobytes() == first[name].tobytes() for name in first)


def test_one_vector_where_it_takes_as_long() -> None:
    """Of few columns the next vector finds the same pages; an exponential takes longer than its load."""
    plain = "func @f(%x: f32[{n}, 1024]) -> (f32[1024]) {{\n  {f}%s = reduce_sum %{x} {{axes = [0]}}\n  return %s\n}}"
    cases = ((plain.format(n=512, f="", x="x"), 128), (plain.format(n=21, f="", x="x"), 16),
             (plain.format(n=512, f="%e = exp %x\n  ", x="e"), 16))  # fmt: skip
    for text, lanes in cases:
        (kernel,) = compile_module(parse(text), TWO_CORES).program.kernels
        assert kernel.comment[-1] == f"one row a lane, {lanes} rows at a time"
