"""`lossc.torch.function`: losses of one's own on tensors, differentiated by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_parity.examples import leaf, ours, torch

import lossc

SAMPLES = Path(__file__).parents[2] / "samples"
GENERATOR = torch.Generator().manual_seed(7)
X, T = (torch.randn(4, 5, generator=GENERATOR) for _ in range(2))


def root(x: Any, t: Any, eps: float = 1.0) -> Any:
    """The same on values and on tensors."""
    return ((x - t) ** 2 + eps).sqrt().mean()


def test_a_python_function_and_its_gradients_are_torch_s() -> None:
    smooth, mine, other = ours.function(root), leaf(X), leaf(X)
    loss, expected = smooth(mine, T, eps=0.5), root(other, T, eps=0.5)
    torch.testing.assert_close(loss, expected)
    for result in (loss, expected):
        (3 * result).backward()
    torch.testing.assert_close(mine.grad, other.grad)
    assert not smooth(X, T).requires_grad
    with torch.no_grad():
        assert not smooth(mine, T).requires_grad


def test_gradients_of_gradients() -> None:
    smooth, x = ours.function(root), leaf(X.double())
    assert torch.autograd.gradcheck(lambda x: smooth(x, T.double()), (x,))
    assert torch.autograd.gradgradcheck(lambda x: smooth(x, T.double()), (x,))


def test_a_text_with_a_gradient_of_its_own() -> None:
    pinball, mine, other = ours.function(lossc.load(SAMPLES / "pinball.lir")), leaf(X), leaf(X)
    for count in (5, 3):
        q, t = torch.full((count,), 0.25), T[0, :count]
        loss = pinball(mine[0, :count], t, q=q)
        d = t - other[0, :count]
        expected = torch.maximum(q * d, (q - 1) * d)
        torch.testing.assert_close(loss, expected)
        (loss * T[1, :count]).sum().backward()
        (expected * T[1, :count]).sum().backward()
        torch.testing.assert_close(mine.grad, other.grad)
    assert pinball(X[0], X[0], torch.ones(5)).tolist() == [0] * 5


def test_params_are_inputs_and_labels_of_torch_are_converted() -> None:
    classifier = ours.function(lossc.load(SAMPLES / "digits.lir"))
    weights = [torch.randn(shape, generator=GENERATOR) * 0.1 for shape in ((128, 64), (128,), (10, 128), (10,))]
    images, labels = torch.randn(6, 64, generator=GENERATOR), torch.arange(6)
    mine, other = [leaf(w) for w in weights], [leaf(w) for w in weights]
    loss, logits = classifier(images, labels, *mine)
    hidden = torch.relu(images @ other[0].T + other[1])
    expected = torch.nn.functional.cross_entropy(hidden @ other[2].T + other[3], labels)
    torch.testing.assert_close(loss[0], expected)
    assert logits.shape == (6, 10)
    loss.backward()
    expected.backward()
    for ours_, theirs_ in zip(mine, other):
        torch.testing.assert_close(ours_.grad, theirs_.grad, rtol=1e-4, atol=1e-6)
    with pytest.raises(lossc.LirError, match=r"found 8589934597 at index \[5\]"):
        classifier(images, labels + 2**33, *weights)
    with pytest.raises(lossc.CheckFailed, match="label"):
        classifier(images, labels + 9, *weights)


def test_floats_are_converted_with_their_history() -> None:
    pinball, x = ours.function(lossc.load(SAMPLES / "pinball.lir")), leaf(X[0].double())
    pinball(x, T[0], torch.full((5,), 0.5)).sum().backward()
    assert x.grad.dtype == torch.float64
    assert set((x.grad.abs() * 2).tolist()) == {1.0}


def test_a_module_trains_with_it() -> None:
    smooth, line = ours.function(root), torch.nn.Linear(3, 1)
    points = torch.randn(64, 3, generator=GENERATOR)
    values = points @ torch.tensor([[1.0], [-2.0], [0.5]])
    step = torch.optim.Adam(line.parameters(), lr=0.1)
    for _ in range(200):
        step.zero_grad()
        smooth(line(points), values, eps=0.01).backward()
        step.step()
    torch.testing.assert_close(line.weight, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.02, rtol=0)


def scaled(x: Any, by: Any) -> Any:
    return x * by


def test_what_it_does_not_take_is_refused_by_name() -> None:
    smooth = ours.function(root)
    with pytest.raises(lossc.Limitation, match=r"root: x is on meta.*\n.*or compute it with torch"):
        smooth(X.to("meta"), T)
    with pytest.raises(lossc.Limitation, match=r"torch\.func"):
        torch.func.grad(lambda x: smooth(x, T))(X)
    with pytest.raises(TypeError, match="missing a required argument"):
        smooth(X)
    for setting, found in ((np.ones(3), "numpy.ndarray"), ([1.0], "list"), (np.float32(2), "numpy.float32")):
        with pytest.raises(lossc.LirError, match=rf"scaled: by is a {found}\n.*tensors in lossc.torch"):
            ours.function(scaled)(X, setting)
    with pytest.raises(lossc.LirError, match="use their operators and methods"):
        ours.function(lambda x: X)(X)


FUNCTIONS: dict[str, Any] = {
    "exp": lambda x, t: torch.exp(x - t), "clamp": lambda x, t: torch.clamp(x, min=0), "abs": lambda x, t: abs(x) + t,
    "mean": lambda x, t: torch.mean(x * t, dim=1), "kept": lambda x, t: torch.sum(x, dim=1, keepdim=True) * t,
    "maximum": lambda x, t: torch.maximum(x, t), "largest": lambda x, t: torch.max(x), "of two": lambda x, t:
    torch.amax(x, 1), "log_softmax": lambda x, t: torch.nn.functional.log_softmax(x, dim=1),
    "relu": lambda x, t: torch.nn.functional.relu(x, inplace=False), "logsumexp": lambda x, t: x.logsumexp(dim=1),
    "by name": lambda x, t: torch.exp(input=x), "pow": lambda x, t: torch.pow(torch.sigmoid(x), 2) @ t.T,
    "mse_loss": lambda x, t: torch.nn.functional.mse_loss(x, t, reduction="none"),
    "where": lambda x, t: torch.where(x > 0, x, torch.square(t)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_torch_are_methods_of_values(name: str) -> None:
    function = FUNCTIONS[name]
    torch.testing.assert_close(ours.function(function)(X, T), function(X, T))


REFUSED_FUNCTIONS: dict[str, tuple[Any, str]] = {
    "a pair": (lambda x: torch.max(x, dim=1)[0], r"x\.amax\(dim"), "by position": (lambda x: torch.min(x, 1), "amin"),
    "cat": (lambda x: torch.cat([x, x]), r"torch\.cat knows .*\n.*x\.concat\(y, axis=0\)"),
    "a loss": (lambda x: torch.nn.functional.cross_entropy(x, x), "did you mean `cross_entropy_loss`"),
    "a tensor on the left": (lambda x: X * x, "found torch.Tensor\n.*as arguments"),
    "a tensor on the right": (lambda x: x * X, "found torch.Tensor\n.*as arguments"),
    "where": (lambda x: torch.where(x > 0), "where of a condition alone"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_FUNCTIONS)
def test_functions_of_torch_that_cannot_be_meant_say_what_to_write(name: str) -> None:
    function, message = REFUSED_FUNCTIONS[name]
    with pytest.raises((lossc.LirError, AttributeError), match=message):
        ours.function(function)(X)
