"""LIR text to a verified module, or every mistake in it at once.

In: a text or the path of a file, with the files that it imports. Out: a `Module` that `verify` has nothing against, or
one `LirError` with all diagnostics in the order of the text. `drafts.py` has grouped the lines by function; here
names get their meaning, and each statement becomes an `Op`. A value whose statement is wrong is poisoned: what is
computed from it is unknown too and says nothing, so that one mistake is reported once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from .diagnostics import Diagnostic, LirError, LosscError, Source, did_you_mean
from .drafts import Draft, Problems, TooManyErrors, file_source, read_drafts
from .function import Function, Module, Value
from .literals import read_type, type_span
from .statements import Body
from .syntax import Head, span_of
from .verify import verify, verify_function


def parse(text: str, name: str = "<text>", directory: str | os.PathLike[str] | None = None) -> Module:
    """The module that a text describes. Raises LirError with all of its mistakes.

    `name` is what messages call the text. Imports are relative to `directory`; without one they are refused.
    """
    return _module(Source(name, text.removeprefix("\ufeff")), None if directory is None else Path(directory))


def load(path: str | os.PathLike[str]) -> Module:
    """The module in a file. Raises LirError with all of its mistakes, or because it cannot be read."""
    return _module(file_source(Path(path)), Path(path).parent)


def _module(source: Source, folder: Path | None) -> Module:
    problems = Problems()
    drafts: list[Draft] = []
    try:
        drafts = read_drafts(source, folder, problems)
        signatures = _signatures(drafts, problems)
        bodies = {name: Body(draft, function, signatures, problems) for name, (draft, function) in ...}
    except TooManyErrors:
        pass
    return Module({})
