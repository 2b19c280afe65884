"""Parameters of training steps: frozen, set, shared, empty, read from other threads; what cannot be trained."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from training_examples import LABELS, X, network, same, values

import lossc
from lossc import optim
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.training import arena
from lossc.training.arena import segments_of


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": X}, "missing input `labels`"),
        ({"x": X, "labels": LABELS, "label": LABELS}, "did you mean `labels`"),
        ({"x": X[:, :5], "labels": LABELS}, "input `x` has type"),
        ({"x": X, "labels": X[:, 0]}, "input `labels` .* array of float32"),
        ({"x": X, "labels": LABELS, "net.0.weight": np.zeros((9, 6))}, "no input `net.0.weight`"),
    ],
)  # fmt: skip
def test_wrong_inputs_change_nothing(inputs: dict[str, Any], message: str) -> None:
    g = network()
    step = g.compile_step(optim.Adam())
    before = values(g)
    with pytest.raises(lossc.LirError, match=message):
        step(**inputs)
    assert same(values(g), before)
    assert step.count == 0


def test_what_cannot_be_trained_is_refused() -> None:
    g = lossc.Graph()
    g.set_outputs([g.input("x", (1,))])
    with pytest.raises(lossc.LirError, match="a training step needs parameters"):
        g.compile_step(optim.SGD(0.1))
    g = network()
    g.parameters.freeze("*")
    with pytest.raises(lossc.LirError, match="are frozen"):
        g.compile_step(optim.SGD(0.1))
    g = lossc.Graph()
    g.set_outputs([g.param("w", np.ones(3, np.float16)).sum().reshape([1])])
    with pytest.raises(lossc.Limitation, match="f32 or f64, not f16"):
        g.compile_step(optim.SGD(0.1))
    with pytest.raises(lossc.LirError, match="clip_norm must be positive"):
        network().compile_step(optim.SGD(0.1), clip_norm=0.0)
    text = "func @f(%x: f32[2], param %w: f32[2]) -> f32[1] {\n  %l = mse_loss %x, %w\n  return %l\n}\n"
    with pytest.raises(lossc.LirError, match=r"parameter `w`: .* has no values"):
        lossc.parse(text).compile_step(optim.SGD(0.1))


def test_values_that_do_not_fit_name_the_parameter() -> None:
    g = lossc.Graph()
    g.param("w", np.ones(3))
    with pytest.raises(lossc.LirError, match=r"^error.* parameter `w` has type f32\[3\], found an array of int64"):
        g.parameters["w"] = np.ones(3, np.int64)


def test_frozen_parameters_stay(device: Device) -> None:
    g = network()
    g.parameters.freeze("net.0.*")
    before = values(g)
    step = g.compile_step(optim.AdamW(weight_decay=0.5), device=device)
    step(x=X, labels=LABELS)
    assert step.names == ("net.1.weight", "net.1.bias")
    after = values(g)
    assert [name for name in after if np.array_equal(after[name], before[name])] == ["net.0.weight", "net.0.bias"]


def test_parameters_can_be_set_between_steps(any_device: Device) -> None:
    g = network()
    step = g.compile_step(optim.SGD(0.1), device=any_device)
    start = values(g)
    step(x=X, labels=LABELS)
    once = values(g)
    g.parameters.update(start)
    step(x=X, labels=LABELS)
    assert same(values(g), once)


def test_taken_parameters_do_not_change_and_cannot_be_written() -> None:
    g = network()
    step = g.compile_step(optim.SGD(0.1))
    taken = g.parameters["net.0.weight"]
    kept = taken.copy()
    step(x=X, labels=LABELS)
    assert np.array_equal(taken, kept)
    with pytest.raises(ValueError, match="read-only"):
        taken[...] = 0


def test_two_steps_train_the_same_parameters(any_device: Device) -> None:
    g = network()
    first = g.compile_step(optim.SGD(0.1), device=any_device)
    second = g.compile_step(optim.SGD(0.1), device=any_device)
    alone = network()
    only = alone.compile_step(optim.SGD(0.1), device=any_device)
    for step in (first, second, second, first):
        step(x=X, labels=LABELS)
        only(x=X, labels=LABELS)
    assert same(values(g), values(alone))


def test_parameters_of_two_element_types(device: Device) -> None:
    g = lossc.Graph()
    a, b = g.param("a", np.array([1.0, 2.0], "f4")), g.param("b", np.array([3.0, 4.0, 5.0]), dtype="f64")
    g.set_outputs([(a * a).sum().reshape([1]) + (b * b).sum().reshape([1]).cast("f32")])
    step = g.compile_step(optim.SGD(0.25), device=device)
    step()
    assert g.parameters["a"].tolist() == [0.5, 1.0]
    assert g.parameters["b"].tolist() == [1.5, 2.0, 2.5]
    assert g.parameters["b"].dtype == np.float64


def test_gradients_that_are_inputs_or_twice_the_same(any_device: Device) -> None:
    g = lossc.Graph()
    x = g.input("x", (3,))
    a, b, c = (g.param(name, np.zeros(3)) for name in "abc")
    g.set_outputs([((a + b) * x).sum().reshape([1]) + c.sum().reshape([1]) * 0])
    step = g.compile_step(optim.SGD(1.0), device=any_device)
    step(x=[1, 2, 3])
    step(x=[1, 1, 1])
    assert g.parameters["a"].tolist() == g.parameters["b"].tolist() == [-2, -3, -4]
    assert g.parameters["c"].tolist() == [0, 0, 0]


def test_a_parameter_may_be_called_like_the_gradient_of_another() -> None:
    g = lossc.Graph()
    g.set_outputs([(g.param("w", [1.0, 2.0]) * g.param("grad_w", [3.0, 4.0])).sum().reshape([1])])
    g.compile_step(optim.SGD(1.0))()
    assert g.parameters["w"].tolist() == [-2, -2]
    assert g.parameters["grad_w"].tolist() == [2, 2]


def test_segments_are_aligned_and_padded() -> None:
    table = segments_of([("a", (3, 5)), ("b", ()), ("c", (0,)), ("d", (16,))], 4, 64)
    found = [(segment.offset, segment.count, segment.stop) for segment in table.values()]
    assert found == [(0, 15, 16), (16, 1, 32), (32, 0, 32), (32, 16, 48)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_parameters_without_elements_are_trained(any_device: Device, dtype: str, clip_norm: float | None) -> None:
    g = lossc.Graph()
    x, w = g.input("x", (None, 4), dtype="f64"), g.param("w", np.zeros((0, 4), dtype))
    g.set_outputs([x.mean().reshape([1]) + w.sum().reshape([1]).cast("f64")])
    step = g.compile_step(optim.SGD(0.1, momentum=0.9), device=any_device, clip_norm=clip_norm)
    step.accumulate(x=np.ones((2, 4)))
    assert step(x=np.ones((2, 4))).tolist() == [1]
    assert step.gradient("w").shape == step.state("w")["momentum"].shape == (0, 4)


def test_other_threads_see_no_half_of_an_update(device: Device) -> None:
    g = lossc.Graph()
    x, w = g.input("x", (None, 64)), g.param("w", np.zeros((512, 64), "f4"))
    g.set_outputs([x.sum().reshape([1]) * 0 + (w * 1.0).sum().reshape([1])])
    step = g.compile_step(optim.SGD(1.0), device=device)
    predict = g.compile(outputs=[w * 1.0], device=device)
    batch, torn, reading, stop = np.ones((2, 64), "f4"), 0, threading.Event(), threading.Event()

    def watch() -> None:
        nonlocal torn
        while not stop.is_set():
            for seen in (g.parameters["w"], predict()[0]):
                torn += bool(seen.min() != seen.max())
                reading.set()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        assert reading.wait(60)
        for _ in range(1000):
            step(x=batch)
    finally:
        stop.set()
        thread.join()
    assert not torn


@pytest.mark.parametrize("when", ["set", "taken"])
def test_values_are_trained_on_though_an_interrupt_comes_before_the_device_has_them(
    when: str, any_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a parameter is set, or when another step takes those that one has trained."""
    send, graphs = arena.send, [network(), network()]

    def interrupting(*arguments: Any) -> None:
        monkeypatch.setattr(arena, "send", send)
        raise KeyboardInterrupt

    for g in graphs:
        first, second = (g.compile_step(optim.SGD(0.1), device=any_device) for _ in range(2))
        first(x=X, labels=LABELS)
        name = next(iter(g.parameters))
        interrupted = second if when == "taken" else first
        if when == "set":
            g.parameters[name] = g.parameters[name] + 1
        if g is graphs[1]:
            monkeypatch.setattr(arena, "send", interrupting)
            with pytest.raises(KeyboardInterrupt):
                interrupted(x=X, labels=LABELS)
        if when == "set":
            first(x=X, labels=LABELS)
        second(x=X, labels=LABELS)
    assert same(*map(values, graphs))


