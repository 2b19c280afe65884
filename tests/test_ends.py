"""Sums along rows that stop where a mask says how long a row is."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner
from functions import build, module_of

from lossc.ir.printer import print_module
from lossc.ir.tensor import Tensor
from lossc.runtime.device import Device


@pytest.mark.parametrize("steps", [1, 1500])
def test_a_sum_ends_behind_any_number_of_steps(steps: int) -> None:
    """What lies beyond the mask is 0 after each of them, however many there are."""

    def body(x: Tensor, length: Tensor) -> Tensor:
        kept = (x.iota(1, "i32") < length.insert_axis(1, 5)).select(x, 0)
        for _ in range(steps):
            kept = kept - 0.0 * kept
        return (-kept).sum(1)

    x = np.arange(200, dtype="f4").reshape(40, 5)
    length = np.arange(40, dtype="i4") % 7
    text = print_module(module_of(build({"x": "f32[B, 5]", "length": "i32[B]"}, body)))
    runner = Runner(text, None, "row-lanes")
    (found,) = runner(x=x, length=length).values()
    np.testing.assert_array_equal(found, -np.where(np.arange(5) < length[:, None], x, 0).sum(1))


def test_so_does_a_sum_of_what_is_made_of_zeros() -> None:
    """A product of masked values is 0 where they are, and e^0 - 1 is."""

    def body(x: Tensor, length: Tensor) -> Tensor:
        kept = (x.iota(1, "i32") < length.insert_axis(1, 300)).select(x, 0)
        return (kept * kept - kept.expm1()).sum(1)

    text = print_module(module_of(build({"x": "f32[B, 300]", "length": "i32[B]"}, body)))
    runner = Runner(text, None, "row-lanes")
    assert "end_of_columns" in "".join(runner.compiled.sources().values())
    x, length = np.full((40, 300), 0.5, "f4"), np.arange(40, dtype="i4") * 9 - 20
    (found,) = runner(x=x, length=length).values()
    np.testing.assert_allclose(found, (0.25 - np.expm1(0.5)) * np.clip(length, 0, 300), rtol=1e-5)


def test_a_sum_ends_on_devices(device: Device) -> None:
    x = np.random.default_rng(0).normal(size=(40, 300)).astype("f4")
    length = np.arange(40, dtype="i4") * 9 - 20

    def body(x: Tensor, length: Tensor) -> Tensor:
        return (x.iota(1, "i32") < length.insert_axis(1, 300)).select(x, 0).sum(1)

    text = print_module(module_of(build({"x": "f32[B, 300]", "length": "i32[B]"}, body)))
    runner = Runner(text, device, "row-lanes")
    assert "end_of_columns" in "".join(runner.compiled.sources().values())
    (found,) = runner(x=x, length=length).values()
    wanted = np.where(np.arange(300) < length[:, None], x.astype("f8"), 0).sum(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
