"""Rows in flight: passes over light rows that go back and forth."""

from __future__ import annotations

import re

import numpy as np
import pytest
from device_runs import Runner
from functions import build, module_of

from lossc.ir.printer import print_module
from lossc.ir.tensor import Tensor
from lossc.runtime.device import Device


def spread(x: Tensor, y: Tensor) -> Tensor:
    """Three passes: the mean, the variance, and what is stored; the second goes backward."""
    away = x - x.mean(1, keepdims=True)
    return away * (away * away).mean(1, keepdims=True) * y


@pytest.mark.parametrize(("columns", "goes_back"), [(240, False), (256, True), (1040, True), (1000, False)])
def test_every_second_pass_over_light_rows_goes_backward(columns: int, goes_back: bool, device: Device) -> None:
    text = print_module(module_of(build(dict.fromkeys("xy", f"f32[B, {columns}]"), spread)))
    x, y = np.random.default_rng(0).normal(size=(2, 70, columns)).astype("f4")
    away = x - x.mean(1, keepdims=True, dtype="f8")
    wanted = away * (away * away).mean(1, keepdims=True) * y
    for where in (device, None):
        runner = Runner(text, where, "row-pipeline")
        source = "".join(runner.compiled.sources().values())
        assert bool(re.search(rf"{columns - 16}L - ", source)) == goes_back
        (found,) = runner(x=x, y=y).values()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
