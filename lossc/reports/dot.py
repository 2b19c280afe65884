"""A picture as text in Graphviz's DOT language."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from .picture import COLOURS, Item, Node, Picture

_HEAD = """\
  rankdir=TB; compound=true; nodesep=0.25; ranksep=0.35;
  fontname="Helvetica"; fontsize=11;
  node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica", fontsize=10, height=0.3];
  edge [fontname="Helvetica", fontsize=8, color="#606060", arrowsize=0.6];"""


def dot_text(picture: Picture) -> str:
    numbers = count(1)
    lines = [line for item in picture.items for line in _lines(item, 1, numbers)]
    edges = [f"  {edge.start} -> {edge.end} [label={_quoted(edge.type)}];" for edge in picture.edges]
    return "\n".join([f"digraph {_quoted(picture.name)} {{", _HEAD, f"  label={_quoted(picture.title)}; labelloc=t;",
                      *lines, *edges, "}", ""])  # fmt: skip


def _lines(item: Item, depth: int, numbers: Iterator[int]) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(item, Node):
        yield f"{indent}{item.name} [label={_quoted(chr(10).join(item.lines))}{_style(item)}];"
        return
    yield f"{indent}subgraph cluster_{next(numbers)} {{"
    yield f'{indent}  label={_quoted(item.title)}; style="rounded,filled"; fillcolor="#f6f6f6"; color="#a0a0a0";'
    for inner in item.items:
        yield from _lines(inner, depth + 1, numbers)
    yield f"{indent}}}"


def _style(node: Node) -> str:
    match node.kind:
        case "operation":
            return ""
        case "constant":
            return ', shape=plaintext, style="", height=0.2'
        case "check":
            return f', fillcolor="{COLOURS[node.kind]}"'
        case _:
            return f', shape=ellipse, fillcolor="{COLOURS[node.kind]}"'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
