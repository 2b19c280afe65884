"""Warnings about what is legal and probably not meant: the tables, the command line, Python's warnings."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import lossc
from lossc.compiler.lints import LINTS, LOG_PROBABILITIES, LOGITS, find_lints
from lossc.ir.codes import CODES
from lossc.ir.composites import COMPOSITES
from lossc.ir.parser import parse

TWICE = """func @main(%x: f32[4, 3], %labels: i32[4]) -> (f32[1]) {
  %p = softmax %x
  %loss = cross_entropy_loss %p, %labels
  return %loss
}
"""


def test_tables_name_losses_and_their_operands() -> None:
    named = [*LOGITS.items(), *((loss, (operand,)) for loss, operand in LOG_PROBABILITIES.items())]
    for loss, operands in named:
        assert set(operands) <= {operand.rstrip("?") for operand in COMPOSITES[loss].operands}


def test_codes_are_those_of_warnings() -> None:
    """LIR0205 is of what was asked for, not of what the function says."""
    assert {*LINTS, "LIR0205"} == {code for code in CODES if "LIR0200" <= code < "LIR0300"}


def test_a_warning_has_a_place_and_a_reason() -> None:
    (found,) = find_lints(parse(TWICE, "twice.lir"))
    assert found.severity == "warning"
    text = found.render()
    assert text.startswith("twice.lir:3:3: warning[LIR0200]")
    assert "^^^" in text
    assert "twice.lir:2:3: the softmax is here" in text
    assert "leave the softmax out" in text


@pytest.mark.parametrize("command", ["run", "explain", "compile", "check"])
def test_the_command_line_warns_and_goes_on(command: str, tmp_path: Path) -> None:
    path = tmp_path / "twice.lir"
    path.write_text(TWICE)
    more = {"run": ["--random", "0"], "explain": [], "compile": ["--emit", "lir"], "check": []}[command]
    done = subprocess.run(
        [sys.executable, "-m", "lossc", command, str(path), *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning[LIR0200]") == 1
    assert "warning[" not in done.stdout


def _graph() -> lossc.Graph:
    g = lossc.Graph()
    x, labels = g.input("x", (None, 3)), g.input("labels", (None,), dtype="i32")
    g.set_outputs([g.cross_entropy_loss(g.softmax(x), labels)])
    return g


def test_graphs_warn_once() -> None:
    g = _graph()
    with pytest.warns(lossc.LossWarning, match="takes logits") as told:
        g.compile()
    assert len(told) == 1
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g.compile(grad=["x"])


def test_warnings_can_be_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", lossc.LossWarning)
        with pytest.raises(lossc.LossWarning, match="LIR0200"):
            _graph().compile()


def test_what_is_not_known_is_not_said() -> None:
    g = lossc.Graph()
    p, labels = g.input("probabilities", (None, 3)), g.input("labels", (None,), dtype="i32")
    g.set_outputs([g.cross_entropy_loss(p, labels, ignore_index=-100)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g.compile()
