"""Which element values wait in memory between the passes over a row, and which are computed again.

In: a schedule and what each pass computes. Out: values, each with the pass that computes it first, for later ones to
read it back. A later pass begins from whatever makes it cheapest: an exponential that was kept, or what a whole chain
made of it, if that is all the pass needs (the logarithm of a ratio, not the logarithm and the logits once more).

That is a minimum cut, between what a pass must know and what it costs to know: a value is either loaded, which costs a
load (and a store, where no pass before wanted it), or computed, which costs the operation and its operands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from ...ir.function import Value
from ...ir.ops import FREE, read_here
from ...ir.schedule import Schedule
from ...ir.types import is_float
from ..costs import cost_of

LOAD, STORE = 1, 8
"""Beside `costs.py`. A store takes as long as two multiply-adds, and what waits takes room in the cache: a chain of
five light operations that was kept made multi_margin 1.12 times as slow."""
ENDLESS = 1 << 30


def kept_between(schedule: Schedule, targets: Sequence[Sequence[Value]]) -> dict[Value, int]:
    """The element values that are kept, each with the pass that stores it, where pass number n computes `targets[n]`.

    The last pass chooses first: what it keeps, those before it get for a load. A kept value is stored by the first pass
    that needs it. That pass computes it, since nothing on the way to it was needed earlier.
    """
    rows = _Rows(schedule)
    needed = [rows.ancestors(wanted) for wanted in targets]
    first: dict[Value, int] = {}
    for number, values in enumerate(needed):
        for value in values:
            first.setdefault(value, number)
    kept: set[Value] = set()
    for number in reversed(range(1, len(targets))):
        earlier = {value for value in needed[number] if first[value] < number}
        kept.update(rows.loaded(targets[number], needed[number], earlier, kept))
    return {value: first[value] for op in schedule.function.ops for value in op.results if value in kept}


class _Rows:
    """The values of a schedule that differ from element to element."""

    def __init__(self, schedule: Schedule):
        self.producer = schedule.producer
        reduced = {op.result for op in schedule.row_reductions}
        self.elements = {value for value, axes in schedule.varies.items() if axes == schedule.looped} - reduced

    def operands(self, value: Value) -> list[Value]:
        """What a value is computed from. What a gather picks from is no element of the same point."""
        op = self.producer.get(value)
        used = () if op is None else read_here(op)
        return [operand for operand in used if operand in self.elements]

    def ancestors(self, wanted: Sequence[Value]) -> list[Value]:
        """The wanted values and everything that they are computed from."""
        found = dict.fromkeys(value for value in wanted if value in self.elements)
        pending = list(found)
        while pending:
            for operand in self.operands(pending.pop()):
                if operand not in found:
                    found[operand] = None
                    pending.append(operand)
        return list(found)

    def loaded(
        self, wanted: Sequence[Value], needed: Sequence[Value], earlier: Collection[Value], kept: Collection[Value]
    ) -> list[Value]:  # fmt: skip
        """What a pass loads of the values that `earlier` passes needed, of which some are `kept` anyway. It is cheapest
        to compute the rest."""
        network = _Network()
        for value in needed:
            op = self.producer.get(value)
            can_wait = value in earlier and op is not None and is_float(value.type.dtype) and op.name not in FREE
            load = LOAD if value in kept else LOAD + STORE
            network.add((value, "known"), (value, "made"), load if can_wait else ENDLESS)
            network.add((value, "made"), SINK, LOAD if op is None else cost_of(op))
            for operand in self.operands(value):
                network.add((value, "made"), (operand, "known"), ENDLESS)
        for value in wanted:
            if value in self.elements:
                network.add(SOURCE, (value, "known"), ENDLESS)
        reached = network.source_side()
        return [value for value in needed if (value, "known") in reached and (value, "made") not in reached]


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
            path: list[Node] = [SINK]
            while path[-1] != SOURCE:
                path.append(before[path[-1]])
            edges = list(zip(path[1:], path))
            most = min(self.left[a][b] for a, b in edges)
            for a, b in edges:
                self.left[a][b] -= most
                self.left[b][a] += most
        return set(before)

    def _reached(self) -> dict[Node, Node]:
        """The nodes that something can still flow to, each with the one before it; up to the sink, if that is one."""
        before: dict[Node, Node] = {SOURCE: SOURCE}
        pending: deque[Node] = deque([SOURCE])
        while pending:
            node = pending.popleft()
            for after, capacity in self.left[node].items():
                if capacity > 0 and after not in before:
                    before[after] = node
                    pending.append(after)
                    if after == SINK:
                        # In a long chain of rows that are reduced, what lies behind matters to no near way.
                        return before
        return before