def test_predictions_see_no_half_of_what_is_set() -> None:
    """Also where no step has ever been."""
    g = lossc.Graph()
    w = g.param("w", np.zeros(1 << 20, "f4"))
    g.set_outputs([w * 1.0])
    predict, stop = g.compile(), threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            g.parameters["w"] = np.full(1 << 20, number, "f4")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert all(seen.min() == seen.max() for seen in (predict()[0] for _ in range(60)))
    finally:
        stop.set()
        thread.join()


class MakingAStep:
    """An input that turns into an array when it is asked to, and a step of the graph is made meanwhile."""

    def __init__(self, g: lossc.Graph) -> None:
        self.graph, self.steps = g, []

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        self.steps.append(self.graph.compile_step(optim.SGD(0.1)))
        return X


def test_a_prediction_waits_for_the_first_step_though_it_began_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some parameters would be those before an update, others those after it."""
    g = network()
    predict, run, is_free = g.compile(), Executable.run, []

    def look() -> None:
        is_free.append(g.parameters.lock.acquire(blocking=False))
        if is_free[-1]:
            g.parameters.lock.release()

    def watched(executable: Executable, *arguments: Any) -> Any:
        watcher = threading.Thread(target=look)
        watcher.start()
        watcher.join()
        return run(executable, *arguments)

    monkeypatch.setattr(Executable, "run", watched)
    batch = MakingAStep(g)
    predict(x=batch, labels=LABELS)
    assert len(batch.steps) == 1
    assert is_free == [False]


def test_predictions_see_all_or_nothing_of_what_is_set_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no step has ever been."""
    g = lossc.Graph()
    first, second = (g.param(name, np.zeros(1, "f4")) for name in ("first", "second"))
    g.set_outputs([first + second])
    predict, argument, threads = g.compile(), g.parameters.argument, []

    def setting(name: str, device: Device) -> Any:
        found = argument(name, device)
        if not threads:
            ones = dict.fromkeys(g.parameters, np.ones(1, "f4"))
            threads.append(threading.Thread(target=g.parameters.update, args=(ones,)))
            threads[0].start()
            threads[0].join(0.1)
        return found

    monkeypatch.setattr(g.parameters, "argument", setting)
    assert predict()[0].tolist() == [0]
    threads[0].join()
    assert predict()[0].tolist() == [2]


