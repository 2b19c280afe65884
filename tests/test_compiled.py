"""Compiled functions: what they take, what they give, and how they refuse."""

from __future__ import annotations

import dataclasses
import gc
import json
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lossc
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.runtime.device import Device

SAMPLES = Path(__file__).parents[1] / "samples"
RNG = np.random.default_rng(7)
X = RNG.standard_normal((5, 4)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0], np.int32)


def classifier(**losses: Any) -> lossc.Graph:
    """3 classes from 4 features; outputs loss and logits."""
    g = lossc.Graph("classifier", seed=3)
    x, labels = g.input("x", (None, 4)), g.input("labels", (None,), dtype="i32")
    weight = g.param("fc.weight", (3, 4), "kaiming_uniform")
    logits = g.linear(x, weight, g.param("fc.bias", np.array([0.5, -0.5, 0.25])))
    g.set_outputs({"loss": g.cross_entropy_loss(logits, labels, **losses), "logits": logits})
    return g


def squares(dtype: str = "f32", shape: Any = (None, 2)) -> lossc.CompiledFunction:
    g = lossc.Graph()
    x = g.input("x", shape, dtype)
    g.set_outputs({"y": x * x if dtype != "bool" else ~x})
    return g.compile()


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-6) -> bool:
    scale = max(1e-30, float(np.linalg.norm(expected)))
    return found.shape == expected.shape and float(np.linalg.norm(found - expected)) <= tolerance * scale


def expected_of(fn: lossc.CompiledFunction, g: lossc.Graph, **arrays: np.ndarray) -> list[np.ndarray]:
    return interpret(fn.compiled.prepared.entry, {**arrays, **g.parameters})


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 5, 16, 33])
def test_forward_agrees_with_the_interpreter(device: Device, batch: int) -> None:
    g = classifier(label_smoothing=0.1)
    fn = g.compile(device=device)
    x, labels = RNG.standard_normal((batch, 4)).astype("f4"), RNG.integers(0, 3, batch).astype("i4")
    for found, expected in zip(fn(x=x, labels=labels), expected_of(fn, g, x=x, labels=labels)):
        assert found.dtype == np.float32
        assert close(found, expected)


def test_one_function_serves_every_batch_size_without_compiling_again(device: Device) -> None:
    fn = classifier().compile(device=device)
    sources = fn.source
    for batch in (1, 2, 17, 300):
        loss, logits = fn(x=np.ones((batch, 4), "f4"), labels=np.zeros(batch, "i4"))
        assert loss.shape == (1,)
        assert logits.shape == (batch, 3)
    assert fn.source == sources


def test_gradients_agree_with_finite_differences(device: Device) -> None:
    g = classifier()
    fn = g.compile(grad=["x", "fc.weight", "fc.bias"], device=device)
    (loss, logits), gradients = fn(x=X, labels=LABELS)
    assert loss.shape == (1,)
    assert logits.shape == (5, 3)
    assert list(gradients) == ["x", "fc.weight", "fc.bias"]
    entry = g.compile().compiled.prepared.entry
    arrays = {"x": X.astype(float), "labels": LABELS, **{k: v.astype(float) for k, v in g.parameters.items()}}
    for name, gradient in gradients.items():
        direction = RNG.standard_normal(gradient.shape)
        step = 1e-6
        ends = [interpret(entry, {**arrays, name: arrays[name] + sign * step * direction})[0] for sign in (1, -1)]
        slope = float((ends[0] - ends[1])[0] / (2 * step))
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-5, abs=1e-6)


def test_loss_and_gradient_of_cross_entropy_are_one_fused_kernel() -> None:
    g = lossc.Graph()
    x, labels = g.input("x", (None, 1000)), g.input("labels", (None,), dtype="i32")
    g.set_outputs([g.cross_entropy_loss(x, labels)])
    fn = g.compile(grad=["x"])
    (kernel,) = fn.kernels
    assert kernel.exps_per_element == 1
    assert "1 fused kernel" in fn.explain()
    assert "traffic ratio 1.00" in fn.explain()


# --- which outputs and gradients ----------------------------------------------------------------------------


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
    with pytest.raises(lossc.LirError, match=r"x must be positive: found -1.0 at row 2"):
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
    upstream = RNG.standard_normal(5).astype("f4")
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


# --- inputs -------------------------------------------------------------------------------------------------


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


# --- outputs ------------------------------------------------------------------------------------------------


def test_results_are_never_changed_later(device: Device) -> None:
    fn = squares()
    first = fn(x=np.full((40000, 2), 2, "f4"))[0]
    kept = first.copy()
    for value in range(3, 8):
        fn(x=np.full((40000, 2), value, "f4"))
    assert np.array_equal(first, kept)
    assert first.flags.writeable


