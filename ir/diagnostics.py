"""Errors as data: where, what was expected, what was found, what to try.

In: spans made by the parser (or none, for graphs built in Python). Out: `Diagnostic`s, and the four
exceptions that carry them. `LirError` is the user's mistake (`CheckFailed` where it lies in the data), `Limitation` is
something lossc does not do (it names the way round), `CompilerBug` is ours, `DeviceError` is the device's or its
driver's.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any

from .frozen import frozen


@frozen
class Source:
    """One text that was read: `name` is what messages call it, usually the file's path."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(newline.end() for newline in re.finditer("\n", self.text))]

    def line_column(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        if not 0 < number <= len(self._starts):
            return ""
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[self._starts[number - 1] : end].rstrip("\r\n")


@frozen
class Span:
    """The characters `start` (inclusive) to `end` (exclusive) of a source."""

    source: Source
    start: int
    end: int

    def __str__(self) -> str:
        line, column = self.source.line_column(self.start)
        return f"{self.source.name}:{line}:{column}"


@frozen
class Diagnostic:
    """One finding. `labels` are further places with a word on each; `notes` say what to try.

    `about` is the attribute or operand that it is about, for whoever can place it more exactly.
    """

    code: str
    message: str
    span: Span | None = None
    labels: tuple[tuple[Span, str], ...] = ()
    notes: tuple[str, ...] = ()
    severity: str = "error"
    about: str = ""

    def render(self) -> str:
        """The message as people read it: place, line, caret span, notes."""
        head = f"{self.severity}[{self.code}]: {self.message}"
        parts = [f"{self.span}: {head}" if self.span else head]
        if self.span:
            parts += _excerpt(self.span)
        for span, text in self.labels:
            parts += [f"  {span}: {text}", *_excerpt(span)]
        parts += [f"  = {note}" for note in self.notes]
        return "\n".join(parts)


def _excerpt(span: Span) -> list[str]:
    line_number, column = span.source.line_column(span.start)
    line = span.source.line(line_number)
    if len(line) > 200:
        return []
    before, marked = line[: column - 1], line[column - 1 : column - 1 + span.end - span.start]
    gutter = " " * len(str(line_number))
    indent = "".join("\t" if character == "\t" else " " * _columns(character) for character in before)
    carets = "^" * max(1, sum(map(_columns, marked)))
    shown = "".join(map(_printable, line))
    return [f"{line_number} | {shown}".rstrip(), f"{gutter} | {indent}{carets}"]


def _columns(character: str) -> int:
    """How many columns a terminal gives a character."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _printable(character: str) -> str:
    # Control characters and bidirectional marks could rewrite the terminal or hide what the text says.
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs") and character != "\t"
    return "\ufffd" if hidden else character


class LosscError(Exception):
    """Base of everything lossc raises on purpose; `diagnostics` holds at least one finding."""

    code = "LIR0000"

    def __init__(
        self, problem: str | Diagnostic | Sequence[Diagnostic], *notes: str,
        span: Span | None = None, code: str | None = None, about: str = "", labels: Sequence[tuple[Span, str]] = (),
    ):  # fmt: skip
        if isinstance(problem, str):
            problem = Diagnostic(code or self.code, problem, span, tuple(labels), notes, about=about)
        self.diagnostics = (problem,) if isinstance(problem, Diagnostic) else tuple(problem)
        super().__init__("\n".join(diagnostic.render() for diagnostic in self.diagnostics))

    def at(self, span: Span | None) -> LosscError:
        """The same error, placed at `span` where it had no place yet."""
        return type(self)([placed(diagnostic, span) for diagnostic in self.diagnostics])


def placed(diagnostic: Diagnostic, span: Span | None) -> Diagnostic:
    """The same finding, at `span` where it had no place yet."""
    return diagnostic if diagnostic.span or span is None else replace(diagnostic, span=span)


class LirError(LosscError, ValueError):
    """The user's mistake, in LIR text, in a graph built in Python, or in what was passed to a program."""

    code = "LIR0001"


@frozen
class FailedCheck:
    """One check that data broke: its code (`label`, `probability`, ...), the first index where, and the value there,
    None where the program does not keep it. `input` is the name of the input that the value is an element of, None
    where it was computed."""

    code: str
    index: tuple[int, ...]
    value: Any
    diagnostic: Diagnostic
    input: str | None = None


class CheckFailed(LirError):
    """Data that a program refuses at run time, such as a label out of range. No result was handed out, no parameter
    touched, and the program can be called again.

    `code`, `index`, `row` (the first axis of `index`) and `value` are those of the first failed check; `failures` has
    all of them.
    """

    def __init__(self, failures: Sequence[FailedCheck]):
        super().__init__([failure.diagnostic for failure in failures])
        self.failures = tuple(failures)
        self.code, self.index, self.value = failures[0].code, failures[0].index, failures[0].value
        self.row = self.index[0] if self.index else 0

    def at(self, span: Span | None) -> CheckFailed:
        return CheckFailed([replace(f, diagnostic=placed(f.diagnostic, span)) for f in self.failures])

    def __reduce__(self) -> tuple[Any, ...]:
        return CheckFailed, (self.failures,)


class Limitation(LosscError):
    """A thing lossc does not do (yet), with the way round it."""

    code = "LIR0002"


class CompilerBug(LosscError):
    """An invariant of lossc that does not hold: never the user's fault."""

    code = "LIR0003"


class DeviceError(LosscError, RuntimeError):
    """No device, a device that refuses, or a driver that fails."""

    code = "LIR0004"


def did_you_mean(word: str, known: Iterable[str], sigil: str = "") -> tuple[str, ...]:
    """A note naming the nearest known word, or nothing. `sigil` stands before names in a text, `%` or `@`."""
    known = list(known)
    close = [other for other in known if other.lower() == word.lower()]
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return (f"did you mean `{sigil}{close[0]}`?",) if close else ()
