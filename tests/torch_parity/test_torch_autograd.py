"""Losses of lossc.torch among the others of a graph: derivatives of any order, once or again, of what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_parity.examples import X, Y, leaf, ours, theirs, torch

import lossc


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("factor", [1.0, 0.25, 0.0])
def test_upstream_gradients(reduction: str, factor: float) -> None:
    found, expected = leaf(X), leaf(X)
    (ours.cross_entropy(found, Y, reduction=reduction) * factor).sum().backward()
    (theirs.cross_entropy(expected, Y, reduction=reduction) * factor).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_a_graph_that_is_kept_gives_the_gradient_again() -> None:
    x = leaf(X)
    loss = ours.cross_entropy(x, Y)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    kept = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(loss, x, torch.tensor(2.0), retain_graph=True)
    torch.testing.assert_close(second, 2 * kept)
    loss.backward(retain_graph=True)
    loss.backward()
    torch.testing.assert_close(x.grad, 2 * kept)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_tensor_that_changed_before_backward_is_noticed(reduction: str) -> None:
    x = leaf(X)
    middle = x * 1
    loss = ours.mse_loss(middle, X * 0, reduction=reduction).sum()
    middle.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_losses_within_a_larger_graph() -> None:
    def total(functions: Any, w: Any) -> Any:
        logits = torch.tanh(X @ w)
        loss = functions.cross_entropy(logits, Y) * 3 + functions.cross_entropy(logits, Y, reduction="sum") ** 2
        return loss + functions.mse_loss(w, torch.zeros_like(w)).exp() + logits.sum()

    weight = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    found, expected = leaf(weight), leaf(weight)
    total(ours, found).backward()
    total(theirs, expected).backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_gradients_of_gradients_of_gradients() -> None:
    x = leaf(X.double())
    value = ours.cross_entropy(x, Y)
    reference = theirs.cross_entropy(x, Y)
    for _ in range(3):
        (value,) = torch.autograd.grad(value, x, create_graph=True)
        (reference,) = torch.autograd.grad(reference, x, create_graph=True)
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12)
        value, reference = (value * X.double()).sum(), (reference * X.double()).sum()


def test_a_gradient_penalty_trains() -> None:
    """The gradient's norm as part of the loss: backward through backward."""

    def step(functions: Any) -> Any:
        w = leaf(X[:5])
        (gradient,) = torch.autograd.grad(functions.cross_entropy(X @ w, Y), w, create_graph=True)
        (functions.cross_entropy(X @ w, Y) + 0.1 * gradient.pow(2).sum()).backward()
        return w.grad

    torch.testing.assert_close(step(ours), step(theirs))


def test_no_grad_and_inference() -> None:
    x = leaf(X)
    with torch.no_grad():
        assert not ours.cross_entropy(x, Y).requires_grad
    with torch.inference_mode():
        assert ours.cross_entropy(X, Y) == ours.cross_entropy(x, Y)
    assert not ours.cross_entropy(X, Y).requires_grad
    assert ours.cross_entropy(x, Y).requires_grad


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_strides_and_offsets(reduction: str) -> None:
    wide = torch.randn(5, 13, generator=torch.Generator().manual_seed(2))
    for view in (lambda x: x.t()[1:7], lambda x: x.flatten()[3:33].view(6, 5), lambda x: x[:1, :5].expand(6, 5)):
        found, expected = leaf(wide), leaf(wide)
        ours.cross_entropy(view(found), Y, reduction=reduction).sum().backward()
        theirs.cross_entropy(view(expected), Y, reduction=reduction).sum().backward()
        torch.testing.assert_close(found.grad, expected.grad)


def test_memory_is_read_in_place_and_results_are_new() -> None:
    x = X.clone()
    before = ours.mse_loss(x, X * 0)
    x.mul_(2)
    torch.testing.assert_close(ours.mse_loss(x, X * 0), 4 * before)
    rows = ours.cross_entropy(X, Y, reduction="none")
    kept = rows.clone()
    rows.add_(1)
    torch.testing.assert_close(ours.cross_entropy(X, Y, reduction="none"), kept)


def test_only_what_is_asked_for_has_a_gradient() -> None:
    x, t, w = leaf(X), leaf(X + 1), leaf(X.abs())
    ours.mse_loss(x, t.detach(), weight=w).backward()
    assert x.grad is not None
    assert w.grad is not None
    assert t.grad is None


