"""Random inputs lie where the program wants them."""

from __future__ import annotations

import numpy as np
import pytest

from lossc.cli.random_inputs import bounds_of_inputs, random_array
from lossc.ir.diagnostics import LirError
from lossc.ir.parser import parse

SIZES = {"B": 500, "C": 7}


def drawn(inputs: str, body: str) -> dict[str, np.ndarray]:
    """Random arrays for the inputs of a function that only checks them."""
    module = parse(f"func @f({inputs}) -> () {{\n{body}\n  return\n}}")
    bounds = bounds_of_inputs(module, SIZES)
    return {value.name: random_array(value, bounds[value.name], SIZES, 1)[0] for value in module.entry.inputs}


def test_labels_lie_in_the_classes() -> None:
    text = """
  %a = cross_entropy_loss %x, %fixed
  %b = nll_loss %y, %named {ignore_index = -100}"""
    arrays = drawn("%x: f32[B, 10], %fixed: i64[B], %y: f32[B, C], %named: i8[B]", text)
    assert set(arrays["fixed"]) == set(range(10))
    assert set(arrays["named"]) == set(range(7))
    assert arrays["named"].dtype == np.int8
    assert arrays["x"].dtype == np.float32
    assert 0.9 < arrays["x"].std() < 1.1


def test_labels_that_are_a_slice_lie_in_the_classes() -> None:
    text = """
  %last = slice %tokens {axis = 1, start = -1}
  %labels = reshape %last {shape = [B]}
  %a = cross_entropy_loss %x, %labels"""
    assert set(drawn("%x: f32[B, 10], %tokens: i32[B, 3]", text)["tokens"].ravel()) == set(range(10))


def test_probabilities_lie_in_their_range() -> None:
    arrays = drawn("%p: f32[B], %t: f32[B]", "  %loss = bce_loss %p, %t")
    assert arrays["p"].min() >= 0
    assert arrays["p"].max() <= 1
    assert arrays["p"].max() - arrays["p"].min() > 0.9


@pytest.mark.parametrize(
    ("check", "low", "high"),
    [
        ("%a = ge %n, 3\n  %b = lt %n, 6\n  %ok = and %a, %b", 3, 5),
        ("%a = gt %n, 3\n  %b = le %n, 6\n  %ok = and %a, %b", 4, 6),
        ("%a = lt %n, 3\n  %b = gt %n, 6\n  %c = or %a, %b\n  %ok = not %c", 3, 6),
        ("%c = constant {value = 4, dtype = i32, shape = [B]}\n  %ok = ge %c, %n", 0, 4),
    ],
)
def test_integers_lie_where_a_check_wants_them(check: str, low: int, high: int) -> None:
    arrays = drawn("%n: i32[B]", f'  {check}\n  check %ok {{code = "range", message = "out of range"}}')
    assert (arrays["n"].min(), arrays["n"].max()) == (low, high)


def test_floats_above_and_below_a_limit() -> None:
    text = """
  %above = gt %v, 2.0
  check %above {code = "range", message = "too small"}
  %below = le %w, -1.0
  check %below {code = "range", message = "too large"}"""
    arrays = drawn("%v: f32[B], %w: f32[B]", text)
    assert arrays["v"].min() >= 2
    assert arrays["v"].max() > 3
    assert arrays["w"].max() <= -1


def test_truth_values_and_indices() -> None:
    arrays = drawn("%x: f32[B, 5], %i: i32[B], %t: bool[B]", "  %y = gather %x, %i {axis = 1}")
    assert set(arrays["i"]) == set(range(5))
    assert set(arrays["t"]) == {False, True}


def test_truth_values_that_a_check_wants() -> None:
    text = """
  check %yes {code = "yes", message = "must hold"}
  %not = not %no
  check %not {code = "no", message = "must not hold"}"""
    arrays = drawn("%yes: bool[B], %no: bool[B]", text)
    assert arrays["yes"].all()
    assert not arrays["no"].any()


def test_checks_that_leave_nothing() -> None:
    text = """
  %a = gt %v, 1.0
  check %a {code = "a", message = "too small"}
  %b = lt %v, 0.0
  check %b {code = "b", message = "too large"}"""
    with pytest.raises(LirError, match="seem to leave no value for `v`"):
        drawn("%v: f32[B]", text)


def test_integers_without_any_bound_must_be_given() -> None:
    with pytest.raises(LirError, match="nothing in the program says which values `n`") as caught:
        drawn("%n: i32[B]", "  %m = add %n, %n")
    assert caught.value.diagnostics[0].span is not None
