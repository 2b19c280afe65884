"""Calls with nothing but small tensors, like ones before: they take a short way, and their results lie in memory that
is used again. Nobody may notice either."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from torch_parity.examples import X, Y, leaf, ours, theirs, torch

import lossc

CALLS = 12
"""More than there are blocks of memory for a result, and more than kinds of calls are remembered."""


def gradients_of(function: Callable[..., Any], module: Any, *tensors: Any) -> list[Any]:
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    loss = function(module, *tensors)
    return [loss, *torch.autograd.grad(loss, wanted)]


def agree(function: Callable[..., Any], *tensors: Any) -> None:
    found, expected = (gradients_of(function, module, *tensors) for module in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def loss_and_gradient(scale: float) -> list[Any]:
    """The gradient is the very tensor that came out of the kernel."""
    return gradients_of(lambda f, x: f.mse_loss(x, X), ours, leaf(X * scale))


def test_each_kind_of_call_has_gradients_of_its_own() -> None:
    x, values, weight = leaf(X), torch.rand(6, 5), torch.rand(5)
    other = leaf(values)
    for _ in range(3):
        agree(lambda f, a, b: f.mse_loss(a, b), x, values)
        agree(lambda f, a, b: f.mse_loss(b, a), x, values)
        agree(lambda f, a, b: f.mse_loss(a, b), x, other)
        agree(lambda f, a, b: f.mse_loss(a, b), values, x)
        agree(lambda f, a, b: f.mse_loss(a, b) * 3, x, values)
        agree(lambda f, a, b: f.mse_loss(a.T.contiguous().T, b), x, values)
        agree(lambda f, a, b: f.mse_loss(a[:4], b[:4]), x, values)
        agree(lambda f, a, b: f.mse_loss(a.double(), b.double()), x, values)
        agree(lambda f, a, b, w: f.cross_entropy(a, b, w), x, Y, weight)
        x.requires_grad_(False)
        assert not ours.mse_loss(x, values).requires_grad
        x.requires_grad_(True)
        with torch.inference_mode():
            assert ours.mse_loss(x, values).item() == pytest.approx(theirs.mse_loss(x, values).item())
        with torch.no_grad():
            assert not ours.mse_loss(x, values).requires_grad


def test_a_setting_that_is_a_tensor_is_read_each_time() -> None:
    one, two, sign = torch.rand(4, 3), torch.rand(4, 3), -torch.ones(4)
    for margin in (0.0, 0.25, 0.5, 0.0):
        found = ours.cosine_embedding_loss(one, two, sign, torch.tensor(margin))
        torch.testing.assert_close(found, theirs.cosine_embedding_loss(one, two, sign, margin))


def test_a_contiguous_view_that_is_negated_is_read_as_its_numbers() -> None:
    plain = torch.ones(2, 3)
    for _ in range(3):
        assert ours.l1_loss(plain, torch.ones(2, 3)).item() == 0
        assert ours.l1_loss(torch._neg_view(plain), torch.ones(2, 3)).item() == 2


def test_memory_that_nobody_holds_is_used_again() -> None:
    addresses = {loss_and_gradient(scale)[1].data_ptr() for scale in range(CALLS)}
    assert len(addresses) < CALLS // 2


def test_what_somebody_holds_never_changes() -> None:
    held: list[tuple[Any, list[float]]] = []
    # What the tests before have left is not gone through at every call.
    gc.freeze()
    try:
        for scale in range(CALLS):
            loss, gradient = loss_and_gradient(scale)
            # As tensors, and as what can be made of them and outlive them.
            ways = (loss, gradient, gradient[1:], gradient.numpy(), gradient.detach(), loss.detach().numpy())
            held.append((ways[scale % len(ways)], ways[scale % len(ways)].tolist()))
            del loss, gradient, ways
            gc.collect()
    finally:
        gc.unfreeze()
    for kept, expected in held:
        assert kept.tolist() == expected


def test_a_storage_alone_keeps_its_memory() -> None:
    storages = []
    for scale in range(CALLS):
        gradient = loss_and_gradient(scale)[1]
        storages.append((gradient.untyped_storage(), gradient.flatten().tolist()))
        del gradient
    for storage, expected in storages:
        assert torch.tensor([], dtype=torch.float32).set_(storage).tolist() == expected


def test_gradients_of_leaves_stay_what_they_are() -> None:
    leaves = [leaf(X * scale) for scale in range(CALLS)]
    for x in leaves:
        ours.cross_entropy(x, Y).backward()
    for x in leaves:
        expected = torch.autograd.grad(theirs.cross_entropy(x, Y), x)[0]
        torch.testing.assert_close(x.grad, expected, rtol=1e-5, atol=1e-6)


def test_each_result_is_a_tensor_of_its_own() -> None:
    for _ in range(CALLS):
        loss, gradient = loss_and_gradient(2)
        assert loss._version == gradient._version == 0
        assert not hasattr(gradient, "mine")
        assert not gradient.requires_grad
        gradient.mine = True
        gradient.requires_grad_().data.add_(1)
        loss.detach().add_(1)


def test_results_moved_to_shared_memory_are_not_written_again() -> None:
    for scale in range(CALLS):
        gradient = loss_and_gradient(scale)[1]
        expected = gradient.clone()
        address = gradient.share_memory_().data_ptr()
        torch.testing.assert_close(gradient, expected)
        del gradient
        again = loss_and_gradient(scale)[1]
        assert again.data_ptr() != address
        assert not again.is_shared()
        torch.testing.assert_close(again, expected)


def test_memory_made_in_inference_mode_serves_autograd() -> None:
    x = torch.randn(3, 7)
    with torch.inference_mode():
        for _ in range(3):
            ours.smooth_l1_loss(x, x + 1)
    loss = ours.smooth_l1_loss(leaf(x), x + 1)
    torch.autograd.grad((loss * loss.exp()).sum(), [loss])
    assert not ours.smooth_l1_loss(x, x + 1).is_inference()


def test_threads_have_results_of_their_own() -> None:
    x = torch.randn(16, 9, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(16) % 9
    failures: list[str] = []

    def work(scale: int) -> None:
        own = leaf(x * scale)
        expected = torch.autograd.grad(theirs.cross_entropy(own, labels), own)[0]
        for _ in range(200):
            found = torch.autograd.grad(ours.cross_entropy(own, labels), own)[0]
            if not torch.allclose(found, expected, rtol=1e-4, atol=1e-6):
                failures.append(f"thread {scale}")
                return

    threads = [threading.Thread(target=work, args=(scale,)) for scale in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_changed_inputs_and_freed_graphs_are_noticed() -> None:
    x, t = leaf(X), X + 1
    for _ in range(3):
        loss = ours.mse_loss(x, t)
        t.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        loss = ours.mse_loss(x, t)
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
    with pytest.raises((IndexError, lossc.CheckFailed)):
        ours.cross_entropy(x, Y + 5)
    agree(lambda f, a: f.cross_entropy(a, Y), x)


def test_kinds_of_calls_are_not_remembered_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """To remember one takes as long as several calls: more kinds than there is room for, and a tensor given twice."""
    made: list[int] = []
    likeness = ours.likeness
    monkeypatch.setattr(ours, "likeness", lambda tensors: made.append(len(tensors)) or likeness(tensors))
    values = [torch.rand(rows, 3) for rows in range(1, 2 * ours.MOST_USUAL + 1)]
    for _ in range(20):
        for value in values:
            ours.huber_loss(value, value + 1)
            ours.huber_loss(value, value)
    assert ours.MOST_USUAL <= len(made) <= ours.MOST_USUAL + 20 * len(values) / ours.PATIENCE
    # What is called from now on is remembered after a while.
    del made[:]
    for _ in range(2 * ours.PATIENCE):
        ours.huber_loss(torch.ones(40, 2), torch.zeros(40, 2))
    assert len(made) == 1
