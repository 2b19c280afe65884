"""`lossc.torch` as a module beside torch's own functions, in the modes in which torch runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_parity.examples import X, Y, leaf, ours, theirs, torch
from torch_parity.loss_cases import AXES, CASES, Case

import lossc
from lossc.losses.table import LOSSES

# --- the module -----------------------------------------------------------------------------------------------


def test_signatures_are_torchs_and_what_torch_lacks_stands_behind_by_keyword() -> None:
    for name in LOSSES:
        if hasattr(theirs, name):
            expected, found = (
                [(p.name, p.default, p.kind) for p in inspect.signature(getattr(module, name)).parameters.values()]
                for module in (theirs, ours)
            )
            assert found[: len(expected)] == expected, name
            added = found[len(expected) :]
            assert {name for name, _, _ in added} <= {"axis", "empty", "memory_budget", "weight"}, name
            assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, _, kind in added), name


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -4])
def test_the_class_axis_may_be_any(axis: int) -> None:
    x, weight = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1)), torch.rand(7)[: (3, 4, 5, 6)[axis]]
    labels = torch.randint(0, x.shape[axis], x.select(axis, 0).shape, generator=torch.Generator().manual_seed(2))
    labels[0] = -100
    mine, other = leaf(x), leaf(x)
    loss = ours.cross_entropy(mine, labels, weight, label_smoothing=0.1, axis=axis)
    # torch has the classes second.
    expected = theirs.cross_entropy(other.movedim(axis, 0)[None], labels[None], weight, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
    for result in (loss, expected):
        result.backward()
    torch.testing.assert_close(mine.grad, other.grad)
    rows = ours.cross_entropy(x, labels, axis=axis, reduction="none")
    torch.testing.assert_close(rows, theirs.cross_entropy(x.movedim(axis, 0)[None], labels[None], reduction="none")[0])


def test_what_is_no_loss_is_torchs_own() -> None:
    assert ours.relu is theirs.relu
    assert ours.linear is theirs.linear
    assert "dropout" in dir(ours)
    assert "cross_entropy" in dir(ours)
    with pytest.raises(AttributeError, match="nor has torch"):
        ours.no_such_function  # noqa: B018
    with pytest.raises(lossc.Limitation, match="no CTC loss yet"):
        ours.ctc_loss(X, Y, 1, 1)


def test_every_loss_of_torch_is_here() -> None:
    endings = ("_loss", "cross_entropy", "cross_entropy_with_logits", "kl_div")
    losses = [name for name in dir(theirs) if name.endswith(endings)]
    assert len(losses) > 20
    assert [name for name in losses if getattr(ours, name) is getattr(theirs, name)] == []


# --- modes of running -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", [case for case in (*CASES, *AXES) if not case.label], ids=lambda case: case.id)
def test_autocast_computes_in_f32_where_torch_does(case: Case) -> None:
    drawn = {name: torch.tensor(array) for name, array in case.make(np.random.default_rng(3)).items()}
    tensors = {name: t.bfloat16() if t.is_floating_point() else t for name, t in drawn.items()}
    name = case.by.split()[0]
    tensors[name].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = (getattr(F, case.loss)(**tensors, **case.settings) for F in (ours, theirs))
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    (gradient,) = torch.autograd.grad(found.sum(), tensors[name])
    assert gradient.dtype == torch.bfloat16


def test_torch_compile_runs_the_loss_between_two_graphs() -> None:
    def work(x: Any) -> Any:
        return ours.cross_entropy(torch.tanh(x) * 2, Y) * 3

    compiled = torch.compile(work, backend="eager")
    found, expected = leaf(X), leaf(X)
    compiled(found).backward()
    work(expected).backward()
    torch.testing.assert_close(found.grad, expected.grad)
    # One graph before the loss and one after it: nothing of lossc is traced.
    assert torch._dynamo.explain(work)(leaf(X)).graph_count == 2


MODES: dict[str, tuple[Callable[[], Any], str]] = {
    "vmap": (lambda: torch.func.vmap(ours.cross_entropy)(X[None], Y[None]), "torch.func"),
    "grad": (lambda: torch.func.grad(ours.cross_entropy)(X, Y), "torch.func"),
    "jvp": (lambda: torch.func.jvp(lambda x: ours.cross_entropy(x, Y), (X,), (X,)), "torch.func|forward-mode"),
    "trace": (lambda: torch.jit.trace(ours.cross_entropy, (X, Y)), "TorchScript"),
    "meta": (lambda: ours.cross_entropy(X.to("meta"), Y), "on meta"),
    "sparse": (lambda: ours.mse_loss(X.to_sparse(), X), "to_dense"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("mode", MODES)
def test_what_would_have_no_derivative_is_refused_by_name(mode: str) -> None:
    call, message = MODES[mode]
    with pytest.raises(lossc.Limitation, match=message):
        call()
    assert ours.cross_entropy(X, Y).shape == ()


def test_forward_mode_is_refused() -> None:
    from torch.autograd import forward_ad

    with forward_ad.dual_level(), pytest.raises(lossc.Limitation, match="forward-mode"):
        ours.cross_entropy(forward_ad.make_dual(X, X), Y)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_incoming_gradients_that_a_gradient_would_lose_are_refused(reduction: str) -> None:
    from torch.autograd import forward_ad

    x = X.clone().requires_grad_()
    loss = ours.mse_loss(x, X + 1, reduction=reduction)
    ones = torch.ones_like(loss)
    with forward_ad.dual_level(), pytest.raises(lossc.Limitation, match=r"mse_loss: .*forward-mode"):
        torch.autograd.grad(loss, x, forward_ad.make_dual(ones, ones), retain_graph=True)
    for create_graph in (False, True):
        with pytest.raises(lossc.Limitation, match="one incoming gradient at a time"):
            torch.autograd.grad(loss, x, torch.stack([ones, ones]), retain_graph=True, create_graph=create_graph,
                                is_grads_batched=True)  # fmt: skip
    with forward_ad.dual_level():
        (gradient,) = torch.autograd.grad(loss, x, ones)
    assert (gradient < 0).all()


def test_fake_tensors_are_refused() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode, pytest.raises(lossc.Limitation, match="FakeTensor"):
        ours.mse_loss(mode.from_tensor(X), mode.from_tensor(X))


def test_torch_function_is_honoured() -> None:
    class Logged(torch.Tensor):
        calls: list[str] = []  # noqa: RUF012

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.calls.append(function.__name__)
            return super().__torch_function__(function, types, args, kwargs or {})

    value = ours.mse_loss(X.as_subclass(Logged), X * 0)
    assert Logged.calls[0] == "mse_loss"
    assert float(value) == float(ours.mse_loss(X, X * 0))
    with torch.device("cpu"):
        assert ours.mse_loss(X, X) == 0
