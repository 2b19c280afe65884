"""How fast a device copies, measured once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lossc.runtime.device import Device
from lossc.tuning import copy_speed


def test_copy_speed_is_measured_once(device: Device, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    seconds = copy_speed.copy_seconds(device, 1 << 20, lambda: float(next(ticks)))
    used = next(ticks)
    assert seconds == 1.0
    assert copy_speed.copy_seconds(device, 3 << 18, lambda: float(next(ticks))) == 0.75
    assert next(ticks) == used + 1
    # Something as large was faster: the machine was busy when it was measured.
    assert copy_speed.copy_seconds(device, 1 << 20, lambda: next(ticks) / 4, at_most=0.5) == 0.25
    (path,) = cache.glob("??/*")
    assert json.loads(path.read_bytes()[-len('{"seconds": 0.25}') :]) == {"seconds": 0.25}
