"""Training steps: gradients and update, groups, clipping, accumulation, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_examples import LABELS, X, network, values

import lossc
from lossc import optim
from lossc.runtime.device import Device


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


def test_a_step_dumps_and_explains_both_programs(tmp_path: Path) -> None:
    step = network().compile_step(optim.Adam())
    step.dump(tmp_path)
    assert (tmp_path / "gradients" / "manifest.json").is_file()
    assert (tmp_path / "update" / "manifest.json").is_file()
    text = step.explain()
    assert "@network" in text
    assert "@update" in text
    assert "update_0" in step.source
