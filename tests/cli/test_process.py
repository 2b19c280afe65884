"""The command as a process of its own, started from another folder."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]


def test_python_m_lossc(process: Command) -> None:
    done = process("run", "f.lir", "--input", "all.npz", "--grad", "-o", "out.npz")
    assert done.status == 0, done.err
    with np.load("out.npz") as results:
        assert results.files == ["loss", "grad_x"]


def test_the_installed_command(folder: Path) -> None:
    command = shutil.which("lossc", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run([command, "ops", "--json"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "cross_entropy_loss" in done.stdout


def test_errors_of_a_process(process: Command, folder: Path) -> None:
    (folder / "f.lir").write_text("func @f(\n")
    done = process("compile", "f.lir")
    assert done.status == 1
    assert done.out == ""
    assert "f.lir:1:" in done.err
    assert "^" in done.err
    assert "\x1b" not in done.err


def test_a_pipe_that_nobody_reads(folder: Path) -> None:
    # As `lossc ops | head` leaves it, but closed before the first byte: head may also close after the last one.
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "lossc", "ops"], stdout=nobody, stderr=subprocess.PIPE, cwd=folder, timeout=120
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [1, 2])
def test_an_output_that_is_closed(folder: Path, closed: int) -> None:
    ends = ["sh", "-c", f"exec {sys.executable} -m lossc ops {closed}>&-"]
    done = subprocess.run(ends, capture_output=True, cwd=folder, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("cross_entropy_loss" in done.stdout) == (closed == 2)


def test_an_output_that_takes_no_more(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lossc", "ops"], stdout=full, stderr=subprocess.PIPE, cwd=folder, text=True,
            timeout=120,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode(process: Command, folder: Path) -> None:
    (folder / "ü.lir").write_text("func @f(\n", encoding="utf-8")
    done = process("compile", "ü.lir", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.status == 1
    assert ".lir:1:" in done.err


def on_a_terminal(folder: Path, *arguments: str, **environment: str) -> str:
    """What a command shows on a terminal, stdout and stderr together."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "lossc", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    shown = b""
    # The end of the child is an error on Linux, and nothing more to read elsewhere.
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    child.wait(timeout=60)
    return shown.decode()


def test_frames_and_colour_are_for_terminals(folder: Path, process: Command) -> None:
    (folder / "broken.lir").write_text("func @f(\n")
    assert "\N{BOX DRAWINGS LIGHT VERTICAL}" in on_a_terminal(folder, "opt", "--list")
    assert "\N{BOX DRAWINGS LIGHT VERTICAL}" not in process("opt", "--list").out
    coloured = on_a_terminal(folder, "compile", "broken.lir")
    plain = on_a_terminal(folder, "compile", "broken.lir", NO_COLOR="1")
    assert "\x1b[31m" in coloured
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9]*m", "", coloured) == plain


def test_ctrl_c(folder: Path) -> None:
    (folder / "broken.lir").write_text("func @f(\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "lossc", "fmt", "broken.lir", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=folder, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    assert "broken.lir:1:" in child.stderr.readline()
    # What it says of the first file is out: now it waits for stdin.
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("module", ["numpy", "lark", "typer", "lossc.cli.app", "lossc.compiler"])
def test_ctrl_c_while_it_is_loading(folder: Path, module: str) -> None:
    code = f"""
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from lossc.cli import main
main(["compile", "f.lir"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_output_is_the_same_every_time(process: Command) -> None:
    words = ("compile", "f.lir", "--grad", "--device", "cpu-avx512", "--emit")
    for level in ("grad", "kernels", "cl"):
        first = process(*words, level, PYTHONHASHSEED="1")
        assert first.status == 0
        assert first.out == process(*words, level, PYTHONHASHSEED="2").out
