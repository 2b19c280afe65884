"""What compiled functions take, and how they refuse what they do not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compiled_examples import LABELS, X, classifier, close, squares

import lossc
import lossc.functional
from lossc.runtime.device import Device


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": X}, "missing input `labels`: i32\\[B\\]"),
        ({"x": X, "label": LABELS}, "no input `label`(.|\n)*did you mean `labels`"),
        ({"x": X[:, :3], "labels": LABELS}, r"input `x` has type f32\[B, 4\], found an array of shape \[5, 3\]"),
        ({"x": X[0], "labels": LABELS}, r"input `x` .* found an array of shape \[4\]"),
        ({"x": X, "labels": LABELS[:3]}, r"`labels` .* \[3\] where B is 5"),
        ({"x": X, "labels": LABELS.astype("f4")}, r"input `labels` .* found an array of float32"),
        ({"x": LABELS, "labels": LABELS}, r"input `x` .* found an array of int32"),
        ({"x": X.astype(complex), "labels": LABELS}, "found an array of complex128"),
        ({"x": X, "labels": LABELS.astype(bool)}, "found an array of bool"),
        ({"x": X, "labels": np.array([0, 1, 2, 2**40, 0])}, r"found 1099511627776 at index \[3\]"),
        ({"x": np.zeros(5, "f4,f4"), "labels": LABELS}, r"array of \[.*\n.*fields: .*array\['name'\]"),
        ({"x": X.astype(object), "labels": LABELS}, r"objects: np\.array\(values, dtype='float32'\)"),
        ({"x": X, "labels": np.array([*"abcab"])}, "texts: .*number these from 0"),
        ({"x": X.astype("M8[s]"), "labels": LABELS}, "times: .*counts seconds"),
        ({"x": X, "labels": None}, "found an object of type builtins.NoneType"),
        ({"x": X, "labels": "abcde"}, "found an object of type builtins.str"),
        ({"x": [[1, 2], [3]], "labels": LABELS}, "a list that is no array"),
        ({"x": X, "labels": [0.5] * 5}, "found an array of float64"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_told_by_name(inputs: dict[str, Any], message: str) -> None:
    fn = classifier().compile()
    with pytest.raises(lossc.LirError, match=message):
        fn(**inputs)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("f32", X[:, :2].astype("f8")),
        ("f32", X[:, :2].astype("f2")),
        ("f32", X[:, :2].astype(">f4")),
        ("f32", X[:, :2].astype(ml_dtypes.bfloat16)),
        ("f32", X[::-1, ::2]),
        ("f32", np.asfortranarray(X[:, :2])),
        ("f32", memoryview(X[:, :2].copy())),
        ("f32", [[1, 2], [3, 4]]),
        ("f32", [[1.5, 2], [3, 4]]),
        ("f64", X[:, :2]),
        ("f16", X[:, :2]),
        ("bf16", X[:, :2]),
        ("i32", np.array([[1, 2]], np.uint8)),
        ("i32", np.array([[-1, 2]], np.int64)),
        ("u8", np.array([[3, 15]], np.uint64)),
        ("i64", [[-3, 2]]),
        ("i8", np.zeros((0, 2), np.int64)),
    ],
)  # fmt: skip
def test_the_same_kind_is_converted(dtype: str, value: Any) -> None:
    fn = squares(dtype)
    (found,) = fn(x=value)
    expected = np.asarray(value).astype(float) ** 2
    if dtype in ("f16", "bf16"):
        assert found.dtype == (np.float16 if dtype == "f16" else ml_dtypes.bfloat16)
    assert close(found.astype(float), expected, {"f16": 2e-3, "bf16": 2e-2}.get(dtype, 1e-6))


def test_conversions_are_explained() -> None:
    fn = squares()
    fn(x=X[:, :2].copy())
    assert "converted inputs" not in fn.explain()
    fn(x=X[:, :2].astype("f8"))
    assert "x: converted from float64 to f32" in fn.explain()


class Interface:
    """An array of somebody else's: only `__array_interface__`."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._array.__array_interface__


