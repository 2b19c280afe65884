"""What is known of values without running: which exponentials cannot overflow, where a NaN comes back by itself.

In: a kernel's function. Out: for some operations a cheaper spelling that means the same there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.function import Function, Op, Value

_TRANSPARENT = ("broadcast", "reshape", "transpose", "stop_gradient", "with_gradient")


@dataclass(frozen=True)
class Facts:
    """`spelling`: the kernel operation to use for an operation in place of its own name."""

    spelling: Mapping[Op, str]


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
        elif op.name == "log1p" and source(op.operands[0], producer) in units:
            spelling[op] = "log1p_unit"
        elif op.name == "reduce_max" and _only_shifts(op, function, users):
            spelling[op] = "max_number"
    return Facts(spelling)


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


def _only_shifts(op: Op, function: Function, users: Mapping[Value, list[Op]]) -> bool:
    """Whether a maximum serves only in a - max(a): there a NaN of `a` is in the difference anyway."""
    pending, found = [op.result], False
    while pending:
        value = pending.pop()
        if value in function.outputs:
            return False
        for user in users.get(value, []):
            if user.name in _TRANSPARENT:
                pending.append(user.result)
            elif user.name == "sub" and user.operands[0] is op.operands[0]:
                found = True
            else:
                return False
    return found
