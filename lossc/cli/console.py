"""What commands print: results on stdout, remarks and errors on stderr, colour and frames on a terminal only."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from lossc.ir.diagnostics import Diagnostic


def say(text: str) -> None:
    """One line, or several, of the result."""
    typer.echo(text, color=_color())


def warn(text: str) -> None:
    """A remark that is no part of the result."""
    typer.echo(text, err=True, color=_color())


def note(text: str) -> None:
    warn(f"note: {text}")


def show_diagnostic(diagnostic: Diagnostic) -> None:
    warn("\n".join(map(_colored, diagnostic.render().split("\n"))))


def say_json(data: Any) -> None:
    """JSON as every program reads it: NaN and infinities are the strings "nan", "inf" and "-inf"."""
    say(json.dumps(_plain(data), ensure_ascii=False, allow_nan=False))


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str]], on_stderr: bool = False) -> None:
    """A table: framed on a terminal, aligned columns elsewhere."""
    stream = sys.stderr if on_stderr else sys.stdout
    if stream is not None and stream.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console(file=stream).print(table)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows)]
    for row in (columns, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        (warn if on_stderr else say)(line)


def _color() -> bool | None:
    """None lets the stream decide."""
    return False if os.environ.get("NO_COLOR") else None


def _colored(line: str) -> str:
    if line.strip(" |").startswith("^"):
        return typer.style(line, fg="red")
    for severity, color in (("error[", "red"), ("warning[", "yellow")):
        head, found, rest = line.partition(severity)
        if found:
            return head + typer.style(found + rest, fg=color, bold=True)
    return line


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple, set, frozenset)):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    return data
