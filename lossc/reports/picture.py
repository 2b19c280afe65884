"""What a picture of a compiled program shows.

In: a compiled module. Out: nodes (inputs, operations, results), edges (values with their types) and clusters: the fused
kernels with their strategies. `repeat` is a cluster around those it repeats. `svg.py` draws it, `dot.py` writes it
down for Graphviz.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lossc.compiler import Compiled
from lossc.ir.frozen import frozen
from lossc.ir.function import Function, Op, Value

Kind = Literal["input", "param", "output", "operation", "check", "constant"]

COLOURS: Mapping[Kind, str] = {
    "input": "#e8f0fa", "param": "#fdf0d5", "output": "#e3f4e3", "operation": "#ffffff", "check": "#f9e0e0",
    "constant": "none",
}  # fmt: skip


@frozen
class Node:
    """A box with lines of text; `name` is its own in the picture."""

    name: str
    lines: tuple[str, ...]
    kind: Kind


@frozen
class Edge:
    """A value on its way from one node to another, both by name."""

    start: str
    end: str
    type: str


@frozen
class Cluster:
    """A frame around nodes and other clusters."""

    title: str
    items: tuple[Node | Cluster, ...]


Item = Node | Cluster


@frozen
class Picture:
    name: str
    title: str
    items: tuple[Item, ...]
    edges: tuple[Edge, ...]


def picture_of(compiled: Compiled) -> Picture:
    """The picture of a compiled program. Raises nothing: every program has one."""
    return _Drawing(compiled).picture()


class _Drawing:
    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.functions = compiled.outlined.module.functions
        self.edges: list[Edge] = []
        self.count = 0

    def picture(self) -> Picture:
        entry = self.compiled.outlined.module.entry
        items: list[Item] = []
        nodes: dict[Value, str] = {}
        for value in entry.inputs:
            kind = "param" if value in entry.params else "input"
            nodes[value] = self.node(items, (value.name, str(value.type)), kind)
        self.draw(entry, nodes, items)
        for name, value in zip(entry.names_of_outputs, entry.outputs):
            self.edge(nodes[value], self.node(items, (name, str(value.type)), "output"), value)
        title = f"@{entry.name} for {self.compiled.device.name}"
        return Picture(entry.name, title, tuple(items), tuple(self.edges))

    def draw(self, function: Function, nodes: dict[Value, str], items: list[Item]) -> None:
        """The operations of a function; `nodes` has those that give its inputs, and gets those of all its values."""
        for op in function.ops:
            callee = self.functions.get(str(op.attributes.get("callee")))
            if callee is None:
                self.operation(op, nodes, items)
                continue
            inside = dict(zip(callee.inputs, (nodes[operand] for operand in op.operands)))
            within: list[Item] = []
            for value in callee.inputs[len(op.operands) :]:
                inside[value] = self.node(within, (value.name, "of the piece before"), "input")
            self.draw(callee, inside, within)
            items.append(Cluster(self.title(op), tuple(within)))
            nodes.update((result, inside[output]) for result, output in zip(op.results, callee.outputs))

    def title(self, op: Op) -> str:
        name = op.attributes["callee"]
        choice = self.compiled.lowered.choices.get(name)
        return f"{op.name} @{name}" if choice is None else f"{name}: {choice.strategy}"

    def operation(self, op: Op, nodes: dict[Value, str], items: list[Item]) -> None:
        if op.name == "constant":
            nodes[op.result] = self.node(items, (str(op.attributes["value"]),), "constant")
            return
        facts = (f"{key} = {_shown(value)}" for key, value in _told(op).items())
        node = self.node(items, (op.name, *facts), "check" if op.name == "check" else "operation")
        for operand in op.operands:
            self.edge(nodes[operand], node, operand)
        nodes.update(dict.fromkeys(op.results, node))

    def node(self, items: list[Item], lines: tuple[str, ...], kind: Kind) -> str:
        self.count += 1
        node = Node(f"n{self.count}", lines, kind)
        items.append(node)
        return node.name

    def edge(self, start: str, end: str, value: Value) -> None:
        self.edges.append(Edge(start, end, str(value.type)))


def _told(op: Op) -> Mapping[str, object]:
    """The attributes that say what an operation does; the shape of its result stands on the edges."""
    return {key: value for key, value in op.attributes.items() if key in ("axis", "axes", "op", "dtype", "code")}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
