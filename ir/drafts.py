"""From files to drafts: the lines of each function, before anything in them is looked up.

In: a text and the folder that its imports are relative to. Out: one `Draft` a function, also of the
imported files, and in `Problems` whatever is wrong with lines, braces and files. A line that is wrong
becomes `Broken` and the next one is read as if nothing had happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lark import Token

from .call_graph import MOST_OPERATIONS, depth_first
from .diagnostics import Diagnostic, LirError, LosscError, Source, Span
from .frozen import frozen
from .lines import LARGEST_TEXT, Line, lines
from .literals import string
from .syntax import Close, Head, Import, Return, Statement, read_line, span_of

MOST_PROBLEMS = 100
MOST_BEFORE_A_FUNCTION = 5
"""Nothing but comments and imports stands there: what has more mistakes is probably another kind of file."""
LANGUAGE_VERSION = 1
_NO_TEXT: Mapping[str, tuple[str, ...]] = {".json": ("is it JSON?",), ".cl": (), ".txt": ()}
"""What to ask where a file is no text, by what its name says it is."""


@frozen
class Broken:
    """A line that is no statement; the names on its left are known to exist, and whether it is to be a `return`."""

    targets: tuple[Token, ...] = ()
    returns: bool = False


@dataclass
class Draft:
    """The lines of a function. `head` is None where the head itself is broken."""

    source: Source
    span: Span
    imported: bool
    head: Head | None = None
    name: str | None = None
    lines: list[tuple[Statement | Return | Broken, Span]] = field(default_factory=list)
    closed: bool = False


class TooManyErrors(Exception):
    """Ends the reading of a text that is beyond help."""


class Problems:
    """The diagnostics found so far."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def add(self, error: LosscError) -> None:
        self.extend(error.diagnostics)

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.found += diagnostics
        if len(self.found) >= MOST_PROBLEMS:
            last = self.found[MOST_PROBLEMS - 1].span
            self.found[MOST_PROBLEMS:] = [Diagnostic("LIR0016", f"stopped after {MOST_PROBLEMS} errors", last)]
            raise TooManyErrors


@dataclass
class _File:
    source: Source
    folder: Path | None
    imports: list[tuple[Path, Span]] = field(default_factory=list)


def read_drafts(text: Source, folder: Path | None, problems: Problems) -> list[Draft]:
    """The functions of a text, then those of the files that it imports, each file once."""
    main = _File(text, folder)
    # The main text may have no path; it is a file among the others under a name that no file has.
    files: dict[Path, _File] = {(folder / Path(text.name).name).resolve() if folder else Path(): main}
    drafts: list[Draft] = []
    waiting = list(files.values())
    for file in waiting:
        drafts += _read_file(file, file is not main, problems)
        for path, span in file.imports:
            if path.resolve() in files:
                continue
            try:
                files[path.resolve()] = imported = _File(file_source(path, span), path.parent)
                waiting.append(imported)
            except LirError as error:
                problems.add(error)
    _refuse_cycles(files, problems)
    return drafts


def check_lines(source: Source) -> None:
    """Raise LirError with whatever is wrong with the lines and braces of one text; its imports are not followed."""
    problems = Problems()
    try:
        for _ in _read_file(_File(source, Path()), False, problems):
            pass
    except TooManyErrors:
        pass
    if problems.found:
        raise LirError(problems.found)


