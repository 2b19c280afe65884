"""The canonical layout of a text as its author wrote it: names, literals, imports and comments stay.

In: LIR text whose lines and braces are well formed (what they say is not looked at). Out: the same text with two
spaces before statements, one statement a line, at most one blank line in a row, and heads that are too long
split one input a line: the layout that the printer has. A comment between the inputs of a head stays at its
input, one inside a statement moves above it. Formatting twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lark import Token

from .diagnostics import Source
from .drafts import check_lines
from .lines import Line, lines
from .printer import HEADER, head_lines

_CLOSERS = ("RPAR", "CLOSE", "RBRACE")


def format_text(text: str, name: str = "<text>") -> str:
    """The text in canonical layout. Raises LirError, with all mistakes, where lines or braces are not well formed."""
    source = Source(name, text.removeprefix("\ufeff"))
    check_lines(source)
    layout = _Layout()
    for line in lines(source):
        layout.add(line, [token for token in line if token.type != "COMMENT"])
    return "".join(f"{row}\n" for row in layout.rows)


class _Layout:
    """The rows laid out so far."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.inside = False
        self.end_line = 0
        self.last = ""  # what the last row is: "head", "close", "import", "comment", "header" or "statement"

    def add(self, line: Line, code: list[Token]) -> None:
        if not code:
            for comment in line:
                self.add_comment(comment)
            return
        comments = [token for token in line if token.type == "COMMENT"]
        kind = {"FUNC": "head", "KERNEL": "head", "RBRACE": "close", "IMPORT": "import"}.get(code[0].type, "statement")
        if kind == "head":
            self.begin(kind, code[0])
            self.rows += _head(line)
        else:
            if kind == "close":
                self.inside = False
            inner = [comment for comment in comments if (comment.start_pos or 0) < (code[-1].start_pos or 0)]
            trailing = [_text(comment) for comment in comments if comment not in inner]
            for comment in inner:
                self.begin("comment", code[0])
                self.rows.append(self.indent + _text(comment))
                self.end_line = code[0].line or 0
            self.begin(kind, code[0])
            self.rows.append("  ".join([self.indent + _join(code), *trailing]))
        self.inside = self.inside or kind == "head"
        self.end_line = line[-1].end_line or 0

    def add_comment(self, comment: Token) -> None:
        if self.rows and comment.line == self.end_line and self.last != "comment":
            self.rows[-1] += f"  {_text(comment)}"
            return
        self.begin("header" if not self.rows and _text(comment) == HEADER else "comment", comment)
        self.rows.append(self.indent + _text(comment))
        self.end_line = comment.line or 0

    def begin(self, kind: str, token: Token) -> None:
        """A blank line where the author or the layout wants one."""
        wanted = (token.line or 0) > self.end_line + 1 and not (self.last == "head" or kind == "close")
        always = self.last == "close" or (kind == "head" and self.last != "comment")
        always = always or (self.last == "header" and kind != "comment")
        if self.rows and (wanted or always):
            self.rows.append("")
        self.last = kind

    @property
    def indent(self) -> str:
        return "  " if self.inside else ""


@dataclass
class _Item:
    """One input of a head, with comments at the end of its line and on lines before and behind it."""

    code: list[Token] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


def _head(line: Line) -> list[str]:
    """`func @f(` inputs `) -> (types) {`: on one line, or split where it is too long or has comments."""
    opening = next(position for position, token in enumerate(line) if token.type == "LPAR")
    closing = next(position for position, token in enumerate(line) if token.type == "RPAR")
    prefix, inside, suffix = line[: opening + 1], line[opening + 1 : closing], line[closing:]
    opened = [_text(token) for token in prefix if token.type == "COMMENT"]
    items, end_line = [_Item()], prefix[-1].end_line
    depth = 0
    previous = None
    for token in inside:
        if token.type == "COMMENT" and token.line == end_line:
            (previous.after if previous else items[-1].after if items[-1].code else opened).append(_text(token))
        elif token.type == "COMMENT":
            (items[-1].behind if items[-1].code else items[-1].before).append(_text(token))
        else:
            end_line = token.end_line
            depth += (token.type == "OPEN") - (token.type == "CLOSE")
            if token.type == "COMMA" and depth == 0:
                previous = items[-1]
                items.append(_Item())
            else:
                previous = None
                items[-1].code.append(token)
    rest = [token for token in suffix if token.type != "COMMENT"]
    tail = _join(_with_parentheses(rest), 1)
    start = _join([token for token in prefix if token.type != "COMMENT"])
    if not opened and not any(item.before or item.after or item.behind for item in items):
        rows = head_lines(start, [_join(item.code, 1) for item in items if item.code], tail)
    else:
        rows = ["  ".join([start, *opened])]
        for item in items:
            rows += [f"    {comment}" for comment in item.before]
            rows += ["  ".join([f"    {_join(item.code, 1)},", *item.after])] if item.code else []
            rows += [f"    {comment}" for comment in item.behind]
        rows.append(tail)
    rows[-1] = "  ".join([rows[-1], *(_text(token) for token in suffix if token.type == "COMMENT")])
    return rows


def _with_parentheses(suffix: Sequence[Token]) -> list[Token]:
    """`) -> f32[1] {` as `) -> (f32[1]) {`."""
    if suffix[2].type == "LPAR":
        return list(suffix)
    end = next(position for position, token in enumerate(suffix) if token.type == "CLOSE") + 1
    return [*suffix[:2], Token("LPAR", "("), *suffix[2:end], Token("RPAR", ")"), *suffix[end:]]


def _text(comment: Token) -> str:
    return str(comment).rstrip()


def _join(code: Sequence[Token], depth: int = 0) -> str:
    """Tokens with the printer's blanks between them, without commas before closing brackets.

    `depth` counts the parentheses open at the start: a colon inside them has no blank before it.
    """
    parts: list[str] = []
    previous = None
    for position, token in enumerate(code):
        following = code[position + 1].type if position + 1 < len(code) else ""
        if token.type == "COMMA" and following in _CLOSERS:
            continue
        if previous is not None and _apart(previous, token.type, depth):
            parts.append(" ")
        parts.append(token)
        depth += (token.type == "LPAR") - (token.type == "RPAR")
        previous = token.type
    return "".join(parts)


def _apart(left: str, right: str, depth: int) -> bool:
    if right in ("COMMA", "STAR", *_CLOSERS) or left in ("LPAR", "OPEN", "STAR", "LBRACE"):
        return False
    if right == "LPAR":
        return left != "SYMBOL"
    if right == "OPEN":
        return left != "NAME"
    return right != "COLON" or depth == 0
