"""Which element values wait in memory between the passes over a row, and which are computed again.

In: a schedule and what each pass computes. Out: values, each with the pass that computes it first and those that read
it back. A later pass begins from whatever makes it cheapest: an exponential that was kept, or what a whole chain made
of it, if that is all the pass needs (the logarithm of a ratio, not the logarithm and the logits once more).

That is a minimum cut, between what a pass must know and what it costs to know: a value is either loaded, which costs a
load (and a store, where no pass before wanted it), or computed, which costs the operation and its operands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections import deque
from dataclasses import dataclass

from ...ir.function import Op, Value
from ...ir.ops import FREE
from ...ir.schedule import Schedule
from ...ir.types import is_float
from ..ranges import VIEWS

COSTS: Mapping[str, int] = {
    "exp": 9, "expm1": 12, "log": 18, "log1p": 12, "pow": 30, "tanh": 20, "erf": 20, "sigmoid": 15, "softplus": 20,
    "sqrt": 6, "div": 6,
}  # fmt: skip
"""In multiply-adds, which any other operation is counted as: what is measured of the polynomials, about."""
LOAD, STORE = 1, 4
"""A store with what comes of it: it takes as long as two multiply-adds, and a row that waits takes room in the cache."""
ENDLESS = 1 << 30


@dataclass(frozen=True)
class Kept:
    """Stored by pass `filled`, read by the passes `read`."""

    filled: int
    read: frozenset[int]


def kept_between(schedule: Schedule, targets: Sequence[Sequence[Value]]) -> dict[Value, Kept]:
    """What is kept, by element value, where pass number n computes `targets[n]`."""
    producer = schedule.function.producers()
    first: dict[Value, int] = {}
    read: dict[Value, set[int]] = {}
    for number, wanted in enumerate(targets):
        computed, loaded = _sources(schedule, producer, wanted, first, read)
        for value in loaded:
            read.setdefault(value, set()).add(number)
        for value in computed:
            first.setdefault(value, number)
    in_order = [value for op in schedule.function.ops for value in op.results if value in read]
    return {value: Kept(first[value], frozenset(read[value])) for value in in_order}


def _sources(
    schedule: Schedule, producer: Mapping[Value, Op], wanted: Sequence[Value], there: Iterable[Value],
    kept: Iterable[Value],
) -> tuple[set[Value], set[Value]]:  # fmt: skip
    """The element values that a pass computes and those that it loads, of which some are kept anyway."""
    stored, reduced = set(kept), {op.result for op in schedule.row_reductions}
    at_elements = {value for value, axes in schedule.varies.items() if axes == schedule.looped} - reduced
    targets = [value for value in dict.fromkeys(wanted) if value in at_elements]
    network = _Network()
    pending, seen = list(targets), set(targets)
    while pending:
        value = pending.pop()
        op = producer.get(value)
        known, made = (value, "known"), (value, "made")
        may_load = value in there and op is not None and is_float(value.type.dtype) and op.name not in FREE
        network.add(known, made, (LOAD + (0 if value in stored else STORE)) if may_load else ENDLESS)
        network.add(made, SINK, _cost(op))
        # What a gather picks from is no element of this point.
        operands = () if op is None else op.operands[1:] if op.name == "gather" else op.operands
        for operand in operands:
            if operand in at_elements:
                network.add(made, (operand, "known"), ENDLESS)
                if operand not in seen:
                    seen.add(operand)
                    pending.append(operand)
    for target in targets:
        network.add(SOURCE, (target, "known"), ENDLESS)
    reached = network.source_side()
    computed = {value for value in seen if (value, "made") in reached}
    return computed, {value for value in seen if (value, "known") in reached} - computed


def _cost(op: Op | None) -> int:
    if op is None:
        return LOAD
    return 0 if op.name in FREE or op.name in VIEWS else COSTS.get(op.name, 1)


Node = tuple[Value, str] | str
SOURCE, SINK = "source", "sink"


class _Network:
    """Capacities between nodes, from a source to a sink."""

    def __init__(self) -> None:
        self.left: dict[Node, dict[Node, int]] = {SOURCE: {}, SINK: {}}

    def add(self, start: Node, end: Node, capacity: int) -> None:
        self.left.setdefault(start, {})[end] = capacity
        self.left.setdefault(end, {}).setdefault(start, 0)

    def source_side(self) -> set[Node]:
        """The nodes on the source's side of a minimum cut: those that are reached once no more can flow."""
        while SINK in (before := self._reached()):
            path = [SINK]
            while path[-1] != SOURCE:
                path.append(before[path[-1]])
            edges = list(zip(path[1:], path))
            most = min(self.left[a][b] for a, b in edges)
            for a, b in edges:
                self.left[a][b] -= most
                self.left[b][a] += most
        return set(before)

    def _reached(self) -> dict[Node, Node]:
        """The nodes that something can still flow to, each with the one before it."""
        before: dict[Node, Node] = {SOURCE: SOURCE}
        pending = deque([SOURCE])
        while pending:
            node = pending.popleft()
            for after, capacity in self.left[node].items():
                if capacity > 0 and after not in before:
                    before[after] = node
                    pending.append(after)
        return before
