"""What stands behind the name of an operation: operands, also literals and keywords, and the attributes in braces.

In: the records of a statement and the definition of its operation. Out: values in the order of the definition, the
constants that literals become, and attributes as Python values; or a `LirError` with what is wrong. Kinds and ranges
are checked with the operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lark import Token

from .composites import Composite, bind_operands, make_op
from .diagnostics import Diagnostic, LirError, LosscError, Source, Span
from .function import Function, Op, Value
from .literals import Word, attribute_value, number
from .ops import Attribute, OpDef
from .signature import check_input_count, names_of_dimensions, substitute, unify
from .syntax import AttributeText, ListText, OperandText, span_of
from .types import Type, named


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


def numbers_as_attributes(
    definition: OpDef | Composite, texts: Sequence[OperandText], operands: Sequence[Value | Token], source: Source
) -> tuple[list[OperandText], list[Value | Token], dict[str, Any]]:  # fmt: skip
    """Literals that stand for an operand which may be an attribute as that, such as a margin; what comes after
    them goes by its name."""
    parameters = [operand.rstrip("?") for operand in definition.operands]
    if not isinstance(definition, Composite) or len(texts) > len(parameters):
        return [*texts], [*operands], {}
    left, rest, numbers = [], [], {}
    for position, (text, operand) in enumerate(zip(texts, operands)):
        name = parameters[position] if text.keyword is None else str(text.keyword)
        if isinstance(operand, Token) and name in definition.attributes:
            numbers[name] = number(operand, source)
            continue
        if numbers and text.keyword is None:
            text = replace(text, keyword=Token.new_borrow_pos("NAME", name, text.value))
        left.append(text)
        rest.append(operand)
    return left, rest, numbers


def typed_by_tensors(
    operands: Sequence[Value | Token], otherwise: str | None, source: Source, ops: list[Op]
) -> list[Value]:
    """Literals as constants that are appended to `ops`: of the first tensor's shape and the first element type that is
    not bool, else of the type `otherwise`."""
    tensors = [operand.type for operand in operands if isinstance(operand, Value)]
    numeric = next((type_.dtype for type_ in tensors if type_.dtype != "bool"), otherwise)
    values = []
    for operand in operands:
        if isinstance(operand, Token):
            dtype = "bool" if operand.type in ("TRUE", "FALSE") else numeric
            if dtype is None or not tensors:
                raise LirError("no operand gives this number a type",
                               "write %c = constant {value = 1.0, dtype = f32, shape = []}",
                               span=span_of(source, operand), code="LIR0027")  # fmt: skip
            operand = _constant(operand, Type(dtype, tensors[0].shape), source, ops)
        values.append(operand)
    return values


def typed_by_inputs(
    function: Function, operands: Sequence[Value | Token], source: Source, ops: list[Op]
) -> list[Value]:
    """Literals in a call as constants of the type of the input that they stand for."""
    check_input_count(function, len(operands))
    known = [(value, operand) for value, operand in zip(function.inputs, operands) if isinstance(operand, Value)]
    if len(known) == len(operands):
        return [operand for _, operand in known]
    sizes = unify(function.with_(inputs=tuple(value for value, _ in known)), [o.type for _, o in known])
    values = []
    for value, operand in zip(function.inputs, operands):
        if isinstance(operand, Token):
            if not names_of_dimensions([value]) <= sizes.keys():
                raise LirError(f"no operand gives this number the type {value.type} of %{value.name}",
                               "write a `constant`", code="LIR0027",
                               span=span_of(source, operand))  # fmt: skip
            operand = _constant(operand, substitute(value.type, sizes), source, ops)
        values.append(operand)
    return values


def _constant(token: Token, type_: Type, source: Source, ops: list[Op]) -> Value:
    span, value = span_of(source, token), number(token, source)
    if isinstance(value, bool) != (type_.dtype == "bool"):
        raise LirError(f"{token} is not of element type {type_.dtype}", span=span, code="LIR0035")
    attributes = {"value": value, "dtype": type_.dtype, "shape": type_.shape}
    ops.append(make_op("constant", (), attributes, ("c",), span))
    return ops[-1].result
