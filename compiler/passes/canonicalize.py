"""Give every value its simplest form: fold constants, drop what changes nothing, compute before repeating.

Before:                                        After:
    %c = constant {value = 2.0, ...}               %n = neg %row
    %a = mul %x, %c ; %b = div %a, %c2             %r = broadcast %n {dims = [0], shape = [N, C]}
    %r = broadcast %row {dims = [0], ...}
    %n = neg %r

All rules are local and exact, but for sums that are taken in another order or replaced by a product with the size.
"""

from __future__ import annotations

from ...ir.function import Module
from ..rewrite import Log, Rule, Rules, rewrite_module
from ._arithmetic import ARITHMETIC
from ._folding import POINTWISE, compute_before_repeating, fold_constants
from ._shapes import ACROSS
from ._windows import WINDOWS


def _table() -> Rules:
    table: dict[str, tuple[Rule, ...]] = dict.fromkeys(POINTWISE, (fold_constants,))
    for name, rules in ARITHMETIC.items():
        table[name] = (*table.get(name, ()), *rules)
    for name in POINTWISE:
        table[name] = (*table[name], compute_before_repeating)
    return {**table, **ACROSS, **WINDOWS}


RULES = _table()


def canonicalize(module: Module, log: Log | None = None) -> Module:
    """Fold constants, drop operations that change nothing, compute before repeating."""
    return rewrite_module(module, RULES, log)
