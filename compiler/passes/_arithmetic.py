"""Rules for single pointwise operations: neutral elements, double negations, selects, conversions."""

from __future__ import annotations

import math

from ...ir.function import Op, Value
from ...ir.ops import COMPLEMENT, MIRRORED
from ...ir.types import INTEGER_DTYPES, ITEM_SIZE, is_float, is_integer
from ..intervals import holds, of_type
from ..numbers import Number, integer_limits
from ..rewrite import Rebuild, Replacement, Rules
from ._match import constant_like, constant_of, expand, is_constant, same_value, view_of


def constant_to_the_right(op: Op, build: Rebuild) -> Value | None:
    """c + x = x + c  exact"""
    a, b = op.operands
    if build.match(a, "constant") and not build.match(b, "constant"):
        return build.emit(op.name, b, a)
    return None


def add_zero(op: Op, build: Rebuild) -> Value | None:
    """x + 0 = x, x - 0 = x  exact"""
    return op.operands[0] if is_constant(build, op.operands[1], 0) else None


def add_negative(op: Op, build: Rebuild) -> Value | None:
    """a + -b = a - b, -a + b = b - a, a - -b = a + b  exact"""
    a, b = op.operands
    right, left = build.match(b, "neg"), build.match(a, "neg")
    if right is not None:
        return build.emit("sub" if op.name == "add" else "add", a, right.operands[0])
    if left is not None and op.name == "add":
        return build.emit("sub", b, left.operands[0])
    return None


def add_negative_row(op: Op, build: Rebuild) -> Value | None:
    """x + broadcast(-s) = x - broadcast(s), x - broadcast(-s) = x + broadcast(s)  exact"""
    a, b = op.operands
    for x, repeated in ((a, b), (b, a)) if op.name == "add" else ((a, b),):
        view = view_of(build, repeated)
        negative = build.match(view[0], "neg") if view is not None else None
        if view is not None and negative is not None:
            plain = expand(build, negative.operands[0], view[1], repeated.type.shape)
            return build.emit("sub" if op.name == "add" else "add", x, plain)
    return None


def add_same(op: Op, build: Rebuild) -> Value | None:
    """x + x = 2 x  exact"""
    a, b = op.operands
    return build.emit("mul", a, constant_like(build, 2, a)) if a is b and is_float(a.type.dtype) else None


def zero_minus(op: Op, build: Rebuild) -> Value | None:
    """0 - x = -x  exact"""
    return build.emit("neg", op.operands[1]) if is_constant(build, op.operands[0], 0) else None


def minus_constant(op: Op, build: Rebuild) -> Value | None:
    """x - c = x + -c  exact"""
    number = constant_of(build, op.operands[1])
    if number is None or not is_float(op.result.type.dtype):
        return None
    return build.emit("add", op.operands[0], constant_like(build, -number, op.operands[1]))


def times_one(op: Op, build: Rebuild) -> Value | None:
    """x * 1 = x, x / 1 = x, x ** 1 = x  exact"""
    return op.operands[0] if is_constant(build, op.operands[1], 1) else None


def times_minus_one(op: Op, build: Rebuild) -> Value | None:
    """x * -1 = -x, x / -1 = -x  exact"""
    return build.emit("neg", op.operands[0]) if is_constant(build, op.operands[1], -1) else None


def times_zero(op: Op, build: Rebuild) -> Value | None:
    """n * 0 = 0 for integers: a float may be infinite.  exact"""
    zero = op.operands[1]
    return zero if is_integer(zero.type.dtype) and is_constant(build, zero, 0) else None


def times_negative(op: Op, build: Rebuild) -> Value | None:
    """-a * b = -(a * b), -a / b = -(a / b), -a * c = a * -c, for floats: integers may have no negative  exact"""
    if not is_float(op.result.type.dtype):
        return None
    a, b = op.operands
    left, right = build.match(a, "neg"), build.match(b, "neg")
    number = constant_of(build, b)
    if left is not None and number is not None:
        return build.emit(op.name, left.operands[0], constant_like(build, -number, b))
    if left is None and right is None:
        return None
    product = build.emit(op.name, left.operands[0] if left else a, right.operands[0] if right else b)
    return product if left and right else build.emit("neg", product)


def divide_by_power_of_two(op: Op, build: Rebuild) -> Value | None:
    """x / 2^k = x * 2^-k  exact"""
    a, b = op.operands
    number = constant_of(build, b)
    if number is None or not is_float(b.type.dtype) or not math.isfinite(number) or number == 0:
        return None
    mantissa, exponent = math.frexp(abs(number))
    range_of = {"f16": 13, "bf16": 125, "f32": 125, "f64": 1000}[b.type.dtype]
    if mantissa != 0.5 or abs(exponent) > range_of:
        return None
    return build.emit("mul", a, constant_like(build, 1 / number, b))


