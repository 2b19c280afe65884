"""Rows that are long and few, reduced in parts: against NumPy at the edges of parts and blocks, the same bits again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from device_runs import Runner

from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, DeviceInfo
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate

# With each: a sum over the batch, a maximum, what is stored of every element, what comes of a row.
TEXT = """func @f(%x: f32[{n}, {c}], %w: f32[{c}])
    -> (%sum: f32[{c}], %largest: f32[{c}], %root: f32[{c}], %g: f32[{n}, {c}]) {{
  %r = relu %x
  %wide = broadcast %w {{dims = [1], shape = [{n}, {c}]}}
  %g = mul %r, %wide
  %sum = reduce_sum %g {{axes = [0]}}
  %largest = reduce_max %x {{axes = [0]}}
  %root = exp %w
  return %sum, %largest, %root, %g
}}"""


def arrays(rows: int, columns: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([rows, columns])
    x, w = generator.normal(size=(rows, columns)), generator.uniform(0.5, 2, size=columns)
    return {"x": x.astype(np.float32), "w": w.astype(np.float32)}


def assert_right(found: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> None:
    x, w = given["x"].astype(np.float64), given["w"].astype(np.float64)
    g = np.maximum(x, 0) * w
    np.testing.assert_allclose(found["g"], g, rtol=1e-6)
    np.testing.assert_allclose(found["sum"], g.sum(0), rtol=3e-6)
    np.testing.assert_array_equal(found["largest"], given["x"].max(0))
    np.testing.assert_allclose(found["root"], np.exp(w), rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "columns"), [(128, 3), (129, 17), (2047, 16), (2048, 33), (2049, 1), (2049, 17), (2049, 70)]
)
@pytest.mark.parametrize("info", [CPU_AVX512, GPU_GENERIC], ids=["cpu", "gpu"])
def test_parts_and_blocks(info: DeviceInfo, rows: int, columns: int) -> None:
    """In the simulator, which looks for races: with names for sizes, and with sizes."""
    given = arrays(rows, columns)
    for n, c in (("N", "C"), (rows, columns)):
        program = compile_module(parse(TEXT.format(n=n, c=c)), info, "row-split").program
        found = simulate(program, given)
        assert_right({name: array for (name, _), array in zip(program.outputs, found)}, given)


@pytest.mark.parametrize("columns", [1, 21, 1000])
def test_on_devices(columns: int, device: Device) -> None:
    runner = Runner(TEXT.format(n="N", c=columns), device, "row-split")
    for rows in (0, 1, 2047, 2048, 5001):
        given = arrays(rows, columns)
        if rows == 0:
            assert not runner(**given)["sum"].any()
            continue
        first = runner(**given)
        assert_right(first, given)
        assert all(runner(**given)[name].tobytes() == first[name].tobytes() for name in first)


def test_an_item_takes_all_rows() -> None:
    """Where nothing has to be computed for each row that would be again at every element."""
    text = TEXT.replace("broadcast %w", "broadcast %root").replace("  %root = exp %w\n", "")
    again = text.replace("  %r = relu %x\n", "  %r = relu %x\n  %root = exp %w\n")
    for text, columns, all_rows in ((TEXT, 70, True), (TEXT, 63, False), (TEXT, 5000, False), (again, 70, False)):
        kernels = compile_module(parse(text.format(n=4096, c=columns)), CPU_AVX512, "row-split").program.kernels
        comments = [line for kernel in kernels for line in kernel.comment]
        assert any("all rows" in line for line in comments) == all_rows


def test_when_it_pays() -> None:
    """Where rows may be long. On a GPU neighbours read neighbours."""

    def chosen(rows: str, columns: int, info: DeviceInfo) -> tuple[str, list[str]]:
        text = f"func @f(%x: f32[{rows}, {columns}]) -> (f32[{columns}]) {{ %y = reduce_sum %x {{axes = [0]}}"
        text += "\n return %y }"
        lowered = compile_module(parse(text), info).lowered
        (choice,), (step,) = lowered.choices.values(), lowered.program.steps
        return choice.strategy, [variant.strategy for variant in step.variants]

    assert chosen("N", 10, CPU_AVX512) == ("row-split", ["row-split", "row-lanes"])
    assert chosen("4096", 1000, CPU_AVX512) == ("row-split", ["row-split"])
    assert chosen("32", 1000, CPU_AVX512)[0] == "row-lanes"
    assert chosen("N", 1000, GPU_GENERIC)[0] == "row-split"
