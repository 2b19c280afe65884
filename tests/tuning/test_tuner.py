"""Tuned programs: the right choices, remembered, with the same values. Times are made up: by strategy and settings."""

from __future__ import annotations

import dataclasses
import json
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossc
from lossc.compiled import CompiledFunction
from lossc.compiler import Compiled, compile_module
from lossc.compiler.strategies import Candidate, Decision, candidates
from lossc.differences import relative_difference
from lossc.ir.diagnostics import CheckFailed
from lossc.ir.integers import evaluate_integer
from lossc.ir.parser import parse
from lossc.ir.program import choose_variant
from lossc.runtime.device import Device, select
from lossc.runtime.plan import Plan
from lossc.runtime.stopwatch import Stopwatch
from lossc.tuning import choices, copy_speed, function, trials, tuner
from lossc.tuning.memory import FOLDER
from lossc.tuning.search import MOST_CANDIDATES
from lossc.tuning.tuner import tune, tuning_wanted

CROSS_ENTROPY = """
func @f(%x: f32[B, 100], %labels: i32[B]) -> (%loss: f32[1], %g: f32[B, 100]) {
  %loss = cross_entropy_loss %x, %labels
  %g = grad %loss, %x
  return %loss, %g
}"""
TWO_KERNELS = """
func @f(%x: f32[B, 96], %y: f32[N]) -> (f32[B, 96], f32[N]) {
  %a = softmax %x
  %b = exp %y
  return %a, %b
}"""
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("LOSSC_CACHE", raising=False)
    monkeypatch.delenv("LOSSC_TUNE", raising=False)
    monkeypatch.setattr(tuner, "copy_seconds", lambda *arguments: 0.0)
    return tmp_path / FOLDER


