"""What stands behind the name of an operation: keyword operands and the attributes in braces.

In: the records of a statement and the definition of its operation. Out: operands in the order of the
definition and attributes as Python values, or a `LirError` with what is wrong. Kinds and ranges are checked
with the operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .composites import Composite, bind_operands
from .diagnostics import Diagnostic, LirError, LosscError, Source, Span
from .function import Value
from .literals import Word, attribute_value
from .ops import Attribute, OpDef
from .syntax import AttributeText, ListText, OperandText, span_of
from .types import named


def read_attributes(
    texts: Sequence[AttributeText], specification: Mapping[str, Attribute], source: Source
) -> dict[str, Any]:
    """The attributes of a statement by name. Raises LirError for all that have no value at all."""
    found: dict[str, Any] = {}
    problems: list[Diagnostic] = []
    for text in texts:
        name = str(text.name)
        try:
            if name in found:
                raise LirError(f"the attribute `{name}` is given twice", code="LIR0023")
            if name == "operands":
                raise LirError("operands are named where they stand: weight = %w", code="LIR0023")
            value = attribute_value(text.value, source)
            attribute = specification.get(name)
            if attribute is not None and attribute.kind == "dtype":
                # An element type is a word: in quotes it is the list of one string that nothing accepts.
                value = value.text if isinstance(value, Word) else [value]
            if attribute is not None and attribute.kind == "dim" and isinstance(value, Word):
                value = named(value.text)
            found[name] = value
        except LosscError as error:
            problems += error.at(attribute_span(text, source)).diagnostics
    if problems:
        raise LirError(problems)
    return found


def attribute_span(text: AttributeText, source: Source) -> Span:
    last = text.value[-1] if isinstance(text.value, tuple) else text.value
    end = last.end if isinstance(last, ListText) else span_of(source, last).end
    return Span(source, span_of(source, text.name).start, end)


def bind_keywords(
    definition: OpDef | Composite, texts: Sequence[OperandText], values: Sequence[Value]
) -> tuple[list[Value], dict[str, Any]]:
    """The operands in the order of the definition, and the attribute that names them if one is left out."""
    keywords = [str(text.keyword) for text in texts if text.keyword is not None]
    if not keywords:
        return list(values), {}
    if not isinstance(definition, Composite):
        raise LirError(f"`{definition.name}` takes operands by position", code="LIR0025", about=keywords[0])
    parameters = [operand.rstrip("?") for operand in definition.operands]
    positional = len(values) - len(keywords)
    if any(text.keyword is not None for text in texts[:positional]):
        raise LirError("operands by position come before operands by keyword", code="LIR0025")
    names = bind_operands(definition, len(values), [*parameters[:positional], *keywords])
    given = dict(zip(names, values))
    ordered = [name for name in parameters if name in given]
    left_out = ordered != parameters[: len(ordered)]
    return [given[name] for name in ordered], {"operands": tuple(ordered)} if left_out else {}
