"""What the lints say of a graph, as warnings of Python."""

from __future__ import annotations

import warnings

from lossc.ir.function import Module


class LossWarning(UserWarning):
    """A graph that is legal and probably not meant: a softmax before a loss that has one inside, for instance.
    `warnings.simplefilter("error", lossc.LossWarning)` makes errors of these."""


def warn_once(module: Module, told: set[str]) -> None:
    """Warn the caller's caller of what is not in `told` yet, and put it there."""
    # Graphs are built without the compiler; who compiles loads it anyway.
    from lossc.compiler.lints import find_lints

    for diagnostic in find_lints(module):
        text = diagnostic.render()
        if text not in told:
            told.add(text)
            warnings.warn(text, LossWarning, stacklevel=3)
