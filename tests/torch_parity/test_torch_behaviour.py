"""`lossc.torch` inside torch programs: autograd, modes of running, refusals, and training beside torch's own losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_parity.loss_cases import AXES, CASES, Case

import lossc
from lossc.losses.table import LOSSES

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lossc[torch]'")
ours = pytest.importorskip("lossc.torch")
theirs = torch.nn.functional

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 3, 2, 4, 1, 0])


def leaf(x: Any) -> Any:
    return x.detach().clone().requires_grad_()


# --- the module -----------------------------------------------------------------------------------------------


def test_signatures_are_torchs() -> None:
    for name in LOSSES:
        if hasattr(theirs, name):
            expected = inspect.signature(getattr(theirs, name)).parameters.values()
            found = inspect.signature(getattr(ours, name)).parameters.values()
            assert [(p.name, p.default, p.kind) for p in found] == [(p.name, p.default, p.kind) for p in expected], name


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


# --- autograd -------------------------------------------------------------------------------------------------


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


# --- refusals -------------------------------------------------------------------------------------------------

P = X.sigmoid()
SIGNS = torch.tensor([1, -1, 1, 1, -1, 1])
REFUSED: dict[str, Callable[[Any], Any]] = {
    "label": lambda F: F.cross_entropy(X, Y + 9),
    "negative label": lambda F: F.cross_entropy(X, Y - 9),
    "label of nll": lambda F: F.nll_loss(X, Y + 9),
    "rows": lambda F: F.cross_entropy(X, Y[:3]),
    "rows of nll": lambda F: F.nll_loss(X, Y[:3]),
    "distribution": lambda F: F.cross_entropy(X, X[:, :2]),
    "one-hot": lambda F: F.cross_entropy(X, torch.ones(6, 5).long()),
    "truth values": lambda F: F.cross_entropy(X, Y.bool()),
    "class weight": lambda F: F.cross_entropy(X, Y, torch.ones(2)),
    "class weights": lambda F: F.cross_entropy(X, Y, torch.ones(1, 5)),
    "smoothing": lambda F: F.cross_entropy(X, Y, label_smoothing=2.0),
    "reduction": lambda F: F.cross_entropy(X, Y, reduction="mena"),
    "batchmean": lambda F: F.mse_loss(X, X, reduction="batchmean"),
    "scalar logits": lambda F: F.cross_entropy(X[0, 0], Y[0]),
    "no classes": lambda F: F.cross_entropy(torch.ones(6, 0), Y),
    "ignored distribution": lambda F: F.cross_entropy(X, P, ignore_index=1),
    "list": lambda F: F.cross_entropy(X, [0, 1]),
    "array": lambda F: F.cross_entropy(X.numpy(), Y),
    "integers": lambda F: F.cross_entropy(X.long(), Y),
    "complex": lambda F: F.cross_entropy(X + 0j, Y),
    "pixels": lambda F: F.cross_entropy(torch.ones(2, 3, 5), torch.zeros(2, 4).long()),
    "rank": lambda F: F.cross_entropy(torch.ones(2, 3, 5), torch.zeros(2).long()),
    "scalar log-probabilities": lambda F: F.nll_loss(X[0, 0], Y[0]),
    "binary shapes": lambda F: F.binary_cross_entropy(P, P[:, :1]),
    "probability": lambda F: F.binary_cross_entropy(P + 1, P),
    "probability NaN": lambda F: F.binary_cross_entropy(P * float("nan"), P),
    "target probability": lambda F: F.binary_cross_entropy(P, P + 1),
    "binary weight": lambda F: F.binary_cross_entropy(P, P, torch.ones(7)),
    "binary weight that is larger": lambda F: F.binary_cross_entropy(P, P, torch.ones(2, 6, 5)),
    "logit shapes": lambda F: F.binary_cross_entropy_with_logits(X, P[:, :1]),
    "logit weight": lambda F: F.binary_cross_entropy_with_logits(X, P, torch.ones(7)),
    "pos_weight": lambda F: F.binary_cross_entropy_with_logits(X, P, pos_weight=torch.ones(7)),
    "mse shapes": lambda F: F.mse_loss(X, torch.ones(4)),
    "mse weight": lambda F: F.mse_loss(X, X, weight=torch.ones(6, 1)),
    "mse integers": lambda F: F.mse_loss(Y, Y),
    "huber delta": lambda F: F.huber_loss(X, X, delta=0.0),
    "smooth beta": lambda F: F.smooth_l1_loss(X, X, beta=-1.0),
    "kl integers": lambda F: F.kl_div(X, Y[:, None]),
    "kl shapes": lambda F: F.kl_div(X, torch.ones(4)),
    "poisson reduction": lambda F: F.poisson_nll_loss(X, X, reduction="x"),
    "negative variance": lambda F: F.gaussian_nll_loss(X, X, -P),
    "variance's shape": lambda F: F.gaussian_nll_loss(X, X, P[0]),
    "cosine rows": lambda F: F.cosine_embedding_loss(X, X, SIGNS[:4]),
    "cosine scalar": lambda F: F.cosine_embedding_loss(X, X, SIGNS[0]),
    "cosine vectors": lambda F: F.cosine_embedding_loss(X[0], X[0], SIGNS[:1]),
    "ranking axes": lambda F: F.margin_ranking_loss(X, X, SIGNS),
    "ranking shapes": lambda F: F.margin_ranking_loss(X[0], X[:4, 0], X[0]),
    "hinge shapes": lambda F: F.hinge_embedding_loss(X, torch.ones(4)),
    "soft margin shapes": lambda F: F.soft_margin_loss(X, torch.ones(4)),
    "multi label": lambda F: F.multi_margin_loss(X, Y + 9),
    "multi p": lambda F: F.multi_margin_loss(X, Y, p=3),
    "multi rows": lambda F: F.multi_margin_loss(X, Y[:2]),
    "multi axes": lambda F: F.multi_margin_loss(torch.ones(2, 3, 4), Y[:2]),
    "multi weight": lambda F: F.multi_margin_loss(X, Y, weight=torch.ones(2)),
    "multi weights": lambda F: F.multi_margin_loss(X, Y, weight=torch.ones(1, 5)),
    "lists": lambda F: F.multilabel_margin_loss(X, torch.full((6, 5), 9)),
    "lists' shape": lambda F: F.multilabel_margin_loss(X, torch.zeros(6, 4).long()),
    "multilabel scalar": lambda F: F.multilabel_soft_margin_loss(X[0, 0], P[0, 0]),
    "multilabel shapes": lambda F: F.multilabel_soft_margin_loss(X, torch.ones(4)),
    "triplet axes": lambda F: F.triplet_margin_loss(X, X[0], X),
    "triplet margin": lambda F: F.triplet_margin_loss(X, X, X, margin=0.0),
    "triplet shapes": lambda F: F.triplet_margin_loss(X, X, torch.ones(6, 2)),
    "distance margin": lambda F: F.triplet_margin_with_distance_loss(X, X, X, margin=-1.0),
    "distance axes": lambda F: F.triplet_margin_with_distance_loss(X, X[0], X),
    "distance reduction": lambda F: F.triplet_margin_with_distance_loss(X, X, X, reduction="x"),
    "softmax axis": lambda F: F.softmax(X, 2),
    "surplus argument": lambda F: F.mse_loss(X, X, None, None, "mean", None, 3),
    "unknown argument": lambda F: F.mse_loss(X, X, reductoin="mean"),
    "missing argument": lambda F: F.mse_loss(X),
    "linear width": lambda F: F.linear_cross_entropy(X, torch.ones(4, 3), Y),
    "linear bias": lambda F: F.linear_cross_entropy(X, torch.ones(5, 5), Y, linear_bias=torch.ones(3)),
    "linear axes": lambda F: F.linear_cross_entropy(X[None], torch.ones(5, 5), Y),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses_is_refused_in_its_kind(name: str) -> None:
    call = REFUSED[name]
    with pytest.raises(Exception) as expected:  # noqa: PT011
        call(theirs)
    with pytest.raises(expected.type) as found:
        call(ours)
    assert isinstance(found.value, (lossc.LosscError, TypeError))


def test_a_label_out_of_range_is_named_and_harms_nothing() -> None:
    x, labels = leaf(X), Y.clone()
    labels[4] = 77
    with pytest.raises(IndexError, match="found 77 at row 4"):
        ours.cross_entropy(x, labels)
    torch.testing.assert_close(ours.cross_entropy(x, Y), theirs.cross_entropy(x, Y))


def test_retired_arguments_stand_where_torch_has_them() -> None:
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert ours.mse_loss(X, X + 1, False).item() == pytest.approx(30)
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert ours.cross_entropy(X, Y, None, None, -100, False).shape == (6,)
    with pytest.warns(UserWarning, match="differs from the input's"):
        ours.mse_loss(X, X[:1])
    with pytest.warns(UserWarning, match="say which axis"):
        ours.softmax(X)


# --- calls like one before --------------------------------------------------------------------------------------


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
