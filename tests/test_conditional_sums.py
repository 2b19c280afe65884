"""Sums of what counts under a condition: added in the lanes where it does, exactly as if 0 were added in the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from device_runs import Runner

from lossc.compiler import compile_module
from lossc.ir.kernel import Apply, Assign, Const, Expr, Var, walk_expressions, walk_statements
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device

SUM = """func @f(%x: f32[B, 37], %m: bool[B, 37], %k: bool[B, 37]) -> ({TYPE}[B]) {{
  %zero = constant {{value = 0.0, dtype = f32, shape = [B, 37]}}
  {TERM}
  %s = reduce_sum %term {{axes = [1]}}
  return %s
}}"""
CHOSEN = "%term = select %m, %x, %zero"
LEFT_OUT = "%term = select %m, %zero, %x"
COUNTED = "%term = cast %m {dtype = i32}"
BOTH = "%a = select %m, %x, %zero\n  %n = neg %x\n  %b = select %k, %zero, %n\n  %term = add %a, %b"
TERMS = {"chosen": CHOSEN, "left out": LEFT_OUT, "counted": COUNTED, "both": BOTH}


def text_of(term: str) -> str:
    return SUM.format(TERM=term, TYPE="i32" if term == COUNTED else "f32")


def expected(term: str, x: np.ndarray, m: np.ndarray, k: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    terms = {CHOSEN: np.where(m, wide, 0), LEFT_OUT: np.where(m, 0, wide), COUNTED: m,
             BOTH: np.where(m, wide, 0) + np.where(k, 0, -wide)}  # fmt: skip
    return terms[term].sum(1)


def given() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"x": random.standard_normal((50, 37)).astype(np.float32), "m": random.random((50, 37)) < 0.5,
            "k": random.random((50, 37)) < 0.5}  # fmt: skip


def _expressions(text: str) -> Iterator[tuple[object, Expr]]:
    for kernel in compile_module(parse(text), CPU_AVX512, "row-item").program.kernels:
        for statement in walk_statements(kernel.body):
            yield from ((statement, inner) for inner in walk_expressions(*statement.expressions))


def _chooses_between_sums(statement: object, expression: Expr) -> bool:
    if not isinstance(statement, Assign) or not isinstance(expression, Apply) or expression.op != "select":
        return False
    _, added, total = expression.operands
    return isinstance(added, Apply) and added.op == "add" and isinstance(total, Var) and added.operands[0] == total


def _zeros_chosen(found: Sequence[tuple[object, Expr]]) -> int:
    return sum(isinstance(each, Apply) and each.op == "select"
               and any(isinstance(operand, Const) and operand.value == 0 for operand in each.operands[1:])
               for _, each in found)  # fmt: skip


@pytest.mark.parametrize("term", [CHOSEN, LEFT_OUT, COUNTED], ids=["chosen", "left out", "counted"])
def test_nothing_is_chosen_but_between_two_sums(term: str) -> None:
    found = list(_expressions(text_of(term)))
    assert any(_chooses_between_sums(*each) for each in found)
    assert not _zeros_chosen(found)


def test_of_two_terms_one_is_added_to_what_is_chosen_of_the_other() -> None:
    found = list(_expressions(text_of(BOTH)))
    between = sum(isinstance(each, Apply) and each.op == "select" and isinstance(each.operands[1], Apply)
                  and each.operands[1].op == "add" for _, each in found)  # fmt: skip
    assert between > 0
    assert _zeros_chosen(found) <= between


def test_two_terms_that_cancel_leave_nothing(device: Device) -> None:
    """Though they are much larger than the sum."""
    x = np.ones((50, 37), np.float32)
    x[:, ::2] = 1e9
    inputs = {"x": x, "m": np.ones((50, 37), bool), "k": np.broadcast_to(np.arange(37) % 2 == 1, (50, 37)).copy()}
    for run in (Runner(text_of(BOTH), None), Runner(text_of(BOTH), device)):
        (found,) = run(**inputs).values()
        np.testing.assert_array_equal(found, 18)


@pytest.mark.parametrize("strategy", ["row-item", "row-lanes"])
@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
def test_sums_in_the_simulator(term: str, strategy: str) -> None:
    (found,) = Runner(text_of(term), None, strategy)(**given()).values()
    np.testing.assert_allclose(found, expected(term, **given()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
def test_sums_on_devices(term: str, device: Device) -> None:
    (found,) = Runner(text_of(term), device)(**given()).values()
    np.testing.assert_allclose(found, expected(term, **given()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_does_not_count_is_not_looked_at(number: float, device: Device) -> None:
    inputs = given()
    inputs["x"] = np.where(inputs["m"], inputs["x"], np.float32(number))
    for run in (Runner(text_of(CHOSEN), None), Runner(text_of(CHOSEN), device)):
        (found,) = run(**inputs).values()
        np.testing.assert_allclose(found, expected(CHOSEN, **given()), rtol=1e-5, atol=1e-5)


def test_a_sum_of_negative_zeros_that_count_is_0(device: Device) -> None:
    """As it is where 0 is added in place of what does not count."""
    inputs = {**given(), "x": np.full((50, 37), -0.0, np.float32)}
    for run in (Runner(text_of(CHOSEN), None), Runner(text_of(CHOSEN), device)):
        (found,) = run(**inputs).values()
        assert not np.signbit(found).any()
