"""Memory for temporaries: as much as the largest run of a thread needs, however many sizes there were."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import lossc
from lossc.compiled import CompiledFunction
from lossc.runtime.device import Device

CLASSES = 300
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.standard_normal((CLASSES, 8)).astype(np.float32)


def classifier(device: Device) -> CompiledFunction:
    g = lossc.Graph()
    logits = g.linear(g.input("x", (None, 8)), g.input("w", WEIGHT.shape))
    labels = g.input("labels", (None,), "i32")
    g.set_outputs([g.cross_entropy_loss(logits, labels, reduction="sum")])
    return g.compile(device=device)


def batch(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    x = random.standard_normal((rows, 8)).astype(np.float32)
    return {"x": x, "w": WEIGHT, "labels": random.integers(0, CLASSES, rows).astype(np.int32)}


def expected(x: np.ndarray, w: np.ndarray, labels: np.ndarray) -> float:
    scores = x.astype(np.float64) @ w.T.astype(np.float64)
    return float((np.log(np.exp(scores).sum(1)) - scores[np.arange(len(labels)), labels]).sum())


def held_after(sizes: list[int], fn: CompiledFunction) -> int:
    """The bytes that are held after runs of these sizes, each with the right result."""
    for rows in sizes:
        given = batch(rows)
        assert fn(**given)[0] == pytest.approx(expected(**given), rel=1e-5)
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("order", [1, -1], ids=["growing", "shrinking"])
def test_many_sizes_need_no_more_than_the_largest(device: Device, order: int) -> None:
    logits = 4 * 2000 * CLASSES
    fn = classifier(device)
    fn(**batch(1))
    tracemalloc.start()
    try:
        before = held_after([1], fn)
        after = held_after(list(range(1980, 2001))[::order], fn)
        assert logits < after - before < 3 * logits
        # Plans that were made before the memory grew are of no use now, and are made again.
        again = held_after([1, 1980, 2000, 1], fn)
        assert again - before < 3 * logits
    finally:
        tracemalloc.stop()


def test_runs_in_the_background_may_have_any_sizes_one_after_another(device: Device) -> None:
    import pyopencl.array

    fn = classifier(device)
    given = [batch(rows) for rows in (5, 700, 40, 900, 5)]
    there = [{name: pyopencl.array.to_device(device.queue, array) for name, array in each.items()} for each in given]
    found = [fn(**each, device_results=True)[0] for each in there]
    assert [float(loss.get()[0]) for loss in found] == pytest.approx([expected(**each) for each in given], rel=1e-5)
