"""A strategy that was asked for and that no kernel takes: who compares strategies would measure the same one twice.

In: a compiled program. Out: a warning, or None.
"""

from __future__ import annotations

from lossc.compiler import Compiled
from lossc.ir.diagnostics import Diagnostic


def unused_strategy(compiled: Compiled) -> Diagnostic | None:
    """The warning for a program whose kernels all refuse the strategy that was asked for."""
    asked, choices = compiled.strategy, compiled.lowered.choices
    if asked is None or not choices or any(choice.strategy == asked for choice in choices.values()):
        return None
    reasons = dict.fromkeys(choice.against[asked] for choice in choices.values() if asked in choice.against)
    taken = ", ".join(dict.fromkeys(choice.strategy for choice in choices.values()))
    return Diagnostic(
        "LIR0205",
        f"the strategy {asked} applies to no kernel of this program, which runs by {taken}",
        notes=(*reasons, "`lossc explain` has the reasons for each kernel"), severity="warning",
    )  # fmt: skip