def file_source(path: Path, span: Span | None = None) -> Source:
    """The text of a file. Raises LirError, at `span`, for one that cannot be read."""
    problem, note = "", ()
    try:
        if not path.exists():
            problem = "there is no such file"
        elif not path.is_file():
            problem = "it is not a file"
        elif path.stat().st_size > LARGEST_TEXT:
            problem, note = f"it has more than {LARGEST_TEXT} bytes", ("split the file",)
        else:
            return Source(str(path), path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problem, note = f"byte {error.start} is not UTF-8 text", _NO_TEXT.get(path.suffix, ("is it a .lir file?",))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    raise LirError(f"cannot read {str(path)!r}: {problem}", *note, span=span, code="LIR0015")


def _read_file(file: _File, imported: bool, problems: Problems) -> Iterator[Draft]:
    source = file.source
    draft: Draft | None = None
    stray = False
    before, begun = len(problems.found), False
    try:
        _check_version(source)
        for line in lines(source):
            code = [token for token in line if token.type != "COMMENT"]
            if not code:
                continue
            span = span_of(source, code[0], code[-1])
            try:
                record = read_line(code, source)
            except LirError as error:
                problems.add(error)
                record = _broken(code)
            begins = code[0].type in ("FUNC", "KERNEL")
            begun = begun or begins
            if not begun and len(problems.found) - before >= MOST_BEFORE_A_FUNCTION:
                problems.found.append(_another_kind_of_file(source, problems.found[-1].span))
                raise TooManyErrors
            if draft and (begins or isinstance(record, Import)):
                _refuse_open(draft, code[0], problems)
                draft = None
            if begins:
                draft = Draft(source, span, imported, record if isinstance(record, Head) else None, _name(code))
                yield draft
            elif isinstance(record, Import):
                _import(record, file, problems)
            elif isinstance(record, Close) and draft:
                draft.closed, draft = True, None
            elif isinstance(record, (Statement, Return, Broken)) and draft:
                draft.lines.append((record, span))
                if len(draft.lines) > MOST_OPERATIONS:
                    raise LirError(f"a function of more than {MOST_OPERATIONS:,} operations", span=draft.span,
                                   code="LIR0013")  # fmt: skip
            else:
                if not isinstance(record, Broken) and not stray:
                    problems.add(LirError("this stands outside of any function", "a statement stands between "
                                          "`func @name(...) -> (...) {` and `}`", span=span,
                                          code="LIR0010"))  # fmt: skip
                stray = True
                continue
            stray = False
    except LirError as error:
        problems.add(error)
    if draft:
        _refuse_open(draft, None, problems)


def _another_kind_of_file(source: Source, span: Span | None) -> Diagnostic:
    ways = ("a program begins with func @name(...) -> (...) {",)
    if source.name.endswith(".py"):
        ways = (*ways, "a graph that is built in Python is run by python")
    stopped = f"{source.name} does not look like LIR: stopped after {MOST_BEFORE_A_FUNCTION} errors"
    return Diagnostic("LIR0016", stopped, span, notes=ways)


def _broken(code: Line) -> Broken:
    """The names before `=`, so that their uses do not count as mistakes."""
    targets = []
    for token in code:
        if token.type == "EQUAL":
            return Broken(tuple(targets))
        if token.type not in ("VALUE", "COMMA"):
            break
        if token.type == "VALUE":
            targets.append(token)
    return Broken(returns=code[0].type == "RETURN")


def _name(code: Line) -> str | None:
    return str(code[1])[1:] if len(code) > 1 and code[1].type == "SYMBOL" else None


def _refuse_open(draft: Draft, found: Token | None, problems: Problems) -> None:
    if draft.head is None:
        return
    before = f" before this `{found}`" if found is not None else ""
    problems.add(LirError(f"the function @{draft.name} has no closing `}}`{before}",
                          span=span_of(draft.source, found) if found is not None else draft.span,
                          labels=[(draft.span, "it begins here")] if found is not None else (),
                          code="LIR0010"))  # fmt: skip


def _check_version(source: Source) -> None:
    version = re.match(r"//[ \t]*lir[ \t]+(\S{1,20})[ \t\r]*(?:\n|\Z)", source.text)
    if version and version[1] != str(LANGUAGE_VERSION):
        raise LirError(f"this text is in version {version[1]} of the language; this lossc reads version "
                       f"{LANGUAGE_VERSION}", "a later lossc reads it", code="LIR0014",
                       span=Span(source, version.start(1), version.end(1)))  # fmt: skip


def _import(record: Import, file: _File, problems: Problems) -> None:
    span = span_of(file.source, record.path)
    try:
        name = string(record.path, file.source)
        if file.folder is None:
            raise LirError(
                "a text that is not a file has no folder to import from",
                "load it from a file",
                span=span,
                code="LIR0015",
            )
        if Path(name).is_absolute() or "\\" in name or not name.endswith(".lir"):
            raise LirError(
                f"cannot import {name!r}: expected a relative path that ends in .lir, with /",
                span=span,
                code="LIR0015",
            )
        path = file.folder / name
        path.resolve()  # a name that is no path at all, such as one with a zero character, fails here
        file.imports.append((path, span))
    except LirError as error:
        problems.add(error)
    except (OSError, ValueError, RuntimeError) as error:
        problems.add(LirError(f"cannot import {record.path}: {error}", span=span, code="LIR0015"))


def _refuse_cycles(files: dict[Path, _File], problems: Problems) -> None:
    _, cycle = depth_first({key: [path.resolve() for path, _ in file.imports] for key, file in files.items()})
    if cycle:
        last = files[cycle[-1]]
        span = next(span for path, span in last.imports if path.resolve() == cycle[0])
        way = " imports ".join(files[key].source.name for key in [*cycle, cycle[0]])
        problems.add(LirError(f"a cycle of imports: {way}", span=span, code="LIR0015"))