class MadeUp:
    """A clock that goes on by what every step is said to take: seconds by strategy, another for all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float], others: float = 0.01):
        self.now, self.launches = 0.0, 0
        clock = self

        class FakeStopwatch(Stopwatch):
            def _launch(self, plan: Plan, wait: bool, behind: Sequence[Plan] = ()) -> None:
                super()._launch(plan, wait, behind)
                for step in self.program.steps:
                    self.seconds[step.name] = seconds.get(choose_variant(step.variants, plan.sizes).strategy, others)
                clock.now += sum(self.seconds.values())
                clock.launches += 1

        monkeypatch.setattr(trials, "Stopwatch", FakeStopwatch)

    def __call__(self) -> float:
        return self.now


def arrays(rows: int = 2048) -> list[np.ndarray]:
    return [RNG.standard_normal((rows, 100)).astype("f4"), RNG.integers(0, 100, rows).astype("i4")]


def strategy_of(compiled: Compiled) -> str:
    (choice,) = compiled.lowered.choices.values()
    return choice.strategy


@pytest.fixture
def device() -> Device:
    """One is enough: what runs on which device is tested elsewhere, and here a program is built ten times."""
    return select()


@pytest.fixture
def compiled(device: Device) -> Compiled:
    return compile_module(parse(CROSS_ENTROPY), device.info)


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
    given = [RNG.standard_normal((3000, 96)).astype("f4"), RNG.standard_normal(300_000).astype("f4")]
    tuned = tune(compiled, device, given, {"B": 3000, "N": 300_000}, clock)
    assert [choice.strategy for choice in tuned.lowered.choices.values()] == ["row-lanes", "row-item"]
    assert len(list(cache.glob("??/*"))) == 2


def test_a_kernel_that_takes_next_to_nothing_is_left_to_the_cost_model(
    device: Device, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    compiled = compile_module(parse(TWO_KERNELS), device.info)
    clock = MadeUp(monkeypatch, {"pointwise": 0.0001, "row-lanes": 0.005})
    given = [RNG.standard_normal((3000, 96)).astype("f4"), RNG.standard_normal(300_000).astype("f4")]
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
    given = [RNG.standard_normal((33, 96)).astype("f4"), RNG.standard_normal(70_000).astype("f4")]
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


@pytest.mark.parametrize(("found", "error"), [
    ([1.0, 2.0, np.nan, np.inf], 0.0), ([1.0, 2.5, np.nan, np.inf], 0.25), ([1.0, 2.0, 3.0, np.inf], np.inf),
    ([1.0, 2.0, np.nan, -np.inf], np.inf), ([1.0, np.nan, np.nan, np.inf], np.inf),
])  # fmt: skip
def test_differences(found: list[float], error: float) -> None:
    expected = np.array([1.0, 2.0, np.nan, np.inf])
    np.testing.assert_equal(relative_difference(np.array(found), expected), error)


# --- candidates ---------------------------------------------------------------------------------------------


def test_candidates_are_few_and_begin_with_the_choice(compiled: Compiled) -> None:
    (fused,) = compiled.lowered.fused.values()
    found = candidates(fused, compiled.device)
    assert found[0] == Candidate(strategy_of(compiled))
    assert 3 <= len(set(found)) == len(found)
    alone = candidates(fused, compiled.device, "row-item")
    assert {candidate.strategy for candidate in alone} == {"row-item"}


def test_a_setting_of_any_strategy(compiled: Compiled) -> None:
    (fused,) = compiled.lowered.fused.values()
    narrow = compiled.decided({fused.name: Decision(Candidate("row-item", (("vector_width", 4),)), "a test")})
    assert any("row_item4" in kernel.name for kernel in narrow.program.kernels)
    assert narrow.lowered.choices[fused.name].why == "a test"


def test_a_strategys_own_setting(device: Device) -> None:
    compiled = compile_module(parse("func @f(%x: f32[N]) -> (f32[N]) { %y = exp %x\n return %y }"), device.info)
    (fused,) = compiled.lowered.fused.values()
    own = [candidate for candidate in candidates(fused, device.info) if dict(candidate.settings).get("chunk")]
    assert str(own[0]) == "pointwise, chunk = 4096"
    smaller = compiled.decided({fused.name: Decision(own[0], "a test")})
    usual, more = (c.program.steps[0].variants[-1].launches[0].global_size for c in (compiled, smaller))
    assert evaluate_integer(more, {"N": 1 << 20}) == 4 * evaluate_integer(usual, {"N": 1 << 20})


# --- functions ----------------------------------------------------------------------------------------------


def graph() -> lossc.Graph:
    g = lossc.Graph("f")
    g.set_outputs([g.cross_entropy_loss(g.input("x", (None, 100)), g.input("labels", (None,), dtype="i32"))])
    return g


def test_a_tuned_function_gives_the_same(device: Device) -> None:
    x, labels = arrays()
    plain = graph().compile(grad=["x"], device=device)
    tuned = graph().compile(grad=["x"], device=device, tune=True)
    (expected,), wanted = plain(x=x, labels=labels)
    for _ in range(2):
        (found,), gradients = tuned(x=x, labels=labels)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(gradients["x"], wanted["x"], rtol=1e-5, atol=1e-9)
    assert "measurement: " in tuned.explain()
    assert "cost model" in plain.explain()


def test_sizes_of_a_class_are_tuned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, int]] = []

    def count(compiled: Compiled, device: Device, given: Any, sizes: dict[str, int]) -> Compiled:
        asked.append(dict(sizes))
        return compiled

    monkeypatch.setattr(choices, "tune", count)
    tuned = graph().compile(tune=True)
    for rows in (5, 6, 5, 7, 8, 15, 4):
        tuned(x=arrays(rows)[0], labels=np.zeros(rows, "i4"))
    assert asked == [{"B": 5}, {"B": 8}]


@pytest.mark.parametrize("rows", [0, 1])
def test_next_to_nothing(device: Device, rows: int) -> None:
    tuned, plain = (graph().compile(grad=["x"], device=device, tune=tune) for tune in (True, False))
    x, labels = arrays(rows)
    for found, expected in zip(tuned(x=x, labels=labels), plain(x=x, labels=labels)):
        np.testing.assert_equal(found, expected)


def test_what_a_run_in_the_background_has_to_say_is_not_lost(device: Device) -> None:
    tuned = graph().compile(device=device, tune=True)
    tuned(x=arrays(4)[0], labels=np.zeros(4, "i4"))
    tuned(x=arrays(8)[0], labels=np.zeros(8, "i4"))
    tuned(x=arrays(4)[0], labels=np.full(4, 100, "i4"), device_results=True)
    with pytest.raises(CheckFailed, match="found 100"):
        tuned(x=arrays(8)[0], labels=np.zeros(8, "i4"))


def test_a_choice_stays_in_place_while_it_runs(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with sizes of another class, from another thread, waits for the end of the run."""
    monkeypatch.setattr(choices, "tune", lambda compiled, *arguments: compiled)
    tuned = graph().compile(device=device, tune=True)
    inside, go_on = threading.Event(), threading.Event()
    seen: list[tuple[int, bool]] = []
    run = CompiledFunction.run

    def slow(self: Any, inputs: Mapping[str, Any], *arguments: Any) -> Any:
        rows = len(inputs["labels"])
        before = self._executable
        if rows == 4:
            inside.set()
            assert go_on.wait(60)
        seen.append((rows, self._executable is before))
        return run(self, inputs, *arguments)

    monkeypatch.setattr(CompiledFunction, "run", slow)
    calls = [
        threading.Thread(target=tuned, kwargs={"x": arrays(rows)[0], "labels": np.zeros(rows, "i4")}) for rows in (4, 8)
    ]
    calls[0].start()
    assert inside.wait(60)
    calls[1].start()
    calls[1].join(0.2)
    assert calls[1].is_alive()
    go_on.set()
    for call in calls:
        call.join()
    assert seen == [(4, True), (8, True)]


@pytest.mark.parametrize(("variable", "argument", "wanted"), [
    (None, None, False), ("1", None, True), ("0", None, False), ("1", False, False), (None, True, True),
])  # fmt: skip
def test_who_wants_it(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, argument: bool | None, wanted: bool
) -> None:
    if variable is not None:
        monkeypatch.setenv("LOSSC_TUNE", variable)
    assert tuning_wanted(argument) is wanted
    assert isinstance(graph().compile(tune=argument), function.TunedFunction) is wanted


# --- copy speed ---------------------------------------------------------------------------------------------


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
