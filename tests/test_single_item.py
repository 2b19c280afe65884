"""Small sizes: one launch of one work-item does everything, the same as many work-items would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lossc.compiler import Compiled, compile_module
from lossc.compiler.single_item import MOST_ELEMENTS
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.program import Launch, Turn, choose_variant, turns
from lossc.ir.program_text import parse_program, print_program
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import Counts, simulate

WEIGHTED = """
func @weighted(%x: f32[N, 10], %t: i32[N], %w: f32[10]) -> (f32[1], f32[N, 10]) {
  %loss = cross_entropy_loss %x, %t, %w {ignore_index = -100}
  %g = grad %loss, %x
  return %loss, %g
}
"""
PLAIN = """
func @plain(%x: f32[N, 10], %t: i32[N], %w: f32[10]) -> (f32[1], f32[N, 10]) {
  %loss = cross_entropy_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}
"""
SUM = "func @total(%x: f32[N]) -> f32[] {\n  %s = reduce_sum %x {axes = [0]}\n  return %s\n}\n"


def arrays(rows: int) -> dict[str, Any]:
    random = np.random.default_rng(rows)
    labels = random.integers(0, 10, rows).astype(np.int32)
    labels[::7] = labels[::7] if rows < 8 else -100
    return {
        "x": random.standard_normal((rows, 10)).astype(np.float32), "t": labels,
        "w": random.uniform(0.5, 2, 10).astype(np.float32),
    }  # fmt: skip


def launches(compiled: Compiled, rows: int) -> list[Launch]:
    def of(turn: Turn) -> tuple[Launch, ...]:
        return choose_variant(turn.step.variants, turn.sizes).launches

    return [launch for turn in turns(compiled.program, {"N": rows}) for launch in of(turn)]


@pytest.mark.parametrize("text", [WEIGHTED, PLAIN, SUM])
def test_small_sizes_take_one_launch_and_large_ones_several(text: str) -> None:
    compiled = compile_module(parse(text), CPU_AVX512)
    assert len(launches(compiled, 64)) == 1
    assert len(launches(compiled, MOST_ELEMENTS + 1)) > 1


def test_a_gpu_has_no_single_items() -> None:
    compiled = compile_module(parse(WEIGHTED), GPU_GENERIC)
    assert not compiled.program.together
    assert not any(launch.kernel.name.endswith("_alone") for launch in launches(compiled, 64))


@pytest.mark.parametrize("rows", [1, 5, 16, 17, 64, 100])
def test_values_on_devices_and_simulated(device: Device, rows: int) -> None:
    given = {**arrays(rows), "t": np.abs(arrays(rows)["t"]) % 10} if rows < 8 else arrays(rows)
    compiled = compile_module(parse(WEIGHTED), device.info)
    expected = interpret(compiled.prepared.entry, given)
    counts = Counts()
    simulated = simulate(compiled.program, given, counts=counts)
    assert counts.launches <= 2
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    for found in (run(given), simulated):
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-7)


def test_the_bits_are_those_of_one_item_wherever_it_runs(device: Device) -> None:
    """Rows side by side with others or alone: the same call gives the same bits."""
    compiled = compile_module(parse(PLAIN), device.info)
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    given = {name: array for name, array in arrays(50).items() if name in dict(compiled.program.inputs)}
    given["t"] = np.abs(given["t"]) % 10
    first = [array.copy() for array in run(given)]
    for _ in range(3):
        assert all(np.array_equal(a, b) for a, b in zip(run(given), first))


def test_a_program_with_all_steps_together_prints_and_parses() -> None:
    program = compile_module(parse(WEIGHTED), CPU_AVX512).program
    assert program.together
    text = print_program(program)
    assert print_program(parse_program(text)) == text
    assert parse_program(text).together == program.together


def test_a_named_strategy_is_simulated_step_by_step() -> None:
    compiled = compile_module(parse(WEIGHTED), CPU_AVX512)
    counts = Counts()
    strategies = {step.name: step.variants[-1].strategy for step in compiled.program.steps}
    found = simulate(compiled.program, arrays(64), counts=counts, strategies=strategies)
    assert counts.launches >= len(compiled.program.steps)
    expected = interpret(compiled.prepared.entry, arrays(64))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
