"""The figures of a run as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def table(rows: Sequence[Row], systems: Sequence[str]) -> str:
    """One line a case: lossc's time, its fraction of the copy bandwidth, and what the others take relative to it."""
    shown = [name for name in systems if any("ms" in row["systems"].get(name, {}) for row in rows)]
    others = [name for name in shown if name != "lossc"]
    heads = ["loss + gradient, f32", "lossc ms", "of copy", *others, "memory", "compile", "error"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(_cells(row, others)) + " |" for row in rows]
    notes = [f"{row['name']}, {name}: {figures['fault']}" for row in rows
             for name, figures in row["systems"].items() if "fault" in figures]  # fmt: skip
    return "\n".join([*lines, "", _legend(rows, others), *dict.fromkeys(notes)])


def _cells(row: Row, others: Sequence[str]) -> list[str]:
    own = row["systems"].get("lossc", {})
    if "ms" not in own:
        return [
            row["name"],
            _without_time(own),
            "",
            *[_time(row["systems"].get(name, {})) for name in others],
            "",
            "",
            "",
        ]
    ratios = [_ratio(row["systems"].get(name, {}), own["ms"]) for name in others]
    memory = own.get("peak_bytes")
    return [
        row["name"],
        f"{own['ms']:.2f} ({own['p10']:.2f}-{own['p90']:.2f})",
        f"{own['of_copy']:.2f}",
        *ratios,
        "" if memory is None else f"{memory / 2**20:.0f} MiB",
        f"{own['compile_seconds']:.2f} s",
        f"{own['error']:.0e}",
    ]


def _ratio(figures: Mapping[str, Any], own: float) -> str:
    return f"{figures['ms'] / own:.2f}x" if "ms" in figures else _without_time(figures)


def _time(figures: Mapping[str, Any]) -> str:
    return f"{figures['ms']:.2f} ms" if "ms" in figures else _without_time(figures)


def _without_time(figures: Mapping[str, Any]) -> str:
    return str(figures.get("fault", "")).split(":")[0]


def _legend(rows: Sequence[Row], others: Sequence[str]) -> str:
    bandwidth = rows[0]["copy_bandwidth"] / 1e9 if rows else 0
    return (
        "Times are medians with 10th and 90th percentiles. *of copy*: the fewest bytes over the time, as a part of "
        f"what a copy past the cache moves ({bandwidth:.1f} GB/s). Under {', '.join(others)}: their time over lossc's. "
        "*memory*: what lossc needs beside inputs and results. *compile*: from the graph to the first result. "
        "*error*: of the gradient against float64, relative, by norm."
    )
