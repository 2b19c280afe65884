"""`lossc fmt`: layout in place, all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

UGLY = """\
// lir 1


// what it is for
func @f( %x : f32[ B,10 ] )->f32[B, 10] { // a head
%y=relu %x   // a step
return %y }
"""
NEAT = """\
// lir 1

// what it is for
func @f(%x: f32[B, 10]) -> (f32[B, 10]) {  // a head
  %y = relu %x  // a step
  return %y
}
"""


@pytest.fixture
def ugly(folder: Path) -> Path:
    path = folder / "ugly.lir"
    path.write_text(UGLY)
    path.chmod(0o600)
    return path


def test_a_file_is_laid_out_in_place_with_its_comments(lossc: Command, ugly: Path) -> None:
    done = lossc("fmt", "ugly.lir")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert ugly.read_text() == NEAT
    assert ugly.stat().st_mode & 0o777 == 0o600


def test_a_neat_file_is_not_written(lossc: Command, ugly: Path) -> None:
    ugly.write_text(NEAT)
    before = ugly.stat()
    assert lossc("fmt", "ugly.lir").status == 0
    assert (ugly.stat().st_mtime_ns, ugly.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_check_writes_nothing(lossc: Command, ugly: Path) -> None:
    done = lossc("fmt", "--check", "ugly.lir", "f.lir")
    assert done.status == 1
    assert done.err == "would change: ugly.lir\n"
    assert ugly.read_text() == UGLY
    assert lossc("fmt", "--check", "f.lir").status == 0


def test_diff_writes_nothing(lossc: Command, ugly: Path) -> None:
    done = lossc("fmt", "--diff", "ugly.lir")
    assert done.status == 0
    lines = done.out.splitlines()
    assert "-%y=relu %x   // a step" in lines
    assert "+  %y = relu %x  // a step" in lines
    assert ugly.read_text() == UGLY
    assert lossc("fmt", "--diff", "f.lir").out == ""
    assert lossc("fmt", "--diff", "--check", "ugly.lir").status == 1


def test_from_stdin_to_stdout(lossc: Command) -> None:
    done = lossc("fmt", "-", stdin=UGLY)
    assert (done.status, done.out) == (0, NEAT)
    assert lossc("fmt", "--check", "-", stdin=UGLY).status == 1


def test_a_broken_file_stays_as_it_is_and_others_are_laid_out(lossc: Command, folder: Path, ugly: Path) -> None:
    broken = UGLY.replace("relu", "= relu")
    (folder / "broken.lir").write_text(broken)
    done = lossc("fmt", "broken.lir", "ugly.lir")
    assert done.status == 1
    assert "broken.lir:6:" in done.err
    assert (folder / "broken.lir").read_text() == broken
    assert ugly.read_text() == NEAT


@pytest.mark.parametrize("options", [(), ("--check",), ("--diff",)])
def test_a_function_without_its_end_stays_as_it_is(lossc: Command, folder: Path, options: tuple[str, ...]) -> None:
    open_text = "func @f(%x: f32[N]) -> f32[N] {\n  %y = exp %x\n  return %y\n"
    (folder / "open.lir").write_text(open_text)
    done = lossc("fmt", *options, "open.lir")
    assert done.status == 1
    assert "open.lir:1:1: error[LIR0010]: the function @f has no closing `}`" in done.err
    assert (folder / "open.lir").read_text() == open_text
    done = lossc("fmt", *options, "-", stdin=open_text)
    assert (done.status, done.out) == (1, "")
    assert "the function @f has no closing `}`" in done.err


def test_line_ends_of_windows(lossc: Command, ugly: Path) -> None:
    ugly.write_bytes(UGLY.replace("\n", "\r\n").encode())
    assert lossc("fmt", "--check", "ugly.lir").status == 1
    assert lossc("fmt", "ugly.lir").status == 0
    assert ugly.read_bytes() == NEAT.encode()


def test_a_read_only_file_is_not_replaced(lossc: Command, ugly: Path) -> None:
    ugly.chmod(0o400)
    assert lossc("fmt", "--check", "ugly.lir").status == 1
    done = lossc("fmt", "ugly.lir")
    assert done.status == 1
    assert "cannot write 'ugly.lir': it is read-only" in done.err
    assert ugly.read_text() == UGLY
