"""Numbers as operands of LIR text, checks without a message, and messages that show both shapes."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import run

import lossc
from lossc.ir.diagnostics import CheckFailed, LirError
from lossc.ir.parser import parse
from lossc.ir.printer import print_module
from lossc.runtime.device import Device

HEAD = "func @f(%x: f32[5, 4], %t: f32[5, 4], %c: bool[5, 4], %s: f32[5]) -> f32[1] {\n  "
END = "\n  return %l\n}\n"


@pytest.mark.parametrize(
    ("number", "attribute"),
    [
        ("huber_loss %x, %t, 0.5", "huber_loss %x, %t {delta = 0.5}"),
        ("huber_loss %x, %t, 2", "huber_loss %x, %t {delta = 2.0}"),
        ("distillation_loss %x, %t, temperature = 2.0", "distillation_loss %x, %t {temperature = 2.0}"),
        ("triplet_loss %x, %t, %t, 0.5", "triplet_loss %x, %t, %t {margin = 0.5}"),
    ],
)
def test_a_number_where_an_attribute_may_stand(number: str, attribute: str):
    printed = [print_module(parse(f"{HEAD}%l = {text}{END}")) for text in (number, attribute)]
    assert printed[0] == printed[1]
    assert print_module(parse(printed[0])) == printed[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("huber_loss %x, %t, 0.5 {delta = 2.0}", "is given `delta` twice"),
        ("huber_loss %x, %t, true", "attribute `delta` of `huber_loss` takes a number, found true"),
        ("huber_loss %x, %t, -1.0", "delta must be positive"),
        ("huber_loss %x, %t, 1.0, 2.0", "takes the operands"),
    ],
)
def test_a_number_that_does_not_fit_there(text: str, message: str):
    with pytest.raises(LirError, match=message):
        parse(f"{HEAD}%l = {text}{END}")


def test_select_between_two_numbers(device: Device):
    text = "func @f(%c: bool[5]) -> f32[5] {\n  %l = select %c, 1.5, -2\n  return %l\n}\n"
    given = np.array([True, False, True, True, False])
    np.testing.assert_array_equal(run(text, device, c=given)["l"], np.where(given, 1.5, -2))


def test_a_check_without_a_message(device: Device):
    text = """func @f(%x: f32[5]) -> f32[5] {
      %ok = gt %x, 0.0
      check %ok, %x {code = "sign"}
      %l = log %x
      return %l
    }"""
    assert print_module(parse(print_module(parse(text)))) == print_module(parse(text))
    with pytest.raises(CheckFailed, match="a check does not hold: sign: found -3 at row 2"):
        run(text, device, x=np.array([1, 2, -3, 4, 5], "f4"))


def test_a_number_to_the_power_of_a_value():
    graph = lossc.Graph()
    graph.set_outputs([2 ** graph.input("a", (3,))])
    (found,) = graph.compile()(a=np.array([0, 1, 2.5], "f4"))
    np.testing.assert_allclose(found, [1, 2, 2**2.5], rtol=1e-6)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "bce_loss", "bce_with_logits_loss"])
def test_a_weight_that_does_not_fit_is_shown_with_what_it_weighs(name: str):
    graph = lossc.Graph()
    x, t, w = graph.input("x", (6, 4)), graph.input("t", (6, 4)), graph.input("w", (3,))
    with pytest.raises(LirError, match=r"`weight` of type f32\[3\] does not repeat to the shape \[6, 4\]"):
        getattr(graph, name)(x, t, w)


def test_pos_weight_that_does_not_fit():
    graph = lossc.Graph()
    x, t, w = graph.input("x", (6, 4)), graph.input("t", (6, 4)), graph.input("w", (3,))
    with pytest.raises(LirError, match=r"`pos_weight` of type f32\[3\] does not repeat to the shape \[6, 4\]"):
        graph.bce_with_logits_loss(x, t, pos_weight=w)


def test_shapes_are_shown_as_they_were_given():
    graph = lossc.Graph()
    x, y, t = graph.input("x", (3, 4)), graph.input("y", (3, 4)), graph.input("t", (4,))
    with pytest.raises(LirError, match=r"found f32\[4\]"):
        graph.cosine_embedding_loss(x, y, t)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("budget", [None, 1024])
def test_ignored_rows_of_linear_cross_entropy_hold_anything(device: Device, bad: float, budget: int | None):
    random = np.random.default_rng(2)
    hidden, weight = random.normal(size=(40, 6)).astype("f4"), random.normal(size=(9, 6)).astype("f4")
    target = random.integers(0, 9, 40).astype("i4")
    target[[1, 17, 39]] = -100
    graph = lossc.Graph()
    h, w, t = graph.input("h", (None, 6)), graph.input("w", (9, 6)), graph.input("t", (None,), dtype="i32")
    graph.set_outputs([graph.linear_cross_entropy_loss(h, w, t, ignore_index=-100, memory_budget=budget)])
    call = graph.compile(grad=["h", "w"], device=device)
    (expected,), wanted = call(h=hidden, w=weight, t=target)
    hidden[[1, 17, 39]] = bad
    (loss,), found = call(h=hidden, w=weight, t=target)
    np.testing.assert_array_equal(loss, expected)
    for name in ("h", "w"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert not found["h"][[1, 17, 39]].any()
