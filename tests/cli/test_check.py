"""`lossc check`: right programs pass, wrong ones do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossc.differences import relative_difference

Command = Callable[..., Any]

WRONG_GRADIENT = """\
// lir 1

func @f(%x: f32[B]) -> (f32[1]) {
  %y = call @square(%x)
  %sum = reduce_sum %y {axes = [0]}
  %total = reshape %sum {shape = [1]}
  return %total
}

func @square(%a: f32[N]) -> (f32[N]) gradient @square_vjp {
  %b = mul %a, %a
  return %b
}

func @square_vjp(%a: f32[N], %g: f32[N]) -> (f32[N]) {
  %h = mul %a, %g
  return %h
}
"""


def test_a_right_program_is_fine(lossc: Command) -> None:
    done = lossc("check", "f.lir", "--json")
    assert done.status == 0, done.err
    loss, gradient = json.loads(done.out)["results"]
    assert (loss["name"], gradient["name"]) == ("loss", "grad_x")
    assert loss["error"] < 1e-6
    assert loss["difference"] is None
    assert gradient["error"] < 1e-5
    assert gradient["difference"] < 1e-7
    assert loss["fine"] is gradient["fine"] is True
    assert "labels" in done.err


def test_given_arrays_are_checked_with(lossc: Command) -> None:
    done = lossc("check", "f.lir", "--input", "all.npz")
    assert done.status == 0
    assert "random" not in done.err
    assert done.out.splitlines()[1].split()[-1] == "fine"


def test_a_wrong_gradient_is_found(lossc: Command, folder: Path) -> None:
    (folder / "wrong.lir").write_text(WRONG_GRADIENT)
    done = lossc("check", "wrong.lir")
    assert done.status == 1
    total, gradient = (line.split()[-1] for line in done.out.splitlines()[1:])
    assert (total, gradient) == ("fine", "WRONG")
    (folder / "right.lir").write_text(WRONG_GRADIENT.replace("%h = mul %a, %g", "%p = mul %a, %g\n  %h = mul %p, 2.0"))
    assert lossc("check", "right.lir").status == 0


STOPPED = """\
func @f(%x: f32[B], %w: f32[B]) -> (f32[]) {
  %fixed = stop_gradient %x
  %product = mul %fixed, %x
  %again = stop_gradient %product
  %weighed = mul %w, %again
  %both = add %product, %weighed
  %sum = reduce_sum %both {axes = [0]}
  return %sum
}
"""


def test_what_lets_no_gradient_through_is_held_while_an_input_moves(lossc: Command, folder: Path) -> None:
    (folder / "stopped.lir").write_text(STOPPED)
    done = lossc("check", "stopped.lir", "--json")
    assert done.status == 0, done.out
    _, by_x, by_w = json.loads(done.out)["results"]
    assert by_x["difference"] < 1e-7
    assert by_w["difference"] < 1e-7


SHORT = """\
func @f(%x: f16[B, 3], %t: f16[B, 3]) -> (f16[B, 3]) {
  %loss = mse_loss %x, %t {reduction = "none"}
  return %loss
}
"""


def test_a_step_is_not_rounded_away_by_a_cast(lossc: Command, folder: Path) -> None:
    (folder / "short.lir").write_text(SHORT)
    done = lossc("check", "short.lir", "--of", "loss", "--json")
    assert done.status == 0, done.out
    _, by_x, by_t = json.loads(done.out)["results"]
    assert by_x["difference"] < 1e-7
    assert by_t["difference"] < 1e-7


def test_gradients_that_no_step_can_check_are_named(lossc: Command, folder: Path) -> None:
    (folder / "logs.lir").write_text("func @f(%x: f32[4]) -> (f32[4]) {\n  %y = log %x\n  return %y\n}\n")
    done = lossc("check", "logs.lir", "--input", "x=-1,-2,3,4")
    assert done.status == 0
    assert "no finite differences for grad_x" in done.err


def test_a_wrong_kernel_is_found(lossc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from lossc.compiler import Compiled

    def sources(compiled: Compiled) -> dict[str, str]:
        return {name: text.replace("1.0f", "1.001f") for name, text in right(compiled).items()}

    right = Compiled.sources
    monkeypatch.setattr(Compiled, "sources", sources)
    done = lossc("check", "f.lir")
    assert done.status == 1
    assert "WRONG" in done.out


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.5, 2.0], [1.0, 2.0], 0.25),
        ([0.5], [0.0], 0.5),
        ([], [], 0.0),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf], [np.inf], 0.0),
        ([-np.inf], [np.inf], np.inf),
        ([np.nan], [1.0], np.inf),
        ([1.0], [np.nan], np.inf),
    ],
)
def test_relative_error(found: list[float], expected: list[float], error: float) -> None:
    assert relative_difference(np.array(found), np.array(expected)) == error


def test_a_program_without_results_has_nothing_to_check(lossc: Command, tmp_path: Path) -> None:
    path = tmp_path / "nothing.lir"
    path.write_text("func @f(%x: f32[3]) -> () {\n  return\n}\n")
    done = lossc("check", str(path))
    assert done.status == 1
    assert "@f returns nothing: there is nothing to check" in done.err
