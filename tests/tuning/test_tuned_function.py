"""Compiled functions with measured choices: the same values, tuned once for each class of sizes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuning.examples import arrays

import lossc
from lossc import nn, optim
from lossc.compiled import CompiledFunction
from lossc.ir.diagnostics import CheckFailed
from lossc.ready import Ready
from lossc.runtime.device import Device
from lossc.tuning import choices, function, tuner
from lossc.tuning.search import MOST_CANDIDATES
from lossc.tuning.wanted import tuning_wanted

pytestmark = pytest.mark.usefixtures("endless_copy_speed")


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

    def count(untuned: Ready, device: Device, given: Any, sizes: dict[str, int]) -> Ready:
        asked.append(dict(sizes))
        return untuned

    monkeypatch.setattr(choices, "tuned_program", count)
    tuned = graph().compile(tune=True)
    for rows in (5, 6, 5, 7, 8, 15, 4):
        tuned(x=arrays(rows)[0], labels=np.zeros(rows, "i4"))
    assert asked == [{"B": 5}, {"B": 8}]


@pytest.mark.parametrize("rows", [0, 1])
def test_next_to_nothing(device: Device, rows: int) -> None:
    tuned, plain = (graph().compile(grad=["x"], device=device, tune=tune) for tune in (True, False))
    x, labels = arrays(rows)
    (found,), gradients = tuned(x=x, labels=labels)
    (expected,), wanted = plain(x=x, labels=labels)
    # Whichever strategy was the fastest may add up in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients["x"], wanted["x"], rtol=1e-5, atol=1e-9)


def test_what_a_run_in_the_background_has_to_say_is_not_lost(device: Device) -> None:
    tuned = graph().compile(device=device, tune=True)
    tuned(x=arrays(4)[0], labels=np.zeros(4, "i4"))
    tuned(x=arrays(8)[0], labels=np.zeros(8, "i4"))
    tuned(x=arrays(4)[0], labels=np.full(4, 100, "i4"), device_results=True)
    with pytest.raises(CheckFailed, match="found 100"):
        tuned(x=arrays(8)[0], labels=np.zeros(8, "i4"))


def test_a_choice_stays_in_place_while_it_runs(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with sizes of another class, from another thread, waits for the end of the run."""
    monkeypatch.setattr(choices, "tuned_program", lambda untuned, *arguments: untuned)
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


def test_the_next_process_compiles_nothing(cache: Path) -> None:
    """What was chosen comes from disk like any compiled program; `explain` compiles it, with the same choices."""
    program = (
        "import sys, numpy, lossc\n"
        "g = lossc.Graph('f')\n"
        "x, labels = g.input('x', (None, 100)), g.input('labels', (None,), dtype='i32')\n"
        "g.set_outputs([g.cross_entropy_loss(x, labels)])\n"
        "fn = g.compile(grad=['x'], tune=True)\n"
        "fn(x=numpy.eye(3000, 100, dtype='f4'), labels=numpy.zeros(3000, 'i4'))\n"
        "print(sorted(m for m in sys.modules if m.startswith(('lossc.compiler', 'lossc.tuning'))))\n"
        "print(fn.explain())\n"
    )

    def run() -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        modules, _, explained = done.stdout.partition("\n")
        return modules, explained

    found = [run()]
    while " so far" in found[-1][1] and len(found) <= MOST_CANDIDATES:
        found.append(run())
    (searched, told), (loaded, told_again) = found[-1], run()
    assert "'lossc.tuning.trials'" in searched
    assert "measurement: " in told
    assert told_again == told
    assert loaded == str(
        ["lossc.compiler", "lossc.compiler.decisions", "lossc.compiler.gradient", "lossc.compiler.lints",
         "lossc.tuning", "lossc.tuning.choices", "lossc.tuning.function", "lossc.tuning.kernels", "lossc.tuning.memory",
         "lossc.tuning.search", "lossc.tuning.tuned", "lossc.tuning.wanted"]
    )  # fmt: skip


def test_a_search_that_is_not_over_goes_on(device: Device, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions are kept only when nothing is left to measure."""
    monkeypatch.setattr(tuner, "SECONDS", 0.0)
    x, labels = arrays(3000)
    told = []
    while len(told) <= MOST_CANDIDATES:
        tuned = graph().compile(device=device, tune=True)
        tuned(x=x, labels=labels)
        told.append(tuned.explain())
        if " so far" not in told[-1]:
            break
    assert len(told) > 2
    monkeypatch.setattr(tuner, "tune", None)
    found = graph().compile(device=device, tune=True)
    found(x=x, labels=labels)
    assert found.explain() == told[-1]


def test_few_rows_that_one_launch_does_decide_nothing_for_more_of_them(device: Device) -> None:
    """163 and 164 rows are of one class of sizes. Neither the same function nor another one is misled."""
    g = lossc.Graph("f")
    x, labels = g.input("x", (None, 100)), g.input("labels", (None,), dtype="i32")
    g.set_outputs([g.cross_entropy_loss(x, labels, ignore_index=-100)])
    for _ in range(2):
        tuned = g.compile(grad=["x"], device=device, tune=True)
        told = []
        for rows in (163, 164):
            given, classes = arrays(rows)
            tuned(x=given, labels=classes)
            told.append("measurement: " in tuned.explain())
        assert told == [False, True]


def test_the_first_step_of_another_thread_does_not_lock_a_prediction_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose learning rate looks at a prediction holds the parameters, then the prediction: all do so in that
    order, also a run that began before there was a step."""
    monkeypatch.setattr(choices, "tuned_program", lambda untuned, *arguments: untuned)
    g = lossc.Graph(seed=0)
    g.set_outputs([(nn.Linear(g, "b", 4, 1)(g.input("x", (None, 4))) ** 2).mean()])
    g.initialize()
    x = np.ones((4, 4), "f4")
    predict = g.compile(tune=True)
    predict(x=x)
    inside, asked = threading.Event(), threading.Event()
    run, calls = CompiledFunction.run, [0]

    def slow(self: Any, *arguments: Any) -> Any:
        if threading.current_thread() is early:
            inside.set()
            asked.wait(1.0)
        return run(self, *arguments)

    def rate(step: int) -> float:
        calls[0] += 1
        if calls[0] > 1:
            asked.set()
            predict(x=x)
        return 0.1

    monkeypatch.setattr(CompiledFunction, "run", slow)
    early = threading.Thread(target=predict, kwargs={"x": x}, daemon=True)
    early.start()
    assert inside.wait(60)
    training = threading.Thread(target=lambda: g.compile_step(optim.SGD(lr=rate))(x=x), daemon=True)
    training.start()
    for thread in (early, training):
        thread.join(60)
        assert not thread.is_alive()
    assert calls[0] > 1
