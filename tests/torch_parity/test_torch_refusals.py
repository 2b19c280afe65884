"""What torch refuses, lossc.torch refuses in torch's kind of error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch_parity.examples import X, Y, leaf, ours, theirs, torch

import lossc

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
