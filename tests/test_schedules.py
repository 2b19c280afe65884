"""Learning-rate schedules: their ends, how they compose, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossc
from lossc import optim
from lossc.ir.diagnostics import LirError
from lossc.optim import rate_at, schedules
from lossc.runtime.device import Device


def rates(schedule: Any, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


def test_where_schedules_begin_and_end() -> None:
    assert rates(schedules.constant(0.5), 3) == [0.5] * 3
    assert rates(schedules.step_decay(1.0, 2, 0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rates(schedules.multistep(1.0, (1, 4), 0.5), 6) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(schedules.exponential(1.0, 0.5), 4) == [1, 0.5, 0.25, 0.125]
    assert rates(schedules.linear(0.0, 1.0, 4), 6) == [0, 0.25, 0.5, 0.75, 1, 1]
    assert rates(schedules.polynomial(1.0, 4, 2.0), 6) == [1, 0.5625, 0.25, 0.0625, 0, 0]
    assert rates(schedules.cosine(1.0, 4, 0.5), 6) == pytest.approx([1, 0.9267767, 0.75, 0.5732233, 0.5, 0.5])
    assert rates(schedules.cosine_restarts(1.0, 2, 2), 7) == pytest.approx([1, 0.5, 1, 0.8535534, 0.5, 0.1464466, 1])
    cycle = schedules.one_cycle(1.0, 10, warm=0.5, first=4, last=10)
    assert [cycle(0), cycle(4), cycle(9)] == pytest.approx([0.25, 1, 0.025])


def test_schedules_compose() -> None:
    warm = schedules.warmup(schedules.cosine(1.0, 4), 2)
    assert rates(warm, 8) == pytest.approx([0, 0.5, 1, 0.8535534, 0.5, 0.1464466, 0, 0])
    assert rates(schedules.warmup(0.5, 2, first=0.1), 4) == pytest.approx([0.1, 0.3, 0.5, 0.5])
    parts = schedules.sequence((2, 1.0), (2, schedules.exponential(8.0, 0.5)), (1, 3.0))
    assert rates(parts, 7) == [1, 1, 8, 4, 3, 3, 3]
    assert rates(schedules.scaled(schedules.linear(1, 0, 2), 4.0), 3) == [4, 2, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.cosine(1.0, 0), "cosine: steps must be a whole number from 1, found 0"),
        (lambda: schedules.step_decay(1.0, True), "every must be a whole number"),
        (lambda: schedules.linear(0, 1, 2.5), "found 2.5"),  # pyright: ignore[reportArgumentType]
        (lambda: schedules.one_cycle(1.0, 10, warm=0.0), "leaves no steps to go up or down"),
        (lambda: schedules.sequence(), "at least one"),
    ],
)  # fmt: skip
def test_wrong_schedules_are_refused(make: Any, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        make()


def test_a_schedule_sets_the_rate_of_each_step_and_group(device: Device) -> None:
    g = lossc.Graph()
    a, b = g.param("a", np.zeros(3)), g.param("b", np.zeros(3), group="slow")
    g.set_outputs([(a + b).sum().reshape([1])])
    schedule = schedules.step_decay(1.0, 1, 0.5)
    step = g.compile_step(optim.SGD(schedule, groups={"slow": {"lr": schedules.scaled(schedule, 0.1)}}), device=device)
    for expected in (1, 1.5, 1.75):
        step()
        np.testing.assert_allclose(g.parameters["a"], [-expected] * 3, rtol=1e-6)
        np.testing.assert_allclose(g.parameters["b"], [-expected / 10] * 3, rtol=1e-6)


def test_a_rate_that_is_no_finite_number_is_refused() -> None:
    with pytest.raises(LirError, match="the learning rate at step 3 is nan"):
        rate_at(lambda step: float("nan"), 3)
