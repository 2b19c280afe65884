"""Which element values wait in memory between the passes over a row, and which are computed again.

In: a schedule and what each pass computes. Out: values, each with the pass that computes it first, for later ones to
read it back. A later pass begins from whatever makes it cheapest: an exponential that was kept, or what a whole chain
made of it, if that is all the pass needs (the logarithm of a ratio, not the logarithm and the logits once more).

That is a minimum cut, between what a pass must know and what it costs to know: a value is either loaded, which costs a
load (and a store, where no pass before wanted it), or computed, which costs the operation and its operands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

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
    first: dict[Value, int] = {}
    for number, wanted in enumerate(targets):
        rows.need(wanted, number, first)
    kept: set[Value] = set()
    for number in reversed(range(1, len(targets))):
        kept.update(rows.loaded(targets[number], number, first, kept))
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

    def need(self, wanted: Sequence[Value], number: int, first: dict[Value, int]) -> None:
        """Tell `first` of what pass `number` needs and no pass before it did."""
        pending = [value for value in wanted if value in self.elements]
        while pending:
            value = pending.pop()
            if value not in first:
                first[value] = number
                pending += self.operands(value)

    def loaded(
        self, wanted: Sequence[Value], number: int, first: Mapping[Value, int], kept: Collection[Value]
    ) -> list[Value]:  # fmt: skip
        """What pass `number` loads of the values that earlier passes needed, of which some are `kept` anyway. It is
        cheapest to compute the rest."""

        def edges(node: Node) -> dict[Node, int]:
            if isinstance(node, str):
                return {(value, "known"): ENDLESS for value in wanted if value in self.elements and node == SOURCE}
            value, state = node
            op = self.producer.get(value)
            if state == "made":
                operands: dict[Node, int] = {(operand, "known"): ENDLESS for operand in self.operands(value)}
                return {SINK: LOAD if op is None else cost_of(op), **operands}
            can_wait = first[value] < number and op is not None and is_float(value.type.dtype) and op.name not in FREE
            load = LOAD if value in kept else LOAD + STORE
            return {(value, "made"): load if can_wait else ENDLESS}

        reached = _Network(edges).source_side()
        known = [node[0] for node in reached if not isinstance(node, str) and node[1] == "known"]
        return [value for value in known if (value, "made") not in reached]


Node = tuple[Value, str] | str
SOURCE, SINK = "source", "sink"


class _Network:
    """Capacities between nodes, from a source to a sink: `edges` leave a node. A node is asked for when something can
    flow to it: in a long chain of rows that are reduced, what lies far behind matters to no near way."""

    def __init__(self, edges: Callable[[Node], dict[Node, int]]) -> None:
        self.edges = edges
        self.left: dict[Node, dict[Node, int]] = {}

    def source_side(self) -> set[Node]:
        """The nodes on the source's side of a minimum cut: those that are reached once no more can flow."""
        while SINK in (before := self._reached()):
            path: list[Node] = [SINK]
            while path[-1] != SOURCE:
                path.append(before[path[-1]])
            edges = list(zip(path[1:], path))
            most = min(self._from(a)[b] for a, b in edges)
            for a, b in edges:
                self._from(a)[b] -= most
                self._from(b)[a] = self._from(b).get(a, 0) + most
        return set(before)

    def _from(self, node: Node) -> dict[Node, int]:
        """What can still flow from a node to others."""
        if node not in self.left:
            self.left[node] = self.edges(node)
        return self.left[node]

    def _reached(self) -> dict[Node, Node]:
        """The nodes that something can still flow to, each with the one before it; up to the sink, if that is one."""
        before: dict[Node, Node] = {SOURCE: SOURCE}
        pending: deque[Node] = deque([SOURCE])
        while pending:
            node = pending.popleft()
            for after, capacity in self._from(node).items():
                if capacity > 0 and after not in before:
                    before[after] = node
                    pending.append(after)
                    if after == SINK:
                        return before
        return before
