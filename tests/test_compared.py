"""What is compared with an extreme of its own in another kernel: the gradient of a maximum must find where it lies."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner
from functions import PLAIN, evaluate, passes

from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device

# The gradient waits for a sum over all rows, and so is in another kernel than the maxima.
LARGEST_LOG_PROBABILITY = """func @f(%x: f32[N, 31]) -> (%g: f32[N, 31]) {
  %p = softmax %x
  %l = log %p
  %m = reduce_max %l {axes = [1]}
  %all = reduce_sum %m {axes = [0]}
  %square = mul %all, %all
  %g = grad %square, %x
  return %g
}"""
LARGEST_OF = """func @f(%x: {dtype}[N, 31], %y: {dtype}[N, 31]) -> (%g: {dtype}[N, 31]) {{
  %scaled = mul %x, %y
  %z = {value}
  %m = reduce_max %z {{axes = [1]}}
  %all = reduce_sum %m {{axes = [0]}}
  %square = mul %all, %all
  %g = grad %square, %x
  return %g
}}"""


def agree(text: str, device: Device | None) -> None:
    random = np.random.default_rng(0)
    given = {value.name: (random.normal(size=(64, 31)) * 2).astype(np.float32) for value in parse(text).entry.inputs}
    runner = Runner(text, device)
    assert len(runner.compiled.outlined.schedules) > 1
    (found,), (wanted,) = runner(**given).values(), evaluate(passes(parse(text).entry, PLAIN), given)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_a_logarithm_that_one_kernel_knows_more_of_in_the_simulator() -> None:
    agree(LARGEST_LOG_PROBABILITY, None)


def test_a_logarithm_that_one_kernel_knows_more_of(device: Device) -> None:
    agree(LARGEST_LOG_PROBABILITY, device)


@pytest.mark.parametrize("value", ["add %scaled, %y", "exp %scaled", "tanh %scaled"])
def test_what_one_kernel_may_round_otherwise(value: str, device: Device) -> None:
    agree(LARGEST_OF.format(dtype="f32", value=value), device)


def stored(text: str) -> list[int]:
    """How many tensors of two axes each kernel stores."""
    schedules = compile_module(parse(text), CPU_AVX512).outlined.schedules.values()
    return [sum(value.type.rank == 2 for value in schedule.function.outputs) for schedule in schedules]


def test_what_is_the_same_bits_everywhere_is_computed_again() -> None:
    assert sum(stored(LARGEST_OF.format(dtype="f32", value="sub %x, %y"))) == 1
    assert sum(stored(LARGEST_OF.format(dtype="f32", value="add %scaled, %y"))) == 2
    assert sum(stored(LARGEST_OF.format(dtype="f16", value="sub %x, %y"))) == 2
