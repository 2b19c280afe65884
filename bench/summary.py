"""What a table comes to: geometric means, the worst row of each system, the rows below a bar, by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .cases import REASONS
from .systems import PEERS

Row = Mapping[str, Any]
BAR = 0.85
"""Of the floor, for every row."""


def of_floor(row: Row) -> float:
    """The floor over lossc's time, results into arrays that are there."""
    return row["floor_ms"] / row["systems"]["lossc"]["ms"]


def of_new_arrays(row: Row, name: str) -> float | None:
    """The system's time over lossc's, both as users call them; of the hand-written kernels both into old arrays."""
    own = row["systems"].get("lossc" if name == "handwritten" else "lossc fresh", {})
    other = row["systems"].get(name, {})
    return other["ms"] / own["ms"] if "ms" in own and "ms" in other else None


def geometric_mean(numbers: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def summary(rows: Sequence[Row], reasons: Mapping[str, str] = REASONS, bar: bool = True) -> Iterator[str]:
    """Lines of text: means, rows lost, and how many rows miss the bar; with `bar` which."""
    for name in PEERS:
        found = {row["name"]: ratio for row in rows if (ratio := of_new_arrays(row, name)) is not None}
        if found:
            worst = min(found, key=lambda row: found[row])
            mean = geometric_mean(list(found.values()))
            yield (
                f"{name} takes {mean:.2f} times as long as lossc, by the geometric mean over {len(found)} rows; "
                f"at least {found[worst]:.2f} times ({worst})."
            )
    yield from losing_rows(rows)
    yield from page_faults(rows)
    yield from (line for line in low_rows(rows, reasons) if bar or not line.startswith("- "))


def losing_rows(rows: Sequence[Row]) -> Iterator[str]:
    """Rows in which another system is faster."""
    lost = [f"{row['name']} ({name} {found:.2f}x)" for row in rows for name in PEERS
            if (found := of_new_arrays(row, name)) is not None and found < 1]  # fmt: skip
    yield f"Rows lost: {', '.join(lost) or 'none'}."


def page_faults(rows: Sequence[Row]) -> Iterator[str]:
    """What memory of their own costs each system."""
    medians = []
    for name in ("lossc fresh", *PEERS):
        found = [row["systems"].get(name, {}).get("page_faults") for row in rows]
        if counts := sorted(count for count in found if count is not None):
            medians.append(f"{name} {counts[len(counts) // 2]}")
    if medians:
        yield f"Page faults in a call, by the median of the rows: {', '.join(medians)}."


def low_rows(rows: Sequence[Row], reasons: Mapping[str, str] = REASONS) -> Iterator[str]:
    """Rows below 0.85 of their floor, with the reason where one is known."""
    timed = [row for row in rows if "ms" in row["systems"].get("lossc", {})]
    if without := [row["name"] for row in rows if row not in timed]:
        yield f"Rows without a time of lossc: {', '.join(without)}."
    low = [row for row in timed if of_floor(row) < BAR]
    yield f"{len(timed) - len(low)} of {len(timed)} rows are at {BAR} of their floor or above, before rounding."
    for row in low:
        yield f"- {row['name']}, {of_floor(row):.2f}: {reasons.get(row['name']) or _overlap(row)}"


def _overlap(row: Row) -> str:
    """Bytes and arithmetic can be one beside the other at best, one after the other at worst."""
    moved, computed = row["copy_ms"], row["arithmetic_ms"]
    if computed and row["systems"]["lossc"]["ms"] <= moved + computed:
        return f"a copy ({moved:.2f} ms) and the arithmetic ({computed:.2f} ms) overlap only in part."
    return "no reason known."
