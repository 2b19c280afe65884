"""A picture as SVG, laid out by `layers.py`: a cluster is a box of the layout around it, with one of its own inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from html import escape
from itertools import pairwise

from lossc.ir.frozen import frozen

from .layers import Layout, Point, layered
from .picture import COLOURS, Cluster, Edge, Item, Node, Picture

LINE, LETTER = 12.0, 6.0
"""Of the text in boxes: the height of a line, and the width of a letter, more than that of most."""

MARGIN = 10.0


@frozen
class _Box:
    """A node, or a cluster with the boxes inside."""

    item: Item
    width: float
    height: float
    lines: tuple[str, ...] = ()
    inside: tuple[_Box, ...] = ()
    layout: Layout | None = None
    ends: Mapping[str, int] = field(default_factory=dict)


@frozen
class _Placed:
    box: _Box
    corner: Point


def svg_text(picture: Picture) -> str:
    types: dict[str, dict[str, None]] = {}
    for edge in picture.edges:
        types.setdefault(edge.start, {})[edge.type] = None
    whole = _cluster(Cluster(picture.title, picture.items), picture.edges, types)
    placed = list(_placed(_Placed(whole, (MARGIN, MARGIN))))
    nodes = {p.box.item.name: p for p in placed if isinstance(p.box.item, Node)}
    clusters = [p for p in placed if isinstance(p.box.item, Cluster)]
    curves = [_curve(_way(edge, clusters, nodes)) for edge in dict.fromkeys(picture.edges)]
    width, height = whole.width + 2 * MARGIN, whole.height + 2 * MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="10">',
        '<defs><marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0L6 3L0 6z" fill="#606060"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
        *(_frame(p, outermost=p.box is whole) for p in clusters),
        '<g fill="none" stroke="#606060" stroke-width="0.8" marker-end="url(#tip)">',
        *curves,
        "</g>",
        *(_node(p, p.box.item) for p in placed if isinstance(p.box.item, Node)),
        "</svg>",
        "",
    ])  # fmt: skip


# --- sizes, from the inside out ---


def _box(item: Item, edges: Sequence[Edge], types: Mapping[str, Mapping[str, None]]) -> _Box:
    if isinstance(item, Cluster):
        return _cluster(item, edges, types)
    # What a node gives is said once, in it, rather than on every edge from it.
    given = () if item.kind in ("input", "param", "constant") else tuple(types.get(item.name, ()))
    lines = (*item.lines, *given)
    return _Box(item, max(map(len, lines)) * LETTER + 12, len(lines) * LINE + 6, lines)


def _cluster(cluster: Cluster, edges: Sequence[Edge], types: Mapping[str, Mapping[str, None]]) -> _Box:
    inside = tuple(_box(item, edges, types) for item in cluster.items)
    ends = {name: number for number, box in enumerate(inside) for name in _names(box)}
    between = [(ends[edge.start], ends[edge.end]) for edge in edges if edge.start in ends and edge.end in ends]
    layout = layered([(box.width, box.height) for box in inside], between)
    width = max(layout.width, len(cluster.title) * LETTER) + 2 * MARGIN
    return _Box(cluster, width, layout.height + LINE + 2 * MARGIN, (), inside, layout, ends)


def _names(box: _Box) -> tuple[str, ...]:
    return (box.item.name,) if isinstance(box.item, Node) else tuple(box.ends)


# --- places, from the outside in ---


def _placed(outer: _Placed) -> Iterator[_Placed]:
    yield outer
    for box, corner in zip(outer.box.inside, outer.box.layout.corners if outer.box.layout else ()):
        yield from _placed(_Placed(box, _within(outer, corner)))


def _within(outer: _Placed, point: Point) -> Point:
    """A point of the layout of a cluster, in the picture."""
    layout = outer.box.layout
    left = MARGIN if layout is None else (outer.box.width - layout.width) / 2
    return outer.corner[0] + left + point[0], outer.corner[1] + MARGIN + LINE + point[1]


def _way(edge: Edge, clusters: Sequence[_Placed], nodes: Mapping[str, _Placed]) -> list[Point]:
    """From the lower side of a node to the upper side of another, past what lies between."""
    start, end = nodes[edge.start], nodes[edge.end]
    bends: list[Point] = []
    for outer in clusters:
        ends, layout = outer.box.ends, outer.box.layout
        if layout and edge.start in ends and edge.end in ends:
            bends += [_within(outer, bend) for bend in layout.bends.get((ends[edge.start], ends[edge.end]), ())]
    return [
        (start.corner[0] + start.box.width / 2, start.corner[1] + start.box.height),
        *bends,
        (end.corner[0] + end.box.width / 2, end.corner[1]),
    ]


# --- text ---


def _curve(points: Sequence[Point]) -> str:
    steps = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        steps.append(f"C{x:.1f} {(y + to_y) / 2:.1f} {to_x:.1f} {(y + to_y) / 2:.1f} {to_x:.1f} {to_y:.1f}")
    return f'<path d="{"".join(steps)}"/>'


def _frame(placed: _Placed, outermost: bool) -> str:
    (x, y), box = placed.corner, placed.box
    look = 'fill="none"' if outermost else 'fill="#f6f6f6" stroke="#a0a0a0"'
    title = box.item.title if isinstance(box.item, Cluster) else ""
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6" {look}/>'
            f"{_text(x + MARGIN, y + LINE, title, anchor='start')}")  # fmt: skip


def _node(placed: _Placed, node: Node) -> str:
    (x, y), box = placed.corner, placed.box
    corner = box.height / 2 if node.kind in ("input", "param", "output") else 4
    stroke = "none" if node.kind == "constant" else "black"
    rectangle = (f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{corner:.1f}" '
                 f'fill="{COLOURS[node.kind]}" stroke="{stroke}" stroke-width="0.8"/>')  # fmt: skip
    lines = (_text(x + box.width / 2, y + LINE * (number + 1), line) for number, line in enumerate(box.lines))
    return rectangle + "".join(lines)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
