"""Losses and their gradients beside torch in float64: every loss, reduction and option, every float operand."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import INTERPRETER, REDUCTIONS, execute, labels_by_hand, torch
from beside_torch import agree_in_order as agree
from functions import build, op

from lossc.compiler.gradient import request_gradients

F = torch.nn.functional


def weigh(values, w, reduction):
    """The weight of binary losses, which torch does not differentiate by it."""
    values = values if w is None else values * w
    return {"none": values, "sum": values.sum(), "mean": values.mean()}[reduction]


SHAPES = {
    "rows": ("f64[N, C]", "i64[N]", (5, 4), (5,)),
    "static": ("f64[5, 4]", "i32[5]", (5, 4), (5,)),
    "pixels": ("f64[N, C, H, W]", "i64[N, H, W]", (2, 4, 3, 2), (2, 3, 2)),
    "one": ("f64[4]", "i64[]", (4,), ()),
}


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("ignore", "smoothing"), [(None, 0.0), (None, 0.1), (-100, 0.0), (2, 0.1), (2, 1.0)])
def test_cross_entropy_of_labels(shape, weighted, ignore, smoothing, reduction, pipeline):
    x_type, t_type, x_shape, t_shape = SHAPES[shape]
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, t_shape)
    if ignore is not None and t_shape:
        labels.reshape(-1)[1] = ignore
    inputs, arrays = {"x": x_type, "t": t_type}, {"x": random.standard_normal(x_shape) * 3, "t": labels}
    if weighted:
        size = "C" if "C" in x_type else "4"
        inputs, arrays = {**inputs, "w": f"f64[{size}]"}, {**arrays, "w": random.uniform(0.2, 2, 4)}

    def reference(x, t, w=None):
        index = -100 if ignore is None else ignore
        log_probs = F.log_softmax(x, min(1, x.ndim - 1))
        theirs = F.cross_entropy(x, t, None if w is None else w.detach(), reduction=reduction,
                                 label_smoothing=smoothing, ignore_index=index)  # fmt: skip
        ours = labels_by_hand(log_probs, t, w, index, smoothing, reduction)
        torch.testing.assert_close(theirs, ours)
        return ours

    agree("cross_entropy_loss", inputs, arrays, reference, pipeline, reduction=reduction, label_smoothing=smoothing,
          ignore_index=ignore)  # fmt: skip


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_distributions(shape, weighted, smoothing, reduction, pipeline):
    x_type, _, x_shape, _ = SHAPES[shape]
    random = np.random.default_rng(2)
    inputs = {"x": x_type, "t": x_type}
    arrays = {"x": random.standard_normal(x_shape) * 3, "t": random.uniform(0, 1, x_shape)}
    if weighted:
        size = "C" if "C" in x_type else "4"
        inputs, arrays = {**inputs, "w": f"f64[{size}]"}, {**arrays, "w": random.uniform(0.2, 2, 4)}

    def reference(x, t, w=None):
        return F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=smoothing)

    agree("cross_entropy_loss", inputs, arrays, reference, pipeline, reduction=reduction, label_smoothing=smoothing)


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [None, 2])
@pytest.mark.parametrize("softmax_first", [False, True])
def test_nll(weighted, ignore, softmax_first, reduction, pipeline):
    random = np.random.default_rng(3)
    inputs, arrays = (
        {"x": "f64[N, C]", "t": "i64[N]"},
        {"x": random.standard_normal((6, 4)), "t": random.integers(0, 4, 6)},
    )
    if weighted:
        inputs, arrays = {**inputs, "w": "f64[C]"}, {**arrays, "w": random.uniform(0.2, 2, 4)}
    attributes = {"reduction": reduction, "ignore_index": ignore}

    def reference(x, t, w=None):
        log_probs = F.log_softmax(x, 1) if softmax_first else x
        return labels_by_hand(log_probs, t, w, -100 if ignore is None else ignore, 0.0, reduction)

    if not softmax_first:
        agree("nll_loss", inputs, arrays, reference, pipeline, **attributes)
        return
    function = build(inputs, lambda x, *rest: op("nll_loss", op("log_softmax", x, axis=1), *rest, **attributes))
    found = execute(request_gradients(function, ["x"], of=0), arrays, pipeline)
    tensors = {key: torch.tensor(array, requires_grad=key == "x") for key, array in arrays.items()}
    expected = reference(*tensors.values())
    np.testing.assert_allclose(found[0].reshape(expected.shape), expected.detach(), rtol=1e-6)
    wanted = torch.autograd.grad(expected.sum(), tensors["x"])[0]
    np.testing.assert_allclose(found[1], wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("operands", ["xt", "xtw", "xtwp"])
def test_bce_with_logits(operands, reduction, pipeline):
    random = np.random.default_rng(4)
    inputs = {"x": "f64[N, 3]", "t": "f64[N, 3]", "w": "f64[N, 3]", "p": "f64[3]"}
    arrays = {"x": random.standard_normal((5, 3)) * 4, "t": random.uniform(0, 1, (5, 3)),
              "w": random.uniform(0, 2, (5, 3)), "p": random.uniform(0.5, 3, 3)}  # fmt: skip
    arrays["x"][0] = 0

    def reference(x, t, w=None, p=None):
        theirs = F.binary_cross_entropy_with_logits(
            x, t, reduction="none", pos_weight=None if p is None else p.detach()
        )
        # torch does not differentiate by pos_weight.
        ours = -((1 if p is None else p) * t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))
        torch.testing.assert_close(theirs, ours)
        return weigh(ours, w, reduction)

    agree("bce_with_logits_loss", {key: inputs[key] for key in operands}, {key: arrays[key] for key in operands},
          reference, pipeline, reduction=reduction)  # fmt: skip


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("operands", ["xt", "xtw"])
def test_bce(operands, reduction, pipeline):
    random = np.random.default_rng(5)
    inputs = {"x": "f64[N, 3]", "t": "f64[N, 3]", "w": "f64[N, 3]"}
    arrays = {"x": random.uniform(0, 1, (5, 3)), "t": random.uniform(0, 1, (5, 3)), "w": random.uniform(0, 2, (5, 3))}

    def reference(x, t, w=None):
        return weigh(F.binary_cross_entropy(x, t, reduction="none"), w, reduction)

    agree("bce_loss", {key: inputs[key] for key in operands}, {key: arrays[key] for key in operands}, reference,
          pipeline, reduction=reduction)  # fmt: skip


@pytest.mark.parametrize("pipeline", INTERPRETER)
def test_bce_where_its_logarithms_are_clamped(pipeline):
    arrays = {"x": np.array([0, 0, 1, 1, 1e-50, 0.5]), "t": np.array([0, 1, 0, 1, 0.5, 0.5])}
    function = build({"x": "f64[N]", "t": "f64[N]"}, lambda x, t: op("bce_loss", x, t, reduction="none"))
    found = execute(request_gradients(function, ["x"], of=0), arrays, pipeline)
    x, t = torch.tensor(arrays["x"], requires_grad=True), torch.tensor(arrays["t"])
    expected = F.binary_cross_entropy(x, t, reduction="none")
    np.testing.assert_allclose(found[0], expected.detach(), rtol=1e-12)
    # The limit 1e-12 is an f32 in torch.
    np.testing.assert_allclose(found[1], torch.autograd.grad(expected.sum(), x)[0], rtol=1e-8)


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "reference"), [("mse_loss", F.mse_loss), ("l1_loss", F.l1_loss)])
def test_regression(name, reference, reduction, pipeline):
    random = np.random.default_rng(6)
    arrays = {"x": random.standard_normal((5, 3)), "t": random.standard_normal((5, 3))}
    arrays["x"][0] = arrays["t"][0]
    agree(name, {"x": "f64[N, 3]", "t": "f64[N, 3]"}, arrays, lambda x, t: reference(x, t, reduction=reduction),
          pipeline, reduction=reduction)  # fmt: skip


@pytest.mark.parametrize("pipeline", INTERPRETER)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, axis, pipeline):
    arrays = {"x": np.random.default_rng(7).standard_normal((4, 5, 3)) * 5, "t": np.zeros(4)}

    def body(x, t):
        return op(name, x, axis=axis)

    function = build({"x": "f64[N, 5, 3]", "t": "f64[N]"}, body)
    asked = request_gradients(function, ["x"], upstream=True)
    x = torch.tensor(arrays["x"], requires_grad=True)
    expected = getattr(F, name)(x, axis)
    upstream = np.random.default_rng(8).standard_normal((4, 5, 3))
    found = execute(asked, {**arrays, asked.inputs[-1].name: upstream}, pipeline)
    np.testing.assert_allclose(found[0], expected.detach(), rtol=1e-9)
    np.testing.assert_allclose(
        found[1], torch.autograd.grad(expected, x, torch.tensor(upstream))[0], rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize("pipeline", INTERPRETER)
def test_multilayer_perceptron(pipeline):
    random = np.random.default_rng(9)
    inputs = {"x": "f64[B, 7]", "w1": "f64[5, 7]", "b1": "f64[5]", "w2": "f64[3, 5]", "b2": "f64[3]", "t": "i32[B]"}
    shapes = {"x": (6, 7), "w1": (5, 7), "b1": (5,), "w2": (3, 5), "b2": (3,)}
    arrays = {key: random.standard_normal(shape) for key, shape in shapes.items()}
    arrays["t"] = random.integers(0, 3, 6)

    def body(x, w1, b1, w2, b2, t):
        hidden = op("relu", op("linear", x, w1, b1))
        return op("cross_entropy_loss", op("linear", hidden, w2, b2), t, label_smoothing=0.1)

    function = build(inputs, body)
    names = ["x", "w1", "b1", "w2", "b2"]
    found = execute(request_gradients(function, names), arrays, pipeline)
    x, w1, b1, w2, b2 = (torch.tensor(arrays[key], requires_grad=True) for key in names)
    loss = F.cross_entropy(
        F.linear(F.relu(F.linear(x, w1, b1)), w2, b2), torch.tensor(arrays["t"]), label_smoothing=0.1
    )
    np.testing.assert_allclose(found[0][0], loss.item(), rtol=1e-9)
    for key, gradient, wanted in zip(names, found[1:], torch.autograd.grad(loss, (x, w1, b1, w2, b2))):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-7, atol=1e-12, err_msg=key)
