"""Training steps: arenas, errors, accumulation, clipping, groups."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_examples import LABELS, X, network, same, values

import lossc
from lossc import nn, optim
from lossc.runtime.device import Device
from lossc.training import accumulate, update
from lossc.training.arena import segments_of


def test_a_step_is_gradients_and_update(any_device: Device) -> None:
    g = network()
    gradients_of = g.compile(grad=True, device=any_device)
    step = g.compile_step(optim.SGD(0.1), device=any_device)
    for _ in range(3):
        before = values(g)
        (loss,), gradients = gradients_of(x=X, labels=LABELS)
        assert np.array_equal(step(x=X, labels=LABELS), loss)
        for name, gradient in gradients.items():
            assert np.array_equal(step.gradient(name), gradient)
            assert np.allclose(g.parameters[name], before[name] - 0.1 * gradient, atol=1e-7)
    assert step.count == 3


def test_training_lowers_the_loss(device: Device) -> None:
    g = network()
    step = g.compile_step(optim.Adam(lr=0.02), device=device)
    losses = [float(step(x=X, labels=LABELS)[0]) for _ in range(120)]
    assert losses[-1] < 0.05 * losses[0]
    assert float(g.compile(device=device)(x=X, labels=LABELS)[0][0]) < losses[-1]


def test_batches_of_other_sizes_go_through_the_same_step(device: Device) -> None:
    g = network()
    step = g.compile_step(optim.SGD(0.1), device=device)
    for batch in (12, 1, 5, 12):
        before = values(g)
        _, gradients = g.compile(grad=True, device=device)(x=X[:batch], labels=LABELS[:batch])
        step(x=X[:batch], labels=LABELS[:batch])
        expected = before["net.0.weight"] - 0.1 * gradients["net.0.weight"]
        assert np.allclose(g.parameters["net.0.weight"], expected, atol=1e-7)


def test_several_outputs_come_as_a_list(device: Device) -> None:
    g = network()
    g.set_outputs({"loss": g.value("loss"), "hidden": g.value("relu")})
    loss, hidden = g.compile_step(optim.SGD(0.1), device=device)(x=X, labels=LABELS)
    assert loss.shape == (1,)
    assert hidden.shape == (12, 9)


# --- what may go wrong --------------------------------------------------------------------------------------


def test_a_wrong_label_changes_no_parameter(any_device: Device) -> None:
    g = network()
    step = g.compile_step(optim.Adam(), device=any_device)
    step(x=X, labels=LABELS)
    before, state = values(g), step.state("net.1.weight")
    wrong = LABELS.copy()
    wrong[7] = 3
    with pytest.raises(lossc.LirError, match=r"a label must lie in \[0, 3\): found 3 at row 7"):
        step(x=X, labels=wrong)
    assert same(values(g), before)
    assert same(step.state("net.1.weight"), state)
    assert step.count == 1
    step(x=X, labels=LABELS)
    assert not same(values(g), before)


def test_a_wrong_label_in_one_of_several_batches(any_device: Device) -> None:
    """Nothing of it comes into the sum of the gradients, and the step that would use them may be asked again."""
    wrong, halves = LABELS - 3, [(X[:6], LABELS[:6]), (X[6:], LABELS[6:])]
    graphs = [network(), network()]
    steps = [g.compile_step(optim.Adam(), device=any_device, clip_norm=1.0) for g in graphs]
    for step, fails in zip(steps, (False, True)):
        for turn, (x, labels) in enumerate(halves):
            call = step if turn else step.accumulate
            if fails:
                with pytest.raises(lossc.CheckFailed):
                    call(x=X, labels=wrong)
                if turn:
                    with pytest.raises(lossc.CheckFailed):
                        step.accumulate(x=X, labels=wrong)
            call(x=x, labels=labels)
        assert step.count == 1
    assert same(values(graphs[0]), values(graphs[1]))


def test_each_of_several_checks_keeps_the_parameters(any_device: Device) -> None:
    g = lossc.Graph()
    x, labels, more = g.input("x", (None, 6)), *(g.input(name, (None,), dtype="i32") for name in ("labels", "more"))
    logits = nn.Mlp(g, "net", 6, 9, 3)(x)
    g.set_outputs([g.cross_entropy_loss(logits, labels) + g.cross_entropy_loss(logits, more)])
    step = g.compile_step(optim.SGD(0.1, momentum=0.9), device=any_device)
    before = values(g)
    for labels, others in ((LABELS + 3, LABELS), (LABELS, LABELS + 3)):
        with pytest.raises(lossc.CheckFailed):
            step(x=X, labels=labels, more=others)
        assert same(values(g), before)
    step(x=X, labels=LABELS, more=LABELS)
    assert not same(values(g), before)


def test_what_looks_at_several_checks_is_one_launch(device: Device) -> None:
    """Of arenas too large for a lone work-item."""
    g = lossc.Graph()
    x, labels, more = g.input("x", (None, 6)), *(g.input(name, (None,), dtype="i32") for name in ("labels", "more"))
    logits = nn.Mlp(g, "net", 6, 4096, 3)(x)
    g.set_outputs([g.cross_entropy_loss(logits, labels) + g.cross_entropy_loss(logits, more)])
    step = g.compile_step(optim.Adam(), device=device)
    step.accumulate(x=X, labels=LABELS, more=LABELS)
    (trained,), (accumulator,) = step._trained.values(), step._accumulators.values()
    assert trained.update.in_place
    for behind in (*trained.update.executables(trained.gradients), accumulator.adding(1.0, first=False)):
        assert len(behind._plan(behind._of_thread.runs, (), None).launches) == 1


def test_a_sum_of_gradients_is_not_written_over_what_it_reads(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    step = network().compile_step(optim.SGD(0.1), device=device)
    ready_program = accumulate.ready_program
    monkeypatch.setattr(accumulate, "ready_program",
                        lambda *arguments: replace(ready_program(*arguments), overwrites=frozenset()))  # fmt: skip
    with pytest.raises(lossc.CompilerBug, match="what it has written over"):
        step.accumulate(x=X, labels=LABELS)


def interrupted_after(step: lossc.Step, launch: int, monkeypatch: pytest.MonkeyPatch, **batch: Any) -> int:
    """Call the step with an interrupt at one of its launches, if there are so many; how many there were."""
    enqueue, launches = step._executable._enqueue, []

    def interrupting(*arguments: Any) -> None:
        enqueue(*arguments)
        launches.append(arguments)
        if len(launches) == launch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step._executable, "_enqueue", interrupting)
        with pytest.raises((KeyboardInterrupt, lossc.CheckFailed)) as raised:
            step(**batch)
    assert (raised.type is KeyboardInterrupt) == (len(launches) >= launch)
    return len(launches)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_step_that_is_interrupted_is_a_whole_step(
    device: Device, monkeypatch: pytest.MonkeyPatch, clip_norm: float | None
) -> None:
    """Loss, gradients, sums, clipping and update are launched at once, and what was launched counts."""
    groups: optim.Groups = {"biases": {"lr": 0.01}}
    plain, other = network(), network()
    steps = []
    for g in (plain, other):
        g.parameters.set_group("biases", "*.bias")
        steps.append(g.compile_step(optim.Adam(0.1, groups=groups), device=device, clip_norm=clip_norm))
    usual, step = steps
    launch, launches = 1, 2
    while launch <= launches:
        for one in steps:
            one.accumulate(x=X[:5], labels=LABELS[:5], share=5)
        usual(x=X, labels=LABELS)
        launches = interrupted_after(step, launch, monkeypatch, x=X, labels=LABELS)
        assert same(values(plain), values(other))
        assert step.count == launch
        before = values(other)
        assert interrupted_after(step, launch, monkeypatch, x=X, labels=LABELS + 3) < launches
        assert same(values(other), before)
        assert step.count == launch
        launch += 1
    for one in steps:
        one(x=X[:5], labels=LABELS[:5])
    assert same(values(plain), values(other))


def test_a_sum_of_gradients_that_is_interrupted_counts(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [network(), network()]
    usual, step = (g.compile_step(optim.SGD(1.0), device=device) for g in graphs)
    for one in (usual, step):
        one.accumulate(x=X[:5], labels=LABELS[:5])
    usual.accumulate(x=X, labels=LABELS)
    run, executable = step._executable.run, step._executable

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        run(*arguments, **keywords)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executable, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step.accumulate(x=X, labels=LABELS)
    for one in (usual, step):
        one(x=X, labels=LABELS)
    assert same(*map(values, graphs))


def test_a_step_that_the_driver_broke_off_is_not_gone_on_with(
    device: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    g = network()
    step = g.compile_step(optim.SGD(0.1), device=device)
    step(x=X, labels=LABELS)
    step.save(tmp_path / "good.safetensors")
    enqueue, executable = step._executable._enqueue, step._executable

    def failing(*arguments: Any) -> None:
        enqueue(*arguments)
        if arguments[1].function_name.startswith("update"):
            raise executable._driver_error("out of resources")

    with monkeypatch.context() as patch:
        patch.setattr(executable, "_enqueue", failing)
        with pytest.raises(lossc.DeviceError):
            step(x=X, labels=LABELS)
    for call in (step, step.accumulate):
        with pytest.raises(lossc.LirError, match=r"broken off .*\n.*load a checkpoint"):
            call(x=X, labels=LABELS)
    with pytest.raises(lossc.LirError, match="broken off"):
        step.save(tmp_path / "bad.safetensors")
    step.load(tmp_path / "good.safetensors")
    step(x=X, labels=LABELS)
    assert step.count == 2


def test_what_a_failed_run_left_is_not_trained_on(device: Device) -> None:
    g = lossc.Graph()
    scores, labels = g.input("scores", (None, 6)), g.input("labels", (None,), dtype="i32")
    g.set_outputs([g.cross_entropy_loss(scores, labels)])
    gradients_of = g.compile(grad=["scores"], device=device)
    network_ = network()
    step = network_.compile_step(optim.SGD(0.1), device=device)
    before = values(network_)
    _, gradients = gradients_of(scores=on_device(device, X), labels=on_device(device, LABELS + 6), device_results=True)
    with pytest.raises(lossc.CheckFailed, match=r"found [678]"):
        step(x=gradients["scores"], labels=LABELS)
    assert same(values(network_), before)
    assert step.count == 0


def on_device(device: Device, array: np.ndarray) -> Any:
    import pyopencl.array

    return pyopencl.array.to_device(device.queue, array)


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


# --- parameters ---------------------------------------------------------------------------------------------


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


# --- groups, clipping, accumulation -------------------------------------------------------------------------


def test_groups_have_settings_of_their_own(device: Device) -> None:
    def train(groups: dict[str, dict[str, float]], decay: float) -> dict[str, np.ndarray]:
        g = network()
        g.parameters.set_group("biases", "*.bias")
        step = g.compile_step(optim.AdamW(lr=0.01, weight_decay=decay, groups=groups), device=device)
        for _ in range(3):
            step(x=X, labels=LABELS)
        return values(g)

    mixed = train({"biases": {"weight_decay": 0.0, "lr": 0.0}}, 0.5)
    start = values(network())
    assert np.array_equal(mixed["net.0.bias"], start["net.0.bias"])
    assert not np.array_equal(mixed["net.0.weight"], start["net.0.weight"])
    with pytest.raises(lossc.LirError, match="no parameter matches"):
        network().parameters.set_group("a", "conv.*")


def test_gradients_are_clipped_by_their_norm_over_all_parameters(any_device: Device) -> None:
    g = network()
    g.parameters.set_group("biases", "*.bias")
    before = values(g)
    _, gradients = g.compile(grad=True, device=any_device)(x=X, labels=LABELS)
    norm = float(np.sqrt(sum((gradient.astype(float) ** 2).sum() for gradient in gradients.values())))
    step = g.compile_step(optim.SGD(1.0), clip_norm=norm / 4, device=any_device)
    step(x=X, labels=LABELS)
    for name, gradient in gradients.items():
        assert np.allclose(g.parameters[name], before[name] - gradient / 4, atol=1e-6)
    wide = network()
    wide.compile_step(optim.SGD(1.0), clip_norm=norm * 2, device=any_device)(x=X, labels=LABELS)
    for name, gradient in gradients.items():
        assert np.allclose(wide.parameters[name], before[name] - gradient, atol=1e-6)


def test_a_gradient_that_is_no_number_is_not_clipped_away(device: Device) -> None:
    g = network()
    bad = X.copy()
    bad[0, 0] = np.nan
    g.compile_step(optim.SGD(1.0), clip_norm=1.0, device=device)(x=bad, labels=LABELS)
    assert np.isnan(g.parameters["net.0.weight"]).any()


def test_accumulated_batches_are_one_batch(any_device: Device) -> None:
    whole, parts = network(), network()
    one = whole.compile_step(optim.AdamW(lr=0.01), device=any_device)
    several = parts.compile_step(optim.AdamW(lr=0.01), device=any_device)
    for _ in range(2):
        one(x=X, labels=LABELS)
        for start in (0, 4):
            several.accumulate(x=X[start : start + 4], labels=LABELS[start : start + 4])
        several(x=X[8:], labels=LABELS[8:])
    assert several.count == 2
    for name, array in values(whole).items():
        assert np.allclose(parts.parameters[name], array, atol=2e-5)


# --- looking inside -----------------------------------------------------------------------------------------


def test_a_step_dumps_and_explains_both_programs(tmp_path: Path) -> None:
    step = network().compile_step(optim.Adam())
    step.dump(tmp_path)
    assert (tmp_path / "gradients" / "manifest.json").is_file()
    assert (tmp_path / "update" / "manifest.json").is_file()
    text = step.explain()
    assert "@network" in text
    assert "@update" in text
    assert "update_0" in step.source


def test_a_step_in_the_middle_of_a_step_is_refused(
    device: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    """And what would keep the one half of it, or change it."""
    g, expected = network(), network()
    step, usual = (graph.compile_step(optim.SGD(0.1), device=device) for graph in (g, expected))
    enqueue, refused = step._executable._enqueue, []
    saved = tmp_path / "before.safetensors"
    step.save(saved)

    def signalled(*arguments: Any) -> None:
        enqueue(*arguments)
        path = tmp_path / "step.safetensors"
        for call in (
            lambda: step(x=X, labels=LABELS),
            lambda: step.save(path),
            lambda: g.parameters.save(path),
            lambda: step.load(saved),
            lambda: g.parameters.load(saved),
            lambda: g.parameters.update(values(g)),
            lambda: g.parameters.fill("net.0.weight", "zeros"),
        ):
            with pytest.raises(lossc.LirError, match=r"under way in this thread\n.*set a flag"):
                call()
        assert not path.exists()
        refused.append(g.parameters["net.0.weight"])

    with monkeypatch.context() as patch:
        patch.setattr(step._executable, "_enqueue", signalled)
        step(x=X, labels=LABELS)
    usual(x=X, labels=LABELS)
    assert refused
    assert step.count == 1
    assert same(values(g), values(expected))


def test_other_threads_see_no_half_of_an_update(device: Device) -> None:
    g = lossc.Graph()
    x, w = g.input("x", (None, 64)), g.param("w", np.zeros((512, 64), "f4"))
    g.set_outputs([x.sum().reshape([1]) * 0 + (w * 1.0).sum().reshape([1])])
    step = g.compile_step(optim.SGD(1.0), device=device)
    predict = g.compile(outputs=[w * 1.0], device=device)
    batch, torn, reads, stop = np.ones((2, 64), "f4"), 0, 0, threading.Event()

    def watch() -> None:
        nonlocal torn, reads
        while not stop.is_set():
            for seen in (g.parameters["w"], predict()[0]):
                torn += bool(seen.min() != seen.max())
                reads += 1

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for _ in range(1000):
            step(x=batch)
    finally:
        stop.set()
        thread.join()
    assert reads
    assert not torn


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


def test_a_scale_that_was_not_sent_is_sent_again(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    g = lossc.Graph()
    x, w = g.input("x", (None, 4)), g.param("w", np.ones(4, "f4"))
    g.set_outputs([(x * w).mean().reshape([1])])
    step, batch = g.compile_step(optim.SGD(1.0), device=device), np.ones((2, 4), "f4")
    step(x=batch)
    step.accumulate(x=batch)
    before = g.parameters["w"]

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(update, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(x=batch)
    step._batches, step._shares = 0, 0.0
    step(x=batch)
    assert (before - g.parameters["w"]).tolist() == [0.25] * 4
