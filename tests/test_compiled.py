"""Compiled functions: what they compute and give back, on every device and in threads."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
import threading
import warnings
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compiled_examples import LABELS, SAMPLES, X, classifier, close, expected_of, squares

import lossc
from lossc.ir.interp import interpret
from lossc.runtime.device import Device

# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 5, 16, 33])
def test_forward_agrees_with_the_interpreter(device: Device, batch: int) -> None:
    g = classifier(label_smoothing=0.1)
    fn = g.compile(device=device)
    random = np.random.default_rng(batch)
    x, labels = random.standard_normal((batch, 4)).astype("f4"), random.integers(0, 3, batch).astype("i4")
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
        direction = np.random.default_rng(1).standard_normal(gradient.shape)
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
        ([lossc.empty((5, 2))], "out names the outputs, found list\n  = write out="),
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


@pytest.mark.parametrize("name", ["h200", "gpu-generic", "my.json"])
def test_a_description_is_no_device_to_run_on(name: str) -> None:
    with pytest.raises(lossc.DeviceError, match="a description to compile for, not a device that can run"):
        classifier().compile(device=name)


def test_inputs_go_by_name() -> None:
    fn = classifier().compile()
    with pytest.raises(TypeError, match=r"by name, found 2 without\n.*fn\(x=\.\.\., labels=\.\.\.\)") as raised:
        fn(X, LABELS)
    assert isinstance(raised.value, lossc.LirError)
    step = classifier().compile_step(lossc.optim.SGD(0.1))
    with pytest.raises(TypeError, match=r"step\(x=\.\.\., labels=\.\.\.\)"):
        step(X, LABELS)
    assert step.count == 0


def test_a_strategy_that_applies_nowhere_is_a_warning() -> None:
    g = lossc.Graph()
    g.set_outputs([g.l2_loss(g.input("x", (None,)))])
    with pytest.warns(lossc.LossWarning, match="LIR0205.*the strategy matmul applies to no kernel") as caught:
        g.compile(strategy="matmul")
    assert Path(caught[0].filename).name == Path(__file__).name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g.compile(strategy="pointwise")


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
    batches = [np.random.default_rng(k).standard_normal((3 + k % 4, 4)).astype("f4") for k in range(24)]
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


def test_the_package_shows_what_it_is_for_and_loads_it_when_it_is_used() -> None:
    torch = ["torch"] if find_spec("torch") else []
    assert [name for name in dir(lossc) if not name.startswith("_")] == sorted(
        [*lossc.__all__, "functional", "nn", "optim", *torch]
    )
    for name in lossc.__all__:
        assert getattr(lossc, name).__name__ == name
    code = "import sys, lossc; print('numpy' in sys.modules, lossc.functional.__name__, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "lossc.functional", "True"]
    with pytest.raises(AttributeError, match="no attribute 'Grahp'"):
        lossc.Grahp  # type: ignore[attr-defined]  # noqa: B018


def test_without_torch_the_package_has_no_torch_and_looks_at_itself() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import inspect, lossc, pydoc\n"
        "print(hasattr(lossc, 'torch'), 'torch' in dir(lossc), len(inspect.getmembers(lossc)) > 20,\n"
        "      len(pydoc.render_doc(lossc)) > 1000)\n"
        "try: import lossc.torch\n"
        "except ImportError as error: print('torch' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True", "True", "True"]


def test_plans_that_are_forgotten_let_go_of_everything(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossc.runtime.prepared.MOST_PLANS", 2)
    g = lossc.Graph()
    x = g.input("x", (None, 3))
    g.set_outputs([x.sum(1).exp()])
    fn = g.compile(device=device)
    fn(x=np.ones((1, 3), "f4"))
    first = weakref.ref(next(iter(fn._executable._of_thread.runs.plans.values())))
    for rows in range(2, 6):
        fn(x=np.ones((rows, 3), "f4"))
    gc.collect()
    assert first() is None
    assert len(fn._executable._of_thread.runs.plans) == 2
