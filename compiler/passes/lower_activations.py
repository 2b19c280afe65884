"""Spell `softplus` and `sigmoid` with one exponential that both share.

Before:  %l = softplus %x ; %s = sigmoid %x
After:   %e = exp(-|%x|) ; %l = max(%x, 0) + log1p(%e) ; %s = select(%x >= 0, 1, %e) / (1 + %e)

Comes after autodiff: max and abs have kinks at 0 that the functions do not have. A function that still has a `grad`
in it is left as it is. `tanh` and `erf` stay: the device computes them well.
"""

from __future__ import annotations

from ...ir.builder import Tensor
from ...ir.function import Module, Op
from ..rewrite import Log, Rebuild, has_grad, map_functions, rewrite


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
    """1 / (1 + exp(-x)) = select(x >= 0, 1, e) / (1 + e) with e = exp(-|x|)  rounding"""
    (x,) = build.tensors(*op.operands)
    small = _small(x)
    return (x >= 0).select(1, small) / (small + 1)


RULES = {"softplus": (softplus,), "sigmoid": (sigmoid,)}
