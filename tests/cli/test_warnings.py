"""Warnings about programs: told once, on stderr, at the line, with nothing else changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

SOFTMAX = """\
// lir 1
func @odd(%x: f32[B, 10], %labels: i32[B]) -> (f32[1]) {
  %p = softmax %x
  %loss = cross_entropy_loss %p, %labels
  return %loss
}

func @even(%x: f32[B, 10], %labels: i32[B]) -> (f32[1]) {
  %loss = cross_entropy_loss %x, %labels
  return %loss
}
"""


@pytest.mark.parametrize(
    "words",
    [("run", "--input", "all.npz", "--json"), ("compile",), ("explain", "--json"), ("check", "--json"), ("opt",),
     ("graph", "-o", "g.dot"), ("dump", "-o", "out"), ("bench", "--bind", "B=5", "--seconds", "0", "--json")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_warning_is_told_once_beside_the_result(lossc: Command, folder: Path, words: tuple[str, ...]) -> None:
    (folder / "two.lir").write_text(SOFTMAX)
    command, *rest = words
    done = lossc(command, "two.lir", "--func", "odd", *rest)
    assert done.status == 0, done.err
    assert done.err.count("warning[LIR0200]") == 1
    assert "two.lir:4:3: warning[LIR0200]" in done.err
    assert "warning" not in done.out
    quiet = lossc(command, "two.lir", "--func", "even", *rest)
    assert quiet.status == 0
    assert "warning" not in quiet.err
