"""`lossc bench`: figures that hang together. How fast anything is, is not tested."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lossc.cli.bench import FEWEST_ROUNDS, call_of, copying_module, interleaved
from lossc.compiler import compile_module
from lossc.runtime.device import Device

Command = Callable[..., Any]


@pytest.mark.parametrize("device", ["intel", "pocl"])
def test_figures(lossc: Command, device: str) -> None:
    words = ("--bind", "B=1000", "--seconds", "0", "--device", device)
    done = lossc("bench", "f.lir", "--grad", "--json", *words)
    assert done.status == 0, done.err
    facts = json.loads(done.out)
    assert facts["sizes"] == {"B": 1000}
    assert facts["fused_kernels"] == 1
    # x, labels and the gradient once, and the loss.
    assert facts["bytes_needed"] == facts["bytes_moved"] == 4 * (10_000 + 1000 + 10_000 + 1)
    timing = facts["seconds"]
    assert timing["calls"] == FEWEST_ROUNDS
    assert 0 < timing["p10"] <= timing["median"] <= timing["p90"]
    assert facts["bytes_per_second"] == pytest.approx(facts["bytes_needed"] / timing["median"])
    ratio = facts["bytes_per_second"] / facts["copy_bytes_per_second"]
    assert facts["fraction_of_copy"] == pytest.approx(ratio)
    assert facts["floor_seconds"] / timing["median"] == pytest.approx(ratio)


def test_the_text_for_people(lossc: Command) -> None:
    done = lossc("bench", "f.lir", "--input", "all.npz", "--seconds", "0")
    assert done.status == 0, done.err
    assert "@f: 1 fused kernel, 1 launch, B = 4" in done.out
    assert "p10" in done.out
    assert re.search(r"floor  .* this is \d+% of the device's copy bandwidth", done.out)


def test_a_size_that_nothing_gives_is_told(lossc: Command) -> None:
    done = lossc("bench", "f.lir")
    assert done.status == 1
    assert "--bind B=32" in done.err


def test_a_failed_check_is_told(lossc: Command) -> None:
    done = lossc("bench", "f.lir", "--input", "x=x.npy", "--input", "labels=1,2,3,10")
    assert done.status == 1
    assert "found 10 at row 3" in done.err


def test_a_device_with_memory_of_its_own(device: Device) -> None:
    apart = Device(device.handle)
    apart.info = dataclasses.replace(device.info, shared_pointers=False)
    run = call_of(compile_module(copying_module(), apart.info), apart, {"x": np.ones(100, np.float32)}, {})
    first, second = interleaved(run, run, 0.0)
    assert min(first.p10, second.p10) > 0


def test_functions_take_turns() -> None:
    calls: list[str] = []
    first, second = interleaved(lambda: calls.append("a"), lambda: calls.append("b"), 0.0)
    assert calls[: 2 * FEWEST_ROUNDS] == ["a", "b"] * FEWEST_ROUNDS
    assert first.calls == second.calls == FEWEST_ROUNDS
