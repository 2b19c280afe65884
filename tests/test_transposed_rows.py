"""Rows shorter than a vector, transposed in registers: nothing is seen beyond the end of a row, a buffer or a block."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner
from functions import PLAIN, evaluate, passes

from lossc.compiler import compile_module
from lossc.compiler.rows.stages import stages_of
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device

PROGRAM = """func @f(%x: f32[N, {C}], %t: {T}) -> (%loss: f32[N], %g: f32[N, {C}]) {{
  %loss = cross_entropy_loss %x, %t {{reduction = "none"}}
  %g = grad %loss, %x
  return %loss, %g
}}"""


def agree(columns: int, target: str, rows: tuple[int, ...], device: Device | None) -> None:
    text = PROGRAM.format(C=columns, T=target.format(C=columns))
    runner = Runner(text, device, "short-rows")
    assert any("_short_rows" in kernel.name for kernel in runner.compiled.program.kernels)
    reference = passes(parse(text).entry, PLAIN)
    random = np.random.default_rng(columns)
    for count in rows:
        x = random.standard_normal((count, columns)).astype(np.float32) * 4
        labels = random.integers(0, columns, count).astype(np.int32)
        t = labels if target.startswith("i32") else random.uniform(0, 1, x.shape).astype(np.float32)
        found = runner(x=x, t=t)
        for (output, _), wanted in zip(runner.compiled.program.outputs, evaluate(reference, {"x": x, "t": t})):
            np.testing.assert_allclose(found[output], wanted, rtol=2e-5, atol=2e-6, err_msg=output)


@pytest.mark.parametrize("columns", [5, 10, 16, 17, 32])
@pytest.mark.parametrize("target", ["i32[N]", "f32[N, {C}]"])
def test_in_the_simulator(columns: int, target: str) -> None:
    agree(columns, target, (1, 15, 16, 17), None)


@pytest.mark.parametrize("columns", [5, 10, 17, 21, 32])
def test_on_devices(columns: int, device: Device) -> None:
    agree(columns, "i32[N]", (0, 1, 16, 17, 1000), device)


def test_what_can_wait_goes_where_its_input_is_read() -> None:
    """The sum of the target is needed last: the pass for the exponentials reads the target anyway, the first does
    not."""
    text = PROGRAM.format(C=1000, T="f32[N, 1000]")
    (schedule,) = compile_module(parse(text), CPU_AVX512).outlined.schedules.values()
    first, second, third = stages_of(schedule)
    assert [op.name for op in first.reductions] == ["reduce_max"]
    assert [op.name for op in second.reductions] == ["reduce_sum"] * 3
    assert third.element_outputs
    (target,) = (value for value in schedule.function.inputs if value.name == "t")
    assert [stage.needs(target) for stage in (first, second, third)] == [False, True, True]
