"""What the fronts of the losses say and refuse alike: signatures for editors, settings, warnings, missing tensors."""

from __future__ import annotations

import copy
import gc
import importlib
import pickle
import warnings
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lossc
import lossc.functional as F
from lossc import nn, optim
from lossc.errors import RefusedElementType
from lossc.losses.stubs import stub
from lossc.reports.kernels import total_moved

torch = pytest.importorskip("torch")
T = pytest.importorskip("lossc.torch")

SCORES = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1])


@pytest.mark.parametrize("module", ["functional", "torch"])
def test_the_signatures_for_editors_are_those_of_the_functions(module: str) -> None:
    path = Path(importlib.import_module(f"lossc.{module}").__file__ or "").with_suffix(".pyi")
    assert path.read_text(encoding="utf-8") == stub(module), f"python -m lossc.losses.stubs {module} > {path}"
    assert "def cross_entropy(\n    input: " in stub(module)


def test_functions_say_where_they_live() -> None:
    for module in (F, T):
        for name in ("mse_loss", "triplet_margin_with_distance_loss"):
            function = getattr(module, name)
            assert (function.__module__, function.__qualname__) == (module.__name__, name)
            assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize(
    "call",
    [
        lambda: T.cross_entropy(torch.ones(2, 3), None),
        lambda: T.cross_entropy(torch.ones(2, 3), None, weight=torch.ones(3)),
        lambda: T.mse_loss(torch.ones(2), None),
        lambda: T.mse_loss(None, None),
        lambda: T.softmax(None, dim=0),
        lambda: F.mse_loss(SCORES, None),  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_tensor_that_is_missing_is_named(call: Any) -> None:
    with pytest.raises(TypeError, match=r"(target|input) must be .*found None") as raised:
        call()
    assert isinstance(raised.value, lossc.LirError)


def test_settings_of_the_wrong_kind_are_refused_whatever_ran_before() -> None:
    F.multi_margin_loss(SCORES, LABELS, p=1)
    F.huber_loss(SCORES, SCORES, delta=1)
    refused: list[tuple[Any, str]] = [
        (lambda: F.multi_margin_loss(SCORES, LABELS, p=True), "`p` of `multi_margin_loss`"),
        (lambda: F.huber_loss(SCORES, SCORES, delta=True), "`delta` of `huber_loss`"),
        (lambda: F.huber_loss(SCORES, SCORES, delta=[1.0]), "`delta` .* a number"),  # pyright: ignore[reportArgumentType]
        (lambda: F.huber_loss(SCORES, SCORES, delta=np.ones(2)), "`delta`"),  # pyright: ignore[reportArgumentType]
        (lambda: F.cross_entropy(SCORES, LABELS, label_smoothing="a"), "`label_smoothing`"),  # pyright: ignore
        (lambda: F.softmax(SCORES, 1.0), "`dim` of `softmax`"),  # pyright: ignore[reportArgumentType]
    ]
    for call, message in refused:
        with pytest.raises(TypeError, match=message) as raised:
            call()
        assert isinstance(raised.value, lossc.LirError)


def test_numbers_of_numpy_and_torch_are_settings() -> None:
    expected = F.huber_loss(SCORES, SCORES + 3, delta=2.0)
    numbers: list[Any] = [np.float32(2), np.array([2.0]), torch.tensor(2.0), 2]
    for delta in numbers:
        assert F.huber_loss(SCORES, SCORES + 3, delta=delta) == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.huber_loss(SCORES, SCORES, delta=0.0),
        lambda: F.smooth_l1_loss(SCORES, SCORES, beta=-1.0),
        lambda: F.gaussian_nll_loss(SCORES, SCORES, SCORES**2, eps=0.0),
        lambda: F.cross_entropy(SCORES, LABELS, label_smoothing=-0.5),
        lambda: F.multi_margin_loss(SCORES, LABELS, p=3),
    ],
)
def test_values_that_an_operation_refuses_are_errors_of_torch_s_kinds(call: Any) -> None:
    with pytest.raises(RuntimeError, match="must") as raised:
        call()
    assert isinstance(raised.value, lossc.LirError)
    assert isinstance(raised.value, ValueError)


