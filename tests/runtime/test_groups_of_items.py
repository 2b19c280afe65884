"""How many work-items make a group, where kernels leave that to the driver."""

from __future__ import annotations

import numpy as np
import pytest

import lossc
from lossc.runtime.device import Device
from lossc.runtime.planning import FEW_ITEMS

AN_ITEM = 16384
"""Elements of a work-item of the strategy `pointwise`."""
SQUARES = """func @f(%x: f32[N]) -> f32[N] {
  %y = mul %x, %x
  return %y
}"""


@pytest.mark.parametrize(("more", "groups"), [(-1, (1,)), (0, None)])
def test_few_items_are_groups_of_their_own(device: Device, more: int, groups: tuple[int] | None) -> None:
    items = FEW_ITEMS * device.info.compute_units + more
    x = np.arange(items * AN_ITEM, dtype=np.float32)
    fn = lossc.parse(SQUARES).compile(device=device, strategy="pointwise")
    np.testing.assert_array_equal(fn(x=x)[0], x * x)
    (plan,) = fn._executable._of_thread.runs.plans.values()
    assert [(sizes, local) for _, sizes, local in plan.launches] == [((items,), groups)]
