"""Replace formulas that overflow, underflow or cancel by their stable equals.

Before:  %e = exp %x ; %s = reduce_sum %e {axes = [1]} ; %l = log %s
After:   %m = reduce_max %x ; %e = exp(%x - %m) ; %s = reduce_sum %e ; %l = log(%s) + %m

Knows composites (`log` of `softmax`, `bce_loss` of `sigmoid`) and what users spell out in primitives. Comes before
autodiff: what only moves the range, like the maximum above, is marked `stop_gradient`, since the value does not
depend on it.
"""

from __future__ import annotations

import math

from ...ir.function import Module, Op, Value
from ...ir.tensor import Tensor
from ..rewrite import Log, NoMatch, Rebuild, Replacement, Rules, rewrite_module
from ._match import constant_like, constant_of, expand, is_constant, view_of
from ._softmax import (
    log_of_sum_of_exp,
    log_softmax_spelled_out,
    shift_of_log_softmax,
    shift_of_logsumexp,
    shift_of_softmax,
    softmax_spelled_out,
)


def stabilize(module: Module, log: Log | None = None) -> Module:
    """Replace formulas that overflow or cancel by their stable equals."""
    return rewrite_module(module, RULES, log)


# --- composites ---------------------------------------------------------------------------------------------


def log_of_softmax(op: Op, build: Rebuild) -> Replacement | None:
    """log(softmax(x)) = log_softmax(x)  extends"""
    softmax = build.match(op.operands[0], "softmax")
    return None if softmax is None else build.composite("log_softmax", softmax.operands, softmax.attributes)


def bce_of_sigmoid(op: Op, build: Rebuild) -> Replacement | NoMatch | None:
    """bce_loss(sigmoid(x), t) = bce_with_logits_loss(x, t)  extends (the logs were clamped at -100)"""
    sigmoid = build.match(op.operands[0], "sigmoid")
    if sigmoid is None:
        if build.match(op.operands[0], "softmax"):
            return NoMatch("these probabilities come from softmax: use cross_entropy_loss on what goes into it")
        return NoMatch("the probability is not the result of a sigmoid in this function")
    attributes = {**op.attributes, "operands": None}  # by place: the first ones have other names there
    return build.composite("bce_with_logits_loss", (*sigmoid.operands, *op.operands[1:]), attributes)


# --- sigmoid and softplus -----------------------------------------------------------------------------------


def sigmoid_spelled_out(op: Op, build: Rebuild) -> Tensor | None:
    """1 / (1 + exp(-x)) = sigmoid(x)  extends"""
    one, rest = op.operands
    found = build.chain(rest, "add", "exp")
    if found is None or not is_constant(build, one, 1) or not is_constant(build, found[0].operands[1], 1):
        return None
    (x,) = build.tensors(*found[1].operands)
    return (-x).sigmoid()


def log_of_sigmoid(op: Op, build: Rebuild) -> Tensor | None:
    """log(sigmoid(x)) = -softplus(-x)  extends"""
    sigmoid = build.match(op.operands[0], "sigmoid")
    if sigmoid is None:
        return None
    (x,) = build.tensors(*sigmoid.operands)
    return -(-x).softplus()


def log_of_rest(op: Op, build: Rebuild) -> Tensor | None:
    """log(1 - sigmoid(x)) = -softplus(x), log(1 - x) = log1p(-x)  extends"""
    difference = build.match(op.operands[0], "sub")
    if difference is None or not is_constant(build, difference.operands[0], 1):
        return None
    (x,) = build.tensors(difference.operands[1])
    return (-x).log1p()


def log1p_of_sigmoid(op: Op, build: Rebuild) -> Tensor | NoMatch | None:
    """log1p(-sigmoid(x)) = -softplus(x), log1p(exp(x)) = softplus(x)  extends"""
    (operand,) = op.operands
    found = build.chain(operand, "neg", "sigmoid")
    if found is not None:
        (x,) = build.tensors(*found[1].operands)
        return -x.softplus()
    exp = build.match(operand, "exp")
    if exp is None:
        return None
    if build.chain(exp.operands[0], "neg", "abs"):
        return NoMatch("exp(-|x|) does not overflow")
    return build.tensors(*exp.operands)[0].softplus()


def log_of_one_plus(op: Op, build: Rebuild) -> Tensor | None:
    """log(1 + x) = log1p(x)  rounding"""
    added = build.match(op.operands[0], "add")
    if added is None or not is_constant(build, added.operands[1], 1):
        return None
    return build.tensors(added.operands[0])[0].log1p()


def exp_minus_one(op: Op, build: Rebuild) -> Value | None:
    """exp(x) - 1 = expm1(x)  rounding"""
    exp = build.match(op.operands[0], "exp")
    if exp is None or not is_constant(build, op.operands[1], -1 if op.name == "add" else 1):
        return None
    return build.emit("expm1", *exp.operands)


# --- logarithms of exponentials -----------------------------------------------------------------------------


def log_of_exp(op: Op, build: Rebuild) -> Value | None:
    """log(exp(x)) = x  extends"""
    exp = build.match(op.operands[0], "exp")
    return None if exp is None else exp.operands[0]


def log_of_quotient(op: Op, build: Rebuild) -> Value | None:
    """log(exp(x) / b) = x - log(b), log(exp(x) * b) = x + log(b), log(1 / b) = -log(b)  extends"""
    inner = build.match(op.operands[0], "div", "mul")
    if inner is None:
        return None
    a, b = inner.operands
    if inner.name == "mul" and not build.match(a, "exp"):
        a, b = b, a
    if inner.name == "div" and is_constant(build, a, 1):
        return build.emit("neg", _log_behind_view(build, b))
    exp = build.match(a, "exp")
    if exp is None:
        return None
    return build.emit("sub" if inner.name == "div" else "add", exp.operands[0], _log_behind_view(build, b))


def _log_behind_view(build: Rebuild, value: Value) -> Value:
    view = view_of(build, value)
    if view is None:
        return build.emit("log", value)
    return expand(build, build.emit("log", view[0]), view[1], value.type.shape)


def log_of_choice(op: Op, build: Rebuild) -> Value | None:
    """log(select(p, a, c)) = select(p, log(a), log(c)) for a constant c  exact"""
    select = build.match(op.operands[0], "select")
    if select is None:
        return None
    condition, a, b = select.operands
    number = constant_of(build, b)
    if number is None or not build.match(a, "div", "mul", "exp", "reduce_sum", "sigmoid"):
        return None
    log_of_constant = math.log(number) if number > 0 else -math.inf if number == 0 else math.nan
    return build.emit("select", condition, build.emit("log", a), constant_like(build, log_of_constant, b))


RULES: Rules = {
    "log": (log_of_softmax, log_of_sigmoid, log_of_rest, log_of_one_plus, log_of_exp, log_of_quotient, log_of_choice,
            log_of_sum_of_exp),
    "log1p": (log1p_of_sigmoid,),
    "bce_loss": (bce_of_sigmoid,),
    "div": (sigmoid_spelled_out, softmax_spelled_out, shift_of_softmax),
    "mul": (softmax_spelled_out, shift_of_softmax),
    "add": (exp_minus_one, shift_of_logsumexp),
    "sub": (exp_minus_one, log_softmax_spelled_out, shift_of_log_softmax),
}  # fmt: skip
