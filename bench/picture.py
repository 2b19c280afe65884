"""The picture: for every loss the fraction of the copy bandwidth that lossc reaches, and where the others stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .tables import Row

COLOURS = {"torch.compile": "#e07a1f", "torch eager": "#b3382c", "jax.jit": "#6a4c93"}
OWN, GRID, TEXT = "#2a7f86", "#d9dde0", "#22272b"
WIDTH, ROW, MARGIN = 8.4, 0.21, 1.25
"""Inches."""


def draw(rows: Sequence[Row], path: Path, digest: str) -> None:
    """Write the picture as SVG. `digest` says which run it shows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = sorted((row for row in rows if "ms" in row["systems"].get("lossc fresh", {})),
                   key=lambda row: _of_copy(row, "lossc fresh"))  # fmt: skip
    places = range(len(found))
    with plt.rc_context({"font.family": "sans-serif", "font.size": 8.5, "text.color": TEXT, "svg.hashsalt": digest,
                         "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT}):  # fmt: skip
        figure, axes = plt.subplots(figsize=(WIDTH, ROW * len(found) + MARGIN), layout="constrained")
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.barh(places, [_of_copy(row, "lossc fresh") for row in found], height=0.66, color=OWN, label="lossc")
        for name, colour in COLOURS.items():
            points = [(_of_copy(row, name), place) for place, row in zip(places, found)
                      if "ms" in row["systems"].get(name, {})]  # fmt: skip
            if points:
                axes.scatter(*zip(*points), s=17, color=colour, edgecolor="white", linewidth=0.5, label=name, zorder=3)
        axes.axvline(1, color=TEXT, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate("copy", (1, len(found) - 0.3), xytext=(3, 2), textcoords="offset points")
        axes.set_yticks(places, [row["name"] for row in found])
        axes.set_ylim(-0.7, len(found) - 0.3)
        axes.set_xlim(left=0)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("fraction of the bandwidth of a copy, by the fewest bytes (1 = as fast as a copy)")
        axes.set_title("Loss and gradient, f32, two cores, new arrays each time", loc="left", fontweight="bold", pad=24)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2,
                    handletextpad=0.4)  # fmt: skip
        figure.savefig(path, metadata={"Date": None, "Title": "Speed of lossc", "Description": digest})
        plt.close(figure)


def _of_copy(row: Row, name: str) -> float:
    return row["copy_ms"] / row["systems"][name]["ms"]
