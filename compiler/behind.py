"""What values are computed from, and what an exponent is."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping

from ..ir.function import Op, Value
from ..ir.ops import VIEWS, read_here
from .numbers import round_to


def source(value: Value, producer: Mapping[Value, Op]) -> Value:
    """The value behind operations that only repeat or rename it."""
    while (op := producer.get(value)) is not None and op.name in VIEWS:
        value = op.operands[0]
    return value


def behind(
    targets: Iterable[Value], producer: Mapping[Value, Op], stop: Collection[Value] = (), picked: bool = True
) -> set[Value]:
    """The targets and everything that they are computed from. Values of `stop` count, what is behind them does not;
    what a gather picks from, or is behind a slice, only where `picked`: that is not the element at the same point."""
    pending, seen = list(targets), set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        op = producer.get(value)
        if op is not None and value not in stop:
            pending += op.operands if picked else read_here(op)
    return seen


def shift_of(exponent: Value, producer: Callable[[Value], Op | None]) -> Op | None:
    """The subtraction x - m in an exponent that is it, or (x - m) * c for a constant c > 0."""
    op = producer(exponent)
    if op is not None and op.name == "mul":
        shifted = [x for x, factor in (op.operands, op.operands[::-1]) if _is_positive(producer(factor))]
        op = producer(shifted[0]) if shifted else None
    return op if op is not None and op.name == "sub" else None


def _is_positive(op: Op | None) -> bool:
    """Whether it is a constant above 0, and finite."""
    if op is None or op.name != "constant":
        return False
    return 0 < round_to(op.attributes["value"], op.result.type.dtype) < math.inf
