"""What a training needs beside single steps: clipping on the device, batches that count differently, several outputs
of one pass, and going on in another process as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resumed_training

import lossc
from lossc import nn, optim
from lossc.optim import schedules
from lossc.runtime.device import Device

RNG = np.random.default_rng(3)
X = RNG.standard_normal((12, 6)).astype("f4")
LABELS = RNG.integers(0, 3, 12).astype("i4")


def network(seed: int = 0, **losses: Any) -> lossc.Graph:
    g = lossc.Graph("network", seed)
    x, labels = g.input("x", (None, 6)), g.input("labels", (None,), dtype="i32")
    g.set_outputs({"loss": g.cross_entropy_loss(nn.Mlp(g, "net", 6, 9, 3, "gelu")(x), labels, **losses)})
    return g


def steps(*settings: dict[str, Any], device: Device) -> list[tuple[lossc.Graph, lossc.Step]]:
    graphs = [network() for _ in settings]
    return [(g, g.compile_step(optim.SGD(1.0), device=device, **some)) for g, some in zip(graphs, settings)]


def kernel_names(compiled: lossc.CompiledFunction | lossc.Step) -> list[str]:
    return [kernel.name for kernel in compiled.kernels]


# --- clipping -----------------------------------------------------------------------------------------------


def test_clipping_is_one_reduction_before_the_update(device: Device) -> None:
    plain, clipped, by_value = (step for _, step in steps({}, {"clip_norm": 0.1}, {"clip_value": 0.1}, device=device))
    assert [name for name in kernel_names(clipped) if name not in kernel_names(plain)] == ["clip_0"]
    assert kernel_names(by_value) == kernel_names(plain)


def test_gradients_are_clipped_after_they_are_averaged(device: Device) -> None:
    (plain, one), (clipped, other) = steps({}, {"clip_norm": 0.05}, device=device)
    before = {name: array.copy() for name, array in plain.parameters.items()}
    for step in (one, other):
        step.accumulate(x=X[:6], labels=LABELS[:6])
        step(x=X[6:], labels=LABELS[6:])
    free = {name: before[name] - plain.parameters[name] for name in before}
    norm = np.sqrt(sum((change.astype(float) ** 2).sum() for change in free.values()))
    assert norm > 0.05
    for name in before:
        assert np.allclose(before[name] - clipped.parameters[name], free[name] * 0.05 / norm, rtol=1e-4, atol=1e-7)


def test_short_gradients_are_not_clipped(device: Device) -> None:
    (plain, one), (clipped, other) = steps({}, {"clip_norm": 1e3}, device=device)
    one(x=X, labels=LABELS)
    other(x=X, labels=LABELS)
    assert all(np.array_equal(plain.parameters[name], clipped.parameters[name]) for name in plain.parameters)


def test_the_norm_is_over_parameters_of_both_precisions(device: Device) -> None:
    g = lossc.Graph()
    a, b = g.param("a", np.zeros(2)), g.param("b", np.zeros(1), dtype="f64")
    loss = (a * g.constant(3.0)).sum().cast("f64") * 2 + b.sum() * 8
    g.set_outputs([loss.reshape([1])])
    g.compile_step(optim.SGD(1.0), clip_norm=1.0, device=device)()
    norm = np.sqrt(6**2 + 6**2 + 8**2)
    np.testing.assert_allclose(g.parameters["a"], [-6 / norm] * 2, rtol=1e-5)
    np.testing.assert_allclose(g.parameters["b"], [-8 / norm], rtol=1e-5)


def test_clipping_by_value(device: Device) -> None:
    (plain, one), (clipped, other) = steps({}, {"clip_value": 0.01}, device=device)
    before = {name: array.copy() for name, array in plain.parameters.items()}
    one(x=X, labels=LABELS)
    other(x=X, labels=LABELS)
    for name in before:
        free = before[name] - plain.parameters[name]
        assert np.allclose(before[name] - clipped.parameters[name], np.clip(free, -0.01, 0.01), atol=1e-7)
    bad = X.copy()
    bad[0, 0] = np.nan
    other(x=bad, labels=LABELS)
    assert np.isnan(clipped.parameters["net.0.weight"]).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"clip_norm": 0.0}, "clip_norm must be positive"), ({"clip_norm": "a"}, "positive, found .a."),
     ({"clip_value": float("nan")}, "clip_value must be positive"),
     ({"clip_norm": 1.0, "clip_value": 1.0}, "not by both")],
)  # fmt: skip
def test_wrong_limits_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        network().compile_step(optim.SGD(1.0), **settings)


# --- batches that count differently -------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(12,), (4, 4, 4), (5, 5, 2), (1, 11), (1,) * 12])
def test_micro_batches_with_their_share_are_one_batch(device: Device, sizes: tuple[int, ...]) -> None:
    whole, parts = network(), network()
    one, several = (g.compile_step(optim.SGD(0.5), device=device) for g in (whole, parts))
    for _ in range(2):
        one(x=X, labels=LABELS)
        start = 0
        for position, size in enumerate(sizes):
            call = several if position == len(sizes) - 1 else several.accumulate
            call(x=X[start : start + size], labels=LABELS[start : start + size], share=size)
            start += size
    for name, array in whole.parameters.items():
        np.testing.assert_allclose(parts.parameters[name], array, rtol=1e-5, atol=1e-6)


def test_ignored_rows_do_not_count_in_a_share(device: Device) -> None:
    whole, parts = network(ignore_index=-1), network(ignore_index=-1)
    one, several = (g.compile_step(optim.SGD(0.5), device=device) for g in (whole, parts))
    labels = LABELS.copy()
    labels[[0, 1, 2, 7]] = -1
    one(x=X, labels=labels)
    several.accumulate(x=X[:6], labels=labels[:6], share=3)
    several(x=X[6:], labels=labels[6:], share=5)
    for name, array in whole.parameters.items():
        np.testing.assert_allclose(parts.parameters[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0, -1, float("nan"), float("inf"), "all", True])
def test_a_share_is_a_positive_number(share: Any) -> None:
    step = network().compile_step(optim.SGD(0.5))
    with pytest.raises(lossc.LirError, match="share of a batch must be a positive number"):
        step.accumulate(x=X, labels=LABELS, share=share)


def test_an_input_may_be_called_share(device: Device) -> None:
    g = lossc.Graph()
    g.set_outputs([(g.param("w", np.ones(1)) * g.input("share", (1,)))])
    step = g.compile_step(optim.SGD(1.0), device=device)
    step(share=np.array([0.25], "f4"))
    assert g.parameters["w"] == pytest.approx([0.75])


# --- one parameter in two places ----------------------------------------------------------------------------


def test_a_tied_weight_is_trained_by_both_of_its_uses(device: Device) -> None:
    """An autoencoder whose decoder is the encoder's weight again, beside the same formula in NumPy."""
    g = lossc.Graph(seed=2)
    down = nn.Linear(g, "down", 6, 3, bias=False)
    x = g.input("x", (None, 6))
    up = g.param("up.bias", np.zeros(6))
    restored = g.matmul(down(x), down.weight) + up
    g.set_outputs([nn.MSELoss()(restored, x)])
    step = g.compile_step(optim.SGD(0.5), device=device)
    w, b = g.parameters["down.weight"].astype(float), np.zeros(6)
    for _ in range(5):
        hidden = X @ w.T
        d = 2 * (hidden @ w + b - X) / X.size
        w, b = w - 0.5 * ((d @ w.T).T @ X + hidden.T @ d), b - 0.5 * d.sum(0)
        step(x=X)
        np.testing.assert_allclose(g.parameters["down.weight"], w, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(g.parameters["up.bias"], b, rtol=1e-4, atol=1e-6)
    assert list(g.parameters) == ["down.weight", "up.bias"]


# --- several outputs of one pass ----------------------------------------------------------------------------


def watched(more: bool, columns: int = 1000) -> lossc.Graph:
    g = lossc.Graph("watched")
    x, labels = g.input("x", (None, columns)), g.input("labels", (None,), dtype="i32")
    logits = x + g.param("bias", np.zeros(columns))
    outputs = {"loss": g.cross_entropy_loss(logits, labels)}
    if more:
        outputs["accuracy"] = (g.argmax(logits, axis=1) == labels).cast("f32").mean().reshape([1])
        outputs["log_sum_exp"] = g.logsumexp(logits, axis=1)
    g.set_outputs(outputs)
    return g


def test_loss_accuracy_and_log_sum_exp_come_from_one_pass(device: Device) -> None:
    plain, more = (watched(kind).compile(grad=["x"], device=device) for kind in (False, True))
    assert kernel_names(plain) == kernel_names(more) == ["watched_0"]
    assert [kernel.exps_per_element for kernel in more.kernels] == [1]
    values, labels = np.random.default_rng(4).standard_normal((9, 1000)).astype("f4"), np.arange(9, dtype="i4")
    values[:4, :4] += 10 * np.eye(4, dtype="f4")
    (loss, accuracy, lse), gradients = more(x=values, labels=labels)
    wide = values.astype(float)
    expected = np.log(np.exp(wide).sum(1))
    assert lse == pytest.approx(expected, rel=1e-6)
    assert accuracy == pytest.approx([(values.argmax(1) == labels).mean()])
    assert loss == pytest.approx([(expected - wide[range(9), labels]).mean()], rel=1e-6)
    (same,), alone = plain(x=values, labels=labels)
    np.testing.assert_allclose(loss, same, rtol=1e-6)
    np.testing.assert_allclose(gradients["x"], alone["x"], rtol=1e-6, atol=1e-12)


def test_a_step_gives_them_too(device: Device) -> None:
    plain, more = (watched(kind, 10).compile_step(optim.Adam(0.1), device=device) for kind in (False, True))
    assert len(kernel_names(plain)) == len(kernel_names(more))
    values = np.random.default_rng(5).standard_normal((50, 10)).astype("f4")
    labels = values.argmax(1).astype("i4")
    loss, accuracy, lse = more(x=values, labels=labels)
    assert accuracy == pytest.approx([1.0])
    assert lse.shape == (50,)
    assert loss == pytest.approx(plain(x=values, labels=labels))


# --- going on in another process ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "kind"), [("intel", "adamw"), ("intel", "nesterov"), ("pocl", "nesterov")], indirect=["device"]
)
def test_twenty_steps_are_ten_and_ten_in_a_new_process(device: Device, tmp_path: Path, kind: str) -> None:
    number = next(i for i, other in enumerate(lossc.devices()) if other.key == device.key)
    step = resumed_training.make_step(kind, device, seed=4)
    first = resumed_training.train(step, 0, 10)
    step.save(tmp_path / "half.safetensors")
    second = resumed_training.train(step, 10, 20)
    step.save(tmp_path / "whole.safetensors")
    assert len({*first, *second}) == 20
    command = [sys.executable, resumed_training.__file__, str(number), kind, "10", "20", "half.safetensors",
               "again.safetensors"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=170)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == second
    from safetensors import safe_open

    with (
        safe_open(tmp_path / "whole.safetensors", "numpy") as whole,
        safe_open(tmp_path / "again.safetensors", "numpy") as again,
    ):
        assert sorted(whole.keys()) == sorted(again.keys())
        assert whole.metadata() == again.metadata()
        for name in whole.keys():  # noqa: SIM118 (it is no mapping)
            np.testing.assert_array_equal(whole.get_tensor(name), again.get_tensor(name))


def test_accumulated_gradients_are_not_saved_silently(tmp_path: Path) -> None:
    g = network()
    step = g.compile_step(optim.SGD(schedules.constant(0.1)))
    step.accumulate(x=X, labels=LABELS)
    with pytest.raises(lossc.LirError, match="gradients of 1 batches are accumulated"):
        step.save(tmp_path / "step.safetensors")
    step(x=X, labels=LABELS)
    step.save(tmp_path / "step.safetensors")
