"""Runs of one small program by turns, into new arrays and given ones: kernels keep their arguments from run to run, and
every run must write to its own arrays and read its own."""

from __future__ import annotations

import numpy as np
import pytest

import lossc
from lossc.runtime.device import Device

LIR = """
func @f(%x: f32[B, 10], %t: i32[B]) -> f32[1] {
  %loss = cross_entropy_loss %x, %t
  return %loss
}
"""


def test_each_run_reads_and_writes_its_own_arrays(device: Device) -> None:
    generator = np.random.default_rng(0)
    fn, other = (lossc.parse(LIR).compile(grad=["x"], device=device) for _ in range(2))
    cases = [(generator.standard_normal((64, 10), dtype=np.float32), generator.integers(0, 10, 64).astype(np.int32))
             for _ in range(3)]  # fmt: skip
    expected = [other(x=x, t=t) for x, t in cases]
    outs = [{"loss": lossc.empty((1,), "f32"), "grad_x": lossc.empty((64, 10), "f32")} for _ in range(2)]
    for turn in range(60):
        case, out = int(generator.integers(0, 3)), outs[generator.integers(0, 2)]
        x, t = cases[case]
        (loss,), gradients = expected[case]
        match int(generator.integers(0, 5)):
            case 0:
                found = fn(x=x, t=t)
            case 1:
                found = fn(x=x.copy(), t=t, out={"grad_x": out["grad_x"]})
            case 2:
                with pytest.raises(lossc.CheckFailed):
                    fn(x=x, t=t + 10, out=out)
                continue
            case _:
                beside = outs[1] if out is outs[0] else outs[0]
                for array in beside.values():
                    array[...] = turn
                found = fn(x=x, t=t, out=out)
                assert found[0][0] is out["loss"]
                assert found[1]["x"] is out["grad_x"]
                assert all((array == turn).all() for array in beside.values())
        np.testing.assert_array_equal(found[0][0], loss)
        np.testing.assert_array_equal(found[1]["x"], gradients["x"])
