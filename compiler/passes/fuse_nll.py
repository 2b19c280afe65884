"""Pick one class before computing all of them: log-softmax followed by negative log-likelihood is cross-entropy.

Before:  %p = log_softmax %x ; %l = nll_loss %p, %labels
After:   %l = cross_entropy_loss %x, %labels

Before:  %b = broadcast %s ; %d = sub %x, %b ; %p = gather %d, %t
After:   %g = gather %x, %t ; %p = sub %g, %s           (0 where %t is no index)

The second form is what a user's own primitives and the gradients meet, through two equations: a gather of pointwise
operations is those operations on gathers, and a sum over one-hot values is a gather.
"""

from __future__ import annotations

from ...ir.function import Module, Op, Value
from ...ir.op_types import check_axis, class_axis
from ...ir.types import is_float
from ..ranges import counts_once
from ..rewrite import Log, NoMatch, Rebuild, Replacement, Rules, rewrite_module
from ._match import constant_like, expand, is_constant, view_of, without_axes
from ._picking import pick, picks_anything


def fuse_nll(module: Module, log: Log | None = None) -> Module:
    """Turn log-softmax and negative log-likelihood into cross-entropy, gathers of rows into rows of gathers."""
    return rewrite_module(module, RULES, log)


# --- composites ---------------------------------------------------------------------------------------------


def nll_of_log_softmax(op: Op, build: Rebuild) -> Replacement | NoMatch | None:
    """nll_loss(log_softmax(x), t) = cross_entropy_loss(x, t)  rounding"""
    inner = build.match(op.operands[0], "log_softmax", "softmax", "cast")
    if inner is None:
        return NoMatch("the log-probabilities are not the result of a log_softmax in this function")
    if inner.name == "softmax":
        return NoMatch("nll_loss takes log-probabilities, these are probabilities: did you mean log_softmax?")
    if inner.name == "cast":
        return NoMatch("a cast stands between log_softmax and nll_loss")
    other = _other_axis(op, inner)
    if other is not None:
        return other
    names = op.attributes["operands"]
    attributes = {**op.attributes, "operands": names and tuple("logits" if n == "log_probs" else n for n in names)}
    return build.composite("cross_entropy_loss", (*inner.operands, *op.operands[1:]), attributes)


def cross_entropy_of_log_softmax(op: Op, build: Rebuild) -> Replacement | NoMatch | None:
    """cross_entropy_loss(log_softmax(x), t) = cross_entropy_loss(x, t)  rounding"""
    inner = build.match(op.operands[0], "log_softmax", "softmax")
    if inner is None:
        return None
    if inner.name == "softmax":
        return NoMatch("cross_entropy_loss takes logits, these are probabilities: leave the softmax out?")
    other = _other_axis(op, inner)
    if other is not None:
        return other
    return build.composite("cross_entropy_loss", (*inner.operands, *op.operands[1:]), op.attributes)


def _other_axis(op: Op, inner: Op) -> NoMatch | None:
    """Why the classes of the loss are not those of the softmax."""
    rank = op.operands[0].type.rank
    classes = class_axis(rank, op.attributes["axis"])
    along = check_axis(inner.attributes["axis"], rank)
    return None if along == classes else NoMatch(f"{inner.name} runs along axis {along}, the classes along {classes}")


# --- primitives ---------------------------------------------------------------------------------------------


def pick_before_computing(op: Op, build: Rebuild) -> Value | NoMatch | None:
    """gather(x - broadcast(s), t) = gather(x, t) - s where t is an index, else 0  exact"""
    x, indices = op.operands
    axis = op.attributes["axis"]
    if not picks_anything(build, x, axis):
        return None
    return pick(build, x, indices, axis)


def sum_of_one_hot(op: Op, build: Rebuild) -> Value | None:
    """sum(select(iota == broadcast(t), x, 0)) = gather(x, t)  exact"""
    axes, chosen = op.attributes["axes"], _chosen_by_one_hot(build, op.operands[0])
    if chosen is None or chosen[0] not in axes:
        return None
    axis, indices, x = chosen
    picked = build.emit("gather", x, indices, axis=axis)
    rest = tuple(a - (a > axis) for a in axes if a != axis)
    return build.emit("reduce_sum", picked, axes=rest) if rest else picked


def sum_with_one_hot(op: Op, build: Rebuild) -> Value | None:
    """sum(a + select(iota == broadcast(t), x, 0)) = sum(a) + gather(x, t)  rounding"""
    (x,) = op.operands
    added = build.match(x, "add", "sub")
    if added is None or not build.used_once(x):
        return None
    for operand in added.operands:
        chosen = _chosen_by_one_hot(build, operand)
        if chosen is not None:
            if chosen[0] not in op.attributes["axes"]:
                return None
            sums = [build.emit("reduce_sum", term, axes=op.attributes["axes"]) for term in added.operands]
            return build.emit(added.name, *sums)
    return None


def times_one_hot(op: Op, build: Rebuild) -> Value | None:
    """(iota == broadcast(t) ? a : 0) * x = (iota == broadcast(t) ? a * x : 0)  extends (0 * inf was NaN)"""
    if not is_float(op.result.type.dtype):
        return None
    for factor, x in (op.operands, op.operands[::-1]):
        maker = build.match(factor, "cast", "select")
        if maker is None or one_hot(build, maker.operands[0]) is None:
            continue
        zero = constant_like(build, 0, x)
        if maker.name == "cast":
            return build.emit("select", maker.operands[0], x, zero)
        condition, a, otherwise = maker.operands
        if is_constant(build, otherwise, 0):
            product = x if is_constant(build, a, 1) else build.emit("mul", a, x)
            return build.emit("select", condition, product, zero)
    return None


def _chosen_by_one_hot(build: Rebuild, value: Value) -> tuple[int, Value, Value] | None:
    """(axis, t, x) where `value` is select(iota == broadcast(t), x, 0)."""
    select = build.match(value, "select")
    hit = one_hot(build, select.operands[0]) if select is not None else None
    if select is None or hit is None or not is_constant(build, select.operands[2], 0):
        return None
    return (*hit, select.operands[1])


def one_hot(build: Rebuild, condition: Value) -> tuple[int, Value] | None:
    """(axis, t) where `condition` is iota along `axis` == t repeated along it."""
    equal = build.match(condition, "eq")
    if equal is None:
        return None
    for counted, repeated in (equal.operands, equal.operands[::-1]):
        iota, view = build.match(counted, "iota"), view_of(build, repeated)
        if iota is None or view is None or not counts_once(iota):
            continue
        axis = iota.attributes["axis"]
        source, dims = view
        if axis in dims:
            return None
        indices = expand(build, source, tuple(dim - (dim > axis) for dim in dims),
                         without_axes(condition.type.shape, (axis,)))  # fmt: skip
        return axis, indices
    return None


RULES: Rules = {
    "nll_loss": (nll_of_log_softmax,),
    "cross_entropy_loss": (cross_entropy_of_log_softmax,),
    "gather": (pick_before_computing,),
    "reduce_sum": (sum_of_one_hot, sum_with_one_hot),
    "mul": (times_one_hot,),
}
