"""Expand composites: losses, layers and activations become the primitives they are made of.

Before:  %h = linear %x, %w, %b
After:   %m = matmul %x, %w {transpose_right = true} ; %r = broadcast %b {...} ; %h = add %m, %r

The meaning of a composite is the Python function of its name in `ir/layers.py` or `ir/losses/`.
"""

from __future__ import annotations

from ...ir import composites
from ...ir.composites import COMPOSITES
from ...ir.diagnostics import LosscError
from ...ir.function import Module, Op, Value
from ..rewrite import Rebuild, rewrite_module


def expand(module: Module) -> Module:
    """Replace losses, layers and activations by their primitives."""
    return rewrite_module(module, RULES)


def expansion(op: Op, build: Rebuild) -> tuple[Value, ...]:
    """composite = its primitives  exact"""
    try:
        return composites.expand(COMPOSITES[op.name], build, op.operands, op.attributes)
    except LosscError as error:
        raise error.at(op.span) from None


RULES = dict.fromkeys(COMPOSITES, (expansion,))
