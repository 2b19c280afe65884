"""What is known of operations without running: which have a cheaper spelling, where a NaN comes back by itself.

In: a kernel's function. Out: for some operations a cheaper spelling that means the same there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...ir.frozen import frozen
from ...ir.function import Function, Op, Value
from ...ir.ops import EXTREMES, REDUCTIONS, VIEWS, is_pointwise
from ...ir.types import is_float, is_short
from ..ancestors import source
from ..demanded_bits import demanded_in
from ..intervals import Range
from ..ranges import LOG1P_NEAR, Ranges, counts_once, ranges_of
from .conditional import joins_a_sum
from .polynomials import LARGEST_SCALE, LEAST_LOG, LEAST_SCALE, SCALED

LEAST_NORMAL = 2.0**-126


@frozen
class Facts:
    """`spelling`: the kernel operation to use for an operation in place of its own name. `hits`: comparisons of a
    position with one number a row, and that number: true in one column of a row at the most. `open`: products,
    negations and roundings whose single user takes them in: fused multiply-add, exp(-a), exp(c a), a store; and what a
    sum adds under a condition. `places`: of gathers, between which numbers the places lie that they look at."""

    spelling: Mapping[Op, str]
    hits: Mapping[Value, Value]
    open: frozenset[Op]
    places: Mapping[Op, Range]


def facts_of(
    function: Function, maxima: Mapping[Value, Value] | None = None, missing: Collection[Op] = (),
    spelling: Mapping[Op, str] | None = None,
) -> Facts:  # fmt: skip
    """`maxima`: inputs that are the maxima of others; `missing`: maxima here that may miss a NaN for what other kernels
    make of them; `spelling`: the spellings, where they are known."""
    producer, users, ranges = function.producers(), function.users(), ranges_of(function, maxima)
    spelling = dict(spelling or {})
    for op in function.ops:
        if (name := _spelling(op, ranges, function, users)) is not None:
            spelling[op] = name
        elif op in missing or (op.name == "reduce_max" and nan_returns(op, function, users)):
            spelling[op] = "max_number"
    hits = {op.result: row for op in function.ops if (row := _row_position(op, producer)) is not None}
    extremes = {op.result for op in function.ops if op.name in EXTREMES}
    cancelling = _cancelling_products(function, ranges)
    # What is compared with a row's extreme is rounded as the extreme is: a row of one element is exactly its own
    # maximum. So are two products that may cancel, where that shows: sign(x w - t v) is 0 where they are equal, not the
    # sign of what one of them was rounded by.
    taken_in = [
        op for op in function.ops if op.results and _is_taken_in(op, function, producer, users, spelling)
        and not any(source(o, producer) in extremes for user in users.get(op.result, []) for o in user.operands)
        and cancelling.isdisjoint(users.get(op.result, []))
    ]  # fmt: skip
    places = {op: ranges.of[op.operands[1]] for op in function.ops if op.name == "gather"}
    return Facts(spelling, hits, frozenset(taken_in), places)


def _spelling(op: Op, ranges: Ranges, function: Function, users: Mapping[Value, list[Op]]) -> str | None:
    """The name of an elementary function that is as good where its operand lies; see `polynomials.py`."""
    if op.name not in ("exp", "expm1", "log", "log1p", "tanh"):
        return None
    x = ranges.operand(op)
    match op.name:
        case "exp" | "expm1" if x.high <= 0:
            return f"{op.name}_nonpositive"
        case "tanh":
            return "tanh_reduced"
        case "log1p" if x.within(*LOG1P_NEAR):
            return "log1p_near"
        case "log1p" if x.within(-1, 0):
            return "log1p_nonpositive"
        case "log" if x.low >= LEAST_NORMAL:
            return "log_normal"
        case "log" if x.within(0, 1):
            return "log_unit_clamped" if _is_clamped(op.result, ranges, function, users) else "log_unit"
    return None


def _is_clamped(value: Value, ranges: Ranges, function: Function, users: Mapping[Value, list[Op]]) -> bool:
    """Whether all that reads `value` takes a number instead where it is below `LEAST_LOG`."""
    return value not in function.outputs and all(
        user.name == "max" and any(ranges.of[o].low >= LEAST_LOG for o in user.operands if o is not value)
        for user in users.get(value, [])
    )


def _is_taken_in(
    op: Op, function: Function, producer: Mapping[Value, Op], users: Mapping[Value, list[Op]],
    spelling: Mapping[Op, str],
) -> bool:  # fmt: skip
    """Whether the one user of an operation's result computes it on the way."""
    value, using = op.result, users.get(op.result, [])
    if op.name == "cast" and is_short(value.type.dtype):
        return value in function.outputs and not using  # a store rounds
    if value not in function.outputs and joins_a_sum(op, producer, users):
        return True
    if not is_float(value.type.dtype) or value in function.outputs or len(using) != 1:
        return False
    if op.name == "neg":
        return spelling.get(using[0]) in SCALED and value.type.dtype == "f32"
    if op.name == "mul" and spelling.get(using[0]) in SCALED:
        return value.type.dtype == "f32" and any(_is_scale(producer.get(operand)) for operand in op.operands)
    return op.name == "mul" and using[0].name in ("add", "sub") and using[0].operands.count(value) == 1


