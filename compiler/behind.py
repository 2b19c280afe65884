"""What values are computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..ir.function import Op, Value
from ..ir.ops import VIEWS, read_here


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
