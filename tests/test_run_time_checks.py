"""Data that a program refuses: which row, which value, and everything goes on working."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import nn, optim
from lossc.runtime.device import Device

ROWS = 40
Arrays = dict[str, np.ndarray]


def labels_out_of_range(dtype: str, bad: int) -> tuple[lossc.Graph, Arrays, Arrays]:
    generator = np.random.default_rng(1)
    graph = lossc.Graph()
    x, labels = graph.input("x", (None, 5)), graph.input("labels", (None,), dtype=dtype)
    graph.set_outputs([graph.cross_entropy_loss(nn.Linear(graph, "fc", 5, 7)(x), labels)])
    fine = {
        "x": generator.standard_normal((ROWS, 5)).astype(np.float32),
        "labels": generator.integers(0, 7, ROWS).astype(dtype),
    }
    wrong = copy.deepcopy(fine)
    wrong["labels"][[13, 31]] = bad
    return graph, fine, wrong


def probabilities() -> tuple[lossc.Graph, Arrays, Arrays]:
    generator = np.random.default_rng(2)
    graph = lossc.Graph()
    x, t = graph.input("x", (None,)), graph.input("t", (None,))
    weight = graph.param("w", np.ones(1, np.float32))
    graph.set_outputs([graph.bce_loss(x, t) * weight])
    fine = {name: generator.random(ROWS).astype(np.float32) for name in ("x", "t")}
    wrong = copy.deepcopy(fine)
    wrong["x"][13] = 1.5
    return graph, fine, wrong


CASES: dict[str, tuple[Callable[[], tuple[lossc.Graph, Arrays, Arrays]], str, Any]] = {
    "i32 label": (lambda: labels_out_of_range("int32", 7), "label", 7),
    "negative i64 label": (lambda: labels_out_of_range("int64", -(2**63)), "label", -(2**63)),
    "large i64 label": (lambda: labels_out_of_range("int64", 2**32 + 1), "label", 2**32 + 1),
    "u8 label": (lambda: labels_out_of_range("uint8", 255), "label", 255),
    "probability": (probabilities, "probability", np.float32(1.5)),
}


def forward(graph: lossc.Graph, device: Device) -> Callable[..., Any]:
    return graph.compile(device=device)


def gradients(graph: lossc.Graph, device: Device) -> Callable[..., Any]:
    fn = graph.compile(grad=True, device=device)

    def run(**arrays: np.ndarray) -> list[np.ndarray]:
        outputs, found = fn(**arrays)
        return [*outputs, *found.values()]

    return run


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("made", [forward, gradients])
def test_the_row_and_the_value_are_named_and_calls_go_on(
    device: Device, case: tuple[Any, str, Any], made: Callable[..., Any]
) -> None:
    build, code, value = case
    graph, fine, wrong = build()
    run = made(graph, device)
    before = run(**fine)
    for _ in range(2):
        with pytest.raises(lossc.CheckFailed, match=f"found {value} at row 13") as caught:
            run(**wrong)
        assert (caught.value.code, caught.value.row, caught.value.value) == (code, 13, value)
    for expected, found in zip(before, run(**fine)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_step_touches_no_parameter(device: Device, case: tuple[Any, str, Any]) -> None:
    build, code, value = case
    graph, fine, wrong = build()
    step = graph.compile_step(optim.Adam(lr=0.1), device=device)
    step(**fine)
    before = {name: graph.parameters[name] for name in graph.parameters}
    state = {name: step.state(name) for name in graph.parameters}
    for call in (step, step.accumulate):
        with pytest.raises(lossc.CheckFailed, match="row 13") as caught:
            call(**wrong)
        assert (caught.value.code, caught.value.value) == (code, value)
    assert step.count == 1
    for name, values in before.items():
        np.testing.assert_array_equal(graph.parameters[name], values)
        for key, array in step.state(name).items():
            np.testing.assert_array_equal(array, state[name][key])
    assert np.isfinite(step(**fine)).all()
    assert any((graph.parameters[name] != values).any() for name, values in before.items())


def test_the_users_own_queue_and_context_stay_usable(device: Device) -> None:
    import pyopencl as cl
    import pyopencl.array

    queue = cl.CommandQueue(device.context)
    graph, fine, wrong = labels_out_of_range("int32", 99)
    fn = graph.compile(device=queue)
    with pytest.raises(lossc.CheckFailed):
        fn(**wrong)
    numbers = pyopencl.array.to_device(queue, np.arange(5, dtype=np.float32))
    np.testing.assert_array_equal((numbers * 2).get(), np.arange(0, 10, 2))
    assert np.isfinite(fn(**fine)[0]).all()


def test_several_checks_at_once(device: Device) -> None:
    graph = lossc.Graph()
    x, t = graph.input("x", (3, 4)), graph.input("t", (3, 4))
    labels = graph.input("labels", (3,), dtype="i32")
    graph.set_outputs([graph.bce_loss(x, t) + graph.nll_loss(x, labels)])
    fn = graph.compile(device=device)
    values = np.full((3, 4), 0.5, np.float32)
    values[1, 2] = -1
    with pytest.raises(lossc.CheckFailed) as caught:
        fn(x=values, t=values * 0, labels=np.array([0, 4, 1]))
    found = {failure.code: (failure.index, failure.value) for failure in caught.value.failures}
    assert found == {"probability": ((1, 2), -1.0), "label": ((1,), 4)}


def test_the_line_in_the_text_is_named(device: Device) -> None:
    text = """\