def negate(op: Op, build: Rebuild) -> Value | None:
    """--x = x, -(a - b) = b - a, and for floats -(x * c) = x * -c  exact"""
    (x,) = op.operands
    inner = build.match(x, "neg", "sub", "mul", "div")
    if inner is None:
        return None
    if inner.name == "neg":
        return inner.operands[0]
    if inner.name == "sub":
        return build.emit("sub", *inner.operands[::-1]) if build.used_once(x) else None
    number = constant_of(build, inner.operands[1])
    if number is None or not build.used_once(x) or not is_float(x.type.dtype):
        return None
    return build.emit(inner.name, inner.operands[0], constant_like(build, -number, x))


def absolute_value(op: Op, build: Rebuild) -> Value | None:
    """|-x| = |x|, ||x|| = |x|, where numbers have signs  exact"""
    inner = build.match(op.operands[0], "neg", "abs")
    return None if inner is None or op.result.type.dtype == "u8" else build.emit("abs", inner.operands[0])


def square(op: Op, build: Rebuild) -> Value | None:
    """x ** 2 = x * x  exact"""
    x, exponent = op.operands
    return build.emit("mul", x, x) if is_constant(build, exponent, 2) else None


def small_power(op: Op, build: Rebuild) -> Value | None:
    """x ** 3 = x * x * x, x ** 4 = (x * x) * (x * x), x ** -1 = 1 / x  rounding"""
    x, exponent = op.operands
    number = constant_of(build, exponent)
    if number == -1:
        return build.emit("div", constant_like(build, 1, x), x)
    if number not in (3, 4):
        return None
    squared = build.emit("mul", x, x)
    return build.emit("mul", squared, x if number == 3 else squared)


def extreme_of_negative(op: Op, build: Rebuild) -> Value | None:
    """max(-x, c) = -min(x, -c), min(-x, c) = -max(x, -c) for a constant c  exact"""
    # One instruction on most devices, as long as no negation stands between the operand and the comparison. A 0 becomes
    # -0: of L - min(x, 0) LLVM makes a comparison and a choice between L and L - x.
    a, b = op.operands
    inner, number = build.match(a, "neg"), constant_of(build, b)
    if inner is None or number is None or not is_float(a.type.dtype):
        return None
    (x,) = inner.operands
    return build.emit("neg", build.emit("min" if op.name == "max" else "max", x, constant_like(build, -number, b)))


def compare_negative(op: Op, build: Rebuild) -> Value | None:
    """-x < c = x > -c for a constant c, so for all comparisons  exact"""
    a, b = op.operands
    inner, number = build.match(a, "neg"), constant_of(build, b)
    if inner is None or number is None or not is_float(a.type.dtype):
        return None
    return build.emit(MIRRORED[op.name], inner.operands[0], constant_like(build, 0.0 - number, b))


def same_operands(op: Op, build: Rebuild) -> Value | None:
    """max(x, x) = min(x, x) = x, p and p = p, p or p = p  exact"""
    a, b = op.operands
    return a if a is b else None


def neutral_truth(op: Op, build: Rebuild) -> Value | None:
    """p and true = p, p and false = false, p or false = p, p or true = true  exact"""
    a, b = op.operands
    truth = constant_of(build, b)
    if truth is None:
        return None
    return a if truth == (op.name == "and") else b


def negate_truth(op: Op, build: Rebuild) -> Value | None:
    """not not p = p, not (a == b) = (a != b), and for integers not (a < b) = (a >= b)  exact"""
    inner = build.match(op.operands[0], "not", "eq", "ne", "lt", "le", "gt", "ge")
    if inner is None:
        return None
    if inner.name == "not":
        return inner.operands[0]
    if inner.name not in ("eq", "ne") and is_float(inner.operands[0].type.dtype):
        return None  # both are false where an operand is NaN
    return build.emit(COMPLEMENT[inner.name], *inner.operands)


def choose_constant(op: Op, build: Rebuild) -> Value | None:
    """select(true, a, b) = a, select(p, a, a) = a, select(not p, a, b) = select(p, b, a)  exact"""
    condition, a, b = op.operands
    truth = constant_of(build, condition)
    if truth is not None:
        return a if truth else b
    if same_value(build, a, b):
        return a
    inverse = build.match(condition, "not")
    return build.emit("select", inverse.operands[0], b, a) if inverse is not None else None


