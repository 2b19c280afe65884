"""The command line: `lossc`, and `python -m lossc`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Ends in `SystemExit` with its status: see `exits.py`."""
    try:
        from .app import app

        for stream in (sys.stdout, sys.stderr):
            # A terminal that lacks a character gets its escape, not an error.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        app(list(arguments) if arguments is not None else None, prog_name="lossc")
    except KeyboardInterrupt:
        sys.exit(130)
