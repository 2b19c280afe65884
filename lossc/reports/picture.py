"""Pictures of compiled programs, as text in Graphviz's DOT language.

In: a compiled module. Out: a graph whose nodes are inputs, operations and results, whose edges are values with their
types, and whose clusters are the fused kernels with their strategies. `repeat` is a cluster around those it repeats.
"""

from __future__ import annotations

from collections.abc import Mapping

from lossc.compiler import Compiled
from lossc.ir.function import Function, Op, Value

_HEAD = """\
  rankdir=TB; compound=true; nodesep=0.25; ranksep=0.35;
  fontname="Helvetica"; fontsize=11;
  node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica", fontsize=10, height=0.3];
  edge [fontname="Helvetica", fontsize=8, color="#606060", arrowsize=0.6];"""

_INPUT = 'shape=ellipse, fillcolor="#e8f0fa"'
_PARAMETER = 'shape=ellipse, fillcolor="#fdf0d5"'
_OUTPUT = 'shape=ellipse, fillcolor="#e3f4e3"'
_CONSTANT = 'shape=plaintext, style="", height=0.2'
_CHECK = 'fillcolor="#f9e0e0"'


def dot_text(compiled: Compiled) -> str:
    """The picture of a compiled program in DOT. Raises nothing: every program has one."""
    return _Drawing(compiled).text()


class _Drawing:
    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.functions = compiled.outlined.module.functions
        self.lines: list[str] = []
        self.edges: list[str] = []
        self.count = 0

    def text(self) -> str:
        entry = self.compiled.outlined.module.entry
        nodes: dict[Value, str] = {}
        for value in entry.inputs:
            nodes[value] = self.node(f"{value.name}\n{value.type}", _PARAMETER if value in entry.params else _INPUT, 1)
        self.draw(entry, nodes, 1)
        for name, value in zip(entry.names_of_outputs, entry.outputs):
            self.edge(nodes[value], self.node(f"{name}\n{value.type}", _OUTPUT, 1), value)
        title = f"@{entry.name} for {self.compiled.device.name}"
        return "\n".join([f"digraph {_quoted(entry.name)} {{", _HEAD, f"  label={_quoted(title)}; labelloc=t;",
                          *self.lines, *self.edges, "}", ""])  # fmt: skip

    def draw(self, function: Function, nodes: dict[Value, str], depth: int) -> None:
        """The operations of a function; `nodes` has those that give its inputs, and gets those of all its values."""
        for op in function.ops:
            callee = self.functions.get(str(op.attributes.get("callee")))
            if callee is None:
                self.operation(op, nodes, depth)
                continue
            carried = callee.inputs[len(op.operands) :]
            inside = dict(zip(callee.inputs, (nodes[operand] for operand in op.operands)))
            self.open(self.title(op), depth)
            for value in carried:
                inside[value] = self.node(f"{value.name}\nof the piece before", _INPUT, depth + 1)
            self.draw(callee, inside, depth + 1)
            self.lines.append(f"{'  ' * depth}}}")
            nodes.update((result, inside[output]) for result, output in zip(op.results, callee.outputs))

    def title(self, op: Op) -> str:
        name = op.attributes["callee"]
        choice = self.compiled.lowered.choices.get(name)
        return f"{op.name} @{name}" if choice is None else f"{name}: {choice.strategy}"

    def operation(self, op: Op, nodes: dict[Value, str], depth: int) -> None:
        if op.name == "constant":
            nodes[op.result] = self.node(f"{op.attributes['value']}", _CONSTANT, depth)
            return
        facts = "".join(f"\n{key} = {_shown(value)}" for key, value in _told(op).items())
        node = self.node(f"{op.name}{facts}", _CHECK if op.name == "check" else "", depth)
        for operand in op.operands:
            self.edge(nodes[operand], node, operand)
        nodes.update(dict.fromkeys(op.results, node))

    def open(self, title: str, depth: int) -> None:
        indent = "  " * depth
        self.lines += [
            f"{indent}subgraph cluster_{self.number()} {{",
            f'{indent}  label={_quoted(title)}; style="rounded,filled"; fillcolor="#f6f6f6"; color="#a0a0a0";',
        ]

    def node(self, label: str, style: str, depth: int) -> str:
        name = f"n{self.number()}"
        self.lines.append(f"{'  ' * depth}{name} [label={_quoted(label)}{', ' if style else ''}{style}];")
        return name

    def edge(self, start: str, end: str, value: Value) -> None:
        self.edges.append(f"  {start} -> {end} [label={_quoted(str(value.type))}];")

    def number(self) -> int:
        self.count += 1
        return self.count


def _told(op: Op) -> Mapping[str, object]:
    """The attributes that say what an operation does; the shape of its result stands on the edges."""
    return {key: value for key, value in op.attributes.items() if key in ("axis", "axes", "op", "dtype", "code")}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
