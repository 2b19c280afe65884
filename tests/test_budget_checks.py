"""Checks of what hangs on a product with a memory budget go along with its pieces, and name the row in the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossc
from lossc.compiler.pipeline import run_passes
from lossc.ir.diagnostics import CheckFailed, Limitation
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.program_text import parse_program, print_program
from lossc.runtime.simulate import simulate

ROWS, BAD = 150, 133
OF_ELEMENTS = """
func @f(%x: f32[N, 24], %w: f32[20, 24], %t: f32[N, 20]) -> (f32[1]) {
  %h = matmul %x, %w {transpose_right = true, memory_budget = 4000}
  %p = sigmoid %h
  %q = mul %p, %p
  %loss = bce_loss %q, %t
  return %loss
}"""
ONLY_CHECKED = """
func @f(%x: f32[N, 24], %w: f32[24, 20]) -> (f32[N]) {
  %h = matmul %x, %w {memory_budget = 4000}
  %most = constant {value = 9.0, dtype = f32, shape = [N, 20]}
  %ok = lt %h, %most
  check %ok, %h {code = "large", message = "too large"}
  %s = reduce_sum %x {axes = [1]}
  return %s
}"""
NOT_NEEDED = """
func @f(%x: f32[N, 24], %w: f32[24, 20]) -> (f32[N]) {
  %h = matmul %x, %w {memory_budget = 4000}
  %s = reduce_sum %x {axes = [1]}
  return %s
}"""


def test_a_check_goes_along_with_its_piece() -> None:
    random = np.random.default_rng(0)
    given = {"x": random.normal(size=(ROWS, 24)), "w": random.normal(0, 0.1, (20, 24)), "t": random.random((ROWS, 20))}
    given = {name: array.astype(np.float32) for name, array in given.items()}
    fn = lossc.parse(OF_ELEMENTS).compile(grad=["x", "w"])
    compiled = fn.compiled
    assert compiled.program.repeats
    assert parse_program(print_program(compiled.program)) == compiled.program
    (loss,), gradients = fn(**given)
    expected = interpret(compiled.prepared.entry, given)
    for found in ([loss, *gradients.values()], simulate(compiled.program, given)):
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()
    # In the last pieces, and in more than one.
    given["x"][[BAD, BAD + 10]] = np.nan
    runs: tuple[Callable[[], Any], ...] = (
        lambda: fn(**given),
        lambda: simulate(compiled.program, given),
        lambda: interpret(compiled.prepared.entry, given),
    )
    for run in runs:
        with pytest.raises(CheckFailed) as failure:
            run()
        assert failure.value.index == (BAD, 0)
    fn(**{**given, "x": np.ones_like(given["x"])})


def test_the_interpreter_counts_rows_of_the_whole() -> None:
    fn = lossc.parse(OF_ELEMENTS).compile()
    x = np.ones((ROWS, 24))
    x[BAD] = np.nan
    given = {"x": x, "w": np.ones((20, 24)), "t": np.ones((ROWS, 20))}
    with pytest.raises(CheckFailed) as failure:
        interpret(fn.compiled.split.entry, given, functions=fn.compiled.split.functions)
    assert failure.value.index == (BAD, 0)


def test_what_only_a_check_needs_says_so() -> None:
    with pytest.raises(Limitation, match="nothing but a `check` needs it") as refused:
        lossc.parse(ONLY_CHECKED).compile()
    assert "memory_budget = none in LIR" in str(refused.value)


def test_a_product_that_nobody_needs_is_left() -> None:
    split = run_passes(parse(NOT_NEEDED), ("split-rows",))
    assert [op.name for op in split.entry.ops] == ["matmul", "reduce_sum"]


def test_a_check_beside_a_product_is_not_lost() -> None:
    fn = lossc.parse(OF_ELEMENTS.replace(", memory_budget = 4000", "")).compile(grad=["x", "w"])
    assert not fn.compiled.program.repeats
    x = np.ones((9, 24), np.float32)
    x[5] = np.nan
    with pytest.raises(CheckFailed) as failure:
        fn(x=x, w=np.ones((20, 24), np.float32), t=np.ones((9, 20), np.float32))
    assert failure.value.index == (5, 0)