def test_an_output_that_is_an_input_is_a_copy() -> None:
    g = lossc.Graph()
    x = g.input("x", (2, 2))
    g.set_outputs({"same": x, "flat": x.reshape([4]), "again": x})
    values = np.arange(4, dtype="f4").reshape(2, 2)
    results = g.compile()(x=values)
    results[0][...] = 9
    assert values.tolist() == [[0, 1], [2, 3]]
    assert [r.tolist() for r in results[1:]] == [[0, 1, 2, 3], [[0, 1], [2, 3]]]
    target = lossc.empty((2, 2))
    assert g.compile()(x=values, out={"again": target})[2] is target
    assert target.tolist() == values.tolist()


def test_out_takes_aligned_arrays(device: Device) -> None:
    g = classifier()
    fn = g.compile(grad=True, device=device)
    weight, loss = lossc.empty((3, 4)), lossc.empty((1,), np.float32)
    (found, _), gradients = fn(x=X, labels=LABELS, out={"grad_fc.weight": weight, "loss": loss})
    assert gradients["fc.weight"].base is weight or gradients["fc.weight"] is weight
    assert np.array_equal(found, loss)
    assert np.array_equal(weight, fn(x=X, labels=LABELS)[1]["fc.weight"])


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ({"y": np.zeros((5, 3), "f4")}, r"must be float32\[5, 2\]"),
        ({"y": lossc.empty((5, 2), "f64")}, "found float64"),
        ({"y": lossc.empty((2, 5)).T}, "64-byte aligned"),
        ({"z": lossc.empty((5, 2))}, "did you mean `y`|is no output"),
        ([lossc.empty((5, 2))], "out is a dictionary .*\n.*the outputs are y"),
        ({"y": [[0.0] * 2] * 5}, "must be a NumPy array, found list"),
    ],
)  # fmt: skip
def test_out_is_checked(out: Any, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        squares()(x=X[:, :2].copy(), out=out)


def test_empty_is_aligned() -> None:
    array = lossc.empty((3, 5), "bf16")
    assert array.dtype == ml_dtypes.bfloat16
    assert array.shape == (3, 5)
    assert lossc.empty(7).ctypes.data % 64 == 0


# --- errors at run time -------------------------------------------------------------------------------------


def test_a_label_out_of_range_is_told_and_the_function_stays_usable(device: Device) -> None:
    g = classifier()
    fn = g.compile(grad=True, device=device)
    before = fn(x=X, labels=LABELS)
    wrong = LABELS.copy()
    wrong[3] = 3
    with pytest.raises(lossc.LirError, match=r"a label must lie in \[0, 3\): found 3 at row 3"):
        fn(x=X, labels=wrong)
    after = fn(x=X, labels=LABELS)
    assert np.array_equal(before[0][0], after[0][0])


# --- parameters ---------------------------------------------------------------------------------------------


def test_parameters_are_read_at_each_call_and_overridden_by_name() -> None:
    g = classifier()
    fn = g.compile(outputs=["logits"])
    first = fn(x=X)[0]
    overridden = fn(x=X, **{"fc.bias": np.zeros(3)})[0]
    assert close(first - overridden, np.tile(np.array([0.5, -0.5, 0.25]), (5, 1)), 1e-5)
    g.parameters["fc.bias"] = [0, 0, 0]
    assert np.array_equal(fn(x=X)[0], overridden)


def test_a_parameter_without_values_is_told() -> None:
    g = lossc.load(SAMPLES / "digits.lir")
    with pytest.raises(lossc.LirError, match=r"parameter `w1`: f32\[128, 64\] has no values"):
        g.compile(outputs=["logits"])(x=np.zeros((1, 64), "f4"))
    g.initialize()
    assert abs(g.parameters["w1"]).max() <= 1 / 8
    assert abs(g.parameters["b2"]).max() <= 1 / np.sqrt(128)
    assert g.compile(outputs=["logits"])(x=np.zeros((1, 64), "f4"))[0].shape == (1, 10)


# --- devices, threads, import -------------------------------------------------------------------------------


def test_a_device_is_named_or_given(device: Device) -> None:
    g = classifier()
    number = next(i for i, other in enumerate(lossc.devices()) if other.key == device.key)
    expected = g.compile(device=device)(x=X, labels=LABELS)[0]
    for given in (number, str(number), device.queue, device.context):
        fn = g.compile(device=given)
        assert fn.device.key == device.key
        assert np.array_equal(fn(x=X, labels=LABELS)[0], expected)


def test_an_unknown_device_is_an_error_of_devices() -> None:
    with pytest.raises(lossc.DeviceError, match="no OpenCL device answers to `quantum`"):
        classifier().compile(device="quantum")


def test_a_device_with_memory_of_its_own(device: Device) -> None:
    apart = separate(device)
    g = classifier()
    expected = g.compile(grad=True, device=device)(x=X, labels=LABELS)
    found = g.compile(grad=True, device=apart)(x=X, labels=LABELS)
    assert np.array_equal(found[0][1], expected[0][1])
    assert np.array_equal(found[1]["fc.weight"], expected[1]["fc.weight"])
    same = g.compile(outputs={"x": g.value("x"), "loss": g.value("loss")}, device=apart)(x=X, labels=LABELS)
    assert np.array_equal(same[0], X)
    with pytest.raises(lossc.LirError, match="a label must lie in"):
        g.compile(device=apart)(x=X, labels=LABELS + 2)


def separate(device: Device) -> Device:
    """The same device as if it could not use the host's memory: every argument is copied there and back."""
    apart = Device(device.handle)
    apart.info = dataclasses.replace(device.info, shared_pointers=False)
    return apart


def test_threads_share_a_function(device: Device) -> None:
    fn = classifier().compile(grad=["x"], device=device)
    batches = [RNG.standard_normal((3 + k % 4, 4)).astype("f4") for k in range(24)]
    labels = [np.full(len(batch), k % 3, "i4") for k, batch in enumerate(batches)]
    expected = [fn(x=x, labels=y)[1]["x"] for x, y in zip(batches, labels)]
    found: dict[int, np.ndarray] = {}

    def work(start: int) -> None:
        for _ in range(10):
            for k in range(start, 24, 4):
                found[k] = fn(x=batches[k], labels=labels[k])[1]["x"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[k], expected[k]) for k in range(24))


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, lossc; lossc.nn, lossc.optim; g = lossc.Graph(); g.set_outputs([g.relu(g.input('x', (2,)))]); "
        "heavy = {'pyopencl', 'matplotlib', 'safetensors', 'ml_dtypes', 'torch', 'typer', 'rich', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_plans_that_are_forgotten_let_go_of_everything(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossc.runtime.execute.MOST_PLANS", 2)
    g = lossc.Graph()
    x = g.input("x", (None, 3))
    g.set_outputs([x.sum(1).exp()])
    fn = g.compile(device=device)
    fn(x=np.ones((1, 3), "f4"))
    first = weakref.ref(next(iter(fn._executable._of_thread.plans.values())))
    for rows in range(2, 6):
        fn(x=np.ones((rows, 3), "f4"))
    gc.collect()
    assert first() is None
    assert len(fn._executable._of_thread.plans) == 2


