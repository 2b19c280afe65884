"""Training steps with measured choices: the same training, tuned once for each class of sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import nn, optim
from lossc.compiler.decisions import Candidate, Decision
from lossc.ir.diagnostics import CheckFailed, LirError
from lossc.ready import Ready
from lossc.training.step import Step
from lossc.tuning import choices
from lossc.tuning.step import TunedStep


def classifier(tune: bool | None) -> Step:
    g = lossc.Graph(seed=3)
    x, labels = g.input("x", (None, 20)), g.input("labels", (None,), dtype="i32")
    logits = nn.Linear(g, "fc", 20, 10)(x)
    g.set_outputs({"loss": g.cross_entropy_loss(logits, labels)})
    return g.compile_step(optim.Adam(1e-2), tune=tune)


def batch(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {"x": random.standard_normal((rows, 20)).astype("f4"), "labels": random.integers(0, 10, rows).astype("i4")}


def test_the_same_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is measured: here every kernel that can be is the strategy `row-item`, at the second class of sizes."""
    asked: list[dict[str, int]] = []

    def made_up(untuned: Ready, device: Any, given: Any, sizes: dict[str, int]) -> Ready:
        asked.append(dict(sizes))
        names = [name for name, choice in untuned.levels.lowered.choices.items() if choice.strategy != "matmul"]
        decisions = {name: Decision(Candidate("row-item"), "a test") for name in names}
        decided = replace(untuned.asked, decisions=decisions)
        return Ready.of(decided.compiled(), decided)

    monkeypatch.setattr(choices, "tuned_program", made_up)
    plain, tuned = classifier(None), classifier(True)
    assert type(plain) is Step
    assert type(tuned) is TunedStep
    for rows in (40, 63, 64, 40, 127):
        given = batch(rows)
        np.testing.assert_allclose(tuned(**given), plain(**given), rtol=1e-5)
    assert asked == [{"B": 40}, {"B": 64}]
    assert ": a test" in tuned.explain()
    np.testing.assert_allclose(tuned.gradient("fc.weight"), plain.gradient("fc.weight"), rtol=1e-3, atol=1e-6)


def test_measured() -> None:
    """Measuring changes no parameter: the first step of both is the same."""
    plain, tuned = classifier(None), classifier(True)
    for _ in range(2):
        given = batch(3000)
        np.testing.assert_allclose(tuned(**given), plain(**given), rtol=1e-5)
    assert "measurement: " in tuned.explain()


def test_a_failed_check_changes_nothing() -> None:
    tuned = classifier(True)
    wrong = batch(8) | {"labels": np.full(8, 10, "i4")}
    with pytest.raises(CheckFailed, match="found 10"):
        tuned(**wrong)
    assert tuned.count == 0
    assert tuned(**batch(8)).shape == (1,)


def test_a_missing_input_is_told() -> None:
    with pytest.raises(LirError, match="missing input `labels`"):
        classifier(True)(x=batch(8)["x"])


def test_the_environment_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSC_TUNE", "1")
    assert type(classifier(None)) is TunedStep
    assert type(classifier(False)) is Step
