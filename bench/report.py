"""`python -m bench.report [PATH]`: README's figures, docs/speed.md and docs/speed.svg, from one saved run.

In: the JSON that `python -m bench --save` wrote (default: bench/results/cpu.json). A test compares all three with it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import store
from .picture import draw
from .summary import of_floor, summary
from .systems import PEERS
from .tables import Row, markdown, milliseconds, ratio

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "cpu.json"
README, PAGE, PICTURE = ROOT / "README.md", ROOT / "docs" / "speed.md", ROOT / "docs" / "speed.svg"
BEGIN, END = "<!-- written by python -m bench.report -->", "<!-- end -->"

SHOWN = (
    "cross_entropy 8192x1000", "cross_entropy 16384x1024", "cross_entropy 2048x32000", "cross_entropy 8x21x256x256",
    "cross_entropy, weighted 16384x1024", "softcap + z + smoothing + weights 2048x32000", "kl_div 16384x1024",
    "js_div 16384x1024", "distillation 2048x32000", "bce_with_logits 16777216", "sigmoid_focal 16777216",
    "mse 16777216", "huber 16777216", "gaussian_nll 16777216", "dice 8x21x256x256", "triplet 65536x128",
)  # fmt: skip
"""The rows in the README; docs/speed.md has all of them."""
OTHERS = {"latency": "loss + gradient", "linear": "loss + both gradients", "training": "one step with Adam"}
WAYS_IN = {"compiled graph": "lossc", "lossc.functional": "lossc.functional", "lossc.torch": "lossc.torch"}
SAME = {"linear, cross_entropy": "torch eager"}


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    found = store.read(path)
    README.write_text(replaced(README.read_text(encoding="utf-8"), found), encoding="utf-8")
    PAGE.write_text(page(path), encoding="utf-8")
    draw(found["sections"]["losses"], PICTURE, digest(path))


def replaced(readme: str, found: Mapping[str, Any]) -> str:
    """The README with the figures of this run between its marks."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + "\n" + "\n".join(block(found)) + "\n" + END + rest.split(END, 1)[1]


def block(found: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the README between its marks."""
    rows = {row["name"]: row for row in found["sections"]["losses"]}
    heads = ["loss + gradient, f32", "lossc", "of copy", "of floor", *PEERS]
    yield markdown(heads, [_line(rows[name]) for name in SHOWN if name in rows])
    yield ""
    yield f"Over all {len(rows)} rows, each system as users get it:"
    yield ""
    yield from (f"- {line}" for line in summary(list(rows.values()), bar=False))
    kept = found["sections"].get("pages_kept")
    if kept:
        yield ""
        yield "With an allocator that keeps its pages:"
        yield ""
        yield from (f"- {line}" for line in summary(kept, bar=False))
    lines = [_other(section, row) for section in OTHERS for row in found["sections"].get(section, ())]
    if lines:
        yield ""
        yield markdown(["", "lossc", *PEERS], lines)
    small = found["sections"].get("latency")
    if small:
        yield ""
        yield "Value and gradient of tiny inputs, microseconds a call:"
        yield ""
        yield markdown(["", *WAYS_IN, "torch eager"], [_small(row) for row in small])


def _line(row: Row) -> list[str]:
    fresh = row["systems"].get("lossc fresh", {})
    peers = [ratio(row, name) for name in PEERS]
    if "ms" not in fresh or "ms" not in row["systems"].get("lossc", {}):
        return [row["name"], milliseconds(fresh), "", "", *peers]
    return [row["name"], f"{fresh['ms']:.2f} ms", f"{row['copy_ms'] / fresh['ms']:.2f}", f"{of_floor(row):.2f}", *peers]


def _other(section: str, row: Row) -> list[str]:
    systems = {SAME.get(name, name): figures for name, figures in row["systems"].items()}
    name, others = f"{row['name']}, {OTHERS[section]}", [systems.get(peer, {}) for peer in PEERS]
    own = systems["lossc"].get("ms")
    if own is None:
        return [
            name,
            milliseconds(systems["lossc"]),
            *(f"{other['ms']:.0f} ms" if "ms" in other else "" for other in others),
        ]
    shown = f"{own * 1e3:.1f} us" if own < 0.1 else f"{own:.3g} ms"
    return [name, shown, *(f"{other['ms'] / own:.1f}x" if "ms" in other else milliseconds(other) for other in others)]


def _small(row: Row) -> list[str]:
    times = (row["systems"].get(name, {}).get("ms") for name in (*WAYS_IN.values(), "torch eager"))
    return [row["name"], *("" if time is None else f"{time * 1e3:.0f}" for time in times)]


def page(path: Path) -> str:
    """docs/speed.md: every table."""
    head = (
        "# Speed\n\nThis page is written by `python -m bench.report` from the run that is saved in `bench/results/`; "
        "`python -m bench --save PATH`\nmeasures anew. What was tried and did not pay is in `bench/REJECTED.md`.\n\n"
    )
    return head + store.text(path)


def digest(path: Path) -> str:
    """Stands in the picture: which run it shows."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
