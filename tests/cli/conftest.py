"""The command line in this process, and as a process of its own from another folder."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lossc.cli.app import app

CLASSIFIER = """\
// lir 1

// Cross-entropy of ten classes.
func @f(%x: f32[B, 10], %labels: i32[B]) -> (f32[1]) {
  %loss = cross_entropy_loss %x, %labels
  return %loss
}
"""


# Older versions mix stdout and stderr unless they are told not to.
SEPARATE: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner.__init__).parameters else {}
)


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the terminal is where the tests are started is no matter."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a program and arrays for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.lir").write_text(CLASSIFIER)
    generator = np.random.default_rng(5)
    np.save("x.npy", generator.standard_normal((4, 10)))
    np.save("labels.npy", np.array([1, 2, 3, 9]))
    np.savez("all.npz", x=np.load("x.npy"), labels=np.load("labels.npy"))
    return tmp_path


@pytest.fixture
def lossc(folder: Path) -> Command:
    """Runs a command in this process. No command ever shows a traceback."""

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        done = CliRunner(**SEPARATE).invoke(app, list(arguments), input=stdin, prog_name="lossc")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "Traceback" not in done.output
        return Result(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def process(folder: Path) -> Command:
    """Runs a command as `python -m lossc` in a process of its own, in the working folder."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "lossc", *arguments],
            input=stdin,
            env={**os.environ, **environment},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return run
