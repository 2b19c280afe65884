"""Values that are compared with an extreme of their own by another kernel than took that.

x == max(x) holds somewhere only where x is rounded as it was for the maximum. Two kernels that compute x may round it
differently: one knows more of an operand and takes another spelling of a logarithm, or takes a product into a sum. A
gradient that is shared among the largest elements would be 0/0 then.

In: the groups that are to become kernels. Out: the values to store, so that both read the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.function import Op, Value
from ...ir.ops import COMPLEMENT, EXTREMES, FREE, VIEWS
from ...ir.types import is_short
from ..ancestors import source
from .groups import Group, Groups

_KEEP_BITS = {*FREE, *VIEWS, *COMPLEMENT, "gather", "neg", "abs", "sign", "max", "min", "select", "add", "sub",
              "mul", "and", "or", "not", "isnan"}  # fmt: skip
"""Operations whose result is the same bits in every kernel: exact ones, and roundings that IEEE 754 defines."""


def rounded_elsewhere(groups: Groups) -> set[Value]:
    """What a group computes to compare it with an extreme that another group took of the same."""
    users = groups.function.users()
    return {value for group in groups.all for value in _compared(groups, group)
            if not _keeps_bits(groups, value, users)}  # fmt: skip


def _compared(groups: Groups, group: Group) -> Iterator[Value]:
    producer, inside = groups.producer, set(group.ops)
    for op in group.ops:
        if op.name not in COMPLEMENT:
            continue
        for compared, other in (op.operands, op.operands[::-1]):
            value, extreme = source(compared, producer), producer.get(source(other, producer))
            if extreme is not None and extreme.name in EXTREMES and extreme not in inside:
                is_own = source(extreme.operands[0], producer) is value
                if is_own and value in producer and producer[value] in inside:
                    yield value


def _keeps_bits(groups: Groups, value: Value, users: dict[Value, list[Op]]) -> bool:
    """Whether all kernels give `value` the same bits, computed from what lies in memory. Registers have 32 for 16."""
    ops, _ = groups.body([value])
    own = set(ops)
    return not is_short(value.type.dtype) and all(
        op.name in _KEEP_BITS
        and not (op.name == "mul" and any(user in own and user.name in ("add", "sub") for user in users[op.result]))
        for op in ops
    )
