"""Random functions of integers are exact, in the simulator and on devices, by any strategy."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from device_runs import Runner

from fuzzing.whole_numbers import Array, make_integers
from lossc.compiler import compile_module
from lossc.compiler.strategies import strategies
from lossc.ir.function import Function, Module
from lossc.ir.interp import interpret
from lossc.ir.printer import print_module
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.ir.types import numpy_dtype
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import simulate

SEEDS = {"simulator": 60, "intel": 30, "pocl": 8}


def test_in_the_simulator() -> None:
    for seed in range(SEEDS["simulator"]):
        info = GPU_GENERIC if seed % 4 == 0 else CPU_AVX512
        check(seed, info, lambda compiled, given: simulate(compiled.program, given))


def test_on_devices(device: Device) -> None:
    def run(compiled: Any, given: dict[str, Array]) -> list[Array]:
        return Executable(compiled.program, device, compiled.sources(), compiled.build_options)(given)

    for seed in range(SEEDS["pocl" if "portable" in str(device).lower() else "intel"]):
        check(seed, device.info, run)


def check(seed: int, info: Any, run: Any) -> None:
    function, given = make_integers(seed)
    module = Module({function.name: function})
    choose = random.Random(seed)
    strategy = None if choose.random() < 0.4 else choose.choice(sorted(strategies()))
    found = run(compile_module(module, info, strategy), given)
    for name, array, wanted in zip(function.names_of_outputs, found, reference(function, given), strict=True):
        np.testing.assert_array_equal(array, wanted, f"seed {seed}, {strategy}, `{name}`\n{print_module(module)}")


def reference(function: Function, given: dict[str, Array]) -> list[Array]:
    with np.errstate(over="ignore"):
        return interpret(function, given)


LABELS = """func @f(%x: f32[N, 10], %t: {dtype}[N]) -> (%z: f32[N]) {{
  %zero = constant {{value = 1, dtype = {dtype}, shape = [N]}}
  %nine = constant {{value = 9, dtype = {dtype}, shape = [N]}}
  %above = max %t, %zero
  %label = min %above, %nine
  %z = gather %x, %label {{axis = 1}}
  return %z
}}"""


@pytest.mark.parametrize("dtype", ["i8", "u8", "i16", "i32", "i64"])
def test_labels_are_clamped(dtype: str, device: Device) -> None:
    """One at a time, where C computes narrow integers as ints."""
    x = np.arange(60, dtype=np.float32).reshape(6, 10)
    t = np.array([0, 1, 9, 10, 100, 5], numpy_dtype(dtype))
    np.testing.assert_array_equal(Runner(LABELS.format(dtype=dtype), device)(x=x, t=t)["z"], [1, 11, 29, 39, 49, 55])
