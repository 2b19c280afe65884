"""Warnings, which point at the first caller outside of lossc; what the lints say of a graph is one kind."""

from __future__ import annotations

import inspect
import warnings

from lossc.ir.function import Module


class LossWarning(UserWarning):
    """A graph that is legal and probably not meant: a softmax before a loss that has one inside, for instance.
    `warnings.simplefilter("error", lossc.LossWarning)` makes errors of these."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the first caller outside of lossc."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("lossc."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn_once(module: Module, told: set[str]) -> None:
    """Warn of what is not in `told` yet, and put it there."""
    # Graphs are built without the compiler; who compiles loads it anyway.
    from lossc.compiler.lints import find_lints

    for diagnostic in find_lints(module):
        text = diagnostic.render()
        if text not in told:
            told.add(text)
            warn(text, LossWarning)
