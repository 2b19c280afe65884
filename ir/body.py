"""The statements of one function, each made an operation.

In: a `Draft` and the interfaces of all functions. Out: a `Function`, or None where something in it is
wrong. A value whose statement is wrong is poisoned (None in the environment): what is computed from it is
unknown too and says nothing, so that one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lark import Token

from .composites import definition_of, make_op
from .diagnostics import LirError, LosscError, Span, did_you_mean
from .drafts import Broken, Draft, Problems
from .frozen import frozen
from .function import Function, Op, Value
from .literals import read_type, type_span
from .operands import (
    attribute_span,
    bind_keywords,
    numbers_as_attributes,
    read_attributes,
    typed_by_inputs,
    typed_by_tensors,
)
from .repeat import ATTRIBUTES, make_repeat
from .repeat import NAME as REPEAT
from .signature import CALLED_BY, make_call
from .syntax import Return, Statement, span_of
from .types import Type

_NEAREST = 500  # how many of the latest names "did you mean" looks at


@frozen
class Interface:
    """What callers see of a function. `signature` is None where the head is wrong, as is each wrong part."""

    signature: Function | None = None
    inputs: Sequence[Value | None] = ()
    results: Sequence[Type | None] = ()


def read_body(
    draft: Draft, interface: Interface, interfaces: Mapping[str, Interface], problems: Problems
) -> Function | None:
    """The function of a draft whose head could be read."""
    body = _Body(draft, interface, interfaces, problems)
    for record, span in draft.lines:
        body.read(record, span)
    return body.finish()


class _Body:
    def __init__(
        self, draft: Draft, interface: Interface, interfaces: Mapping[str, Interface], problems: Problems
    ) -> None:
        self.draft, self.source, self.interface = draft, draft.source, interface
        self.interfaces, self.problems = interfaces, problems
        self.sound = draft.closed and interface.signature is not None
        self.environment: dict[str, Value | None] = {}
        self.places: dict[str, Span] = {}
        self.ops: list[Op] = []
        self.outputs: tuple[Value, ...] | None = None
        self.returned = False
        assert draft.head is not None
        for text, value in zip(draft.head.inputs, interface.inputs):
            # Two inputs of one name are the verifier's business.
            self.environment.setdefault(str(text.name)[1:], value)
            self.places.setdefault(str(text.name)[1:], span_of(self.source, text.name))

    def read(self, record: Statement | Return | Broken, span: Span) -> None:
        if isinstance(record, Broken):
            self.sound, self.returned = False, self.returned or record.returns
            self.define(record.targets, None)
            return
        if self.returned:
            self.refuse(LirError("a statement after `return`", "`return` is the last statement of a function",
                                 span=span, code="LIR0044"))  # fmt: skip
        if isinstance(record, Return):
            self.read_return(record, span)
            return
        try:
            op = self.operation(record, span)
            if op is not None:
                self.check_results(record, op)
        except LosscError as error:
            self.refuse(error)
            op = None
        if op is None:
            self.sound = False
        self.define(record.targets, op)

    def finish(self) -> Function | None:
        if not self.returned and self.draft.closed:
            self.refuse(
                LirError(
                    f"the function @{self.draft.name} does not return anything",
                    "end it with `return %value`",
                    span=self.draft.span,
                    code="LIR0044",
                )
            )
        signature = self.interface.signature
        if not self.sound or signature is None or self.outputs is None:
            return None
        return signature.with_(ops=tuple(self.ops), outputs=self.outputs)

    def refuse(self, error: LosscError) -> None:
        self.sound = False
        self.problems.add(error)

    # --- names ------------------------------------------------------------------------------------------

    def define(self, targets: Sequence[Token], op: Op | None) -> None:
        for position, token in enumerate(targets):
            name, value = str(token)[1:], op.results[position] if op else None
            if name in self.environment and name in self.places:
                self.refuse(
                    LirError(
                        f"%{name} is defined twice",
                        "every value has one definition: choose another name",
                        span=span_of(self.source, token),
                        code="LIR0021",
                        labels=[(self.places[name], "the first one is here")],
                    )
                )
                first = self.environment[name]
                value = first if first and value and first.type == value.type else None
            self.environment[name] = value
            self.places.setdefault(name, span_of(self.source, token))
        if op is not None:
            self.ops.append(op)

    def value(self, token: Token) -> Value | None:
        """The value of a name, None if it is poisoned. A name that is not defined is reported once."""
        name = str(token)[1:]
        if name not in self.environment:
            self.refuse(
                LirError(
                    f"%{name} is not defined",
                    *did_you_mean(name, list(self.environment)[-_NEAREST:], "%"),
                    span=span_of(self.source, token),
                    code="LIR0020",
                )
            )
            self.environment[name] = None
        return self.environment[name]

    # --- statements -------------------------------------------------------------------------------------

    def operation(self, statement: Statement, span: Span) -> Op | None:
        """The operation of a statement, or None where a part of it is poisoned. Raises LirError."""
        hints = [str(token)[1:] for token in statement.targets]
        place = span_of(self.source, statement.operation)
        name = str(statement.operation)
        if statement.callee is not None:
            return self.call(statement, statement.callee, hints, span)
        if name in (*CALLED_BY.values(), REPEAT):
            raise LirError(f"`{name}` is followed by a function", f"{name} @name(%x)", span=place, code="LIR0010")
        try:
            definition = definition_of(name)
        except LosscError as error:
            if name in self.interfaces:
                raise LirError(f"unknown operation `{name}`", f"@{name} is a function: call @{name}(%x)",
                               span=place, code="LIR0022") from None  # fmt: skip
            raise error.at(place) from None
        operands = self.operands(statement)
        attributes = read_attributes(statement.attributes, definition.attributes, self.source)
        if operands is None:
            return None
        texts, operands, numbers = numbers_as_attributes(definition, statement.operands, operands, self.source)
        if repeated := numbers.keys() & attributes.keys():
            name = sorted(repeated)[0]
            raise LirError(f"`{definition.name}` is given `{name}` twice, as an operand and as an attribute",
                           span=place, code="LIR0023")  # fmt: skip
        attributes |= numbers
        places = {str(text.name): attribute_span(text, self.source) for text in statement.attributes}
        places.update((str(o.keyword), span_of(self.source, o.keyword)) for o in statement.operands if o.keyword)
        values = typed_by_tensors(operands, "f32" if name == "select" else None, self.source, self.ops)
        try:
            values, keywords = bind_keywords(definition, texts, values)
            return make_op(name, values, attributes | keywords, hints, span)
        except LosscError as error:
            raise type(error)([replace(d, span=places.get(d.about, span)) for d in error.diagnostics]) from None

    def call(self, statement: Statement, callee: Token, hints: Sequence[str], span: Span) -> Op | None:
        kind, name = str(statement.operation), str(callee)[1:]
        if kind not in (*CALLED_BY.values(), REPEAT):
            raise LirError(f"`{kind}` takes no function", "`call`, `launch` and `repeat` do", code="LIR0010",
                           span=span_of(self.source, callee))  # fmt: skip
        keyword = next((o.keyword for o in statement.operands if o.keyword is not None), None)
        if keyword is not None:
            raise LirError("a call takes its operands by position", span=span_of(self.source, keyword), code="LIR0025")
        if name not in self.interfaces:
            raise LirError(f"there is no function @{name}", *did_you_mean(name, self.interfaces, "@"),
                           span=span_of(self.source, callee), code="LIR0040")  # fmt: skip
        operands = self.operands(statement)
        attributes = read_attributes(statement.attributes, ATTRIBUTES if kind == REPEAT else {}, self.source)
        function = self.interfaces[name].signature
        if function is None or operands is None:
            return None
        try:
            if kind == REPEAT:
                return self.repeat(function, operands, attributes, hints, span)
            if attributes:
                raise LirError(f"`{kind}` takes no attributes", code="LIR0023")
            values = typed_by_inputs(function, operands, self.source, self.ops)
            return make_call(kind, function, values, hints, span)
        except LosscError as error:
            raise error.at(span) from None

    def repeat(
        self, function: Function, operands: Sequence[Value | Token], attributes: Mapping[str, Any],
        hints: Sequence[str], span: Span,
    ) -> Op:  # fmt: skip
        literal = next((operand for operand in operands if isinstance(operand, Token)), None)
        if literal is not None:
            raise LirError("`repeat` takes values, no numbers", "write a `constant`", code="LIR0025",
                           span=span_of(self.source, literal))  # fmt: skip
        return make_repeat(function, [o for o in operands if isinstance(o, Value)], attributes, hints, span)

    def check_results(self, statement: Statement, op: Op) -> None:
        """The names and types on both sides of an operation are those of its results. Raises LirError."""
        found, expected = len(statement.targets), len(op.results)
        if found != expected:
            raise LirError(
                f"`{op.name}` gives {_count(expected, 'result')}, found {_count(found, 'name')} on the left of `=`",
                span=op.span,
                code="LIR0026",
            )
        if not statement.types:
            return
        if len(statement.types) != expected:
            raise LirError(
                f"`{op.name}` gives {_count(expected, 'result')}, found {_count(len(statement.types), 'type')}",
                span=op.span,
                code="LIR0032",
            )
        for text, result in zip(statement.types, op.results):
            written = read_type(text, self.source)
            if written != result.type:
                raise LirError(f"%{result.name} has type {result.type}, found {written}",
                               f"types are inferred: write {result.type}, or leave `: {written}` out",
                               span=type_span(text, self.source), code="LIR0032")  # fmt: skip

    def read_return(self, record: Return, span: Span) -> None:
        values = [self.value(token) for token in record.values]
        self.returned = True
        assert self.draft.head is not None
        promised = self.draft.head.results
        if len(values) != len(promised):
            self.refuse(
                LirError(
                    f"@{self.draft.name} promises {_count(len(promised), 'result')}, found {len(values)}",
                    span=span,
                    labels=[(self.draft.span, "the promise is here")],
                    code="LIR0045",
                )
            )
            return
        for token, value, expected, (_, text) in zip(record.values, values, self.interface.results, promised):
            if value and expected and value.type != expected:
                self.refuse(
                    LirError(
                        f"{token} has type {value.type}, but @{self.draft.name} promises {expected}",
                        f"promise {value.type}, or return what has the type that is promised",
                        span=span_of(self.source, token),
                        code="LIR0045",
                        labels=[(type_span(text, self.source), "the promise is here")],
                    )
                )
        if None in values:
            self.sound = False
        else:
            self.outputs = tuple(value for value in values if value)

    def operands(self, statement: Statement) -> list[Value | Token] | None:
        """Values, and literals as they stand; None if one is poisoned."""
        found = [self.value(o.value) if o.value.type == "VALUE" else o.value for o in statement.operands]
        known = [operand for operand in found if operand is not None]
        return known if len(known) == len(found) else None


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'s' * (number != 1)}"
