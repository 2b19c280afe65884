"""Graphs that call functions, and graphs made of modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossc


def test_a_graph_is_a_function_of_another() -> None:
    inner = lossc.Graph("scaled")
    inner.set_outputs({"twice": inner.input("v", ("N",)) * 2})
    g = lossc.Graph()
    first, second = g.input("x", (3,)), g.input("y", (5,))
    g.set_outputs([g.call(inner, first), g.call(inner, second)])  # type: ignore[list-item]
    text = str(g)
    assert text.count("func @scaled") == 1
    fn = g.compile()
    found = fn(x=np.ones(3, "f4"), y=np.ones(5, "f4"))
    assert [array.tolist() for array in found] == [[2.0] * 3, [2.0] * 5]


def test_two_functions_of_one_name_are_refused() -> None:
    inner, other, g = lossc.Graph("same"), lossc.Graph("same"), lossc.Graph()
    inner.set_outputs([inner.input("v", ("N",)) * 2])
    other.set_outputs([other.input("v", ("N",)) * 3])
    x = g.input("x", (3,))
    g.call(inner, x)
    with pytest.raises(lossc.LirError, match="there is a function @same already"):
        g.call(other, x)


@pytest.mark.parametrize("other", ["func @f() {}", lossc.Graph(), None])
def test_a_graph_is_made_from_modules_alone(other: Any) -> None:
    with pytest.raises(lossc.LirError, match=r"expected a Module, found \w+\n.*lossc.parse\(text\)"):
        lossc.Graph.from_module(other)
