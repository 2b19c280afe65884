"""Programs that run one after another: what they may read, and what an error leaves of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossc
from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.program import CHECK_HOLDS
from lossc.runtime.build import BuiltProgram
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument, argument_for, fetch, send
from lossc.runtime.status import StatusWords

FIRST = """func @first(%x: f32[4]) -> (f32[4]) {
  %y = neg %x
  return %y
}"""
A_COPY = """func @a_copy(%y: f32[4]) -> (f32[2, 2]) {
  %v = reshape %y {shape = [2, 2]}
  return %v
}"""
CHECKED = """func @checked(%x: f32[4]) -> (f32[4]) {
  %zero = constant {value = 0.0, dtype = f32, shape = [4]}
  %ok = ge %x, %zero
  check %ok {code = "LIR4000", message = "negative"}
  %y = neg %x
  return %y
}"""
LAST = """func @last(%v: f32[2, 2]) -> (f32[2, 2]) {
  %z = abs %v
  return %z
}"""


def memory(device: Device) -> dict[str, Argument]:
    arrays = {"x": np.arange(1, 5, dtype="f4"), "y": np.zeros(4, "f4"), "v": np.zeros((2, 2), "f4"),
              "z": np.zeros((2, 2), "f4")}  # fmt: skip
    return {name: argument_for(device, array, "readwrite") for name, array in arrays.items()}


def on_memory(text: str, device: Device, held: dict[str, Argument], status: StatusWords | None = None) -> Executable:
    compiled = compile_module(parse(text), device.info)
    read, written = ({name: held[name] for name, _ in values}
                     for values in (compiled.program.inputs, compiled.program.outputs))  # fmt: skip
    return Executable(compiled.program, device, compiled.sources(), compiled.build_options, read, written, status)


def test_what_follows_a_copy_reads_it(any_device: Device) -> None:
    """An output that is a view of an input is copied to its place when kernels are done: no kernel does it."""
    held = memory(any_device)
    first, *others = (on_memory(text, any_device, held) for text in (FIRST, A_COPY, LAST))
    first.run((), then=others)
    assert fetch(any_device, held["z"]).tolist() == [[1, 2], [3, 4]]


def test_after_an_error_of_the_driver_nothing_of_a_run_is_left(any_device: Device) -> None:
    held = memory(any_device)
    status = StatusWords(any_device, argument_for(any_device, np.full(1, CHECK_HOLDS, "i4"), "readwrite"))
    first, last = on_memory(FIRST, any_device, held), on_memory(CHECKED, any_device, held, status)
    launch, calls = first._enqueue, []

    def failing(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise first._driver_error("out of resources")
        launch(*arguments)

    first._enqueue = failing
    status.memory.array[...] = 3
    send(any_device, status.memory)
    with pytest.raises(lossc.DeviceError, match="a kernel of first failed"):
        first.run((), then=[last])
    assert len(calls) == 2
    assert not first._of_thread.runs.plans
    assert not last._of_thread.runs.plans
    assert fetch(any_device, status.memory).tolist() == [CHECK_HOLDS]
    first.run((), then=[last])
    assert fetch(any_device, held["y"]).tolist() == [-1, -2, -3, -4]


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("raised", [Interrupt, lossc.LirError, lossc.DeviceError, KeyboardInterrupt])
def test_whatever_handlers_raise_all_of_it_is_done(any_device: Device, raised: type[BaseException]) -> None:
    """One handler a launch, and others when all are done."""
    held = memory(any_device)
    first, *others = (on_memory(text, any_device, held) for text in (FIRST, A_COPY, LAST))
    launch, done = first._enqueue, []

    def signalled(*arguments: Any) -> None:
        launch(*arguments)
        raise raised("of a handler")

    def signalled_when_done() -> None:
        done.append(fetch(any_device, held["z"]).tolist())
        if len(done) < 3:
            raise raised("of another handler")

    first._enqueue = signalled
    with pytest.raises(raised, match="of a handler"):
        first.run((), then=others, done=signalled_when_done)
    assert done == [[[1, 2], [3, 4]]] * 3


def test_handlers_that_raise_do_not_hide_that_a_check_failed(any_device: Device) -> None:
    held = memory(any_device)
    held["x"].array[0] = -1
    send(any_device, held["x"])
    status = StatusWords(any_device, argument_for(any_device, np.full(1, CHECK_HOLDS, "i4"), "readwrite"))
    first, last = on_memory(CHECKED, any_device, held, status), on_memory(A_COPY, any_device, held)
    launch, done = first._enqueue, []

    def signalled(*arguments: Any) -> None:
        launch(*arguments)
        raise Interrupt

    first._enqueue = signalled
    with pytest.raises(Interrupt):
        first.run((), then=[last], done=lambda: done.append(True))
    assert not done
    assert fetch(any_device, status.memory).tolist() == [CHECK_HOLDS]
    first._enqueue = launch
    with pytest.raises(lossc.CheckFailed):
        first.run((), then=[last], done=lambda: done.append(True))
    assert not done


def test_an_interrupt_while_binaries_are_stored_waits(any_device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    held = memory(any_device)
    first, last = on_memory(FIRST, any_device, held), on_memory(A_COPY, any_device, held)
    store, stored, done = BuiltProgram.store, [], []

    def interrupted(program: BuiltProgram) -> None:
        store(program)
        stored.append(program)
        if len(stored) == 1:
            raise KeyboardInterrupt

    first._plan(first._of_thread.runs, (), None)
    last._plan(last._of_thread.runs, (), None)
    monkeypatch.setattr(BuiltProgram, "store", interrupted)
    try:
        first.run((), then=[last], done=lambda: done.append(True))
    except KeyboardInterrupt:
        assert stored
    assert done
    assert bool(stored) == any_device.compiles_at_launch
