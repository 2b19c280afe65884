"""`python -m bench`: the table, on one device, in one process.

Systems that are not installed are left out and named. Times are milliseconds, medians of interleaved calls; `x` are
times relative to the hand-written kernel on the same device.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .cases import CASES, Case, make_data
from .measure import Timing, fault, interleaved
from .systems import SYSTEMS, Call


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--device", default="intel", help="a device as LOSSC_DEVICE names it (default: intel)")
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--only", default="", help="cases and systems whose names contain this")
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    rows = [measure(case, arguments.device, arguments.repetitions) for case in CASES if arguments.only in case.name]
    print(table(rows))
    if arguments.save:
        arguments.save.write_text(json.dumps(rows, indent=1))


def measure(case: Case, device: str, repetitions: int) -> dict[str, dict[str, float | str]]:
    """One row: for each system its time, or why there is none."""
    data = make_data(case)
    calls: dict[str, Call] = {}
    row: dict[str, dict[str, float | str]] = {"case": {"name": case.name}}
    for name, system in SYSTEMS.items():
        try:
            call = system(case, data, device)
        except ImportError as error:
            row[name] = {"fault": f"not installed: {error.name}"}
            continue
        wrong = fault(data, call)
        if wrong is None:
            calls[name] = call
        else:
            row[name] = {"fault": f"incorrect: {wrong}"}
    for name, timing in interleaved(calls, repetitions).items():
        row[name] = _figures(timing)
    return row


def _figures(timing: Timing) -> dict[str, float | str]:
    return {"ms": timing.median * 1e3, "p10": timing.low * 1e3, "p90": timing.high * 1e3}


def table(rows: list[dict[str, dict[str, float | str]]]) -> str:
    """Markdown: a row a case, a column a system; milliseconds and the ratio to the hand-written kernel."""
    names = list(SYSTEMS)
    lines = ["| loss + gradient, f32 | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    notes: list[str] = []
    for row in rows:
        base = row.get("handwritten", {}).get("ms")
        cells = []
        for name in names:
            figures = row.get(name, {})
            if "fault" in figures:
                cells.append(str(figures["fault"]).split(":")[0])
                notes.append(f"{row['case']['name']}, {name}: {figures['fault']}")
                continue
            ms = float(figures["ms"])
            cells.append(f"{ms:.2f} ms" + (f" ({ms / float(base):.2f}x)" if base and name != "handwritten" else ""))
        lines.append(f"| {row['case']['name']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *notes])


if __name__ == "__main__":
    main()
