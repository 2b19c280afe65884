"""Steps that fail, are interrupted or begin within another: what the parameters are afterwards."""

from __future__ import annotations

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
from lossc.training.checkpoint import Done


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
    step._done = Done(step.count)
    step(x=batch)
    assert (before - g.parameters["w"]).tolist() == [0.25] * 4
