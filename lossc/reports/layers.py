"""Where boxes and the edges between them lie in a picture: in layers, every edge from a higher one to a lower one.

In: sizes of boxes and edges between them, without cycles. Out: a corner of each box, and the points between its ends
that an edge goes through. Layers are those of the longest path; boxes of a layer stand in the order of the mean of
their neighbours, and as near to that mean as their widths let them (Sugiyama, Tagawa and Toda 1981).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from lossc.ir.frozen import frozen

Point = tuple[float, float]

BESIDE, BELOW = 14.0, 26.0
"""The least distance between neighbours in a layer, and that between layers."""

BEND = 6.0
"""How wide the place is that an edge takes in a layer that it passes."""

SWEEPS = 12
"""Orders and places settle within a few sweeps down and up."""


@frozen
class Layout:
    corners: tuple[Point, ...]
    bends: Mapping[tuple[int, int], tuple[Point, ...]]
    width: float
    height: float


def layered(sizes: Sequence[Point], edges: Iterable[tuple[int, int]]) -> Layout:
    """Lay out boxes of these widths and heights."""
    edges = sorted({(start, end) for start, end in edges if start != end})
    layers = _layers(len(sizes), edges)
    widths, heights = [width for width, _ in sizes], [height for _, height in sizes]
    # An edge past other layers goes straight down in each of them, at a place that edges with the same start share.
    places: dict[tuple[int, int], int] = {}
    chains: dict[tuple[int, int], list[int]] = {}
    for start, end in edges:
        passed = range(layers[start] + 1, layers[end])
        new = [(start, layer) for layer in passed if (start, layer) not in places]
        places |= {key: len(widths) + number for number, key in enumerate(new)}
        layers += [layer for _, layer in new]
        widths += [BEND] * len(new)
        heights += [0.0] * len(new)
        chains[start, end] = [places[start, layer] for layer in passed]
    links = {link for (start, end), chain in chains.items() for link in pairwise([start, *chain, end])}
    rows = _ordered(layers, links)
    centres = _centres(rows, widths, links)
    left = min((x - width / 2 for x, width in zip(centres, widths)), default=0.0)
    corners, straight, top = [(0.0, 0.0)] * len(widths), [((0.0, 0.0), (0.0, 0.0))] * len(widths), 0.0
    for row in rows:
        height = max(heights[box] for box in row)
        for box in row:
            corners[box] = centres[box] - widths[box] / 2 - left, top + (height - heights[box]) / 2
            straight[box] = (centres[box] - left, top), (centres[box] - left, top + height)
        top += height + BELOW
    return Layout(
        tuple(corners[: len(sizes)]),
        {edge: tuple(point for box in chain for point in straight[box]) for edge, chain in chains.items()},
        max((x + width for (x, _), width in zip(corners, widths)), default=0.0), max(top - BELOW, 0.0),
    )  # fmt: skip


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each box: below all that lead to it. What nothing leads to stands just above what needs it."""
    layers, waiting = [0] * count, [0] * count
    below: list[list[int]] = [[] for _ in range(count)]
    for start, end in edges:
        below[start].append(end)
        waiting[end] += 1
    first = [box for box in range(count) if not waiting[box]]
    ready = list(first)
    for box in ready:
        for other in below[box]:
            layers[other] = max(layers[other], layers[box] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    for box in first:
        layers[box] = min((layers[other] for other in below[box]), default=1) - 1
    return layers


def _neighbours(count: int, links: Iterable[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for start, end in sorted(links):
        above[end].append(start)
        below[start].append(end)
    return above, below


def _ordered(layers: Sequence[int], links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The boxes of each layer from left to right, so that few edges cross."""
    rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
    for box, layer in enumerate(layers):
        rows[layer].append(box)
    rows = [row for row in rows if row]
    place = {box: float(number) for row in rows for number, box in enumerate(row)}
    above, below = _neighbours(len(layers), links)
    for sweep in range(SWEEPS):
        others = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            row.sort(key={box: _mean([place[o] for o in others[box]], place[box]) for box in row}.__getitem__)
            place |= {box: float(number) for number, box in enumerate(row)}
    return rows


def _centres(rows: Sequence[Sequence[int]], widths: Sequence[float], links: Iterable[tuple[int, int]]) -> list[float]:
    """Where the middle of each box is, from left to right."""
    above, below = _neighbours(len(widths), links)
    centres = [0.0] * len(widths)
    for sweep in range(SWEEPS):
        others = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            wishes = [_mean([centres[o] for o in others[box]], centres[box]) for box in row]
            for box, centre in zip(row, _apart(wishes, [widths[box] for box in row])):
                centres[box] = centre
    return centres


def _apart(wishes: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The middles nearest to `wishes` by their squares that keep the boxes apart and in order.

    Less the widths on its left, each middle is to be no smaller than the one before: neighbours for which it would be
    share the mean of their wishes (isotonic regression).
    """
    offsets = [0.0]
    for one, other in pairwise(widths):
        offsets.append(offsets[-1] + (one + other) / 2 + BESIDE)
    groups: list[tuple[float, int]] = []
    for wish, offset in zip(wishes, offsets):
        total, count = wish - offset, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            total, count = total + groups[-1][0], count + groups[-1][1]
            groups.pop()
        groups.append((total, count))
    starts = [total / count for total, count in groups for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets)]


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
