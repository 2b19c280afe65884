"""The ancestors of values in the graph of a function: what they are computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..ir.function import Op, Value
from ..ir.ops import VIEWS, read_here


def source(value: Value, producer: Mapping[Value, Op]) -> Value:
    """The value that `value` repeats or renames, through any number of views."""
    while (op := producer.get(value)) is not None and op.name in VIEWS:
        value = op.operands[0]
    return value


def ancestors(
    targets: Iterable[Value], producer: Mapping[Value, Op], stop: Collection[Value] = (), elsewhere: bool = True
) -> set[Value]:
    """The targets and everything that they are computed from: the backward slice. Values of `stop` count, their own
    ancestors do not; without `elsewhere` only what is read at the same point, not what a gather or a window reads at
    another one."""
    pending, seen = list(targets), set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        op = producer.get(value)
        if op is not None and value not in stop:
            pending += op.operands if elsewhere else read_here(op)
    return seen