def test_predictions_wait_for_steps_while_there_are_some(device: Device) -> None:
    g = network()
    steps = [g.compile_step(optim.SGD(0.1), device=device) for _ in range(2)]
    assert g.parameters.is_trained
    steps[0](x=X, labels=LABELS)
    steps.pop()
    gc.collect()
    assert g.parameters.is_trained
    steps.clear()
    gc.collect()
    assert not g.parameters.is_trained
    before = values(g)
    g.parameters["net.0.weight"] = np.ones_like(before["net.0.weight"])
    assert (g.parameters["net.0.weight"] == 1).all()
    step = g.compile_step(optim.SGD(0.1), device=device)
    step(x=X, labels=LABELS)
    assert not same(values(g), before)


def test_a_step_is_not_compiled_in_the_middle_of_another(device: Device) -> None:
    """A handler's, by a learning rate here: it would take the parameters from where the update is about to write."""
    g, refused, is_compiled = network(), [], False

    def rate(count: int) -> float:
        if not is_compiled:
            return 0.1
        with pytest.raises(lossc.LirError, match="a step of this graph is under way") as error:
            g.compile_step(optim.SGD(0.1), device=device)
        refused.append(error)
        return 0.1

    step = g.compile_step(optim.SGD(rate), device=device)
    before, is_compiled = values(g), True
    step(x=X, labels=LABELS)
    assert refused
    assert not same(values(g), before)
