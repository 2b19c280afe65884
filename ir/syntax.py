"""The grammar at work: text to tokens, and one line of tokens to a record of what it says.

In: a `Source`; then the tokens of one line (`lines.py` finds the lines). Out: an `Import`, `Head`,
`Statement`, `Return` or `Close` made of tokens, or a `LirError` that says what could have stood where the
line went wrong. Nothing is looked up here: names and types get their meaning in `parser.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedToken

from .advice import advice, advice_on_character
from .diagnostics import LirError, Source, Span
from .frozen import frozen

LONGEST_NAME = 256
KEYWORDS = ("func", "kernel", "param", "gradient", "return", "import", "true", "false", "inf", "nan")


@frozen
class TypeText:
    dtype: Token
    dims: tuple[tuple[Token, ...], ...]
    end: int


@frozen
class InputText:
    name: Token
    type: TypeText
    param: bool


@frozen
class OperandText:
    keyword: Token | None
    value: Token


@frozen
class ListText:
    """A list of dimensions (tuples of factors) and strings, between the offsets of its brackets."""

    items: tuple[tuple[Token, ...] | Token, ...]
    start: int
    end: int


@frozen
class AttributeText:
    name: Token
    value: Token | ListText | tuple[Token, ...]


@frozen
class Import:
    path: Token


@frozen
class Head:
    kind: Token
    name: Token
    inputs: tuple[InputText, ...]
    results: tuple[tuple[Token | None, TypeText], ...]
    gradient: Token | None


@frozen
class Statement:
    targets: tuple[Token, ...]
    operation: Token
    callee: Token | None
    operands: tuple[OperandText, ...]
    attributes: tuple[AttributeText, ...]
    types: tuple[TypeText, ...]


@frozen
class Return:
    values: tuple[Token, ...]


@frozen
class Close:
    pass


Record = Import | Head | Statement | Return | Close


class _Records(Transformer):
    """One method a rule of `lir.lark`. It gets the children of the rule, None for one that is left out."""

    def line(self, children: list[Any]) -> Record:
        return children[0]

    def import_(self, children: list[Any]) -> Import:
        return Import(children[0])

    def head(self, children: list[Any]) -> Head:
        kind, name, *inputs, results, gradient = children
        return Head(kind, name, _given(inputs), results, gradient)

    def kind(self, children: list[Any]) -> Token:
        return children[0]

    def input(self, children: list[Any]) -> InputText:
        param, name, type_ = children
        return InputText(name, type_, param is not None)

    def results(self, children: list[Any]) -> tuple[tuple[Token | None, TypeText], ...]:
        return tuple(child if isinstance(child, tuple) else (None, child) for child in children if child is not None)

    def result(self, children: list[Any]) -> tuple[Token | None, TypeText]:
        return children[0], children[1]

    def gradient(self, children: list[Any]) -> Token:
        return children[0]

    def statement(self, children: list[Any]) -> Statement:
        targets, (operation, callee, operands, attributes), *types = children
        return Statement(targets or (), operation, callee, operands, attributes, _given(types))

    def targets(self, children: list[Any]) -> tuple[Token, ...]:
        return tuple(children)

    def operation(self, children: list[Any]) -> tuple[Any, ...]:
        name, *operands, attributes = children
        return name, None, _given(operands), attributes or ()

    def call(self, children: list[Any]) -> tuple[Any, ...]:
        name, callee, *operands, attributes = children
        return name, callee, _given(operands), attributes or ()

    def return_(self, children: list[Any]) -> Return:
        return Return(_given(children))

    def close(self, children: list[Any]) -> Close:
        return Close()

    def operand(self, children: list[Any]) -> OperandText:
        return OperandText(children[0], children[1])

    def attributes(self, children: list[Any]) -> tuple[AttributeText, ...]:
        return _given(children)

    def attribute(self, children: list[Any]) -> AttributeText:
        return AttributeText(children[0], children[1])

    def value(self, children: list[Any]) -> Token | ListText | tuple[Token, ...]:
        return children[0]

    def product(self, children: list[Any]) -> tuple[Token, ...]:
        return tuple(children)

    def list(self, children: list[Any]) -> ListText:
        return ListText(_given(children[1:-1]), children[0].start_pos, children[-1].end_pos)

    def item(self, children: list[Any]) -> tuple[Token, ...] | Token:
        return children[0]

    def type(self, children: list[Any]) -> TypeText:
        dtype, *dims, close = children
        return TypeText(dtype, _given(dims), close.end_pos)

    def dim(self, children: list[Any]) -> tuple[Token, ...]:
        return tuple(children)

    def layout(self, children: list[Any]) -> Token:
        return children[0]


def _given(children: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(child for child in children if child is not None)


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    text = Path(__file__).with_name("lir.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", lexer="basic", start=["line", "layout"], transformer=_Records(),
                maybe_placeholders=True)  # fmt: skip


def tokens(source: Source) -> Iterator[Token]:
    """Every token of a text but blanks: also newlines, comments and what is no part of the language."""
    return iter(_grammar().lex(source.text))


def span_of(source: Source, first: Token, last: Token | None = None) -> Span:
    start, end = first.start_pos, (last or first).end_pos
    assert start is not None
    assert end is not None
    return Span(source, start, end)


def read_line(line: Sequence[Token], source: Source) -> Record:
    """What a line without comments, not empty, says. Raises LirError at the first token that does not fit."""
    parser = _grammar().parse_interactive(start="line")
    token = line[0]
    try:
        for place, token in enumerate(line):
            if token.type in _FOREIGN or (len(token) > LONGEST_NAME and _too_long(token)):
                raise _foreign(token, source, line[:place])
            parser.feed_token(token)
        return parser.feed_eof(token)
    except UnexpectedToken as error:
        possible = parser.accepts() if len(line) < 1000 else error.expected
        at_end = error.token.type == "$END"
        found = "the end of the line" if at_end else f"`{token}`"
        span = span_of(source, token)
        notes = advice(line, None if at_end else token, possible)
        raise LirError(f"expected {_phrase(possible)}, found {found}", *notes,
                       span=Span(source, span.end, span.end + 1) if at_end else span,
                       code="LIR0010") from None  # fmt: skip


_FOREIGN = ("UNTERMINATED", "UNEXPECTED")


def _too_long(token: Token) -> bool:
    return token.type != "STRING" and len(token.lstrip("%@")) > LONGEST_NAME


def _foreign(token: Token, source: Source, before: Sequence[Token]) -> LirError:
    span = span_of(source, token)
    if token.type == "UNTERMINATED":
        return LirError("a string without its closing quote", span=span, code="LIR0011")
    if token.type == "UNEXPECTED":
        return LirError(
            f"unexpected character {str(token)!a}", *advice_on_character(token, before), span=span, code="LIR0011"
        )
    return LirError(f"a name or number of {len(token)} characters; at most {LONGEST_NAME} are allowed",
                    span=span, code="LIR0013")  # fmt: skip


_TERMINALS = {
    "VALUE": "a value (%name)", "SYMBOL": "a function (@name)", "NAME": "a name", "INT": "an integer",
    "FLOAT": "a number", "STRING": "a string", "COMMA": "`,`", "EQUAL": "`=`", "COLON": "`:`", "STAR": "`*`",
    "LPAR": "`(`", "RPAR": "`)`", "OPEN": "`[`", "CLOSE": "`]`", "LBRACE": "`{`", "RBRACE": "`}`",
    "_ARROW": "`->`",
}  # fmt: skip

_GROUPS = (
    ({"INT", "FLOAT", "TRUE", "FALSE", "STRING", "NAME", "OPEN"}, "the value of an attribute"),
    ({"INT", "FLOAT", "TRUE", "FALSE", "VALUE", "NAME"}, "an operand"),
    ({"INT", "FLOAT", "TRUE", "FALSE", "VALUE"}, "a value (%name) or a number"),
    ({"INT", "NAME", "STRING"}, "a dimension or a string"),
    ({"INT", "NAME"}, "a dimension"),
)


def _phrase(terminals: set[str]) -> str:
    """`{"COMMA", "RPAR"}` as "`)` or `,`"."""
    if {"FUNC", "RETURN"} <= terminals:
        return "a statement, `return`, `}`, `func`, `kernel` or `import`"
    words = []
    if "COMMA" in terminals:
        terminals = terminals - {"STAR"}  # a product could go on nearly everywhere: it is no advice
    for group, phrase in _GROUPS:
        if group <= terminals:
            terminals = terminals - group
            words.append(phrase)
    words += sorted(_TERMINALS.get(name, f"`{name.lower()}`") for name in terminals - {"$END"})
    words += ["the end of the line"] * ("$END" in terminals)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