class Capsule:
    """An array of somebody else's: only DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


class Elsewhere(Capsule):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the memory is on another device")


@pytest.mark.parametrize("kind", [Interface, Capsule])
def test_arrays_of_other_libraries_are_read(kind: type) -> None:
    values = X[:, :2].copy()
    assert close(squares()(x=kind(values))[0], values.astype(float) ** 2)


def test_an_array_that_cannot_be_read_is_told() -> None:
    with pytest.raises(lossc.LirError, match="Elsewhere cannot be read as an array: the memory is on another device"):
        squares()(x=Elsewhere(X))


def test_pyopencl_arrays_are_read(device: Device) -> None:
    import pyopencl.array

    values = X[:, :2].copy()
    assert close(squares()(x=pyopencl.array.to_device(device.queue, values))[0], values.astype(float) ** 2)


def test_scalars_and_truth_values() -> None:
    assert squares(shape=())(x=3)[0] == np.float32(9)
    assert squares(shape=())(x=np.float64(1.5))[0].shape == ()
    assert squares("bool")(x=[[True, False]])[0].tolist() == [[False, True]]
    with pytest.raises(lossc.LirError, match="found an array of int64"):
        squares("bool")(x=np.array([[1, 0]]))


def test_read_only_inputs_are_left_alone() -> None:
    values = X[:, :2].copy()
    values.flags.writeable = False
    before = values.copy()
    squares()(x=values)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("batch", [0, 1])
def test_empty_batches(device: Device, batch: int) -> None:
    g = classifier(reduction="sum")
    (loss, logits), gradients = g.compile(grad=True, device=device)(x=X[:batch], labels=LABELS[:batch])
    assert logits.shape == (batch, 3)
    if batch == 0:
        assert loss.tolist() == [0]
        assert not gradients["fc.weight"].any()


def test_names_that_are_also_options_of_a_call() -> None:
    g = lossc.Graph()
    g.set_outputs([g.input("out", (2,)) + g.input("sizes", (2,))])
    assert g.compile()(out=[1, 2], sizes=[3, 4])[0].tolist() == [4, 6]


def test_masked_elements_are_not_read_unseen() -> None:
    masked = np.ma.masked_array(np.ones((1, 2), "f4"), mask=np.array([[False, True]]))
    with pytest.raises(lossc.LirError, match=r"input `x` is a masked array(.|\n)*filled"):
        squares()(x=masked)
    with pytest.raises(lossc.LirError, match="mse_loss: input is a masked array"):
        lossc.functional.mse_loss(masked, np.zeros((1, 2), "f4"))
    assert np.array_equal(squares()(x=np.ma.masked_array(X[:, :2]))[0], squares()(x=X[:, :2])[0])


def test_what_names_nothing_is_refused() -> None:
    g = lossc.Graph()
    g.set_outputs({"loss": g.input("x", (None,)).sum()})
    fn = g.compile()
    with pytest.raises(lossc.LirError, match=r"write out=\{'loss': array\}"):
        fn(x=X[0], out=np.zeros(1, np.float32))
    with pytest.raises(lossc.LirError, match=r'write sizes=\{"B": 32\}'):
        fn(x=X[0], sizes=[3])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"b": 5}, "no input has a dimension `b`\n.*did you mean `B`"), ({"B": 5.0}, "`B` is a whole number from 0")],
)
def test_sizes_are_of_dimensions_that_there_are(sizes: Any, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        squares()(x=X[:, :2], sizes=sizes)


def test_sizes_of_inputs_that_a_function_does_not_need_are_passed_over() -> None:
    g = classifier()
    g.input("mask", ("T",))
    fn = g.compile(outputs=["logits"])
    assert fn(x=X, sizes={"T": 3})[0].shape == (5, 3)


@pytest.mark.parametrize("shape", [-1, (2, -3), 1.5, None])
def test_an_array_has_no_other_sizes_than_whole_numbers(shape: Any) -> None:
    with pytest.raises(lossc.LirError, match="a shape is whole numbers from 0, found"):
        lossc.empty(shape)