_PRODUCTS = frozenset({"mul", "div"})
_HANDS_PRODUCTS_ON = frozenset({"neg", "abs", "max", "min", "select", "cast", "add", "sub", "reduce_sum", *VIEWS})
"""What they give of a product may be the product as it was rounded, or a sum of such."""


def _cancelling_products(function: Function, ranges: Ranges) -> frozenset[Op]:
    """The sums and differences of two products or quotients, or of what such are chosen from or add up to, that may be
    0 though neither is, where it shows whether they are; and the sums and differences that those are made of. What is
    read from memory may be a product that another kernel rounded."""
    products = set(function.inputs)
    found: set[Op] = set()
    shown = demanded_in(function).sign
    for op in function.ops:
        if op.name in _PRODUCTS or (op.name in _HANDS_PRODUCTS_ON and not products.isdisjoint(op.operands)):
            products.add(op.result)
        if op.name in ("add", "sub") and op.result in shown and products.issuperset(op.operands):
            a, b = (ranges.of[operand] for operand in op.operands)
            b = Range(-b.high, -b.low) if op.name == "sub" else b
            if min(a.low, b.low) < 0 < max(a.high, b.high):
                found.add(op)
    behind: set[Value] = set()
    for op in reversed(function.ops if found else ()):
        is_behind = not behind.isdisjoint(op.results) and op.name in _PRODUCTS | _HANDS_PRODUCTS_ON
        if is_behind and op.name in ("add", "sub"):
            found.add(op)
        if is_behind or op in found:
            behind.update(op.operands)
    return frozenset(found)


def _is_scale(op: Op | None) -> bool:
    """Whether an operation gives a constant that an elementary function multiplies its operand by for nothing."""
    return op is not None and op.name == "constant" and LEAST_SCALE <= abs(op.attributes["value"]) <= LARGEST_SCALE


def _row_position(op: Op, producer: Mapping[Value, Op]) -> Value | None:
    """The operand that `iota == broadcast(position)` looks for."""
    if op.name != "eq":
        return None
    for counted, other in (op.operands, op.operands[::-1]):
        count, repeat = producer.get(source(counted, producer)), producer.get(other)
        if count is None or count.name != "iota" or not counts_once(count):
            continue
        if repeat is not None and repeat.name == "broadcast":
            return repeat.operands[0]
    return None


# NaN in, NaN out, element by element.
_STRICT = frozenset({"add", "sub", "mul", "div", "neg", "exp", "expm1", "log", "log1p", "sqrt", "abs", "tanh",
                     "max", "min", *VIEWS})  # fmt: skip


def nan_returns(op: Op, function: Function, users: Mapping[Value, list[Op]]) -> bool:
    """Whether everything that a row's maximum leads to is NaN anyway where the row has a NaN.

    In softmax the sum of exp(x - max) is, and with it the loss and the gradient: there the maximum itself may miss it.
    """
    (x,) = op.operands
    here = {x}  # NaN at the element where the row has one
    rows: set[Value] = set()  # NaN everywhere in a row that has one
    for other in function.ops:
        if other is op or not other.results:
            continue
        strict, has = other.name in _STRICT, here & set(other.operands)
        from_rows = strict and rows & set(other.operands) and _stays_in_rows(other, op)
        if from_rows or (has and _takes_whole_rows(other, op)):
            rows.add(other.result)
        elif strict and other.name not in ("broadcast", "reshape", "transpose") and has:
            here.add(other.result)
    pending, seen = [op.result], set()
    while pending:
        value = pending.pop()
        if value in function.outputs:
            return False
        for user in users.get(value, []):
            if len(user.results) != 1:  # a check, or a function that is repeated
                return False
            if user.result in rows or user.result in seen:
                continue
            if not _stays_in_rows(user, op):
                return False
            pending.append(user.result)
            seen.add(user.result)
    return True


def _stays_in_rows(other: Op, op: Op) -> bool:
    """Whether what lies as a reduction's operand does, or as its result, with axes of one element or without, still
    lies so in the result of another operation. Elsewhere it meets other rows."""
    if is_pointwise(other.name) or other.name == "with_gradient":
        return True
    full = op.operands[0].type.shape
    axes = op.attributes["axes"]
    thin = tuple(1 if axis in axes else size for axis, size in enumerate(full))
    before = other.operands[0].type.shape if other.operands else ()
    after = other.result.type.shape
    match other.name:
        case "broadcast":
            kept = tuple(axis for axis in range(len(full)) if axis not in axes)
            dims = kept if before == op.result.type.shape else tuple(range(len(full)))
            return after in (full, thin) and other.attributes["dims"] == dims
        case "reshape":
            return {before, after} <= {op.result.type.shape, thin}
        case "gather":
            return before == full and (other.attributes["axis"],) == axes
        case name if name in REDUCTIONS:
            return before == full and other.attributes["axes"] == axes
    return False


def _takes_whole_rows(other: Op, op: Op) -> bool:
    """Whether a reduction is along all axes that another reduces, of values that lie as that one's."""
    if other.name not in ("reduce_sum", *EXTREMES):
        return False
    return other.operands[0].type.shape == op.operands[0].type.shape and (
        {*other.attributes["axes"]} >= {*op.attributes["axes"]})  # fmt: skip
