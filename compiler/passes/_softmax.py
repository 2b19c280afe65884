"""Rules of `stabilize` for log-sum-exp, log-softmax and softmax that are spelled out in primitives.

All of them subtract the maximum m of a row first, and mark it `stop_gradient`: d/dx of log(sum(exp(x - m))) + m does
not depend on m.
"""

from __future__ import annotations

import math

from ...ir.function import Op, Value
from ..max_shift import behind_guard, maximum_in, shift_of, unmarked
from ..rewrite import NoMatch, Rebuild
from ._match import expand, is_constant, kept_axes, view_of


def log_of_sum_of_exp(op: Op, build: Rebuild) -> Value | NoMatch | None:
    """log(sum(exp(x))) = log(sum(exp(x - m))) + m with m = max(x)  extends"""
    found = build.chain(op.operands[0], "reduce_sum", "exp")
    if found is None:
        return None
    total, exp = found
    (x,) = exp.operands
    axes = total.attributes["axes"]
    if _is_shifted(build, x, axes):
        return NoMatch("the maximum is taken out already")
    largest = build.tensors(x)[0].amax(axes).stop_gradient()
    if not _only_in_log_softmax(op, x, build):
        # The logarithm of a row of -inf is -inf; -inf - -inf would make it NaN, as it must be in log_softmax.
        largest = (largest.abs() == math.inf).select(0, largest)
    moved = build.emit("sub", x, expand(build, largest.value, kept_axes(x.type.rank, axes), x.type.shape))
    total_of_moved = build.emit("reduce_sum", build.emit("exp", moved), axes=axes)
    return build.emit("add", build.emit("log", total_of_moved), largest.value)


def _is_shifted(build: Rebuild, exponent: Value, axes: tuple[int, ...]) -> bool:
    """Whether the maximum along `axes` is taken from an exponent already."""
    largest = maximum_in(shift_of(exponent, build.producer), build.producer, guarded=True)
    return largest is not None and largest.attributes["axes"] == axes


def _only_in_log_softmax(op: Op, x: Value, build: Rebuild) -> bool:
    """Whether the logarithm serves only to be taken from x, element by element."""
    uses = build.readers(op.result)
    if any(use.name != "broadcast" for use in uses) or op.result in build.original.outputs:
        return False
    subtractions = [reader for use in uses for reader in build.readers(use.result)]
    return bool(subtractions) and all(
        reader.name == "sub" and build.now(reader.operands[0]) is x for reader in subtractions
    )


def log_softmax_spelled_out(op: Op, build: Rebuild) -> Value | None:
    """x - (log(s) + m) = (x - m) - log(s) with s = sum(exp(x - m))  rounding"""
    x, repeated = op.operands
    view = view_of(build, repeated)
    added = build.match(view[0], "add") if view is not None else None
    if view is None or added is None:
        return None
    for log_total, largest in (added.operands, added.operands[::-1]):
        found = _log_sum_exp_of_shifted(build, log_total)
        if found is None or unmarked(found[0].operands[0], build.producer) is not unmarked(x, build.producer):
            continue
        shifted, _ = found
        inner = view_of(build, shifted.operands[1])
        if inner is not None and inner[1] == view[1] and inner[0] is largest:
            return build.emit("sub", shifted.result, expand(build, log_total, view[1], x.type.shape))
    return None


def _log_sum_exp_of_shifted(build: Rebuild, value: Value) -> tuple[Op, tuple[int, ...]] | None:
    """In log(sum(exp(y - m))): the subtraction, and the axes of the sum."""
    found = build.chain(value, "log", "reduce_sum", "exp", "sub")
    return None if found is None else (found[3], found[1].attributes["axes"])


def softmax_spelled_out(op: Op, build: Rebuild) -> Value | NoMatch | None:
    """exp(x) / sum(exp(x)) = exp(x - m) / sum(exp(x - m)) with m = max(x); so with * (1 / sum)  extends"""
    parts = _softmax_parts(op, build)
    if parts is None:
        return None
    exp, dims, axes = parts
    (x,) = exp.operands
    if _is_shifted(build, x, axes):
        return NoMatch("the maximum is taken out already")
    largest = build.tensors(x)[0].amax(axes).stop_gradient()
    return _softmax(build, build.emit("sub", x, expand(build, largest.value, dims, x.type.shape)), dims, axes)


