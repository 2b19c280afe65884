"""Tuned programs: the right choices, remembered, with the same values. Times are made up: by strategy and settings."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuning.examples import CROSS_ENTROPY, TWO_KERNELS, arrays, strategy_of, two_arrays

from lossc.compiler import Compiled, compile_module
from lossc.compiler.decisions import Candidate
from lossc.compiler.strategies import candidates
from lossc.ir.diagnostics import CheckFailed
from lossc.ir.parser import parse
from lossc.ir.program import choose_variant
from lossc.runtime.device import Device
from lossc.runtime.plan import Plan
from lossc.runtime.stopwatch import Stopwatch
from lossc.tuning import trials, tuner
from lossc.tuning.search import MOST_CANDIDATES

pytestmark = pytest.mark.usefixtures("endless_copy_speed")


def tune(compiled: Compiled, device: Device, given: list[np.ndarray], *rest: Any) -> Compiled:
    return tuner.tune(compiled, device, given, *rest).compiled


class MadeUp:
    """A clock that goes on by what every step is said to take: seconds by strategy, another for all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float], others: float = 0.01):
        self.now, self.launches = 0.0, 0
        clock = self

        class FakeStopwatch(Stopwatch):
            def _launch(self, plan: Plan, wait: bool) -> None:
                super()._launch(plan, wait)
                for step in self.program.steps:
                    self.seconds[step.name] = seconds.get(choose_variant(step.variants, plan.sizes).strategy, others)
                clock.now += sum(self.seconds.values())
                clock.launches += 1

        monkeypatch.setattr(trials, "Stopwatch", FakeStopwatch)

    def __call__(self) -> float:
        return self.now