# --- looking inside -----------------------------------------------------------------------------------------


def test_a_dump_reads_back_and_says_how_to_launch(tmp_path: Path) -> None:
    g = classifier()
    fn = g.compile(grad=True)
    folder = tmp_path / "new" / "dump"
    fn.dump(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {launch["file"] for step in manifest["steps"] for v in step["variants"] for launch in v["launches"]}
    assert {f"kernels/{path.name}" for path in (folder / "kernels").iterdir()} == files
    assert len(manifest["steps"]) == len(fn.kernels)
    buffers = {buffer["name"] for buffer in manifest["buffers"]}
    for step in manifest["steps"]:
        assert step["variants"][-1]["guard"] is None
        for variant in step["variants"]:
            own = buffers | {buffer["name"] for buffer in variant["temporaries"]}
            for launch in variant["launches"]:
                text = (folder / launch["file"]).read_text()
                assert f"void {launch['kernel']}(" in text
                assert all(a["buffer"] in own for a in launch["arguments"] if a["kind"] == "buffer")
    for name in ("module.lir", "prepared.lir", "fused.lir"):
        parse((folder / name).read_text())
    assert "domain axis 0: B" in (folder / "fused.lir").read_text()


def test_a_dump_replaces_the_kernels_of_an_earlier_one(tmp_path: Path) -> None:
    classifier().compile(grad=True).dump(tmp_path / "dump")
    (tmp_path / "dump" / "kernels" / "mine.cl").write_text("// not lossc's")
    squares().dump(tmp_path / "dump")
    manifest = json.loads((tmp_path / "dump" / "manifest.json").read_text())
    files = {launch["file"] for step in manifest["steps"] for v in step["variants"] for launch in v["launches"]}
    there = {f"kernels/{path.name}" for path in (tmp_path / "dump" / "kernels").iterdir()}
    assert there == {*files, "kernels/mine.cl"}


def test_a_dump_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(lossc.LirError, match="cannot write to"):
        classifier().compile().dump(tmp_path / "file")


def test_explain_says_what_fused_and_why_not() -> None:
    text = classifier().compile(grad=True).explain()
    assert "rewritten:" in text
    assert "kept apart:" in text
    assert "strategy matmul" in text
    assert "if B >= " in text


def test_source_is_opencl_of_every_variant() -> None:
    fn = classifier().compile()
    assert all(source in fn.source for source in fn.sources.values())
    assert fn.source.count("kernel void") == len(fn.sources)