def _softmax_parts(op: Op, build: Rebuild) -> tuple[Op, tuple[int, ...], tuple[int, ...]] | None:
    """In exp(x) / sum(exp(x)): the exp, the axes of the result that the sum keeps, and those that it reduces."""
    a, b = op.operands
    if op.name == "mul" and not build.match(a, "exp"):
        a, b = b, a
    exp, view = build.match(a, "exp"), view_of(build, b)
    if exp is None or view is None:
        return None
    total = build.match(view[0], "reduce_sum")
    if op.name == "mul":
        inverse = build.match(view[0], "div")
        if inverse is None or not is_constant(build, inverse.operands[0], 1):
            return None
        total = build.match(inverse.operands[1], "reduce_sum")
    if total is None or total.operands[0] is not a:
        return None
    axes = total.attributes["axes"]
    return (exp, view[1], axes) if view[1] == kept_axes(a.type.rank, axes) else None


def _softmax(build: Rebuild, x: Value, dims: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    (exp,) = build.tensors(build.emit("exp", x))
    inverse = 1 / exp.sum(axes)
    return build.emit("mul", exp.value, expand(build, inverse.value, dims, x.type.shape))


# --- what only moves the range has no gradient ----------------------------------------------------------------


def shift_of_log_softmax(op: Op, build: Rebuild) -> Value | None:
    """(x - m) - log(sum(exp(x - m))) does not depend on m  exact"""
    x, repeated = op.operands
    view = view_of(build, repeated)
    found = _log_sum_exp_of_shifted(build, view[0]) if view is not None else None
    if view is None or found is None or found[0].result is not x:
        return None
    shifted, axes = found
    moved = _with_fixed_shift(build, shifted, view[1])
    if moved is None:
        return None
    return build.emit("sub", moved, expand(build, _log_sum_exp(build, moved, axes), view[1], x.type.shape))


def shift_of_logsumexp(op: Op, build: Rebuild) -> Value | None:
    """log(sum(exp(x - m))) + m does not depend on m  exact"""
    for log_total, largest in (op.operands, op.operands[::-1]):
        found = _log_sum_exp_of_shifted(build, log_total)
        view = view_of(build, found[0].operands[1]) if found is not None else None
        if found is None or view is None or view[0] is not largest:
            continue
        shifted, axes = found
        moved = _with_fixed_shift(build, shifted, kept_axes(shifted.result.type.rank, axes))
        if moved is not None:
            return build.emit("add", _log_sum_exp(build, moved, axes), build.emit("stop_gradient", largest))
    return None


def shift_of_softmax(op: Op, build: Rebuild) -> Value | None:
    """exp(x - m) / sum(exp(x - m)) does not depend on m  exact"""
    parts = _softmax_parts(op, build)
    shifted = build.match(parts[0].operands[0], "sub") if parts is not None else None
    moved = _with_fixed_shift(build, shifted, parts[1]) if parts is not None and shifted is not None else None
    if parts is None or moved is None:
        return None
    return _softmax(build, moved, *parts[1:])


def _with_fixed_shift(build: Rebuild, shifted: Op, kept: tuple[int, ...]) -> Value | None:
    """x - m with m marked as having no gradient. None where it is marked already, or varies along other axes than
    `kept`, those that are not summed over."""
    x, repeated = shifted.operands
    view = view_of(build, repeated)
    if view is None or not set(view[1]) <= set(kept):
        return None
    if build.match(behind_guard(view[0], build.producer), "stop_gradient", "constant"):
        return None
    fixed = build.emit("stop_gradient", view[0])
    return build.emit("sub", x, expand(build, fixed, view[1], x.type.shape))


def _log_sum_exp(build: Rebuild, x: Value, axes: tuple[int, ...]) -> Value:
    return build.emit("log", build.emit("reduce_sum", build.emit("exp", x), axes=axes))
