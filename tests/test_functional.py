"""`lossc.functional`: torch's names and arguments on NumPy arrays. Its values are tested beside torch."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossc
import lossc.functional as F
from lossc.ir.composites import COMPOSITES, definition_of
from lossc.losses import programs
from lossc.losses.table import LOSSES

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((6, 5)).astype(np.float32)
LABELS = RANDOM.integers(0, 5, 6)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def cross_entropy(x: np.ndarray, y: np.ndarray) -> float:
    return -log_softmax(x)[np.arange(len(y)), y].mean()


def test_every_row_is_a_function_here_and_every_loss_has_a_row() -> None:
    for name, row in LOSSES.items():
        function = getattr(F, name)
        assert inspect.signature(function) == row.signature
        assert function.__name__ == name
        assert "Formula:" in function.__doc__ or name in ("softmax", "log_softmax")
    losses = {name for name, composite in COMPOSITES.items() if composite.kind == "loss"}
    # torch averages it over the last axis and takes any weight, which the table spells out of the binary loss.
    assert losses - {row.operation for row in LOSSES.values()} == {"multilabel_soft_margin_loss"}


def test_every_attribute_of_a_loss_is_a_parameter_of_its_function() -> None:
    for name, row in LOSSES.items():
        attributes = {*definition_of(row.operation).attributes} - {"operands"}
        # torch calls the axis of softmax `dim`.
        assert attributes - {*row.settings} == ({"axis"} if name in ("softmax", "log_softmax") else set()), name


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if "axis" in row.settings])
def test_another_class_axis_gives_what_moved_classes_give(name: str) -> None:
    row, function = LOSSES[name], getattr(F, name)
    random = np.random.default_rng(1)
    scores = random.standard_normal((3, 4, 5)).astype(np.float32)
    pair = row.tensors[1] in ("q_logits", "teacher")
    other = random.standard_normal((3, 4, 5)).astype(np.float32) if pair else random.integers(0, 5, (3, 4))
    moved = np.moveaxis(other, 2, 1) if pair else other
    for reduction in ("none", "mean"):
        found = function(scores, other, axis=2, reduction=reduction)
        assert found.shape == ((3, 4) if reduction == "none" else ())
        expected = function(np.moveaxis(scores, 2, 1), moved, axis=1, reduction=reduction)
        np.testing.assert_allclose(found, expected, rtol=2e-6)
    _, gradient = F.value_and_grad(function)(scores, other, axis=-1)
    assert gradient.shape == scores.shape
    with pytest.raises(IndexError, match="axis 3 is out of range for the 3 axes"):
        function(scores, other, axis=3)


def test_the_mean_of_nothing_is_what_empty_says() -> None:
    ignored = np.full(6, -100)
    functions = (F.cross_entropy, F.nll_loss, F.focal_cross_entropy_loss, F.poly_cross_entropy_loss)
    for function in functions:
        assert np.isnan(function(LOGITS, ignored))
        assert function(LOGITS, ignored, empty="zero") == 0
        with pytest.raises(lossc.CheckFailed, match="at least one row"):
            function(LOGITS, ignored, empty="error")
    hidden, weight = LOGITS[:, :2], LOGITS[:5, 2:4]
    assert F.linear_cross_entropy(hidden, weight, ignored, ignore_index=-100, empty="zero") == 0


def test_a_memory_budget_changes_no_result() -> None:
    random = np.random.default_rng(2)
    hidden, weight = random.standard_normal((40, 8)).astype("f4"), random.standard_normal((30, 8)).astype("f4")
    labels = random.integers(0, 30, 40)
    expected = F.linear_cross_entropy(hidden, weight, labels, memory_budget=None)
    np.testing.assert_allclose(F.linear_cross_entropy(hidden, weight, labels, memory_budget=2000), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("cross_entrpy", r"did you mean `cross_entropy`\?"),
        ("triplet_margin_los", r"did you mean `triplet_margin_loss`\?"),
        ("CrossEntropyLoss", r"did you mean `cross_entropy`\?"),
        ("wing_loss", r"a loss of your own is function\(loss\)"),
        ("matmul", r"it is an operation of graphs: function\(lambda left, right: left\.matmul\(right\)\)"),
    ],
)
def test_a_function_that_there_is_not_comes_with_what_may_be_meant(name: str, note: str) -> None:
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; {note}$"):
        getattr(F, name)


def test_an_operation_without_a_row_in_the_table_is_told_as_it_can_be_called() -> None:
    with pytest.raises(AttributeError, match=r"function\(lambda x: x\.softplus\(\)\)$"):
        F.softplus  # type: ignore[attr-defined]  # noqa: B018
    assert F.function(lambda x: x.softplus())(np.zeros(3, np.float32)).shape == (3,)


def test_a_reduced_loss_has_no_axes_and_an_unreduced_one_the_shape_of_the_rows() -> None:
    value = F.cross_entropy(LOGITS, LABELS)
    assert isinstance(value, np.ndarray)
    assert value.shape == ()
    np.testing.assert_allclose(value, cross_entropy(LOGITS, LABELS), rtol=1e-6)
    assert F.cross_entropy(LOGITS, LABELS, reduction="none").shape == (6,)
    assert F.mse_loss(LOGITS.reshape(2, 3, 5), LOGITS.reshape(2, 3, 5), reduction="none").shape == (2, 3, 5)
    assert F.cross_entropy(LOGITS[0], LABELS[0], reduction="none").shape == ()


def test_value_and_gradient() -> None:
    value, gradient = F.value_and_grad(F.cross_entropy)(LOGITS, LABELS)
    np.testing.assert_allclose(value, cross_entropy(LOGITS, LABELS), rtol=1e-6)
    expected = np.exp(log_softmax(LOGITS))
    expected[np.arange(6), LABELS] -= 1
    np.testing.assert_allclose(gradient, expected / 6, atol=1e-6)
    assert gradient.dtype == np.float32

    weight = np.array([1, 2, 0.5, 1, 1], np.float32)
    value, (by_logits, by_weight) = F.value_and_grad(F.cross_entropy, (0, 2))(LOGITS, LABELS, weight)
    assert by_logits.shape == LOGITS.shape
    assert by_weight.shape == (5,)
    step = np.float32(1e-2) * np.eye(5, dtype=np.float32)[1]
    difference = F.cross_entropy(LOGITS, LABELS, weight + step) - F.cross_entropy(LOGITS, LABELS, weight - step)
    np.testing.assert_allclose(by_weight[1], difference / 2e-2, rtol=1e-2, atol=1e-4)

    # The order, and repetitions, are the caller's.
    _, (by_target, by_input) = F.value_and_grad(F.mse_loss, (1, 0))(LOGITS, LOGITS + 1)
    np.testing.assert_allclose(by_target, -by_input)


def test_value_and_grad_says_what_it_does_not_take() -> None:
    with pytest.raises(lossc.LirError, match="takes a loss of lossc"):
        F.value_and_grad(lambda x: x)
    with pytest.raises(lossc.LirError, match="from 0 to 9"):
        F.value_and_grad(F.cross_entropy, 10)
    with pytest.raises(lossc.LirError, match="reduction, is no tensor"):
        F.value_and_grad(F.cross_entropy, 6)
    with pytest.raises(lossc.LirError, match="not reduced"):
        F.value_and_grad(F.cross_entropy)(LOGITS, LABELS, reduction="none")
    with pytest.raises(lossc.LirError, match="only floats"):
        F.value_and_grad(F.cross_entropy, 1)(LOGITS, LABELS)
    with pytest.raises(lossc.LirError, match="not given weight"):
        F.value_and_grad(F.cross_entropy, 2)(LOGITS, LABELS)


def test_a_new_batch_size_compiles_nothing() -> None:
    def compiled_so_far() -> int:
        return programs._program.cache_info().misses

    for rows in (3, 4):
        F.cross_entropy(LOGITS[:rows], LABELS[:rows])
        F.mse_loss(LOGITS[:rows], LOGITS[:rows])
    before = compiled_so_far()
    for rows in (1, 2, 5, 6):
        np.testing.assert_allclose(
            F.cross_entropy(LOGITS[:rows], LABELS[:rows]), cross_entropy(LOGITS[:rows], LABELS[:rows]), rtol=1e-6
        )
        assert F.mse_loss(LOGITS[:rows], LOGITS[:rows] + 1) == 1
    # Elementwise losses of equal shapes are one program for all ranks.
    assert F.mse_loss(np.float32(1), np.float32(3)) == 4
    assert F.mse_loss(LOGITS.reshape(1, 2, 3, 5), LOGITS.reshape(1, 2, 3, 5)) == 0
    assert compiled_so_far() == before
    assert programs._program.cache_info().maxsize == programs.MOST_PROGRAMS


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_labels_of_every_integer_type(dtype: Any) -> None:
    np.testing.assert_allclose(F.cross_entropy(LOGITS, LABELS.astype(dtype)), cross_entropy(LOGITS, LABELS), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_float_types(dtype: Any) -> None:
    x = LOGITS.astype(dtype)
    value, gradient = F.value_and_grad(F.cross_entropy)(x, LABELS)
    assert gradient.dtype == dtype
    # 16-bit floats are storage: what is reduced is f32.
    assert value.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(value, cross_entropy(x, LABELS), rtol=1e-6)
    assert F.cross_entropy(x, LABELS, reduction="none").dtype == dtype


def test_element_types_are_mixed_as_torch_promotes_them() -> None:
    assert F.mse_loss(LOGITS, LOGITS.astype(np.float64)).dtype == np.float64
    assert F.mse_loss(LOGITS, np.ones((6, 5), np.int64)).dtype == np.float32
    _, (by_x, by_t) = F.value_and_grad(F.mse_loss, (0, 1))(LOGITS, LOGITS.astype(np.float64) + 1)
    assert (by_x.dtype, by_t.dtype) == (np.float32, np.float64)


def test_memory_order_and_lists() -> None:
    expected = F.mse_loss(LOGITS, LOGITS[::-1].copy())
    assert F.mse_loss(np.asfortranarray(LOGITS), LOGITS[::-1]) == expected
    assert F.mse_loss([1.0, 2.0], [2.0, 4.0]) == 2.5
    swapped = LOGITS.astype(LOGITS.dtype.newbyteorder())
    assert F.mse_loss(swapped, LOGITS) == 0


def test_results_are_arrays_of_their_own() -> None:
    first, gradient = F.value_and_grad(F.mse_loss)(LOGITS, LOGITS + 1)
    kept, kept_gradient = first.copy(), gradient.copy()
    F.value_and_grad(F.mse_loss)(LOGITS, LOGITS + 3)
    assert first == kept
    np.testing.assert_array_equal(gradient, kept_gradient)


def test_retired_arguments() -> None:
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert F.mse_loss(LOGITS, LOGITS + 1, False) == 30
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert F.mse_loss(LOGITS, LOGITS + 1, None, False).shape == (6, 5)
    with pytest.warns(UserWarning, match="reduction='mean'"):
        assert F.mse_loss(LOGITS, LOGITS + 1, True, reduction="sum") == 1
    with pytest.warns(UserWarning, match="elementwise_mean") as caught:
        assert F.mse_loss(LOGITS, LOGITS + 1, reduction="elementwise_mean") == 1
    assert caught[0].filename == __file__


def test_broadcasting_that_is_rarely_meant_is_said() -> None:
    with pytest.warns(UserWarning, match=r"\[6, 1\] differs from the input's, \[6\]"):
        assert F.mse_loss(np.zeros(6), np.ones((6, 1)), reduction="none").shape == (6, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.mse_loss(np.zeros(6), np.ones(6))


REFUSED: tuple[tuple[str, Any, type[Exception], str], ...] = (
    ("label", lambda: F.cross_entropy(LOGITS, LABELS * 0 + 7), IndexError, "found 7 at row 0"),
    ("negative label", lambda: F.nll_loss(LOGITS, LABELS * 0 - 1), IndexError, "found -1 at row 0"),
    ("rows", lambda: F.cross_entropy(LOGITS, LABELS[:3]), ValueError, r"the shape \[6\], found i64\[3\]"),
    ("one-hot", lambda: F.cross_entropy(LOGITS, np.eye(6, 5, dtype=int)), RuntimeError, "one-hot"),
    ("weight", lambda: F.cross_entropy(LOGITS, LABELS, np.ones(3)), RuntimeError, r"\[5\], found \[3\]"),
    ("smoothing", lambda: F.cross_entropy(LOGITS, LABELS, label_smoothing=1.5), RuntimeError, r"\[0, 1\], found 1.5"),
    ("reduction", lambda: F.cross_entropy(LOGITS, LABELS, reduction="avg"), ValueError, "'avg'"),
    ("probability", lambda: F.binary_cross_entropy(LOGITS, LOGITS * 0), RuntimeError, "probability"),
    ("target", lambda: F.binary_cross_entropy(LOGITS * 0, LOGITS * 0 + 2), RuntimeError, "target"),
    ("variance", lambda: F.gaussian_nll_loss(LOGITS, LOGITS, LOGITS * 0 - 1), ValueError, "variance"),
    ("shapes", lambda: F.mse_loss(LOGITS, np.zeros((4, 3))), RuntimeError, r"target \[4, 3\]"),
    ("integers", lambda: F.cross_entropy(LABELS[:, None], LABELS), NotImplementedError, "floats"),
    ("dtype", lambda: F.cross_entropy(LOGITS, LABELS.astype(np.uint64)), NotImplementedError, "uint64"),
    ("none", lambda: F.cross_entropy(LOGITS, None), TypeError, "target"),  # pyright: ignore
    ("missing", lambda: F.cross_entropy(LOGITS), TypeError, "target"),  # pyright: ignore
    ("surplus", lambda: F.l2_loss(LOGITS, "sum", 3), TypeError, "too many"),  # pyright: ignore
    ("twice", lambda: F.l2_loss(LOGITS, input=LOGITS), TypeError, "input"),  # pyright: ignore
    (
        "unknown",
        lambda: F.l2_loss(LOGITS, reductoin="sum"),  # pyright: ignore
        TypeError,  # pyright: ignore
        r"l2_loss\(\) .* 'reductoin'\n.*did you mean `reduction`\?\n.*it takes: input, reduction",
    ),
    ("inside", lambda: F.cross_entropy(LOGITS, LABELS, reduction="weights"), ValueError, "one of mean, sum, none$"),
    (
        "swapped",
        lambda: F.cross_entropy(LABELS, LOGITS),
        NotImplementedError,
        r"input must be floats, found i64\[6\]\n.*target is f32\[6, 5\]: are the two swapped\?",
    ),
    ("ragged", lambda: F.mse_loss([[1.0], [1.0, 2.0]], LOGITS), ValueError, "input is a list that is no array"),
    ("word", lambda: F.mse_loss(LOGITS, LOGITS, "sum"), RuntimeError, r"by name: reduction='sum'"),  # pyright: ignore
    ("margin", lambda: F.triplet_margin_loss(LOGITS, LOGITS, LOGITS, margin=0), ValueError, "margin"),
    ("axis", lambda: F.softmax(LOGITS, 2), IndexError, "dim 2"),
    ("ctc", lambda: F.ctc_loss(LOGITS, LABELS, 1, 1), RuntimeError, r"no CTC loss yet\n.*\n.*under CTC"),
)


@pytest.mark.parametrize(("call", "kind", "message"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_what_torch_refuses_is_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_the_argument_to_differentiate_by_may_be_a_number_of_numpy() -> None:
    _, gradient = F.value_and_grad(F.mse_loss, np.int64(1))(LOGITS, LOGITS * 2)  # pyright: ignore[reportArgumentType]
    _, expected = F.value_and_grad(F.mse_loss, 1)(LOGITS, LOGITS * 2)
    np.testing.assert_array_equal(gradient, expected)


def test_a_failed_check_has_its_place_in_the_array_as_it_was_given() -> None:
    probabilities = np.full((4, 10), 0.5, np.float32)
    probabilities[2, 3] = -0.1312037
    with pytest.raises(lossc.CheckFailed, match=r"found -0\.131203\d* at index \[2, 3\] of `input`$") as caught:
        F.binary_cross_entropy(probabilities, probabilities * 0)
    assert (caught.value.index, caught.value.row) == ((2, 3), 2)
    labels = np.zeros((2, 4, 5), int)
    labels[1, 2, 3] = 7
    with pytest.raises(IndexError, match=r"found 7 at index \[1, 2, 3\] of `target`"):
        F.cross_entropy(np.zeros((2, 3, 4, 5), np.float32), labels)
    with pytest.raises(IndexError, match=r"found 7 at index \[1, 2, 3\] of `target`"):
        F.cross_entropy(np.zeros((2, 4, 5, 3), np.float32), labels, axis=-1)


def test_a_failed_check_is_an_error_of_lossc_and_harms_nothing() -> None:
    labels = LABELS.copy()
    labels[4] = 9
    with pytest.raises(lossc.LirError) as caught:
        F.cross_entropy(LOGITS, labels)
    error = caught.value
    assert isinstance(error, (lossc.CheckFailed, IndexError))
    assert (error.code, error.row, error.value) == ("label", 4, 9)
    np.testing.assert_allclose(F.cross_entropy(LOGITS, LABELS), cross_entropy(LOGITS, LABELS), rtol=1e-6)


def test_a_distance_of_ones_own() -> None:
    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b).sum(-1)

    anchor, positive, negative = np.random.default_rng(3).standard_normal((3, 7, 4))
    expected = np.maximum(0, distance(anchor, positive) - distance(anchor, negative) + 0.5)
    found = F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=0.5, reduction="none"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    near = np.minimum(distance(anchor, negative), distance(positive, negative))
    found = F.triplet_margin_with_distance_loss(anchor, positive, negative, distance_function=distance, swap=True)
    np.testing.assert_allclose(found, np.maximum(0, distance(anchor, positive) - near + 1).mean(), rtol=1e-12)
    np.testing.assert_allclose(
        F.triplet_margin_with_distance_loss(anchor, positive, negative),
        F.triplet_margin_loss(anchor, positive, negative),
    )


def test_from_several_threads() -> None:
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        x = np.full((50, 5), float(number))
        found[number] = [float(F.value_and_grad(F.mse_loss)(x, np.zeros_like(x))[1].sum()) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, sums in found.items():
        np.testing.assert_allclose(sums, 2 * number, rtol=1e-12)


def test_importing_loads_no_driver_and_no_torch() -> None:
    code = "import sys, lossc.functional; print([m for m in ('pyopencl', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_lossc_torch_without_torch_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; import lossc, lossc.functional\nimport lossc.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: lossc.torch needs torch, which is not installed: pip install 'lossc[torch]'" in done.stderr


@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    repeated=st.lists(st.booleans(), min_size=8, max_size=8),
    missing=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_broadcasting_is_numpys(shape: list[int], repeated: list[bool], missing: int) -> None:
    random = np.random.default_rng(len(shape))
    x = random.standard_normal([1 if one else size for size, one in zip(shape, repeated)])
    sizes = [1 if one else size for size, one in zip(shape, repeated[4:])]
    t = random.standard_normal(sizes[min(missing, len(shape)) :])
    found = F.poisson_nll_loss(x, t, reduction="none")
    np.testing.assert_allclose(found, np.exp(x) - t * x, rtol=1e-12, atol=1e-12)
    assert found.shape == (np.exp(x) - t * x).shape
    total = F.poisson_nll_loss(x, t, reduction="sum")
    np.testing.assert_allclose(total, (np.exp(x) - t * x).sum(), rtol=1e-9, atol=1e-9)


def test_what_the_lints_say_of_a_graph_is_said_once_of_a_call() -> None:
    """Also where sizes change, and gradients are asked for."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rows in (6, 6, 4):
            F.focal_cross_entropy_loss(LOGITS[:rows], LABELS[:rows], ignore_index=2)
            F.value_and_grad(F.focal_cross_entropy_loss)(LOGITS[:rows], LABELS[:rows], ignore_index=2)
    assert [warning.category for warning in caught] == [lossc.LossWarning]
    assert "ignore_index = 2" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_the_value_of_a_failed_check_is_named_where_a_kernel_converts_it() -> None:
    probabilities = np.full((4, 3), 0.5, np.float16)
    probabilities[2, 1] = 1.5
    with pytest.raises(lossc.CheckFailed) as caught:
        F.binary_cross_entropy(probabilities, np.zeros((4, 3), np.float16))
    assert caught.value.value == 1.5
