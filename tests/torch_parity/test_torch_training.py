"""Training torch modules with losses of `lossc.torch`, beside torch's own losses, on scikit-learn's data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lossc[torch]'")
ours = pytest.importorskip("lossc.torch")
datasets = pytest.importorskip("sklearn.datasets")
theirs = torch.nn.functional

STEPS = 60


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def standardised(data: Any) -> Any:
    x = torch.tensor(data, dtype=torch.float32)
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def digits() -> tuple[Any, Any, int]:
    found = datasets.load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 16, torch.tensor(found.target), 10


def breast_cancer() -> tuple[Any, Any, int]:
    found = datasets.load_breast_cancer()
    return standardised(found.data), torch.tensor(found.target, dtype=torch.float32)[:, None], 1


def diabetes() -> tuple[Any, Any, int]:
    found = datasets.load_diabetes()
    return standardised(found.data), standardised(found.target[:, None]), 1


def curve(functions: Any, data: Callable[[], Any], loss: Callable[..., Any], optimizer: Callable[..., Any]) -> Any:
    """The losses of some dozens of steps on batches of 128."""
    x, target, outputs = data()
    torch.manual_seed(7)
    model = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(32, outputs)
    )
    steps = optimizer(model.parameters())
    losses = []
    for _ in range(STEPS):
        batch = torch.randint(0, len(x), (128,))
        steps.zero_grad()
        value = loss(functions, model(x[batch]), target[batch])
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        steps.step()
        losses.append(value.item())
    return torch.tensor(losses)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
}
TASKS: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "digits": (digits, lambda F, x, t: F.cross_entropy(x, t, label_smoothing=0.05)),
    "digits by nll": (digits, lambda F, x, t: F.nll_loss(F.log_softmax(x, 1), t)),
    "digits by margins": (digits, lambda F, x, t: F.multi_margin_loss(x, t)),
    "breast cancer": (breast_cancer, lambda F, x, t: F.binary_cross_entropy_with_logits(x, t)),
    "breast cancer by probabilities": (breast_cancer, lambda F, x, t: F.binary_cross_entropy(torch.sigmoid(x), t)),
    "breast cancer by rows": (
        breast_cancer,
        lambda F, x, t: (F.soft_margin_loss(x, 2 * t - 1, reduction="none") * (1 + t)).mean(),
    ),
    "diabetes": (diabetes, lambda F, x, t: F.mse_loss(x, t)),
    "diabetes by huber": (diabetes, lambda F, x, t: F.huber_loss(x, t, delta=0.5)),
    "diabetes by likelihood": (diabetes, lambda F, x, t: F.gaussian_nll_loss(x, t, torch.ones_like(x))),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_the_same_curve_as_with_torchs_losses(task: str, optimizer: str) -> None:
    data, loss = TASKS[task]
    found, expected = (curve(functions, data, loss, OPTIMIZERS[optimizer]) for functions in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-4)
    torch.testing.assert_close(found[:10], expected[:10], rtol=1e-5, atol=1e-6)
    assert found[-10:].mean() < 0.9 * found[:5].mean()


def test_a_classifier_of_digits_is_trained_to_the_end() -> None:
    x, target, _ = digits()
    torch.manual_seed(0)
    order = torch.randperm(len(x))
    train, held_out = order[:1437], order[1437:]
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    steps = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        for batch in train[torch.randperm(len(train))].split(128):
            steps.zero_grad()
            ours.cross_entropy(model(x[batch]), target[batch]).backward()
            steps.step()
    assert (model(x[held_out]).argmax(1) == target[held_out]).float().mean() > 0.95
