"""What is written out in a text: numbers, strings, dimensions, types and the values of attributes.

In: tokens and the records of `syntax.py`. Out: plain Python values and `Type`s, or a `LirError` at the very
place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from lark import Token

from .diagnostics import LirError, LosscError, Source, Span
from .frozen import frozen
from .syntax import ListText, TypeText, span_of
from .types import DimLike, Type, multiply_dims, named
from .verify import check_type


@frozen
class Word:
    """A bare word as the value of an attribute: an element type, or a mistake."""

    text: str

    def __str__(self) -> str:
        return self.text


def integer(token: Token, source: Source) -> int:
    # At most 19 digits reach int(), which refuses thousands of them.
    digits = token.lstrip("-").lstrip("0") or "0"
    value = int(digits) if len(digits) <= 19 else 2**64
    value = -value if token.startswith("-") else value
    if not -(2**63) <= value < 2**63:
        raise LirError("an integer beyond 64 bits", "write a float, 1e30, where one is meant",
                       span=span_of(source, token), code="LIR0012")  # fmt: skip
    return value


def number(token: Token, source: Source) -> int | float | bool:
    """A scalar literal: `2`, `-0.5`, `inf`, `true`."""
    if token.type == "INT":
        return integer(token, source)
    if token.type != "FLOAT":
        return token.type == "TRUE"
    value = float(token)
    if math.isinf(value) and "inf" not in token:
        raise LirError("a number beyond the range of float64", "write `inf` where infinity is meant",
                       span=span_of(source, token), code="LIR0012")  # fmt: skip
    return value


def string(token: Token, source: Source) -> str:
    try:
        return json.loads(token, strict=False)
    except json.JSONDecodeError as error:
        start = (token.start_pos or 0) + error.pos
        raise LirError(
            "an escape that a string does not know",
            r"the escapes are \" \\ \/ \b \f \n \r \t \u0000",
            span=Span(source, start, start + 1),
            code="LIR0011",
        ) from None


def dimension(factors: Sequence[Token], source: Source) -> DimLike:
    dims = [integer(token, source) if token.type == "INT" else named(str(token)) for token in factors]
    dim = multiply_dims(dims)
    if len(factors) > 1 and any(isinstance(factor, int) and factor < 0 for factor in dims):
        raise LirError("a dimension has no negative factor", span=span_of(source, factors[0], factors[-1]),
                       code="LIR0034")  # fmt: skip
    return dim


def read_type(text: TypeText, source: Source) -> Type:
    """A type within the limits of the language."""
    type_ = Type(str(text.dtype), tuple(dimension(factors, source) for factors in text.dims))
    try:
        check_type(type_)
    except LosscError as error:
        raise error.at(type_span(text, source)) from None
    return type_


def type_span(text: TypeText, source: Source) -> Span:
    return Span(source, span_of(source, text.dtype).start, text.end)


def attribute_value(value: Token | ListText | tuple[Token, ...], source: Source) -> Any:
    """A Python value; which kind the attribute takes is checked with the operation."""
    if isinstance(value, ListText):
        return [string(item, source) if isinstance(item, Token) else dimension(item, source) for item in value.items]
    if isinstance(value, tuple):
        return dimension(value, source)
    if value.type == "STRING":
        return string(value, source)
    if value.type == "NAME":
        return None if value == "none" else Word(str(value))
    return number(value, source)
