"""The command line: `lossc`, and `python -m lossc`."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from .interrupted import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Ends in `SystemExit` with its status: see `exits.py`."""
    try:
        # Loading what commands are made of takes a while; Ctrl-C may come then as well.
        from .exits import statuses

        with statuses():
            from .app import app

            for stream in (sys.stdout, sys.stderr):
                # A terminal that lacks a character gets its escape, not an error.
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="backslashreplace")
            app(None if arguments is None else list(arguments), prog_name="lossc")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
