"""What holds of every picture: nothing is missing, nothing lies upon another, frames hold whole boxes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"

Box = tuple[float, float, float, float]


def check_drawing(svg: str, dot: str) -> None:
    """Compare a drawing with the text of the same picture for Graphviz."""
    root = ElementTree.fromstring(svg)
    shown = [element.text or "" for element in root.iter(f"{SVG}text")]
    for label in re.findall(r'^ *(?:n\d+ \[)?label="((?:\\.|[^"\\])*)"', dot, re.MULTILINE):
        assert set(label.split("\\n")) <= set(shown)
    frames = [box_of(element) for element in root.iter(f"{SVG}rect") if element.get("fill") == "#f6f6f6"]
    boxes = [box_of(element) for element in root.iter(f"{SVG}rect") if element.get("stroke-width")]
    assert len(frames) == dot.count("subgraph cluster_")
    assert len(boxes) == len(re.findall(r"^ *n\d+ \[", dot, re.MULTILINE))
    assert len({*root.iter(f"{SVG}path")}) - 1 == len(set(re.findall(r"^ *n\d+ -> n\d+.*$", dot, re.MULTILINE)))
    assert all(apart(one, other) for number, one in enumerate(boxes) for other in boxes[:number])
    for frame in frames:
        assert any(inside(box, frame) for box in boxes)
        assert all(inside(one, frame) or apart(one, frame) or inside(frame, one) for one in (*boxes, *frames))


def box_of(rectangle: ElementTree.Element) -> Box:
    """Left, top, right, bottom."""
    x, y, width, height = (float(rectangle.get(name, "")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def inside(one: Box, other: Box) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one[2] <= other[2] and one[3] <= other[3]


def apart(one: Box, other: Box) -> bool:
    return one[0] >= other[2] or one[2] <= other[0] or one[1] >= other[3] or one[3] <= other[1]
