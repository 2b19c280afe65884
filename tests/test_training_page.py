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
    # Loss, accuracy and the gradient of the logits.
    (kernel,) = (k for k in names["step"].kernels if any("loss" in output for output in k.outputs))
    assert [output.rpartition(": ")[2] for output in kernel.outputs] == ["f32[1]", "f32[1]", "f32[B, 10]"]


def test_all_activations_and_schedules_are_named() -> None:
    assert " ".join(nn.ACTIVATIONS) in TEXT
    own = {name for name, value in vars(schedules).items() if getattr(value, "__module__", "") == schedules.__name__}
    public = {name for name in own if not name.startswith("_")}
    assert "cosine" in public
    words = set(re.findall(r"\w+", TEXT))
    assert public <= words
