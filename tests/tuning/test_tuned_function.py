"""Compiled functions with measured choices: the same values, tuned once for each class of sizes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tuning.examples import arrays

import lossc
from lossc.compiled import CompiledFunction
from lossc.compiler import Compiled
from lossc.ir.diagnostics import CheckFailed
from lossc.runtime.device import Device
from lossc.tuning import choices, function
from lossc.tuning.tuner import tuning_wanted

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
