"""Which outputs a compiled function returns, and which gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled_examples import LABELS, X, classifier, close

import lossc


def test_chosen_outputs_need_only_what_reaches_them() -> None:
    g = classifier()
    predict = g.compile(outputs=[g.value("logits")])
    assert list(predict.inputs) == ["x"]
    (logits,) = predict(x=X)
    assert np.array_equal(logits, g.compile()(x=X, labels=LABELS)[1])
    # The same batch may go to every function of a graph.
    assert np.array_equal(predict(x=X, labels=LABELS)[0], logits)


def test_outputs_may_be_named_or_be_any_value() -> None:
    g = classifier()
    doubled = g.value("logits") * 2
    fn = g.compile(outputs={"twice": doubled})
    assert list(fn.outputs) == ["twice"]
    assert np.array_equal(fn(x=X)[0], g.compile(outputs=["logits"])(x=X)[0] * 2)


def test_a_graph_without_outputs_does_not_compile() -> None:
    g = lossc.Graph()
    g.input("x", (2,))
    with pytest.raises(lossc.LirError, match="no outputs"):
        g.compile()


def test_checks_stay_where_their_operands_are_needed_anyway() -> None:
    g = lossc.Graph()
    x, y = g.input("x", (3,)), g.input("y", (3,))
    (x > 0).check(x, code="positive", message="x must be positive")
    (y > 0).check(y, code="positive", message="y must be positive")
    g.set_outputs([x + 1, y + 1])
    only_x = g.compile(outputs=[x + 1])
    assert list(only_x.inputs) == ["x"]
    with pytest.raises(lossc.LirError, match=r"x must be positive: found -1 at row 2"):
        only_x(x=[1, 2, -1])
    assert g.compile(outputs=[x + y])(x=[1, 1, 1], y=[1, 1, 1])[0].tolist() == [2, 2, 2]


def test_a_dimension_that_only_an_unused_input_names_keeps_that_input() -> None:
    body = "  %y = broadcast %x {dims = [], shape = [B]}\n  return %y\n"
    g = lossc.parse(f"func @f(%x: f32[], %n: f32[B]) -> f32[B] {{\n{body}}}\n")
    fn = g.compile()
    assert fn(x=2.0, n=np.zeros(3, "f4"))[0].tolist() == [2, 2, 2]


def test_grad_true_means_the_parameters_that_are_not_frozen() -> None:
    g = classifier()
    assert g.compile(grad=True).gradients == ("fc.weight", "fc.bias")
    g.parameters.freeze("*.bias")
    assert g.compile(grad=True).gradients == ("fc.weight",)
    assert g.compile(grad="fc.bias").gradients == ("fc.bias",)
    g.parameters.freeze("fc.weight")
    with pytest.raises(lossc.LirError, match="all parameters of @classifier are frozen"):
        g.compile(grad=True)
    g.parameters.unfreeze("fc.*")
    assert g.compile(grad=True).gradients == ("fc.weight", "fc.bias")


def test_without_parameters_grad_true_means_all_float_inputs() -> None:
    g = lossc.Graph()
    x, y = g.input("x", (None, 3)), g.input("y", (None,), "i64")
    w = g.input("w", (3,))
    g.set_outputs([g.cross_entropy_loss(x, y, w)])
    assert g.compile(grad=True).gradients == ("x", "w")
    assert g.compile(grad=[w]).gradients == ("w",)


def test_of_differentiates_the_sum_of_another_value() -> None:
    g = classifier()
    fn = g.compile(grad=["fc.bias"], of="logits")
    (_, logits), gradients = fn(x=X, labels=LABELS)
    assert gradients["fc.bias"].tolist() == [5, 5, 5]
    hidden = g.value("logits") * g.value("logits")
    outputs, gradients = g.compile(outputs=["loss"], grad=["fc.bias"], of=hidden)(x=X, labels=LABELS)
    assert len(outputs) == 1
    assert close(gradients["fc.bias"], 2 * logits.astype(float).sum(0))


def test_an_upstream_gradient_is_one_more_input() -> None:
    g = classifier(reduction="none")
    upstream = np.random.default_rng(1).standard_normal(5).astype("f4")
    fn = g.compile(grad=["x"], of="loss", upstream=True)
    assert list(fn.inputs) == ["x", "labels", "grad_loss"]
    _, gradients = fn(x=X, labels=LABELS, grad_loss=upstream)
    parts = []
    for row in range(5):
        one = np.zeros(5, "f4")
        one[row] = upstream[row]
        parts.append(fn(x=X, labels=LABELS, grad_loss=one)[1]["x"])
    assert close(gradients["x"], np.sum(parts, axis=0))


def test_a_gradient_may_be_a_value_of_the_graph() -> None:
    g = lossc.Graph()
    x = g.input("x", (3,))
    slope = g.grad((x**3).sum(), x)
    g.set_outputs({"penalty": (slope * slope).sum()})
    (penalty,), gradients = g.compile(grad=["x"])(x=[1, 2, -1])
    assert penalty == pytest.approx(9 * (1 + 16 + 1))
    assert gradients["x"] == pytest.approx([36, 288, -36])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grad": ["fc.wieght"]}, "did you mean `fc.weight`"),
        ({"grad": ["labels"]}, "only floats have gradients"),
        ({"grad": 3}, "grad is True or a list of names"),
        ({"grad": []}, "no input is named"),
        ({"of": "loss"}, "they need grad"),
        ({"grad": True, "of": "los"}, "no value is called `los`"),
        ({"outputs": ["logits"], "grad": True}, "a gradient is that of one number"),
        ({"device": 1.5}, "expected a device"),
        ({"strategy": "row-itm"}, "did you mean"),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        classifier().compile(**options)
