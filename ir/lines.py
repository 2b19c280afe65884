"""Where a line of LIR ends.

In: a `Source`. Out: lists of tokens, comments included, one list a line; `parser.py` gives each to the
grammar, `format.py` lays it out again. A line ends at its end unless a bracket is open, the line ends in a
comma, `=`, `:`, `*` or `->`, or the next line begins with one of those or with `{`. An opening brace after
`func` or `kernel` ends a line, and so does a brace that closes a function. Whatever was left open, the
start of a statement that cannot be mistaken ends it, so that a forgotten bracket spoils one statement and
not the rest of the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token

from .diagnostics import LirError, Source
from .syntax import span_of, tokens

LARGEST_TEXT = 16 * 2**20
MOST_TOKENS_IN_A_LINE = 1_000_000

Line = list[Token]

_CLOSER = {"LPAR": "RPAR", "OPEN": "CLOSE", "LBRACE": "RBRACE"}
_INFIX = {"COMMA", "EQUAL", "COLON", "STAR", "_ARROW"}
_HEADS = {"FUNC", "KERNEL"}
# Two tokens that stand side by side nowhere but at the start of a statement: `%a =`, `check %ok`, `call @f`.
_STARTS = {("VALUE", "EQUAL"), ("NAME", "VALUE"), ("NAME", "SYMBOL")}


def lines(source: Source) -> Iterator[Line]:
    """The lines of a text. A comment on lines of its own is a line, one between tokens belongs to theirs."""
    if len(source.text) > LARGEST_TEXT or len(source.text.encode("utf-8", "replace")) > LARGEST_TEXT:
        raise LirError(f"{source.name} has more than {LARGEST_TEXT} bytes", "split the file", code="LIR0013")
    line: Line = []
    brackets: list[str] = []
    for row in _rows(source):
        if line and not _continues(line, brackets, row):
            yield line
            line, brackets = [], []
        for token in row:
            ends_function = token.type == "RBRACE" and "LBRACE" not in brackets
            if ends_function and line:
                yield line
                line, brackets = [], []
            line.append(token)
            if ends_function or (token.type == "LBRACE" and line[0].type in _HEADS and not brackets):
                yield line
                line, brackets = [], []
            elif token.type in _CLOSER:
                brackets.append(token.type)
            elif brackets and token.type in ("RPAR", "CLOSE", "RBRACE"):
                _close(brackets, token.type)
            if len(line) > MOST_TOKENS_IN_A_LINE:
                raise LirError(f"a line of more than {MOST_TOKENS_IN_A_LINE} tokens", code="LIR0013",
                               span=span_of(source, line[0]))  # fmt: skip
    if line:
        yield line


def _rows(source: Source) -> Iterator[list[Token]]:
    """The tokens between one newline and the next."""
    row: list[Token] = []
    for token in tokens(source):
        if token.type != "NEWLINE":
            row.append(token)
        elif row:
            yield row
            row = []
    if row:
        yield row


def _close(brackets: list[str], closer: str) -> None:
    """Take the matching bracket away, and for a brace what was left open inside it."""
    if closer == "RBRACE":
        while brackets[-1] != "LBRACE":
            brackets.pop()
    if _CLOSER[brackets[-1]] == closer:
        brackets.pop()


def _only_targets(line: Line) -> bool:
    """Whether a line is the beginning of `%a, %b = ...`."""
    return all(token.type in ("VALUE", "COMMA", "COMMENT") for token in line)


def _continues(line: Line, brackets: list[str], row: list[Token]) -> bool:
    """Whether `row` belongs to `line`."""
    first, second = row[0].type, row[1].type if len(row) > 1 else ""
    last = next((token.type for token in reversed(line) if token.type != "COMMENT"), "")
    if first in ("RETURN", "IMPORT", *_HEADS):
        return False
    if (first, second) in _STARTS:
        return (last == "EQUAL" and first == "NAME") or (last == "COMMA" and _only_targets(line))
    if brackets or last in _INFIX:
        return True
    if line[0].type in _HEADS and first in ("COMMENT", "GRADIENT"):
        return True
    return line[0].type != "COMMENT" and (first in _INFIX or first == "LBRACE")
