"""What the pipeline `prepare` leaves of losses: the work at each grain, and the values at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from functions import build, evaluate, op, passes

from lossc.compiler.gradient import request_gradients
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Function, Value
from lossc.ir.tensor import Tensor

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Work:
    """What a prepared function does at every element: passes over a row, operations by name, exponentials."""

    stages: int
    reductions: int
    exps: int
    operations: Mapping[str, int]


def work_of(function: Function, shape: tuple) -> Work:
    """Count the work at values of `shape`. An exponential counts once for each pass over the row that needs it."""
    stage: dict[Value, int] = dict.fromkeys(function.inputs, 0)
    counts: dict[str, int] = {}
    reductions = 0
    for op_ in function.ops:
        level = max((stage[operand] for operand in op_.operands), default=0)
        if op_.name.startswith("reduce_") and op_.operands[0].type.shape == shape and op_.result.type.rank:
            level += 1
            reductions += 1
        for result in op_.results:
            stage[result] = level
            if result.type.shape == shape and op_.name not in ("broadcast", "constant", "iota"):
                counts[op_.name] = counts.get(op_.name, 0) + 1
    needed: dict[Value, set[int]] = {value: set() for value in stage}
    for value in function.outputs:
        needed[value].add(stage[value])
    for op_ in reversed(function.ops):
        for operand in op_.operands:
            if op_.name.startswith("reduce_"):
                needed[operand].add(stage[operand])
            elif operand.type.shape == shape and op_.results and op_.result.type.shape == shape:
                needed[operand] |= needed[op_.result]
    exps = sum(len(needed[o.result]) for o in function.ops if o.name == "exp" and o.result.type.shape == shape)
    last = max((stage[value] for value in function.outputs if value.type.shape == shape), default=0)
    return Work(last + 1, reductions, exps, counts)


def prepared(inputs: Mapping[str, str], body: Callable[..., Tensor], *wrt: str) -> Function:
    return passes(request_gradients(build(inputs, body), list(wrt or ["x"])), ("prepare",))


# --- cross-entropy: three passes, two exponentials, no division at an element -----------------------------------

TYPES = {
    "static": ("f32[64, 10]", "i32[64]", "f32[10]"),
    "named": ("f32[N, C]", "i64[N]", "f32[C]"),
    "pixels": ("f32[N, C, H, W]", "u8[N, H, W]", "f32[C]"),
}
OPTIONS = {
    "plain": {},
    "ignore": {"ignore_index": -100},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "zero": {"ignore_index": 0, "empty": "zero"},
}


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_labels(types, options, weighted):
    x, t, w = TYPES[types]
    inputs = {"x": x, "t": t} | ({"w": w} if weighted else {})
    function = prepared(inputs, lambda *tensors: op("cross_entropy_loss", *tensors, **OPTIONS[options]).sum())
    work = work_of(function, function.inputs[0].type.shape)
    # -100 is no u8: there is nothing to mask.
    masks = options == "zero" or (options == "ignore" and types != "pixels")
    assert (work.stages, work.reductions, work.exps) == (3, 2, 2)
    assert work.operations == {"sub": 1, "exp": 1, "mul": 1, "add": 1, "eq": 1, "select": 1 + masks}


@pytest.mark.parametrize("types", TYPES)
def test_cross_entropy_with_smoothing(types):
    x, t, _ = TYPES[types]
    function = prepared({"x": x, "t": t}, lambda x, t: op("cross_entropy_loss", x, t, label_smoothing=0.1))
    work = work_of(function, function.inputs[0].type.shape)
    assert (work.stages, work.reductions, work.exps) == (3, 3, 2)
    # The class of the label and the rest of the smoothing are taken off one after the other; a constant is added.
    terms = {"sub": 1, "add": 2} if types == "static" else {"sub": 2, "add": 1}
    assert work.operations == {**terms, "exp": 1, "mul": 1, "eq": 1, "select": 1}


@pytest.mark.parametrize("types", TYPES)
def test_cross_entropy_of_distributions(types):
    x = TYPES[types][0]
    function = prepared({"x": x, "t": x}, lambda x, t: op("cross_entropy_loss", x, t))
    work = work_of(function, function.inputs[0].type.shape)
    assert (work.stages, work.reductions, work.exps) == (3, 4, 2)
    # loss: x - max, exp, 0 * log 0 (two comparisons, and, select), t * log p; gradient: two products and a sum
    assert work.operations == {"sub": 1, "exp": 1, "eq": 2, "and": 1, "select": 1, "mul": 3, "add": 1}


def log_probs(x: Tensor) -> Tensor:
    return (x.exp() / x.exp().sum(1).insert_axis(1, x.shape[1])).log()


def one_hot(x: Tensor, t: Tensor) -> Tensor:
    return (x.iota(1, "i32") == t.insert_axis(1, x.shape[1])).cast("f32")


def own_shift(x: Tensor) -> Tensor:
    shifted = x - x.amax(1, keepdims=True)
    return shifted - shifted.exp().sum(1, keepdims=True).log()


def own_logsumexp(x: Tensor) -> Tensor:
    largest = x.amax(1)
    return (x - largest.insert_axis(1, x.shape[1])).exp().sum(1).log() + largest


def own_softmax(x: Tensor) -> Tensor:
    e = x.exp()
    return e * (1 / e.sum(1)).insert_axis(1, x.shape[1])


BY_HAND: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "composite": lambda x, t: op("cross_entropy_loss", x, t),
    "log_softmax, nll": lambda x, t: op("nll_loss", op("log_softmax", x), t),
    "log of softmax, nll": lambda x, t: op("nll_loss", op("softmax", x).log(), t),
    "log_softmax, gather": lambda x, t: -op("log_softmax", x).gather(t, 1).mean(),
    "log(exp / sum exp), gather": lambda x, t: (-log_probs(x).gather(t, 1)).mean(),
    "softmax, gather, log": lambda x, t: -op("softmax", x).gather(t, 1).log().mean(),
    "exp * (1 / sum exp), gather, log": lambda x, t: -own_softmax(x).gather(t, 1).log().mean(),
    "own maximum": lambda x, t: -own_shift(x).gather(t, 1).mean(),
    "own logsumexp": lambda x, t: (own_logsumexp(x) - x.gather(t, 1)).mean(),
    "log(sum(exp)) without a maximum": lambda x, t: (x.exp().sum(1).log() - x.gather(t, 1)).mean(),
    "one-hot product": lambda x, t: -(one_hot(x, t) * op("softmax", x).log()).sum(1).mean(),
    "one-hot select": lambda x, t: -(one_hot(x, t) != 0).select(own_shift(x), 0).sum(1).mean(),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_spelled_out_cross_entropy_is_cross_entropy(name):
    function = prepared({"x": "f32[N, C]", "t": "i32[N]"}, BY_HAND[name])
    work = work_of(function, function.inputs[0].type.shape)
    assert (work.stages, work.reductions, work.exps) == (3, 2, 2)
    assert work.operations == {"sub": 1, "exp": 1, "mul": 1, "add": 1, "eq": 1, "select": 1}
    x, t = np.random.default_rng(0).standard_normal((5, 4)) * 900, np.array([0, 1, 2, 3, 1])
    loss, gradient = evaluate(function, {"x": x, "t": t})
    e = np.exp(x - x.max(1, keepdims=True))
    log_p = x - x.max(1, keepdims=True) - np.log(e.sum(1, keepdims=True))
    np.testing.assert_allclose(loss.item(), -log_p[range(5), t].mean(), rtol=1e-9)
    np.testing.assert_allclose(gradient, (np.exp(log_p) - np.eye(4)[t]) / 5, rtol=1e-9, atol=1e-12)


def test_softmax_divides_once_a_row():
    function = build({"x": "f32[N, C]"}, lambda x: op("softmax", x))
    asked = passes(request_gradients(function, ["x"], upstream=True), ("prepare",))
    work = work_of(asked, function.inputs[0].type.shape)
    assert (work.stages, work.reductions, work.exps) == (3, 3, 2)
    assert "div" not in work.operations


# --- elementwise losses: one exponential ------------------------------------------------------------------------


def operations_of(name: str, *operands: str, **attributes) -> dict[str, int]:
    inputs = dict.fromkeys(operands, "f32[N]")
    function = prepared(inputs, lambda *tensors: op(name, *tensors, **attributes))
    return dict(work_of(function, function.inputs[0].type.shape).operations)


def test_bce_with_logits():
    # loss: max(x, 0) + log1p(e) - x t; gradient: (select(x >= 0, r, e r) - t) / N with r = 1 / (1 + e)
    assert operations_of("bce_with_logits_loss", "x", "t") == {
        "abs": 1, "neg": 1, "exp": 1, "log1p": 1, "max": 1,
        "add": 2, "mul": 3, "sub": 2, "ge": 1, "select": 1, "div": 1,
    }  # fmt: skip


def test_bce_with_logits_and_weights():
    operations = operations_of("bce_with_logits_loss", "x", "t", "w", "p")
    assert operations["exp"] == operations["log1p"] == operations["div"] == 1
    assert sum(operations.values()) <= 25


def test_bce_of_sigmoid_is_bce_with_logits():
    function = prepared({"x": "f32[N]", "t": "f32[N]"}, lambda x, t: op("bce_loss", x.sigmoid(), t))
    work = work_of(function, function.inputs[0].type.shape)
    assert work.operations == operations_of("bce_with_logits_loss", "x", "t")
    assert not any(o.name == "check" for o in function.ops)


def test_regression():
    assert operations_of("mse_loss", "x", "t") == {"sub": 1, "mul": 2}
    assert operations_of("mse_loss", "x", "t", "w") == {"sub": 1, "mul": 4}
    assert operations_of("l1_loss", "x", "t") == {"sub": 1, "abs": 1, "sign": 1, "mul": 1}


def test_multilayer_perceptron_has_five_matrix_products():
    inputs = {"x": "f32[B, 7]", "w1": "f32[5, 7]", "b1": "f32[5]", "w2": "f32[3, 5]", "b2": "f32[3]", "t": "i32[B]"}

    def body(x, w1, b1, w2, b2, t):
        return op("cross_entropy_loss", op("linear", op("relu", op("linear", x, w1, b1)), w2, b2), t)

    function = prepared(inputs, body, "w1", "b1", "w2", "b2")
    assert sum(o.name == "matmul" for o in function.ops) == 5
    assert not any(o.name in ("transpose", "div") and o.result.type.rank > 1 for o in function.ops)


# --- values at the edges ------------------------------------------------------------------------------------------


def cross_entropy_at(x, t, **attributes):
    """Loss, and gradient by x, of the prepared function."""
    x, t = np.array(x, float), np.array(t)
    t_type = f"f32[N, {x.shape[1]}]" if t.ndim == 2 else "i64[N]"
    function = prepared({"x": f"f32[N, {x.shape[1]}]", "t": t_type},
                        lambda x, t: op("cross_entropy_loss", x, t, **attributes).sum())  # fmt: skip
    loss, gradient = evaluate(function, {"x": x, "t": t})
    return float(loss), gradient


def test_large_logits():
    loss, gradient = cross_entropy_at([[1e4, -1e4], [1e4, 1e4]], [1, 0], reduction="sum")
    assert loss == pytest.approx(2e4 + math.log(2))
    np.testing.assert_allclose(gradient, [[1, -1], [-0.5, 0.5]])


def test_masked_logits_have_gradient_zero():
    loss, gradient = cross_entropy_at([[0.0, 0.0, -INF]], [0])
    assert loss == pytest.approx(math.log(2))
    assert gradient.tolist() == [[-0.5, 0.5, 0]]
    loss, gradient = cross_entropy_at([[0.0, 0.0, -INF]], [[1.0, 0.0, 0.0]])
    assert loss == pytest.approx(math.log(2))
    assert gradient.tolist() == [[-0.5, 0.5, 0]]


def test_a_masked_target_is_infinite_with_a_finite_gradient():
    loss, gradient = cross_entropy_at([[0.0, 0.0, -INF]], [2])
    assert loss == INF
    assert gradient.tolist() == [[0.5, 0.5, -1]]


def test_infinite_logits_give_nan():
    for row in ([INF, 0.0], [-INF, -INF], [NAN, 0.0]):
        loss, gradient = cross_entropy_at([row], [0])
        assert math.isnan(loss)
        assert np.isnan(gradient).all()


def test_nan_stays_in_its_row():
    loss, gradient = cross_entropy_at([[NAN, 0.0], [1.0, 1.0]], [0, 1], reduction="sum")
    assert math.isnan(loss)
    assert np.isnan(gradient[0]).all()
    assert gradient[1].tolist() == [0.5, -0.5]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_an_ignored_row_contributes_nothing_whatever_it_holds(smoothing):
    x = [[NAN, 0.0], [1.0, 1.0], [INF, -INF], [-INF, -INF]]
    loss, gradient = cross_entropy_at(x, [-1, 0, -1, -1], ignore_index=-1, label_smoothing=smoothing)
    assert loss == pytest.approx(math.log(2))
    np.testing.assert_allclose(gradient, [[0, 0], [-0.5 + smoothing / 2, 0.5 - smoothing / 2], [0, 0], [0, 0]])


def test_every_row_ignored():
    x, t = [[1.0, 2.0], [3.0, 4.0]], [-1, -1]
    assert math.isnan(cross_entropy_at(x, t, ignore_index=-1)[0])
    loss, gradient = cross_entropy_at(x, t, ignore_index=-1, empty="zero")
    assert loss == 0
    assert not gradient.any()
    with pytest.raises(LirError, match="not ignored"):
        cross_entropy_at(x, t, ignore_index=-1, empty="error")
    assert cross_entropy_at(x, t, ignore_index=-1, reduction="sum")[0] == 0


@pytest.mark.parametrize("label", [-1, 2, 2**32 + 1, -(2**63)])
def test_a_label_out_of_range_is_refused(label):
    with pytest.raises(LirError, match=rf"a label must lie in \[0, 2\): found {label} at row 1"):
        cross_entropy_at([[1.0, 2.0], [3.0, 4.0]], [0, label])


def test_no_rows():
    for attributes, expected in (({}, NAN), ({"reduction": "sum"}, 0.0)):
        loss, gradient = cross_entropy_at(np.zeros((0, 3)), np.zeros(0, int), **attributes)
        np.testing.assert_equal(loss, expected)
        assert gradient.shape == (0, 3)


def test_binary_edges():
    inputs = {"x": "f32[N]", "t": "f32[N]"}
    function = prepared(inputs, lambda x, t: op("bce_with_logits_loss", x, t, reduction="none").sum())
    x, t = np.array([1e4, -1e4, 0.0, -0.0]), np.array([0.0, 1.0, 0.25, 1.0])
    loss, gradient = evaluate(function, {"x": x, "t": t})
    assert loss == pytest.approx(2e4 + 2 * math.log(2))
    np.testing.assert_allclose(gradient, [1, -1, 0.25, -0.5])
    loss, gradient = evaluate(function, {"x": np.array([NAN, 0.0]), "t": np.array([0.0, 0.0])})
    assert math.isnan(loss)
    assert math.isnan(gradient[0])
    assert gradient[1] == 0.5
