"""The page on training: its program runs, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lossc import nn
from lossc.optim import schedules

TEXT = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "training.md", "exec"), names)
    assert names["step"].count == 5
    # Forward to the hidden layer, loss and logits, gradients of weights; one kernel has loss, accuracy and gradient.
    assert sum("accuracy" in kernel.outputs or "loss" in str(kernel.outputs) for kernel in names["step"].kernels) <= 2


def test_all_activations_and_schedules_are_named() -> None:
    assert " ".join(nn.ACTIVATIONS) in TEXT
    public = {name for name, value in vars(schedules).items() if callable(value) and value.__module__ == schedules.__name__
              and not name.startswith("_")}  # fmt: skip
    words = set(re.findall(r"\w+", TEXT))
    assert public <= words
