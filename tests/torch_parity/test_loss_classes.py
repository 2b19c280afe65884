"""Losses as classes beside those of torch.nn: the same arguments in the same places, the same value."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import nn
from lossc.ir.interp import interpret

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1]))

from loss_examples import arrays_for  # noqa: E402

from lossc.losses.classes import LOSSES, TORCH_ORDER  # noqa: E402

CLASS_WEIGHT = np.array([0.5, 1, 2, 0.25, 3])

# The arguments by position, without torch's `size_average` and `reduce`; weights as arrays.
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("CrossEntropyLoss", (CLASS_WEIGHT, -100, "mean", 0.1), {}),
    ("CrossEntropyLoss", (None, 2, "sum"), {}),
    ("NLLLoss", (CLASS_WEIGHT, 1, "mean"), {}),
    ("BCELoss", (CLASS_WEIGHT, "mean"), {}),
    ("BCEWithLogitsLoss", (CLASS_WEIGHT, "mean", CLASS_WEIGHT + 1), {}),
    ("MSELoss", ("sum",), {}),
    ("L1Loss", ("none",), {}),
    ("SmoothL1Loss", ("mean", 0.4), {}),
    ("HuberLoss", ("mean", 0.4), {}),
    ("KLDivLoss", ("batchmean",), {"log_target": False}),
    ("PoissonNLLLoss", (False,), {"full": True, "eps": 1e-6, "reduction": "sum"}),
    ("PoissonNLLLoss", (), {"log_input": True}),
    ("GaussianNLLLoss", (), {"full": True, "eps": 1e-3, "reduction": "mean"}),
    ("CosineEmbeddingLoss", (0.2,), {"reduction": "sum"}),
    ("HingeEmbeddingLoss", (0.7,), {"reduction": "mean"}),
    ("MarginRankingLoss", (0.3,), {"reduction": "mean"}),
    ("SoftMarginLoss", (), {"reduction": "sum"}),
    ("MultiMarginLoss", (2, 0.6, CLASS_WEIGHT), {"reduction": "mean"}),
    ("MultiLabelMarginLoss", (), {"reduction": "mean"}),
    ("MultiLabelSoftMarginLoss", (CLASS_WEIGHT,), {"reduction": "mean"}),
    ("TripletMarginLoss", (0.8, 1.0, 1e-5, True), {"reduction": "mean"}),
]
DROPPED = ("size_average", "reduce")


def test_every_class_with_torchs_order_is_tried() -> None:
    assert {name for name, _, _ in CASES} == set(TORCH_ORDER)


@pytest.mark.parametrize("name", TORCH_ORDER)
def test_arguments_stand_in_torchs_order(name: str) -> None:
    theirs = [p for p in inspect.signature(getattr(torch.nn, name)).parameters if p not in DROPPED]
    ours = inspect.signature(getattr(nn, name)).parameters
    assert list(ours)[: len(theirs)] == theirs
    for parameter in theirs:
        default = inspect.signature(getattr(torch.nn, name)).parameters[parameter].default
        # Nothing is ignored unless it is said.
        assert ours[parameter].default == (None if parameter == "ignore_index" else default)


@pytest.mark.parametrize(("name", "arguments", "settings"), CASES)
def test_values_are_those_of_torch(name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    arrays = dict(arrays_for(LOSSES[name].operation, seed=3))
    g = lossc.Graph()
    values = [g.input(n, a.shape, "f64" if a.dtype.kind == "f" else "i64") for n, a in arrays.items()]
    g.set_outputs([getattr(nn, name)(*arguments, **settings)(*values)])
    weights = {n: np.asarray(g.parameters[n]) for n in g.parameters}
    (found,) = interpret(g.to_module().entry, {**arrays, **weights})

    def tensor(value: Any) -> Any:
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    # By name: torch's two old arguments stand between the others.
    names = [p for p in inspect.signature(getattr(torch.nn, name)).parameters if p not in DROPPED]
    given = {**dict(zip(names, map(tensor, arguments))), **settings}
    expected = getattr(torch.nn, name)(**given)(*map(tensor, arrays.values())).numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)