func @f(%x: f32[B, 3], %labels: i32[B]) -> (f32[1]) {
  %y = neg %x
  %loss = cross_entropy_loss %y, %labels
  return %loss
}
"""
    fn = lossc.parse(text, name="f.lir").compile(grad=["x"], device=device)
    with pytest.raises(lossc.CheckFailed, match=r"^f.lir:3:3: .*label") as caught:
        fn(x=np.zeros((2, 3)), labels=[0, 3])
    assert "%loss = cross_entropy_loss" in str(caught.value)


def place_in(found: lossc.CheckFailed) -> tuple[str | None, tuple[int, ...]]:
    assert found.failures[0].index == found.index
    return found.failures[0].input, found.index


def test_the_input_is_named_where_there_is_no_text(device: Device) -> None:
    graph = lossc.Graph()
    x, truth = graph.input("x", (6, 5)), graph.input("truth", (2, 3), dtype="i64")
    graph.set_outputs([graph.cross_entropy_loss(x, truth.reshape(-1))])
    fn = graph.compile(device=device)
    with pytest.raises(lossc.CheckFailed, match=r"found 9 at index \[1, 0\] of `truth`$") as caught:
        fn(x=np.zeros((6, 5)), truth=[[0, 1, 2], [9, 3, 4]])
    assert place_in(caught.value) == ("truth", (1, 0))


def test_an_input_without_axes_is_named(device: Device) -> None:
    graph = lossc.Graph()
    x, label = graph.input("x", (5,)), graph.input("label", (), dtype="i32")
    graph.set_outputs([graph.cross_entropy_loss(x, label)])
    with pytest.raises(lossc.CheckFailed, match=r"found 7 in `label`$") as caught:
        graph.compile(device=device)(x=np.zeros(5), label=7)
    assert place_in(caught.value) == ("label", ())


def test_what_is_computed_is_no_input(device: Device) -> None:
    graph = lossc.Graph()
    x, t = graph.input("x", (None, 5)), graph.input("t", (None, 5))
    graph.set_outputs([graph.bce_loss(x * 2 - 1, t)])
    with pytest.raises(lossc.CheckFailed, match=r"at index \[1, 2\]\n  = what is checked is computed") as caught:
        graph.compile(device=device)(x=[[0.7] * 5, [0.7, 0.7, 0.1, 0.7, 0.7]], t=np.zeros((2, 5)))
    assert place_in(caught.value) == (None, (1, 2))


def test_the_error_is_an_error_of_values_and_can_be_sent_to_another_process(device: Device) -> None:
    graph, _, wrong = labels_out_of_range("int32", 9)
    with pytest.raises(ValueError, match="9 at row 13") as caught:
        graph.compile(device=device)(**wrong)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.row) == (lossc.CheckFailed, str(caught.value), 13)