def test_warnings_point_at_the_caller() -> None:
    g = lossc.Graph()
    x, labels = g.input("x", (None, 3)), g.input("labels", (None,), "i32")
    g.set_outputs([g.cross_entropy_loss(g.softmax(x), labels)])
    for call in (
        lambda: F.mse_loss(SCORES, SCORES[:1]),
        lambda: T.mse_loss(torch.ones(2, 3), torch.ones(3)),
        g.compile,
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


def test_a_softmax_cannot_be_told_to_reduce() -> None:
    with pytest.raises(lossc.LirError, match="upstream=True"):
        F.value_and_grad(F.softmax)(SCORES, 1)


def test_constructors_check_what_has_a_few_values() -> None:
    for make in (lambda: nn.CrossEntropyLoss(reduction="foo"), lambda: nn.CrossEntropyLoss(empty="foo"),
                 lambda: nn.MSELoss(reduction="batchmean"), lambda: nn.MSELoss(reduction="weights")):  # fmt: skip
        with pytest.raises(lossc.LirError, match=r"unknown (reduction|empty)"):
            make()
    assert nn.KLDivLoss(reduction="batchmean").settings["reduction"] == "batchmean"


def test_a_loss_keeps_no_graph_and_can_be_copied() -> None:
    loss = nn.CrossEntropyLoss([1.0, 2.0, 3.0])
    g = lossc.Graph()
    loss(g.input("x", (None, 3)), g.input("labels", (None,), "i32"))
    assert pickle.loads(pickle.dumps(loss)).settings == copy.deepcopy(loss).settings == loss.settings
    builder = weakref.ref(g._builder)
    del g
    gc.collect()
    assert builder() is None


def test_labels_of_minus_100_are_explained() -> None:
    with pytest.raises(lossc.CheckFailed, match="ignore_index = -100 ignores"):
        F.cross_entropy(SCORES, LABELS - 100, ignore_index=7)
    with pytest.raises(lossc.CheckFailed) as raised:
        F.cross_entropy(SCORES, LABELS + 100)
    assert "-100 ignores" not in str(raised.value)


def called(g: lossc.Graph, function: lossc.Graph, *operands: lossc.Tensor) -> lossc.Tensor:
    result = g.call(function, *operands)
    assert isinstance(result, lossc.Tensor)
    return result


def test_dropout_in_a_function_that_is_called_is_left_out_of_predictions() -> None:
    layer = lossc.Graph("layer")
    layer.set_outputs([nn.Dropout(layer)(layer.input("x", (None, 6)))])
    twice = lossc.Graph("twice")
    x, key = twice.input("x", (None, 6)), twice.input("dropout_key", (), "i64")
    twice.set_outputs([called(twice, layer, called(twice, layer, x, key), key) * 2])
    g = lossc.Graph()
    x, key = g.input("x", (None, 6)), g.input("dropout_key", (), "i64")
    y = g.linear(nn.Dropout(g)(called(g, twice, x, key)), g.param("w", np.ones((1, 6), np.float32)))
    g.set_outputs([y.sum().reshape([1])])
    data = np.arange(12, dtype=np.float32).reshape(2, 6)
    predict = g.compile()
    assert predict(x=data)[0] == pytest.approx(132.0)
    assert predict(x=data, dropout_key=np.int64(3))[0] == pytest.approx(132.0)
    (value,), gradients = g.compile(grad=["w"])(x=data)
    assert value == pytest.approx(132.0)
    np.testing.assert_allclose(gradients["w"][0], 2 * data.sum(0))
    training = g.compile(training=True)
    assert {float(training(x=data, dropout_key=np.int64(key))[0][0]) for key in range(4)} != {132.0}
    step = g.compile_step(optim.SGD(0.0))
    assert len({float(step(x=data)[0]) for _ in range(4)}) > 1


def test_a_key_that_a_called_function_uses_otherwise_stays_an_input() -> None:
    own = lossc.Graph("own")
    x, key = own.input("x", (None, 6)), own.input("key", (), "i64")
    own.set_outputs([own.dropout(x, key, p=0.5) + key.cast("f32").broadcast_to(x.shape)])
    g = lossc.Graph()
    g.set_outputs([called(g, own, g.input("x", (None, 6)), g.input("dropout_key", (), "i64"))])
    data = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(g.compile()(x=data, dropout_key=np.int64(3))[0], data + 3)


def test_an_explanation_counts_every_piece() -> None:
    g = lossc.Graph()
    x, w = g.input("x", (None, 16)), g.input("w", (1000, 16))
    labels = g.input("labels", (None,), "i32")
    g.set_outputs([g.linear_cross_entropy_loss(x, w, labels, memory_budget=1 << 18)])
    fn = g.compile()
    text = fn.explain()
    assert " a piece" in text
    logits = 4 * 1000
    for rows in (10, 1024, 2000):
        # Logits of every row are written once and read at least once.
        assert 2 * logits * rows < total_moved(fn.compiled, {"B": rows}) < 8 * logits * max(rows, 70)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_batchmean_of_sixteen_bits(dtype: Any) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    x, t = np.log(p[::-1]).astype(dtype), p.astype(dtype)
    expected = F.kl_div(x.astype(np.float64), t.astype(np.float64), reduction="batchmean")
    found = F.kl_div(x, t, reduction="batchmean")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_labels_of_a_type_that_torch_refuses_too(dtype: Any) -> None:
    with pytest.raises(RefusedElementType, match="labels are i8, u8, i16, i32 or i64"):
        F.cross_entropy(np.zeros((1, 4)), np.zeros(1, dtype))


def test_complex_numbers_are_told_from_labels() -> None:
    with pytest.raises(RefusedElementType, match=r"array\.real and array\.imag"):
        F.mse_loss(np.ones(3, complex), np.ones(3))
