"""`lossc graph`: a picture, and its text for Graphviz."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawings import check_drawing

Command = Callable[..., Any]
PRESET = ("--device", "cpu-avx512")

NETWORK = """\
func @n(%x: f32[B, 8], param %w: f32[4, 8], %t: f32[B, 4]) -> (f32[1]) {
  %y = linear %x, %w
  %l = mse_loss %y, %t
  return %l
}
"""


def picture(lossc: Command, folder: Path, *words: str) -> str:
    done = lossc("graph", *words, *PRESET, "-o", "g.dot")
    assert done.status == 0, done.err
    return (folder / "g.dot").read_text()


def test_kernels_are_clusters(lossc: Command, folder: Path) -> None:
    text = picture(lossc, folder, "f.lir", "--grad")
    assert text.count("subgraph cluster_") == 1
    assert re.search(r'label="f_0: [a-z]+-[a-z]+"', text)
    for label in ("x\\nf32[B, 10]", "labels\\ni32[B]", "loss\\nf32[1]", "grad_x\\nf32[B, 10]", "reduce_max\\naxes = 1"):
        assert f'"{label}"' in text


def test_every_edge_has_nodes_and_braces_close(lossc: Command, folder: Path) -> None:
    (folder / "n.lir").write_text(NETWORK)
    text = picture(lossc, folder, "n.lir", "--grad")
    assert text.count("subgraph cluster_") > 1
    unquoted = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    assert unquoted.count("{") == unquoted.count("}")
    nodes = re.findall(r"^ *(n\d+) \[", text, re.MULTILINE)
    edges = re.findall(r"^ *(n\d+) -> (n\d+) \[", text, re.MULTILINE)
    assert len(set(nodes)) == len(nodes)
    assert edges
    assert {end for edge in edges for end in edge} <= set(nodes)
    # Every operation is reached from somewhere: nothing floats but constants, sizes and counters.
    results = re.findall(r'^ *(n\d+) \[label="(?:l|grad_w)\\n', text, re.MULTILINE)
    assert len(results) == 2
    assert set(results) <= {end for _, end in edges}


def test_a_drawing_shows_what_the_text_says(lossc: Command, folder: Path) -> None:
    (folder / "n.lir").write_text(NETWORK)
    text = picture(lossc, folder, "n.lir", "--grad")
    assert lossc("graph", "n.lir", "--grad", *PRESET, "-o", "g.svg").status == 0
    check_drawing((folder / "g.svg").read_text(), text)


def test_other_pictures_are_made_of_the_text(lossc: Command, folder: Path) -> None:
    (folder / "g.png").write_text("before")
    done = lossc("graph", "f.lir", *PRESET, "-o", "g.png")
    assert done.status == 1
    assert "dot -Tpng FILE.dot -o g.png" in done.err
    assert (folder / "g.png").read_text() == "before"


def test_an_unknown_kind_of_file_is_refused(lossc: Command) -> None:
    done = lossc("graph", "f.lir", "-o", "g.gif")
    assert done.status == 1
    assert ".svg" in done.err
