"""The counts of `compiler.reports.report` are what the simulator sees, and what fused kernels read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lossc.compiler import Compiled, compile_module
from lossc.compiler.gradient import request_module_gradients
from lossc.compiler.reports.report import count_kernels, total_counts
from lossc.ir.parser import load, parse
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, DeviceInfo
from lossc.runtime.simulate import Counts, simulate

HERE = Path(__file__).parent
ROWS, COLUMNS = 64, 128

CROSS_ENTROPY = """func @f(%x: f32[{shape}], %labels: i32[B]) -> (%loss: f32[1], %g: f32[{shape}]) {{
  %loss = cross_entropy_loss %x, %labels
  %g = grad %loss, %x
  return %loss, %g
}}"""
BCE = """func @f(%x: f32[{shape}], %t: f32[{shape}]) -> (%loss: f32[1], %g: f32[{shape}]) {{
  %loss = bce_with_logits_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}}"""


def compiled(text: str, strategy: str | None = None, device: DeviceInfo = CPU_AVX512) -> Compiled:
    return compile_module(parse(text), device, strategy)


def simulated(program: Compiled) -> Counts:
    generator = np.random.default_rng(0)
    arrays = {}
    for name, type_ in program.program.inputs:
        shape = (ROWS, COLUMNS)[: type_.rank]
        arrays[name] = (
            generator.integers(0, COLUMNS, shape) if type_.dtype == "i32" else generator.random(shape)
        ).astype({"i32": np.int32, "f32": np.float32}[type_.dtype])
    counts = Counts()
    simulate(program.program, arrays, counts=counts)
    return counts


@pytest.mark.parametrize("shape", ["B, 128", "B, C"])
@pytest.mark.parametrize("strategy", ["row-item", "row-lanes", "row-pipeline", None])
@pytest.mark.parametrize("text", [CROSS_ENTROPY, BCE], ids=["cross entropy", "bce"])
def test_counts_are_those_of_the_simulator(text: str, strategy: str | None, shape: str) -> None:
    """A row of whole vectors, so that no element is visited twice."""
    program = compiled(text.format(shape=shape), strategy)
    found = total_counts(program, {"B": ROWS, "C": COLUMNS})
    seen = simulated(program)
    assert found["launches"] == seen.launches
    assert found["exps-per-element"] * ROWS * COLUMNS == seen.exponentials


@pytest.mark.parametrize("shape", ["B, 128", "B, C"])
def test_groups_keep_the_exponentials_of_short_rows(shape: str) -> None:
    program = compiled(CROSS_ENTROPY.format(shape=shape), device=GPU_GENERIC)
    (kernel,) = count_kernels(program, {"B": ROWS, "C": COLUMNS})
    assert kernel.strategy == "row-group"
    assert kernel.exps_per_element == 1
    assert simulated(program).exponentials == ROWS * COLUMNS


def test_the_kernel_before_reads_labels_only() -> None:
    module = request_module_gradients(load(HERE / "cross_entropy_ignoring.lir"))
    program = compile_module(module, CPU_AVX512)
    first, second = count_kernels(program, {"B": 100})
    schedules = program.outlined.schedules
    assert [value.name for value in schedules[first.name].function.inputs] == ["labels"]
    assert first.exps_per_element == 0
    assert (second.stages, second.exps_per_element) == (3, 1)


def test_products_take_bias_and_activation_with_them() -> None:
    program = compile_module(load(HERE / "linear_relu.lir"), CPU_AVX512)
    bodies = [[op.name for op in schedule.function.ops] for schedule in program.outlined.schedules.values()]
    assert all(body[0] == "matmul" and "add" in body for body in bodies)
    assert ["select" in body for body in bodies] == [True, False]
    assert [kernel.strategy for kernel in count_kernels(program)] == ["matmul", "matmul"]


@pytest.mark.parametrize(
    "file", ["nll_of_log_softmax", "nll_of_log_of_softmax", "log_of_softmax_by_hand", "picked_by_a_mask"]
)
def test_spelled_out_it_is_the_same_kernel(file: str) -> None:
    """Whatever a user calls it: as many bytes, passes and exponentials as the loss of that name."""
    named = total_counts(_with_gradients("cross_entropy"), {"B": 64})
    spelled = total_counts(_with_gradients(file), {"B": 64})
    assert spelled == named


def _with_gradients(file: str) -> Compiled:
    return compile_module(request_module_gradients(load(HERE / f"{file}.lir")), CPU_AVX512)


def test_the_gradient_is_softmax_minus_target() -> None:
    """The kernel of log-softmax then nll writes softmax - onehot, in the pass after the sum."""
    program = _with_gradients("nll_of_log_softmax")
    (schedule,) = program.outlined.schedules.values()
    assert sum(op.name == "exp" for op in schedule.function.ops) == 1
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(8, 1000)).astype(np.float32), generator.integers(0, 1000, 8).astype(np.int32)
    _, gradient = simulate(program.program, {"x": x, "labels": labels})
    wide = np.exp(x.astype(np.float64))
    expected = wide / wide.sum(1, keepdims=True) - (np.arange(1000) == labels[:, None])
    np.testing.assert_allclose(gradient, expected / 8, atol=2e-7)
