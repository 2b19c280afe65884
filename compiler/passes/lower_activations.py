"""Spell `softplus` and `sigmoid` with one exponential that both share.

Before:  %l = softplus %x ; %s = sigmoid %x
After:   %e = exp(-|%x|) ; %l = max(%x, 0) + log1p(%e) ; %r = 1 / (1 + %e) ; %s = select(%x >= 0, %r, %e * %r)

Comes after autodiff: max and abs have kinks at 0 that the functions do not have. A function that still has a `grad`
in it is left as it is. `tanh` and `erf` stay: one function each, of ours or of the device.
"""

from __future__ import annotations

from ...ir.function import Module, Op
from ...ir.tensor import Tensor
from ..functions import has_grad, map_functions
from ..rewrite import Log, Rebuild, rewrite


def lower_activations(module: Module, log: Log | None = None) -> Module:
    """Spell softplus and sigmoid with a shared exp(-|x|)."""
    return map_functions(module, lambda function: function if has_grad(function) else rewrite(function, RULES, log))


def _small(x: Tensor) -> Tensor:
    """exp(-|x|), in (0, 1]; 0 at infinities, NaN stays NaN."""
    return (-x.abs()).exp()


def softplus(op: Op, build: Rebuild) -> Tensor:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))  rounding"""
    (x,) = build.tensors(*op.operands)
    return x.maximum(0) + _small(x).log1p()


def sigmoid(op: Op, build: Rebuild) -> Tensor:
    """1 / (1 + exp(-x)) = select(x >= 0, r, e r) with e = exp(-|x|), r = 1 / (1 + e)  rounding"""
    # log1p(e) has use for both, and sigmoid(-x) takes them the other way round.
    negative = build.match(op.operands[0], "neg")
    (x,) = build.tensors(*(op.operands if negative is None else negative.operands))
    small = _small(x)
    over = 1 / (small + 1)
    arms = (over, small * over)
    return (x >= 0).select(*(arms if negative is None else arms[::-1]))


RULES = {"softplus": (softplus,), "sigmoid": (sigmoid,)}
