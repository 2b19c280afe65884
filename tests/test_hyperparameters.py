"""Margins, widths and temperatures: numbers in the program, or values that are given to it at every call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossc
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Op
from lossc.runtime import build

SHAPES: dict[str, tuple[tuple[int | None, ...], ...]] = {
    "huber_loss": ((None, 5), (None, 5)),
    "smooth_l1_loss": ((None, 5), (None, 5)),
    "hinge_embedding_loss": ((None, 5), (None, 5)),
    "cosine_embedding_loss": ((None, 5), (None, 5), (None,)),
    "triplet_loss": ((None, 5), (None, 5), (None, 5)),
    "distillation_loss": ((None, 5), (None, 5)),
    "info_nce_loss": ((None, 5), (None, 5)),
}
PARAMETERS = {"huber_loss": "delta", "smooth_l1_loss": "beta", "distillation_loss": "temperature",
              "info_nce_loss": "temperature"}  # fmt: skip


def graph_of(loss: str, given: Any) -> lossc.Graph:
    """A graph of the loss; `given` is a number, or the shape of an input for the parameter."""
    g = lossc.Graph()
    operands = [g.input(f"x{index}", shape) for index, shape in enumerate(SHAPES[loss])]
    parameter = g.input("p", given) if isinstance(given, tuple) else given
    g.set_outputs([getattr(g, loss)(*operands, **{PARAMETERS.get(loss, "margin"): parameter})])
    return g


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("loss", SHAPES)
def test_annealing_is_one_program(loss: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    arrays = {f"x{i}": random.choice([-1.0, 1, 0.3], [4 if d is None else d for d in dims]).astype(np.float32)
              for i, dims in enumerate(SHAPES[loss])}  # fmt: skip
    annealed = graph_of(loss, shape).compile(grad=["x0"])
    annealed(**arrays, p=np.full(shape, 1.0, np.float32))
    expected = {p: graph_of(loss, p).compile(grad=["x0"])(**arrays) for p in (0.25, 0.7)}

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(build, "_from_disk_or_source", refuse)
    for p, (outputs, gradients) in expected.items():
        found, by = annealed(**arrays, p=np.full(shape, p, np.float32))
        np.testing.assert_allclose(found[0], outputs[0], rtol=1e-6)
        np.testing.assert_allclose(by["x0"], gradients["x0"], rtol=1e-5, atol=1e-7)


def test_a_number_is_an_attribute_and_a_value_an_operand() -> None:
    def call_of(graph: lossc.Graph) -> Op:
        return next(op for op in graph.to_module().entry.ops if op.name == "huber_loss")

    number, value = call_of(graph_of("huber_loss", 0.5)), call_of(graph_of("huber_loss", ()))
    assert (len(number.operands), number.attributes["delta"]) == (2, 0.5)
    assert [operand.name for operand in value.operands] == ["x0", "x1", "p"]


def test_not_one_number() -> None:
    with pytest.raises(LirError, match=r"`delta` is one number, of shape \[\] or \[1\]"):
        graph_of("huber_loss", (5,))


def test_a_number_without_a_meaning() -> None:
    with pytest.raises(LirError, match="delta must be positive"):
        graph_of("huber_loss", -1.0)


@pytest.mark.parametrize("loss", SHAPES)
def test_samples_have_weights(loss: str) -> None:
    """The mean of a loss is the average of its unreduced values, by the weights of the samples."""
    g = lossc.Graph()
    operands = [g.input(f"x{index}", shape) for index, shape in enumerate(SHAPES[loss])]
    weight = g.input("w", (None,))
    each = getattr(g, loss)(*operands, reduction="none")
    g.set_outputs([getattr(g, loss)(*operands, sample_weight=weight), each])
    random = np.random.default_rng(2)
    arrays = {f"x{i}": random.normal(size=[6 if d is None else d for d in dims]).astype(np.float32)
              for i, dims in enumerate(SHAPES[loss])}  # fmt: skip
    w = np.array([0, 1, 2, 0.5, 0, 3], np.float32)
    mean, values = g.compile()(**arrays, w=w)
    spread = np.broadcast_to(w.reshape((-1,) + (1,) * (values.ndim - 1)), values.shape)
    np.testing.assert_allclose(mean, [(values * spread).sum() / spread.sum()], rtol=1e-5)
