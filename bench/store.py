"""The figures of a run in one JSON file, saved after every row, and their text.

{"machine": {...}, "sections": {section: [row, ...]}}; a row is {"name": ..., "systems": {system: figures}} and more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .machine import machine
from .tables import Row, milliseconds

TITLES = {
    "losses": "Loss and gradient, each system as users get it",
    "pages_kept": "The same with an allocator that keeps its pages",
    "latency": "Small inputs",
    "linear": "Linear cross-entropy",
    "training": "Training steps",
    "startup": "Start-up",
}


def begin(path: Path, sections: Sequence[str]) -> None:
    """These sections start anew; what the file has of others stays."""
    found = read(path) if path.exists() else {"sections": {}}
    _write(path, {"machine": machine(), "sections": {**found["sections"], **{section: [] for section in sections}}})


def add(path: Path, section: str, row: Row) -> None:
    found = read(path)
    found["sections"][section].append(row)
    _write(path, found)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _write(path: Path, found: dict[str, Any]) -> None:
    other = path.with_suffix(".part")
    other.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(other, path)


def line(row: Row) -> str:
    """A row in short, while others are still measured."""
    return f"{row['name']}: " + ", ".join(f"{name} {milliseconds(figures)}" for name, figures in row["systems"].items())


def text(path: Path) -> str:
    """All sections, as Markdown."""
    found = read(path)
    parts = [f"- {key}: {value}" for key, value in found["machine"].items()]
    for section, title in TITLES.items():
        if rows := found["sections"].get(section):
            module = import_module(f".{'losses' if section == 'pages_kept' else section}", __package__)
            parts += ["", f"## {title}", "", module.table(rows)]
    return "\n".join(parts) + "\n"