def choose_truth(op: Op, build: Rebuild) -> Value | None:
    """select(p, true, false) = p, select(p, false, true) = not p  exact"""
    condition, a, b = op.operands
    if a.type.dtype != "bool":
        return None
    match constant_of(build, a), constant_of(build, b):
        case True, False:
            return condition
        case False, True:
            return build.emit("not", condition)
    return None


def convert_twice(op: Op, build: Rebuild) -> Value | None:
    """cast to the own type = x; a cast that loses nothing before another cast is not needed  exact"""
    (x,) = op.operands
    if x.type == op.result.type:
        return x
    inner = build.match(x, "cast")
    if inner is None or not _widens(inner.operands[0].type.dtype, x.type.dtype):
        return None
    return build.emit("cast", inner.operands[0], dtype=op.attributes["dtype"])


def _widens(narrow: str, wide: str) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if narrow == "bool":
        return True
    if is_float(narrow) and is_float(wide):
        return ITEM_SIZE[narrow] < ITEM_SIZE[wide]
    if is_integer(narrow) and is_integer(wide):
        return ITEM_SIZE[narrow] < ITEM_SIZE[wide]
    return False


def compare_in_own_type(op: Op, build: Rebuild) -> Value | None:
    """cast(n) < c, with c in the range of n's integer type, = n < c  exact"""
    a, b = op.operands
    inner, number = build.match(a, "cast"), constant_of(build, b)
    if inner is None or number is None or not is_integer(a.type.dtype):
        return None
    (narrow,) = inner.operands
    if narrow.type.dtype not in INTEGER_DTYPES or not _widens(narrow.type.dtype, a.type.dtype):
        return None
    low, high = integer_limits(narrow.type.dtype)
    if low <= number <= high:
        return build.emit(op.name, narrow, constant_like(build, number, narrow))
    return _if_always(op, build, narrow, number)


def truth_as_number(op: Op, build: Rebuild) -> Value | None:
    """cast(p) != 0 = p, cast(p) == 0 = not p for a truth value p; so with 1  exact"""
    a, b = op.operands
    inner, number = build.match(a, "cast"), constant_of(build, b)
    if inner is None or inner.operands[0].type.dtype != "bool" or number not in (0, 1):
        return None
    (truth,) = inner.operands
    return truth if (op.name == "eq") == (number == 1) else build.emit("not", truth)


def always_in_range(op: Op, build: Rebuild) -> Value | None:
    """n >= (the least of its type) = true, n <= (the largest) = true  exact"""
    a, b = op.operands
    number = constant_of(build, b)
    return None if number is None or a.type.dtype not in INTEGER_DTYPES else _if_always(op, build, a, number)


def _if_always(op: Op, build: Rebuild, x: Value, number: Number) -> Value | None:
    """What a comparison with a number gives for every number of an integer type, if it is the same."""
    truth = holds(op.name, of_type(x.type.dtype), number)
    return None if truth is None else build.constant(truth, "bool", op.result.type.shape)


def check_of_true(op: Op, build: Rebuild) -> Replacement | None:
    """check true = nothing  exact"""
    return () if constant_of(build, op.operands[0]) is True else None


_COMPARE = (compare_in_own_type, always_in_range, compare_negative)

ARITHMETIC: Rules = {
    "add": (constant_to_the_right, add_zero, add_negative, add_negative_row, add_same),
    "sub": (add_zero, zero_minus, add_negative, add_negative_row, minus_constant),
    "mul": (constant_to_the_right, times_one, times_minus_one, times_zero, times_negative),
    "div": (times_one, times_minus_one, times_negative, divide_by_power_of_two),
    "pow": (times_one, square, small_power),
    "neg": (negate,),
    "abs": (absolute_value,),
    "max": (constant_to_the_right, same_operands, extreme_of_negative),
    "min": (constant_to_the_right, same_operands, extreme_of_negative),
    "and": (constant_to_the_right, same_operands, neutral_truth),
    "or": (constant_to_the_right, same_operands, neutral_truth),
    "not": (negate_truth,),
    "eq": (constant_to_the_right, truth_as_number, *_COMPARE),
    "ne": (constant_to_the_right, truth_as_number, *_COMPARE),
    "lt": _COMPARE,
    "le": _COMPARE,
    "gt": _COMPARE,
    "ge": _COMPARE,
    "select": (choose_constant, choose_truth),
    "cast": (convert_twice,),
    "check": (check_of_true,),
}
