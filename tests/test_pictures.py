"""The layout of pictures: boxes in layers, none upon another, every edge from above to below."""

from __future__ import annotations

import random

import pytest

from lossc.reports.layers import BELOW, BESIDE, layered


def test_a_chain_stands_one_below_the_other_around_one_line() -> None:
    layout = layered([(20, 10), (40, 10), (20, 30)], [(0, 1), (1, 2)])
    assert layout.corners == ((10, 0), (0, 10 + BELOW), (10, 20 + 2 * BELOW))
    assert (layout.width, layout.height) == (40, 50 + 2 * BELOW)
    assert layout.bends == {(0, 1): (), (1, 2): ()}


def test_an_edge_past_a_layer_goes_straight_down_beside_its_boxes() -> None:
    layout = layered([(20, 10), (20, 30), (20, 10)], [(0, 1), (1, 2), (0, 2)])
    (above_x, above), (below_x, below) = layout.bends[0, 2]
    assert above_x == below_x
    assert (above, below) == (10 + BELOW, 40 + BELOW)
    left = layout.corners[1][0]
    assert above_x <= left - BESIDE or above_x >= left + 20 + BESIDE


def test_what_nothing_leads_to_stands_just_above_what_needs_it() -> None:
    layout = layered([(20, 10)] * 4, [(0, 1), (1, 2), (3, 2)])
    assert layout.corners[3][1] == layout.corners[1][1]


def test_nothing_is_a_layout_too() -> None:
    assert layered([], []).corners == ()


@pytest.mark.parametrize("seed", range(20))
def test_no_box_lies_upon_another_and_edges_go_down(seed: int) -> None:
    drawn = random.Random(seed)
    sizes = [(drawn.uniform(10, 90), drawn.uniform(10, 40)) for _ in range(drawn.randint(1, 40))]
    edges = [tuple(sorted(drawn.sample(range(len(sizes)), 2))) for _ in range(2 * len(sizes)) if len(sizes) > 1]
    layout = layered(sizes, [(start, end) for start, end in edges])
    boxes = [(x, y, x + width, y + height) for (x, y), (width, height) in zip(layout.corners, sizes)]
    slack = 1e-9
    for number, one in enumerate(boxes):
        assert -slack <= one[0]
        assert one[2] <= layout.width + slack
        assert one[3] <= layout.height + slack
        for other in boxes[:number]:
            beside = max(one[0] - other[2], other[0] - one[2]) >= BESIDE - slack
            assert beside or max(one[1] - other[3], other[1] - one[3]) >= BELOW - slack
    for start, end in edges:
        path = [boxes[start][3], *(y for _, y in layout.bends[start, end]), boxes[end][1]]
        assert path == sorted(path)