def test_parameters_of_modules_and_hooks() -> None:
    model = torch.nn.Linear(5, 5)
    seen = []
    model.weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    ours.cross_entropy(model(X), Y).backward()
    torch.testing.assert_close(seen[0], model.weight.grad)
    assert ours.l2_loss(model.weight).requires_grad


def test_small_gradients_of_16_bits_are_scaled_before_they_are_rounded() -> None:
    """1/N of 70,000 rows is below the smallest normal number of f16; a scaled loss keeps it."""
    x = torch.zeros(70_000, 2, dtype=torch.float16, requires_grad=True)
    (ours.cross_entropy(x, torch.zeros(70_000, dtype=torch.int64)) * 1024).backward()
    expected = torch.tensor(-0.5 / 70_000 * 1024).half()
    assert (x.grad[:, 0] == expected).all()


def test_a_call_like_one_before_notices_what_is_different() -> None:
    def both(function: Callable[..., Any]) -> None:
        np.testing.assert_allclose(function(ours).detach(), function(theirs).detach(), rtol=1e-5, atol=1e-6)

    x, values = leaf(X), torch.rand(6, 5)
    for _ in range(3):
        both(lambda f: f.cross_entropy(x, Y))
        both(lambda f: f.cross_entropy(x, Y, reduction="sum"))
        both(lambda f: f.cross_entropy(x, values))
        both(lambda f: f.cross_entropy(x.T.contiguous().T, Y))
        both(lambda f: f.cross_entropy(x[:4], Y[:4]))
        both(lambda f: f.cross_entropy(x.double(), Y))
        both(lambda f: f.mse_loss(values, x))
        both(lambda f: f.mse_loss(x, values))
        with pytest.raises((IndexError, lossc.CheckFailed)):
            ours.cross_entropy(x, Y + 5)
        with torch.no_grad():
            assert not ours.cross_entropy(x, Y).requires_grad
        gradient = torch.autograd.grad(ours.cross_entropy(x, Y) * 3, x)[0]
        np.testing.assert_allclose(gradient, torch.autograd.grad(theirs.cross_entropy(x, Y) * 3, x)[0], rtol=1e-5)
        with torch.autocast("cpu"):
            assert ours.cross_entropy(x.bfloat16(), Y).dtype is torch.float32
    held = [ours.cross_entropy(x * scale, Y) for scale in range(8)]
    np.testing.assert_allclose(torch.stack(held).detach(), [theirs.cross_entropy(x * s, Y).item() for s in range(8)],
                               rtol=1e-5)  # fmt: skip


def test_a_negated_view_is_read_as_its_numbers() -> None:
    z = torch.complex(torch.zeros(1), torch.ones(1)).conj().imag
    assert z.is_neg()
    for _ in range(2):
        assert ours.mse_loss(z, torch.zeros(1), reduction="sum").item() == 1
        assert ours.l1_loss(z, -torch.ones(1)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [6, 20_000])
def test_a_result_may_be_changed_in_place_from_the_first_call_on(rows: int, dtype: Any) -> None:
    values, mask = torch.linspace(0, 2, rows * 3, dtype=dtype).view(rows, 3), torch.arange(rows * 3).view(rows, 3) % 2
    for _ in range(3):
        gradients = []
        for functions in (ours, theirs):
            x = leaf(values)
            loss = functions.mse_loss(x, torch.ones(rows, 3, dtype=dtype), reduction="none")
            loss *= mask
            total = functions.mse_loss(x, torch.ones(rows, 3, dtype=dtype), reduction="sum")
            total *= 0.5
            (loss.sum() + total).backward()
            gradients.append(x.grad)
        torch.testing.assert_close(*gradients)


def test_pixels_may_be_left_out_in_place() -> None:
    x = torch.randn(2, 3, 40, 50, requires_grad=True)
    loss = ours.cross_entropy(x, torch.zeros(2, 40, 50, dtype=torch.int64), reduction="none")
    loss[:, :3] = 0
    loss.mean().backward()
    assert (x.grad[:, :, :3] == 0).all()
    assert (x.grad[:, :, 3:] != 0).all()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_an_incoming_gradient_may_be_zeros_without_memory(reduction: str) -> None:
    x = leaf(X)
    loss = ours.mse_loss(x, Y[:, None] + torch.zeros_like(X), reduction=reduction)
    (gradient,) = torch.autograd.grad(loss, x, torch._efficientzerotensor(loss.shape))
    assert (gradient == 0).all()