def test_the_fastest_strategy_is_taken_and_told(
    device: Device, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    (choice,) = compiled.lowered.choices.values()
    assert choice.strategy != "row-lanes"
    assert choice.why == "cost model"
    clock = MadeUp(monkeypatch, {"row-lanes": 0.005})
    tuned = tune(compiled, device, arrays(), {"B": 2048}, clock)
    assert strategy_of(tuned) == "row-lanes"
    (why,) = (choice.why for choice in tuned.lowered.choices.values())
    assert why.startswith("measurement: 5.00 ms, default 10.00 ms, ")
    assert why.endswith(" candidates")


def test_the_next_process_measures_nothing(
    device: Device, compiled: Compiled, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MadeUp(monkeypatch, {"row-lanes": 0.005})
    first = tune(compiled, device, arrays(), {"B": 2048}, clock)
    launches = clock.launches
    (path,) = cache.glob("??/*")
    whole = path.read_bytes()
    # 3000 rows are in the class of 2048.
    again = tune(compile_module(parse(CROSS_ENTROPY), device.info), device, arrays(3000), {"B": 3000}, clock)
    assert clock.launches == launches
    assert again.lowered.choices == first.lowered.choices
    assert again.program == first.program
    # What is damaged is measured and written anew.
    path.write_bytes(whole[:-1] + b"!")
    assert tune(compiled, device, arrays(), {"B": 2048}, clock).lowered.choices == first.lowered.choices
    assert clock.launches > launches
    assert path.read_bytes() == whole


def test_it_takes_two_seconds_at_most(device: Device, compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of half a second: four of them before the end, and those of the candidate under way."""
    clock = MadeUp(monkeypatch, {}, others=0.5)
    tuned = tune(compiled, device, arrays(), {"B": 2048}, clock)
    assert tuner.SECONDS <= clock.now <= tuner.SECONDS + 2.0
    (why,) = (choice.why for choice in tuned.lowered.choices.values())
    assert why.endswith(" so far")


def test_the_next_process_goes_on(
    device: Device, compiled: Compiled, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the machine is, the search ends, with the same choice as on a fast one."""
    clock = MadeUp(monkeypatch, {"row-lanes": 0.3}, others=0.5)
    found = [tune(compiled, device, arrays(), {"B": 2048}, clock).lowered.choices["f_0"]]
    while found[-1].why.endswith(" so far") and len(found) <= MOST_CANDIDATES:
        found.append(tune(compiled, device, arrays(), {"B": 2048}, clock).lowered.choices["f_0"])
    assert len(found) > 2
    choice = found[-1]
    assert choice.strategy == "row-lanes"
    assert choice.why.startswith("measurement: 300.00 ms, default 500.00 ms, ")
    launches = clock.launches
    assert tune(compiled, device, arrays(), {"B": 2048}, clock).lowered.choices["f_0"] == choice
    assert clock.launches == launches
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(cache.parent / "another"))
    monkeypatch.setattr(tuner, "SECONDS", 1e9)
    at_once = tune(compiled, device, arrays(), {"B": 2048}, clock)
    assert at_once.lowered.choices["f_0"] == choice


def test_copy_speed_ends_it(device: Device, compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = MadeUp(monkeypatch, {"row-lanes": 0.005})
    monkeypatch.setattr(tuner, "copy_seconds", lambda *arguments: 0.0096)
    tuned = tune(compiled, device, arrays(), {"B": 2048}, clock)
    assert tuned.lowered.choices["f_0"].why == "measurement: 10.00 ms, default 10.00 ms, 1 candidate"


def test_a_device_with_memory_of_its_own(device: Device, compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = Device(device.handle)
    apart.info = dataclasses.replace(device.info, shared_pointers=False)
    clock = MadeUp(monkeypatch, {"row-lanes": 0.005})
    assert strategy_of(tune(compiled, apart, arrays(), {"B": 2048}, clock)) == "row-lanes"


def test_a_forced_strategy_stays(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    forced = compile_module(parse(CROSS_ENTROPY), device.info, "row-item")
    assert forced.lowered.choices["f_0"].why == "asked for"
    clock = MadeUp(monkeypatch, {"row-lanes": 0.005})
    assert strategy_of(tune(forced, device, arrays(), {"B": 2048}, clock)) == "row-item"


def test_kernels_are_tuned_one_by_one(device: Device, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled = compile_module(parse(TWO_KERNELS), device.info)
    clock = MadeUp(monkeypatch, {"pointwise": 0.010, "row-lanes": 0.002, "row-item": 0.004}, others=0.008)
    given = two_arrays(3000, 300_000)
    tuned = tune(compiled, device, given, {"B": 3000, "N": 300_000}, clock)
    assert [choice.strategy for choice in tuned.lowered.choices.values()] == ["row-lanes", "row-item"]
    assert len(list(cache.glob("??/*"))) == 2


def test_a_kernel_that_takes_next_to_nothing_is_left_to_the_cost_model(
    device: Device, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    compiled = compile_module(parse(TWO_KERNELS), device.info)
    clock = MadeUp(monkeypatch, {"pointwise": 0.0001, "row-lanes": 0.005})
    given = two_arrays(3000, 300_000)
    tuned = tune(compiled, device, given, {"B": 3000, "N": 300_000}, clock)
    rows, elements = tuned.lowered.choices.values()
    assert rows.strategy == "row-lanes"
    assert elements.why == "cost model"
    launches = clock.launches
    again = tune(compiled, device, given, {"B": 3000, "N": 300_000}, clock)
    assert clock.launches == launches
    assert again.lowered.choices == tuned.lowered.choices
    # Beside rows of another size it may take more: it is measured again.
    fewer = [given[0][:1000], given[1]]
    tune(compiled, device, fewer, {"B": 1000, "N": 300_000}, clock)
    assert clock.launches > launches


def test_a_failed_check_is_the_users(device: Device, compiled: Compiled) -> None:
    x, labels = arrays()
    labels[7] = 100
    with pytest.raises(CheckFailed, match="found 100 at row 7"):
        tune(compiled, device, [x, labels], {"B": 2048})


@pytest.mark.parametrize("text", [CROSS_ENTROPY, TWO_KERNELS], ids=["cross-entropy", "two kernels"])
def test_every_candidate_gives_the_same_values(device: Device, text: str) -> None:
    """A trial warns where it does not: warnings are errors here."""
    sizes = {"B": 33, "N": 70_000} if "%y" in text else {"B": 1333}
    given = two_arrays(33, 70_000)
    compiled = compile_module(parse(text), device.info)
    trial = trials.Trials(compiled, device, given if "%y" in text else arrays(1333), sizes, lambda: 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, fused in compiled.lowered.fused.items():
            options = candidates(fused, device.info)
            measure = trial.measure(name, [])
            measured = [candidate for candidate in options if measure(candidate, -1.0) is not None]
            assert measured[0] == options[0]
            assert len(measured) >= 2


def test_a_candidate_with_wrong_numbers_is_told_and_not_taken(device: Device, compiled: Compiled) -> None:
    trial = trials.Trials(compiled, device, arrays(), {"B": 2048}, lambda: 0.0)
    trial.expected = [trial.expected[0], trial.expected[1] * np.float32(1.001)]
    with pytest.warns(RuntimeWarning, match=r"row-lanes is not taken for f_0: it gives another `g`.*report"):
        assert trial.measure("f_0", [])(Candidate("row-lanes"), 0.0) is None
