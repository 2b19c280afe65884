"""What is known of values without running: which exponentials cannot overflow, where a NaN comes back by itself.

In: a kernel's function. Out: for some operations a cheaper spelling that means the same there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.function import Function, Op, Value
from ..ir.types import is_float

_TRANSPARENT = ("broadcast", "reshape", "transpose", "stop_gradient", "with_gradient")


@dataclass(frozen=True)
class Facts:
    """`spelling`: the kernel operation to use for an operation in place of its own name. `hits`: comparisons of a
    position with one number a row, and that number: true in one column of a row at the most. `open`: products and
    negations with a single user that takes them in: fused multiply-add, and exp(-a)."""

    spelling: Mapping[Op, str]
    hits: Mapping[Value, Value]
    open: frozenset[Op]


def facts_of(function: Function) -> Facts:
    producer = function.producers()
    users = function.users()
    nonpositive = {v for op in function.ops for v in op.results if _is_nonpositive(op, producer)}
    spelling: dict[Op, str] = {}
    units: set[Value] = set()
    for op in function.ops:
        if op.name == "exp" and source(op.operands[0], producer) in nonpositive:
            spelling[op] = "exp_nonpositive"
            units.add(op.result)
        elif op.name == "log" and _counts_the_largest(producer.get(source(op.operands[0], producer)), producer):
            spelling[op] = "log_from_one"
        elif op.name == "log1p" and source(op.operands[0], producer) in units:
            spelling[op] = "log1p_unit"
        elif op.name == "reduce_max" and _nan_returns(op, function, users):
            spelling[op] = "max_number"
    hits = {op.result: row for op in function.ops if (row := _row_position(op, producer)) is not None}
    taken_in = [op for op in function.ops if op.results and _is_taken_in(op, function, users, spelling)]
    return Facts(spelling, hits, frozenset(taken_in))


def source(value: Value, producer: Mapping[Value, Op]) -> Value:
    """The value behind operations that only repeat or rename it."""
    while (op := producer.get(value)) is not None and op.name in _TRANSPARENT:
        value = op.operands[0]
    return value


def _is_nonpositive(op: Op, producer: Mapping[Value, Op]) -> bool:
    """-|a|, or a - max(a)."""
    if op.name == "neg":
        inner = producer.get(source(op.operands[0], producer))
        return inner is not None and inner.name == "abs"
    if op.name == "sub":
        largest = producer.get(source(op.operands[1], producer))
        return largest is not None and largest.name == "reduce_max" and largest.operands[0] is op.operands[0]
    return False


def _counts_the_largest(op: Op | None, producer: Mapping[Value, Op]) -> bool:
    """Whether `op` is sum(exp(a - max(a))) over what the maximum is taken: at least 1."""
    if op is None or op.name != "reduce_sum":
        return False
    power = producer.get(op.operands[0])
    shifted = None if power is None or power.name != "exp" else producer.get(power.operands[0])
    if shifted is None or shifted.name != "sub":
        return False
    largest = producer.get(source(shifted.operands[1], producer))
    return (
        largest is not None and largest.name == "reduce_max" and largest.operands[0] is shifted.operands[0]
        and tuple(largest.attributes["axes"]) == tuple(op.attributes["axes"])
    )  # fmt: skip


def _is_taken_in(op: Op, function: Function, users: Mapping[Value, list[Op]], spelling: Mapping[Op, str]) -> bool:
    """Whether the one user of an operation's result computes it on the way."""
    value, using = op.result, users.get(op.result, [])
    if not is_float(value.type.dtype) or value in function.outputs or len(using) != 1:
        return False
    if op.name == "neg":
        return spelling.get(using[0]) == "exp_nonpositive"
    ends_in_product = op.name == "mul" or spelling.get(op) == "log1p_unit"
    return ends_in_product and using[0].name in ("add", "sub") and using[0].operands.count(value) == 1


def _row_position(op: Op, producer: Mapping[Value, Op]) -> Value | None:
    """The operand that `iota == broadcast(position)` looks for."""
    if op.name != "eq":
        return None
    for counted, other in (op.operands, op.operands[::-1]):
        count, repeat = producer.get(source(counted, producer)), producer.get(other)
        if count is not None and count.name == "iota" and repeat is not None and repeat.name == "broadcast":
            return repeat.operands[0]
    return None


# NaN in, NaN out, element by element.
_STRICT = frozenset({"add", "sub", "mul", "div", "neg", "exp", "expm1", "log", "log1p", "sqrt", "abs", "tanh",
                     "max", "min", *_TRANSPARENT})  # fmt: skip


def _nan_returns(op: Op, function: Function, users: Mapping[Value, list[Op]]) -> bool:
    """Whether everything that a row's maximum leads to is NaN anyway where the row has a NaN.

    In softmax the sum of exp(x - max) is, and with it the loss and the gradient: there the maximum itself may miss it.
    """
    here = {op.operands[0]}  # NaN at the element where the row has one
    rows: set[Value] = set()  # NaN everywhere in a row that has one
    for other in function.ops:
        if other is op or not other.results:
            continue
        strict = other.name in _STRICT
        reduces = other.name in ("reduce_sum", "reduce_max", "reduce_min")
        if (reduces and here & set(other.operands)) or (strict and rows & set(other.operands)):
            rows.add(other.result)
        elif strict and other.name != "broadcast" and here & set(other.operands):
            here.add(other.result)
    pending, seen = [op.result], set()
    while pending:
        value = pending.pop()
        if value in function.outputs:
            return False
        for user in users.get(value, []):
            if not user.results or (user.name not in _STRICT and not user.name.startswith("reduce_")):
                return False
            pending += [r for r in user.results if r not in rows and r not in seen]
            seen.update(user.results)
    return True
