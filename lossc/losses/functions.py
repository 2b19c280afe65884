"""What `lossc.functional` and `lossc.torch` have in common: their functions by name, of arrays or of tensors.

In: how a function is made from a row of the table of losses, and what the smaller of two is. Out: all functions; those
that are no rows are here, in terms of those that are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from lossc.calls import operation_names
from lossc.errors import RefusedArgument, Unsupported
from lossc.ir.composites import definition_of
from lossc.ir.diagnostics import LirError
from lossc.losses.row import Row
from lossc.losses.table import LOSSES

Loss = Callable[..., Any]


def functions(make: Callable[[Row], Loss], minimum: Loss, module: str) -> dict[str, Loss]:
    """The functions of `module` by their names; `make` gives the one of a row."""
    found = {name: make(row) for name, row in LOSSES.items()}
    for name, row in LOSSES.items():
        found[name].__signature__, found[name].__doc__ = row.signature, row.help  # type: ignore[attr-defined]
    found["triplet_margin_with_distance_loss"] = triplets_by_distance(found, minimum)
    for name, function in found.items():
        function.__module__, function.__name__, function.__qualname__ = module, name, name
    return {**found, "ctc_loss": ctc_loss}


_OTHER_NAMES = {
    "grad": "value_and_grad", "jit": "function", "compile": "function", "mae": "l1_loss", "mae_loss": "l1_loss",
    "l1": "l1_loss", "crossentropy": "cross_entropy", "softmax_cross_entropy": "cross_entropy",
    "logcosh": "log_cosh_loss", "ce": "cross_entropy", "label_smoothing_cross_entropy": "cross_entropy",
    "focal_loss": "sigmoid_focal_loss", "kl": "kl_div", "kl_divergence": "kl_div",
    "sparse_categorical_crossentropy": "cross_entropy", "categorical_crossentropy": "cross_entropy",
    "sigmoid_binary_cross_entropy": "binary_cross_entropy_with_logits",
}  # fmt: skip


def notes_on_function(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """What is probably meant by a function that there is not: an operation by its own name, one that graphs alone have,
    or the nearest of those that are known."""
    known = list(known)
    of_operations = {row.operation: row.name for row in reversed([*LOSSES.values()]) if row.operation not in LOSSES}
    candidates = [name, f"{name}_loss", _OTHER_NAMES.get(name, "")]
    found = [of_operations.get(candidate, candidate) for candidate in candidates]
    meant = next((candidate for candidate in found if candidate in known), None)
    if meant is not None:
        return (f"did you mean `{meant}`?",)
    if name in operation_names():
        needed = [operand for operand in definition_of(name).operands if not operand.endswith("?")]
        first, *others = [operand.removesuffix("...") for operand in needed] or ["x"]
        written = f"lambda {', '.join([first, *others])}: {first}.{name}({', '.join(others)})"
        return (f"it is an operation of graphs: function({written})",)
    # That both are losses makes no two alike.
    names = {other.removesuffix("_loss"): other for other in known}
    close = get_close_matches(re.sub("_?loss?$", "", name.lower()), names, n=1, cutoff=0.7)
    own = ("a loss of your own is function(loss)",) if name.endswith("loss") else ()
    return (f"did you mean `{names[close[0]]}`?",) if close else own


def triplets_by_distance(losses: Mapping[str, Loss], minimum: Loss) -> Loss:
    """`triplet_margin_with_distance_loss` in terms of other losses."""

    def triplet_margin_with_distance_loss(
        anchor: Any, positive: Any, negative: Any, *, distance_function: Loss | None = None,
        margin: float = 1.0, swap: bool = False, reduction: str = "mean",
    ) -> Any:  # fmt: skip
        """max(0, d(a, p) - d(a, n) + margin) with a distance of your own, by default the Euclidean one.

        `distance_function` takes two of what this takes and gives one of distances; torch differentiates it. With
        `swap` the distance of positive and negative counts where it is smaller than that of anchor and negative.
        """
        if distance_function is None:
            of_triplets = losses["triplet_margin_loss"]
            return of_triplets(anchor, positive, negative, margin, swap=swap, reduction=reduction)
        if not margin > 0:
            raise LirError(f"margin must be positive, found {margin}")
        if len({np.ndim(x) for x in (anchor, positive, negative)}) > 1:
            raise RefusedArgument("anchor, positive and negative must have equally many axes", code="LIR0030")
        near, far = distance_function(anchor, positive), distance_function(anchor, negative)
        if swap:
            far = minimum(far, distance_function(positive, negative))
        return losses["margin_ranking_loss"](near, far, -1.0, margin, reduction=reduction)

    return triplet_margin_with_distance_loss


def ctc_loss(*arguments: Any, **keywords: Any) -> Any:
    """Not there yet: lossc has no CTC loss. Raises Unsupported."""
    raise Unsupported("lossc has no CTC loss yet", "torch.nn.functional.ctc_loss computes it",
                      "what is missing for it: docs/migration.md, under CTC")  # fmt: skip
