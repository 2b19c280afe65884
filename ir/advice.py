"""What to write instead, for a line that does not have the form of the language.

In: the tokens of the line, the first that does not fit, and what could have stood there. Out: a note, or none. Most is
for people who know other languages.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple

from lark import Token

_CHARACTERS: Mapping[str, str] = {
    "%": "a value is written %name, and a name begins with a letter or _",
    "@": "a function is written @name, and a name begins with a letter or _",
    ";": "a statement ends where its line ends",
    "#": "a comment begins with //",
    "/": "a comment begins with //, and a quotient is div %a, %b",
    "'": 'strings stand in double quotes, "mean"',
    "+": "there are no operators: a sum is add %a, %b",
    "-": "there are no operators: a difference is sub %a, %b",
    "^": "there are no operators: a power is pow %a, %b",
    "<": "there are no operators: a comparison is lt %a, %b",
    ">": "there are no operators: a comparison is gt %a, %b",
    "&": "there are no operators: both are and %a, %b",
    "?": "a size that is known at run time has a name: f32[B, 10]",
    "\u00a0": "this blank is no space",
    **dict.fromkeys("\u201c\u201d\u201e\u2018\u2019", 'strings stand in double quotes, "mean"'),
    **dict.fromkeys("\u2212\u2013\u2014", "a minus is -"),
    "|": "there are no operators: one of both is or %a, %b",
}


_DIMENSION = "a dimension is a number, a name, or a product of them: 2*B"
_TYPE = "a type has its axes in brackets: f32[B, 10], or f32[] for one number"


class _Place(NamedTuple):
    """Where a line goes wrong: `found` does not fit behind `before` and `earlier`, or is "" where the line ends too
    early. `kind` and `behind` are the kinds of tokens that `found` and `before` are."""

    first: Token
    earlier: str
    before: Token
    found: str
    kind: str
    possible: Container[str]
    in_braces: bool

    @property
    def in_head(self) -> bool:
        return self.first.type in _HEADS

    @property
    def behind(self) -> str:
        return self.before.type


_OPERANDS = ("VALUE", "INT", "FLOAT", "TRUE", "FALSE")
_HEADS = ("FUNC", "KERNEL")
_KEYWORDS = ("FUNC", "KERNEL", "PARAM", "GRADIENT", "RETURN", "IMPORT")

_RULES: tuple[tuple[Callable[[_Place], bool], str], ...] = (
    (
        lambda p: p.first in ("def", "fn", "function", "define", "module"),
        "a function begins with func: func @f(%x: f32[B])",
    ),
    (lambda p: p.first.type == "IMPORT", 'the name of the file stands in quotes: import "losses.lir"'),
    (lambda p: p.kind == "NAME" and p.behind in (*_HEADS, "GRADIENT"), "a function is written @{found}"),
    (lambda p: p.kind == "VALUE" and p.behind in _HEADS, "the name of a function begins with @: func @f(%x: f32[B])"),
    (lambda p: p.in_head and p.behind == "SYMBOL", "inputs stand in parentheses: {before}(%x: f32[B])"),
    (lambda p: p.kind == "PARAM" and p.in_head, "`param` stands before its input: param %w: f32[10]"),
    (lambda p: p.kind == "COLON" and p.in_head and "OPEN" in p.possible, "a result with a name is %{before}: f32[1]"),
    (lambda p: p.in_head and "_ARROW" in p.possible, "the types of the results stand here: -> (f32[1]) {"),
    (lambda p: p.in_head and p.behind == "VALUE", "an input has its type behind it: {before}: f32[B, 10]"),
    (lambda p: p.in_head and p.kind == "NAME" and "VALUE" in p.possible, "an input is written %name: f32[B, 10]"),
    (lambda p: p.in_head and p.kind == "VALUE" and "COMMA" in p.possible, "inputs have a comma between them"),
    (lambda p: p.kind in _KEYWORDS and p.found is not p.first, "`{found}` is a keyword"),
    (lambda p: p.behind == "NAME" and "OPEN" in p.possible, _TYPE.replace("f32", "{before}")),
    (lambda p: not p.found and p.in_head, "func @name(%x: f32[B, 10]) -> (f32[1]) {"),
    (lambda p: p.first.type == "RETURN", "return names values, without types or parentheses: return %y, %z"),
    (lambda p: p.kind == "INT" and "STAR" in p.possible, _DIMENSION),
    (lambda p: p.kind == "LPAR" and p.earlier == "call", "a function is written @{before}: call @{before}(%x)"),
    (lambda p: p.kind == "LPAR" and p.behind == "NAME", "operands stand without parentheses: {before} %x"),
    (lambda p: p.kind == "SYMBOL" and p.behind == "EQUAL", "a function is called: %y = call {found}(%x)"),
    (
        lambda p: p.kind == "VALUE" and p.behind == "SYMBOL",
        "operands of a call stand in parentheses: {before}({found})",
    ),
    (
        lambda p: p.behind == "EQUAL" and p.kind in _OPERANDS and p.first.type == "VALUE" and not p.in_braces,
        "an operation stands here, before its operands: %y = add %x, 1.0",
    ),
    (lambda p: p.in_braces and "EQUAL" in p.possible, "an attribute is written {before} = value"),
    (lambda p: p.kind in _OPERANDS and p.behind in _OPERANDS, "operands have a comma between them: {before}, {found}"),
    (
        lambda p: p.kind == "OPEN" and p.behind in _OPERANDS,
        "attributes stand in braces: reshape %x {shape = [2*B, 5]}; a part is slice %x {axis = 1, start = 0, stop = 5}",
    ),
    (
        lambda p: p.kind == "OPEN" and p.behind in ("NAME", "COMMA") and "CLOSE" not in p.possible,
        "operands stand without brackets, attributes in braces: concat %x, %y {axis = 1}",
    ),
    (lambda p: p.kind == "NAME" and p.behind in _OPERANDS, "attributes stand in braces: {axis = 1, dtype = f16}"),
    (
        lambda p: p.kind == "COLON" and p.before is p.first,
        "a type stands behind the operation: {before} = relu %x : f32[B, 10]",
    ),
    (
        lambda p: p.kind == "EQUAL" and p.behind == "VALUE",
        "a statement begins with what it defines: {before} = relu %x",
    ),
    (lambda p: p.behind == "NAME" and p.kind == "EQUAL" and p.before is p.first, "a value is written %{before}"),
    (lambda p: p.behind == "NAME" and "EQUAL" in p.possible, "a value is written %{before}"),
    (lambda p: p.kind == "STRING" and "VALUE" in p.possible, "operands are values and numbers, without quotes"),
)
"""The first rule that holds says it."""


def advice(line: Sequence[Token], found: Token | None, possible: Container[str]) -> tuple[str, ...]:
    """A note on a line that goes wrong at `found`, None where it ends too early."""
    place = len(line) if found is None else next(number for number, token in enumerate(line) if token is found)
    in_front = [token.type for token in line[:place]]
    in_braces = line[0].type == "VALUE" and "LBRACE" in in_front and "RBRACE" not in in_front
    before, earlier = line[max(0, place - 1)], line[place - 2] if place > 1 else ""
    where = _Place(line[0], earlier, before, found or "", found.type if found else "", possible, in_braces)
    text = next((text for holds, text in _RULES if holds(where)), None)
    return () if text is None else (text.replace("{before}", before).replace("{found}", where.found),)


def advice_on_character(character: str, before: Sequence[Token]) -> tuple[str, ...]:
    """A note on a character that the language does not have, behind these tokens of its line."""
    kinds = [token.type for token in before]
    if character == "<" and kinds[-2:] in (["COLON", "NAME"], ["_ARROW", "NAME"]):
        return (_TYPE,)
    if character in ("+", "-", "/") and kinds.count("OPEN") > kinds.count("CLOSE"):
        return (_DIMENSION,)
    return (_CHARACTERS[character],) if character in _CHARACTERS else ()
