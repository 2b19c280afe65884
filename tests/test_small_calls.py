"""Small calls take short ways: what they must still notice, from several threads, in a fork and when interrupted."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossc
import lossc.functional as F
import lossc.ir
import lossc.runtime
from lossc.runtime.device import Device

LIR = """
func @f(%x: f32[B, 10], %t: i32[B]) -> f32[1] {
  %loss = cross_entropy_loss %x, %t
  return %loss
}
"""
RUNS = tuple(os.path.join("runtime", name) for name in ("execute.py", "small.py", "binding.py", "given_outputs.py"))
"""What runs do."""
OURS = tuple(f"{Path(module.__file__ or '').parent}{os.sep}" for module in (lossc, lossc.ir, lossc.runtime))
"""All that calls go through."""
GENERATOR = np.random.default_rng(0)
X, LABELS = GENERATOR.standard_normal((64, 10), dtype=np.float32), GENERATOR.integers(0, 10, 64).astype(np.int32)


def expected(x: np.ndarray) -> float:
    wide = x.astype(np.float64)
    return float(np.mean(np.log(np.exp(wide).sum(1)) - wide[np.arange(len(x)), LABELS]))


def test_results_go_to_the_arrays_that_are_given(device: Device) -> None:
    fn = lossc.parse(LIR).compile(grad=["x"], device=device)
    out = {"loss": lossc.empty((1,), "f32"), "grad_x": lossc.empty((64, 10), "f32")}
    (fresh,), gradients = fn(x=X, t=LABELS)
    for given in (out, {"loss": out["loss"]}, {"grad_x": out["grad_x"]}):
        out["loss"][...], out["grad_x"][...] = -1, -1
        (loss,), found = fn(x=X, t=LABELS, out=given)
        assert ("loss" not in given) or loss is out["loss"]
        assert ("grad_x" not in given) or found["x"] is out["grad_x"]
        np.testing.assert_array_equal(loss, fresh)
        np.testing.assert_array_equal(found["x"], gradients["x"])
    with pytest.raises(lossc.LirError, match="overlaps"):
        fn(x=out["grad_x"], t=LABELS, out=out)
    shared = lossc.empty((64 * 10 + 16,), "f32")
    with pytest.raises(lossc.LirError, match="overlaps"):
        fn(x=X, t=LABELS, out={"grad_x": shared[:640].reshape(64, 10), "loss": shared[16:17]})
    with pytest.raises(lossc.CheckFailed):
        fn(x=X, t=LABELS + 10, out=out)
    assert fn(x=X, t=LABELS, out=out)[0][0] == fresh


def test_threads_that_call_one_function_get_their_own_results() -> None:
    run = F.value_and_grad(F.cross_entropy)
    wrong: list[float] = []

    def work(factor: float) -> None:
        x = X * np.float32(factor)
        for _ in range(200):
            value, gradient = run(x, LABELS)
            if abs(value - expected(x)) > 1e-5 or abs(gradient.sum()) > 1e-5:
                wrong.append(factor)

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (0.5, 1.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_interrupted_run_leaves_nothing_to_the_next(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    fn = lossc.parse(LIR).compile(device=device)
    before = fn(x=X, t=LABELS)[0]
    executable = fn._executable
    enqueue = executable._enqueue

    def interrupted(*arguments: object) -> None:
        enqueue(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executable, "_enqueue", interrupted)
        # Labels that a check refuses: nobody gets to see it.
        with pytest.raises(KeyboardInterrupt):
            fn(x=X, t=LABELS + 10)
    np.testing.assert_array_equal(fn(x=X, t=LABELS)[0], before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_is_told(tmp_path: Path) -> None:
    program = (
        "import os, sys, numpy as np, lossc, lossc.functional as F\n"
        "x, t = np.zeros((4, 3), 'f4'), np.zeros(4, 'i8')\n"
        "F.cross_entropy(x, t)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        F.cross_entropy(x, t)\n"
        "    except lossc.DeviceError as error:\n"
        "        os._exit(7 if 'spawn' in str(error) else 8)\n"
        "    os._exit(9)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), F.cross_entropy(x, t))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "7", done.stdout
    assert float(done.stdout.split()[1]) == pytest.approx(np.log(3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked_while_a_loss_was_compiled_is_told() -> None:
    """It has no copy of the thread that held the lock."""
    program = (
        "import os, signal, threading, numpy as np, lossc, lossc.functional as F\n"
        "from lossc.losses import programs\n"
        "x, t = np.zeros((4, 3), 'f4'), np.zeros(4, 'i8')\n"
        "F.mse_loss(x, x)\n"
        "compiled, inside, forked = programs._compiled, threading.Event(), threading.Event()\n"
        "def slow(program):\n"
        "    inside.set()\n"
        "    forked.wait()\n"
        "    return compiled(program)\n"
        "programs._compiled = slow\n"
        "thread = threading.Thread(target=F.cross_entropy, args=(x, t))\n"
        "thread.start()\n"
        "inside.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(60)\n"
        "    try:\n"
        "        F.cross_entropy(x, t)\n"
        "    except lossc.DeviceError as error:\n"
        "        os._exit(7 if 'spawn' in str(error) else 8)\n"
        "    os._exit(9)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "forked.set()\n"
        "thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "7", done.stderr


class Interrupt(BaseException):
    """As Python's own, which would end the tests if it came at a wrong time."""


