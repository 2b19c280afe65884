"""Arrays that stay on the device: as inputs, as results, and gradients written over their inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossc
from lossc.compiled import CompiledFunction
from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device, from_queue
from lossc.runtime.execute import Executable

ROWS, CLASSES = 37, 10


def cross_entropy(device: Any, **options: Any) -> CompiledFunction:
    graph = lossc.Graph()
    x, labels = graph.input("x", (None, CLASSES)), graph.input("labels", (None,), dtype="i32")
    graph.set_outputs({"loss": graph.cross_entropy_loss(x, labels)})
    return graph.compile(device=device, **options)


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    x = generator.standard_normal((ROWS, CLASSES)).astype(np.float32)
    return {"x": x, "labels": generator.integers(0, CLASSES, ROWS).astype(np.int32)}


def on_device(device: Device, batch: dict[str, np.ndarray], queue: Any = None) -> dict[str, Any]:
    import pyopencl.array

    return {name: pyopencl.array.to_device(queue or device.queue, array) for name, array in batch.items()}


def test_device_arrays_go_in_and_come_out(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    import pyopencl.array

    fn = cross_entropy(any_device, grad=["x"])
    (loss,), gradients = fn(**batch)
    (same_loss,), same = fn(**on_device(any_device, batch), device_results=True)
    assert isinstance(same_loss, pyopencl.array.Array)
    assert same_loss.shape == (1,)
    np.testing.assert_array_equal(same_loss.get(), loss)
    np.testing.assert_array_equal(same["x"].get(), gradients["x"])
    (host_loss,), _ = fn(**on_device(any_device, batch))
    np.testing.assert_array_equal(host_loss, loss)


def test_results_on_the_device_go_into_the_next_call(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    graph = lossc.Graph()
    graph.set_outputs([graph.input("x", (None, CLASSES)) * 2])
    double = graph.compile(device=any_device)
    (twice,) = double(**on_device(any_device, {"x": batch["x"]}), device_results=True)
    (four,) = double(x=twice, device_results=True)
    np.testing.assert_array_equal(four.get(), 4 * batch["x"])
    (eight,) = double(x=four)
    np.testing.assert_array_equal(eight, 8 * batch["x"])


def test_arrays_of_another_queue_are_waited_for(device: Device, batch: dict[str, np.ndarray]) -> None:
    import pyopencl as cl

    queue = cl.CommandQueue(device.context)
    arrays = on_device(device, batch, queue)
    arrays["x"] *= 3
    fn = cross_entropy(device)
    (loss,) = fn(x=3 * batch["x"], labels=batch["labels"])
    (same,) = fn(**arrays)
    np.testing.assert_allclose(same, loss, rtol=1e-6)


def test_arrays_of_another_context_are_copied_and_that_is_said(device: Device, batch: dict[str, np.ndarray]) -> None:
    import pyopencl as cl

    context = cl.Context([device.handle])
    queue = cl.CommandQueue(context)
    fn = cross_entropy(device)
    np.testing.assert_array_equal(fn(**on_device(device, batch, queue))[0], fn(**batch)[0])
    assert "another device" in fn.explain()


def test_a_part_of_a_device_array(device: Device, batch: dict[str, np.ndarray]) -> None:
    arrays = on_device(device, batch)
    fn = cross_entropy(device)
    (loss,) = fn(x=arrays["x"][1:], labels=arrays["labels"][1:])
    np.testing.assert_array_equal(loss, fn(x=batch["x"][1:], labels=batch["labels"][1:])[0])


def test_device_arrays_are_not_converted(device: Device, batch: dict[str, np.ndarray]) -> None:
    arrays = on_device(device, {**batch, "x": batch["x"].astype(np.float64)})
    with pytest.raises(LirError, match="device array of float64"):
        cross_entropy(device)(**arrays)


def test_results_on_the_device_of_arrays_on_the_host(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    fn = cross_entropy(any_device)
    x = batch["x"].copy()
    (loss,) = fn(x=x, labels=batch["labels"], device_results=True)
    x[...] = 0
    np.testing.assert_array_equal(loss.get(), fn(**batch)[0])


def test_an_empty_batch_and_outputs_that_are_inputs(any_device: Device) -> None:
    graph = lossc.Graph()
    x = graph.input("x", (None, 3))
    graph.set_outputs({"same": x, "double": x * 2})
    fn = graph.compile(device=any_device)
    for rows in (0, 2):
        values = np.ones((rows, 3), np.float32)
        same, double = fn(**on_device(any_device, {"x": values}), device_results=True)
        np.testing.assert_array_equal(same.get(), values)
        np.testing.assert_array_equal(double.get(), 2 * values)


def test_a_queue_of_the_users_own(device: Device, batch: dict[str, np.ndarray]) -> None:
    import pyopencl as cl

    queue = cl.CommandQueue(device.context)
    fn = cross_entropy(queue)
    (loss,) = fn(**on_device(from_queue(queue), batch), device_results=True)
    assert loss.queue.int_ptr == queue.int_ptr
    np.testing.assert_array_equal(loss.get(), cross_entropy(device)(**batch)[0])


# --- errors of runs that nobody has waited for -------------------------------------------------------------------


def wrong(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    labels = batch["labels"].copy()
    labels[5] = 77
    return {**batch, "labels": labels}


READS = [lambda a: a.get(), lambda a: a.finish(), lambda a: (a + 1).get(), lambda a: a[:1].get()]


@pytest.mark.parametrize("read", READS)
def test_an_error_is_raised_by_the_first_read(any_device: Device, batch: dict[str, np.ndarray], read: Any) -> None:
    fn = cross_entropy(any_device)
    (loss,) = fn(**on_device(any_device, wrong(batch)), device_results=True)
    with pytest.raises(lossc.CheckFailed, match="77 at row 5") as caught:
        read(loss)
    assert (caught.value.code, caught.value.row, caught.value.value) == ("label", 5, 77)
    with pytest.raises(lossc.CheckFailed):
        loss.get()
    # The error was told: the next call works.
    np.testing.assert_array_equal(fn(**on_device(any_device, batch), device_results=True)[0].get(), fn(**batch)[0])


def test_an_error_that_nobody_read_is_raised_by_the_next_call(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    fn = cross_entropy(any_device)
    fn(**on_device(any_device, wrong(batch)), device_results=True)
    with pytest.raises(lossc.CheckFailed, match="row 5"):
        fn(**batch)
    assert np.isfinite(fn(**batch)[0]).all()


def test_an_interrupted_start_leaves_no_error_to_the_next(
    device: Device, batch: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    fn = cross_entropy(device)
    launch = Executable._launch

    def interrupted(*arguments: Any, **keywords: Any) -> None:
        launch(*arguments, **keywords)
        device.queue.finish()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Executable, "_launch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fn(**on_device(device, wrong(batch)), device_results=True)
    (loss,) = fn(**on_device(device, batch), device_results=True)
    np.testing.assert_array_equal(loss.get(), fn(**batch)[0])


def test_what_reads_a_wrong_result_is_wrong(device: Device, batch: dict[str, np.ndarray]) -> None:
    graph = lossc.Graph()
    graph.set_outputs([graph.input("x", (1,)) * 2])
    double = graph.compile(device=device)
    (loss,) = cross_entropy(device)(**on_device(device, wrong(batch)), device_results=True)
    (twice,) = double(x=loss, device_results=True)
    with pytest.raises(lossc.CheckFailed, match="row 5"):
        twice.get()
    # Results on the host are no way round it.
    (loss,) = cross_entropy(device)(**on_device(device, wrong(batch)), device_results=True)
    with pytest.raises(lossc.CheckFailed, match="row 5"):
        double(x=loss)


# --- gradients over inputs ---------------------------------------------------------------------------------------


def test_a_gradient_is_written_over_its_input(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    _, expected = cross_entropy(any_device, grad=["x"])(**batch)
    fn = cross_entropy(any_device, grad=["x"], inplace="x")
    x = batch["x"].copy()
    _, gradients = fn(x=x, labels=batch["labels"])
    assert gradients["x"] is x
    np.testing.assert_array_equal(x, expected["x"])
    assert "over it" in fn.explain()


def test_a_gradient_is_written_over_a_device_array(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    _, expected = cross_entropy(any_device, grad=["x"])(**batch)
    fn = cross_entropy(any_device, grad=["x"], inplace="x")
    for device_results in (True, False):
        arrays = on_device(any_device, batch)
        _, gradients = fn(**arrays, device_results=device_results)
        assert gradients["x"] is arrays["x"]
        np.testing.assert_array_equal(arrays["x"].get(), expected["x"])


def test_a_failed_check_leaves_the_input(any_device: Device, batch: dict[str, np.ndarray]) -> None:
    fn = cross_entropy(any_device, grad=["x"], inplace="x")
    x = batch["x"].copy()
    with pytest.raises(lossc.CheckFailed):
        fn(x=x, labels=wrong(batch)["labels"])
    np.testing.assert_array_equal(x, batch["x"])
    arrays = on_device(any_device, wrong(batch))
    with pytest.raises(lossc.CheckFailed):
        fn(**arrays, device_results=True)
    np.testing.assert_array_equal(arrays["x"].get(), batch["x"])


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.float64), "converted or copied"),
        (lambda x: np.asfortranarray(x), "converted or copied"),
        (lambda x: x.tolist(), "converted or copied"),
        (read_only, "read-only"),
    ],
)
def test_an_array_that_cannot_be_written_over_is_refused(
    batch: dict[str, np.ndarray], change: Any, message: str
) -> None:
    fn = cross_entropy(None, grad=["x"], inplace="x")
    with pytest.raises(LirError, match=message):
        fn(x=change(batch["x"]), labels=batch["labels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inplace": "x"}, "they need grad"),
        ({"grad": ["x"], "inplace": "y"}, "gradients: x"),
        ({"grad": ["x"], "inplace": "labels"}, "its gradient is not asked for"),
    ],
)
def test_inplace_names_an_input_with_a_gradient(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LirError, match=message):
        cross_entropy(None, **options)


def product(device: Any, **options: Any) -> CompiledFunction:
    graph = lossc.Graph()
    x, y = graph.input("x", (None,)), graph.input("y", (None,))
    graph.set_outputs([(x * y * y).sum()])
    return graph.compile(device=device, grad=["x", "y"], **options)


def test_gradients_over_inputs_that_overlap_are_refused(any_device: Device) -> None:
    """One of them would be lost."""
    fn = product(any_device, inplace=["x", "y"])
    memory = np.arange(6, dtype="f4")
    before = memory.copy()
    for x, y in ((memory, memory), (memory[:4], memory[2:]), (memory[:2], memory[1:3])):
        with pytest.raises(LirError, match="`x` and `y`, which overlap"):
            fn(x=x, y=y)
        np.testing.assert_array_equal(memory, before)
    (given,) = on_device(any_device, {"x": memory}).values()
    with pytest.raises(LirError, match="overlap"):
        fn(x=given, y=given)
    with pytest.raises(LirError, match="overlap"):
        fn(x=given, y=given.view())
    np.testing.assert_array_equal(given.get(), before)
    _, expected = product(any_device)(x=memory[:3], y=memory[3:])
    expected = {name: gradient.copy() for name, gradient in expected.items()}
    _, found = fn(x=memory[:3], y=memory[3:])
    np.testing.assert_array_equal(found["x"], expected["x"])
    np.testing.assert_array_equal(memory, np.concatenate([expected["x"], expected["y"]]))
