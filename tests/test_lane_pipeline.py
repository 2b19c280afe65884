"""Rows that lie side by side, several blocks of them in flight: what waits between the passes, by how many columns."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner
from functions import PLAIN, evaluate, passes

from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device

TEXT = """func @f(%x: f32[N, {C}, {P}], %t: i32[N, {P}]) -> (%loss: f32[1], %g: f32[N, {C}, {P}]) {{
  %loss = cross_entropy_loss %x, %t {{label_smoothing = 0.1}}
  %g = grad %loss, %x
  return %loss, %g
}}"""
# Labels are picked in passing and inputs wait; labels alone; neither.
COLUMNS = [40, 50, 100]


def agree(columns: int, pixels: str, shape: tuple[int, ...], device: Device | None) -> None:
    text = TEXT.format(C=columns, P=pixels)
    runner = Runner(text, device, "lane-pipeline")
    assert runner.compiled.lowered.choices["f_0"].strategy == "lane-pipeline"
    random = np.random.default_rng(columns)
    given = {"x": random.standard_normal((2, columns, *shape)).astype(np.float32) * 4,
             "t": random.integers(0, columns, (2, *shape)).astype(np.int32)}  # fmt: skip
    found = runner(**given)
    reference = evaluate(passes(parse(text).entry, PLAIN), given)
    for (output, _), wanted in zip(runner.compiled.program.outputs, reference):
        np.testing.assert_allclose(found[output], wanted, rtol=2e-5, atol=2e-7, err_msg=output)


@pytest.mark.parametrize("columns", COLUMNS)
def test_in_the_simulator(columns: int) -> None:
    agree(columns, "40", (40,), None)


@pytest.mark.parametrize("columns", COLUMNS)
def test_on_devices(columns: int, device: Device) -> None:
    agree(columns, "7, 37", (7, 37), device)


@pytest.mark.parametrize(("columns", "inputs"), [(21, 0), (40, 1), (150, 0)])
def test_inputs_wait_where_columns_are_neither_few_nor_many(columns: int, inputs: int) -> None:
    compiled = compile_module(parse(TEXT.format(C=columns, P="64, 64")), CPU_AVX512)
    schedule = compiled.outlined.schedules["f_0"]
    launch, *_ = compiled.program.steps[0].variants[-1].launches
    waiting = [value for array in launch.kernel.private_arrays for value in array.holds]
    assert sum(value in schedule.function.inputs for value in waiting) == inputs


OWN_LABEL = """func @f(%x: f32[N, 10, 40], %y: f32[N, 10, 40]) -> (%z: f32[N, 10, 40]) {
  %best = argmax %x {axis = 1}
  %picked = gather %x, %best {axis = 1}
  %spread = broadcast %picked {dims = [0, 2], shape = [N, 10, 40]}
  %difference = sub %spread, %x
  %z = mul %difference, %y
  return %z
}"""


@pytest.mark.parametrize("strategy", ["lane-pipeline", "pixel-item", "short-rows", "row-parts", "row-pipeline", None])
def test_what_is_picked_where_the_row_itself_says(strategy: str | None) -> None:
    """The pass that goes by it must know which it is: here the first one finds that out."""
    random = np.random.default_rng(2)
    x, y = random.standard_normal((2, 3, 10, 40)).astype(np.float32)
    found = Runner(OWN_LABEL, None, strategy)(x=x, y=y)["z"]
    picked = np.take_along_axis(x, x.argmax(1, keepdims=True), 1)
    np.testing.assert_allclose(found, (picked - x) * y, rtol=1e-6)
