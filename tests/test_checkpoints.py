"""Training goes on from a file, bit for bit; a file that does not fit changes nothing."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from training_examples import LABELS, X, network, same, values

import lossc
from lossc import nn, optim
from lossc.runtime.device import Device
from lossc.training.arena import Arena


@pytest.mark.parametrize("optimizer", [optim.Adam(0.01), optim.SGD(0.1, momentum=0.9), optim.SGD(0.1)])
def test_training_resumes_bit_for_bit(any_device: Device, tmp_path: Path, optimizer: Any) -> None:
    path = tmp_path / "step.safetensors"
    g = network()
    step = g.compile_step(optimizer, device=any_device)
    for _ in range(5):
        step(x=X, labels=LABELS)
    step.save(path)
    losses = [step(x=X, labels=LABELS)[0] for _ in range(5)]
    other = network(seed=9)
    again = other.compile_step(optimizer, device=any_device)
    again(x=X, labels=LABELS)
    again.load(path)
    assert again.count == 5
    assert [again(x=X, labels=LABELS)[0] for _ in range(5)] == losses
    assert same(values(g), values(other))
    plain = network(seed=3)
    plain.parameters.load(path)
    again.load(path)
    assert same(values(plain), values(other))


def test_parameters_are_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    g, other = network(), network(seed=1)
    g.parameters.save(path)
    other.parameters.load(path)
    assert same(values(g), values(other))
    assert [file.name for file in tmp_path.iterdir()] == ["p.safetensors"]


def test_checkpoints_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    path, other_path = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    g = network()
    step = g.compile_step(optim.Adam())
    before = values(g)
    wider = lossc.Graph()
    nn.Mlp(wider, "net", 6, 10, 3)
    wider.parameters.save(path)
    with pytest.raises(lossc.LirError, match=r"parameter `net.0.weight` has type .*\[9, 6\], found .* shape \[10, 6\]"):
        g.parameters.load(path)
    with pytest.raises(lossc.LirError, match=r"holds the state of no optimizer, this step has Adam"):
        step.load(path)
    network().compile_step(optim.SGD(0.1)).save(other_path)
    with pytest.raises(lossc.LirError, match=r"holds the state of SGD, this step has Adam"):
        step.load(other_path)
    lossc.Graph().parameters.save(path)
    with pytest.raises(lossc.LirError, match=r"lacks parameter `net.0.weight`"):
        g.parameters.load(path)
    path.write_bytes(b"\x10\0\0\0\0\0\0\0not a header at all")
    with pytest.raises(lossc.LirError, match=r"is not a safetensors file"):
        g.parameters.load(path)
    with pytest.raises(lossc.LirError, match=r"cannot read .*missing"):
        g.parameters.load(tmp_path / "missing")
    with pytest.raises(lossc.LirError, match=r"cannot write .*: there is no folder '.*missing'$"):
        g.parameters.save(tmp_path / "missing" / "p.safetensors")
    assert same(values(g), before)


def test_a_checkpoint_stays_whole_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.safetensors"
    g = network()
    g.parameters.save(path)
    content = path.read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(lossc.LirError, match="No space left on device"):
        g.parameters.save(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["p.safetensors"]


def test_a_copy_has_the_values_and_nothing_of_the_steps(any_device: Device) -> None:
    g = network()
    step = g.compile_step(optim.SGD(0.1), device=any_device)
    step(x=X, labels=LABELS)
    before = values(g)
    copies = (copy.deepcopy(g.parameters), pickle.loads(pickle.dumps(g.parameters)), copy.deepcopy(g).parameters)
    step(x=X, labels=LABELS)
    for store in copies:
        assert {name: store[name].tolist() for name in store} == {name: before[name].tolist() for name in before}
        store.fill("net.0.weight", "zeros")
    assert not same(values(g), before)


def test_what_is_half_loaded_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = network()
    step = g.compile_step(optim.Adam())
    step(x=X, labels=LABELS)
    step.save(tmp_path / "one.safetensors")
    before = values(g)
    step(x=X, labels=LABELS)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Arena, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step.load(tmp_path / "one.safetensors")
    with pytest.raises(lossc.LirError, match="broken off"):
        step(x=X, labels=LABELS)
    (tmp_path / "bad.safetensors").write_bytes(b"")
    with pytest.raises(lossc.LirError, match="not a safetensors file"):
        step.load(tmp_path / "bad.safetensors")
    with pytest.raises(lossc.LirError, match="broken off"):
        step.save(tmp_path / "two.safetensors")
    step.load(tmp_path / "one.safetensors")
    assert same(values(g), before)
    step(x=X, labels=LABELS)
    assert step.count == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_does_not_wait_for_a_step_of_another_thread() -> None:
    g = network()
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with g.parameters.lock:
            g.parameters.is_under_way = True
            held.set()
            forked.wait()
            g.parameters.is_under_way = False

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        is_free = False
        try:
            is_free = g.parameters.lock.acquire(timeout=2) and not g.parameters.is_under_way
        finally:
            os._exit(0 if is_free else 1)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
