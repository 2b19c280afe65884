"""After differentiation, what only autodiff reads goes: `stop_gradient` and `with_gradient` become their value.

Before:  %m = stop_gradient %a ; %l = with_gradient %v, %x, %d
After:   %a in place of %m, %v in place of %l

A function that still has a `grad` in it is left as it is.
"""

from __future__ import annotations

from ...ir.function import Module, Op, Value
from ..functions import has_grad, map_functions
from ..rewrite import Log, Rebuild, rewrite


def drop_markers(module: Module, log: Log | None = None) -> Module:
    """Replace stop_gradient and with_gradient by their value, once gradients are taken."""
    return map_functions(module, lambda function: function if has_grad(function) else rewrite(function, RULES, log))


def marked_value(op: Op, build: Rebuild) -> Value:
    """stop_gradient(x) = x, with_gradient(x, ...) = x  exact"""
    return op.operands[0]


RULES = {"stop_gradient": (marked_value,), "with_gradient": (marked_value,)}
