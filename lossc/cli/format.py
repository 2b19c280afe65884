"""`lossc fmt`: the canonical layout of .lir files."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from lossc.ir.diagnostics import LosscError
from lossc.ir.format import format_text

from .console import say, warn
from .exits import WRONG_INPUT, Failed, status_of
from .files import write_file
from .programs import STDIN, read_source


def fmt(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help=".lir files; - goes from stdin to stdout.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; status 1 if a file would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
) -> None:
    """Lay out .lir files in place. Comments and names stay."""
    status = 0
    for file in files:
        try:
            if _format(file, check, diff) and check:
                status = WRONG_INPUT
        except LosscError as error:
            status = status_of(error)
    if status:
        raise Failed(status)


def _format(file: str, check: bool, diff: bool) -> bool:
    """Lay out one file; whether that changes it."""
    source = read_source(file)
    formatted = format_text(source.text, source.name)
    changes = formatted != source.text
    if diff:
        lines = difflib.unified_diff(source.text.splitlines(), formatted.splitlines(), source.name, source.name,
                                     "as it is", "formatted", lineterm="")  # fmt: skip
        for line in lines:
            say(line)
    if check:
        if changes:
            warn(f"would change: {source.name}")
    elif not diff and file == STDIN:
        typer.echo(formatted, nl=False)
    elif not diff and changes:
        write_file(Path(file), formatted)
    return changes