def test_an_interrupt_before_any_line_is_an_interrupt() -> None:
    fn = lossc.parse(LIR).compile(grad=["x"])
    (before,), gradients = fn(x=X, t=LABELS)

    def interrupt() -> None:
        raise Interrupt

    def is_interrupted() -> bool:
        try:
            fn(x=X, t=LABELS)
        except Interrupt:
            return True
        return False

    turns = []
    for found in at_each_line(is_interrupted, interrupt, OURS):
        turns.append(found)
        for _ in range(2):
            (value,), by = fn(x=X, t=LABELS)
            np.testing.assert_array_equal(value, before)
            np.testing.assert_array_equal(by["x"], gradients["x"])
        assert not fn._executable._of_thread.runs.busy
    # The last turn has no line any more.
    assert turns == [True] * (len(turns) - 1) + [False]
    assert len(turns) > 20


def test_a_check_that_fails_in_the_middle_of_a_call_is_its_own(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    fn = lossc.parse(LIR).compile(grad=["x"], device=device)
    (value,), gradients = fn(x=X, t=LABELS)
    executable, failed = fn._executable, []
    enqueue = executable._enqueue

    def signalled(*arguments: object) -> None:
        enqueue(*arguments)
        monkeypatch.setattr(executable, "_enqueue", enqueue)
        with pytest.raises(lossc.CheckFailed) as error:
            fn(x=X, t=LABELS + 10)
        failed.append(error.value)

    for outer in (LABELS, LABELS + 20):
        monkeypatch.setattr(executable, "_enqueue", signalled)
        if outer is LABELS:
            (found,), by = fn(x=X, t=outer)
            np.testing.assert_array_equal(found, value)
            np.testing.assert_array_equal(by["x"], gradients["x"])
        else:
            with pytest.raises(lossc.CheckFailed, match=f"found {outer[0]} at row 0"):
                fn(x=X, t=outer)
    assert all(f"found {LABELS[0] + 10} at row 0" in str(error) for error in failed)
    assert len(failed) == 2


@pytest.mark.parametrize("size", [64, 10_000, 200_000])
def test_a_call_between_any_two_lines_of_another_has_results_of_its_own(size: int, device: Device) -> None:
    """Small, with results that are not, and with kernels that run beside the calling thread."""
    g = lossc.Graph()
    g.set_outputs([g.input("x", (None,)) * 2])
    fn = g.compile(device=device)
    outer, inner = np.full(size, 1, "f4"), np.full(size, 5, "f4")
    held: list[np.ndarray] = []
    kept = [fn(x=outer)[0] for _ in range(3)]
    for found in at_each_line(lambda: fn(x=outer)[0], lambda: held.append(fn(x=inner)[0]), OURS):
        assert (found == 2).all()
        kept = [*kept[1:], found]
        assert all((array == 10).all() for array in held[-3:])
    assert len(held) > 10


@pytest.mark.parametrize("rows", [64, 5])
def test_a_call_that_fails_between_any_two_lines_of_another_leaves_it_alone(rows: int, device: Device) -> None:
    fn = lossc.parse(LIR).compile(grad=["x"], device=device)
    batches = [(X, LABELS), (X[::-1].copy(), LABELS)]
    alone = [fn(x=x, t=t) for x, t in batches]
    turn = itertools.count()

    def outer() -> bool:
        number = next(turn) % 2
        (loss,), gradients = fn(x=batches[number][0], t=batches[number][1])
        (wanted,), by = alone[number]
        return bool(loss == wanted) and bool((gradients["x"] == by["x"]).all())

    def inner() -> None:
        with pytest.raises(lossc.CheckFailed, match="found 77 at row 0"):
            fn(x=np.full((rows, 10), 7, "f4"), t=np.full(rows, 77, "i4"))

    inner()
    found = list(at_each_line(outer, inner))
    assert all(found)
    assert len(found) > 10


@pytest.mark.parametrize("rows", [64, 5, 30_000, None])
def test_a_check_fails_whatever_call_comes_between_any_two_lines(rows: int | None, device: Device) -> None:
    """One of the same sizes, of others, of sizes that are not small, and of others each time."""
    fn = lossc.parse(LIR).compile(grad=["x"], device=device)
    sizes = itertools.repeat(rows) if rows else itertools.count(65)
    many, labels = np.zeros((30_000, 10), "f4"), np.zeros(30_000, "i4")

    def outer() -> str:
        with pytest.raises(lossc.CheckFailed) as error:
            fn(x=many[:64], t=labels[:64] + 77)
        return str(error.value)

    def inner() -> None:
        count = next(sizes)
        fn(x=many[:count], t=labels[:count])

    outer()
    inner()
    found = list(at_each_line(outer, inner))
    assert all("found 77 at row 0" in message for message in found)
    assert len(found) > 10


def at_each_line(outer: Callable[[], Any], inner: Callable[[], Any], files: Sequence[str] = RUNS) -> Iterator[Any]:
    """What `outer` returns, with `inner` called before the first line of these files, then before the second ... At
    last it is not called."""
    seen, wanted = 0, 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal seen
        if not any(name in frame.f_code.co_filename for name in files):
            return None
        if event == "line":
            seen += 1
            if seen == wanted:
                inner()
        return trace

    before = sys.gettrace()
    while wanted <= seen:
        wanted, seen = wanted + 1, 0
        sys.settrace(trace)
        try:
            found = outer()
        finally:
            sys.settrace(before)
        yield found
