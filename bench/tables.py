"""The figures of a run as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .summary import of_floor, of_new_arrays, summary

Row = dict[str, Any]
Figures = Mapping[str, Any]


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *lines))


def losses_table(rows: Sequence[Row], systems: Sequence[str]) -> str:
    """One line a case, then what is to be known about all of them."""
    shown = [name for name in systems if any("ms" in row["systems"].get(name, {}) for row in rows)]
    others = [name for name in shown if name not in ("lossc", "lossc fresh")]
    heads = ["loss + gradient, f32", "lossc ms", "of copy", "of floor", "new arrays", *others, "memory", "compile",
             "error"]  # fmt: skip
    faults = [f"{row['name']}, {name}: {figures[kind]}" for row in rows for name, figures in row["systems"].items()
              for kind in ("fault", "note") if kind in figures]  # fmt: skip
    text = markdown(heads, [_line(row, others) for row in rows])
    return "\n".join([text, "", _legend(rows, others), "", *summary(rows), "", *dict.fromkeys(faults)])


def _line(row: Row, others: Sequence[str]) -> list[str]:
    own = row["systems"].get("lossc", {})
    fresh = row["systems"].get("lossc fresh", {})
    ratios = [ratio(row, name) for name in others]
    if "ms" not in own:
        return [row["name"], _fault(own), "", "", milliseconds(fresh), *ratios, "", "", ""]
    return [
        row["name"],
        f"{own['ms']:.2f} ({own['p10']:.2f}-{own['p90']:.2f})",
        f"{row['copy_ms'] / own['ms']:.2f}",
        f"{of_floor(row):.2f}",
        milliseconds(fresh),
        *ratios,
        mebibytes(fresh),
        f"{fresh['compile_seconds']:.2f} s" if "compile_seconds" in fresh else "",
        f"{own['error']:.0e}",
    ]


def ratio(row: Row, name: str) -> str:
    """A system's time over that of lossc, each into new arrays; of the hand-written kernels both into old ones."""
    figures = row["systems"].get(name, {})
    found = of_new_arrays(row, name)
    if found is None:
        return milliseconds(figures) + (" ms" if "ms" in figures else "")
    return (f"{found:.2f}x" if found < 10 else f"{found:.0f}x") + ("*" if "note" in figures else "")


def milliseconds(figures: Figures) -> str:
    return f"{figures['ms']:.2f}" if "ms" in figures else _fault(figures)


def mebibytes(figures: Figures) -> str:
    found = figures.get("peak_bytes")
    return "" if found is None else f"{found / 2**20:.0f} MiB"


def _fault(figures: Figures) -> str:
    return str(figures.get("fault", "")).split(":")[0]


def _legend(rows: Sequence[Row], others: Sequence[str]) -> str:
    if not rows:
        return "No rows."
    rates = ", ".join(f"{name} {rate / 1e9:.1f}" for name, rate in rows[0]["rates"].items())
    return (
        "Times are medians with 10th and 90th percentiles, results into arrays that are there; *new arrays*: into "
        "new ones, as users call it. *of copy*: the time of a copy of the fewest bytes, measured in turn with the row, "
        f"over lossc's. *of floor*: likewise the longer of that and the arithmetic needed (10^9/s: {rates}). "
        f"Under {', '.join(others)}: their time over lossc's, each into new arrays, in the second call after a pause; "
        "of handwritten both into old ones. "
        "*memory*: at the peak, beside the inputs, new results included. *compile*: from graph to first result. "
        "*error*: of the gradient against float64, relative, by norm."
    )
