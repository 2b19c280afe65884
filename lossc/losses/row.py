"""One function of `lossc.functional` and `lossc.torch`: torch's signature beside lossc's operation.

In: what a row of the table says. Out: `Row`, which reads the arguments of a call: which of them are tensors, which are
attributes of the operation, and what torch's retired arguments mean.
"""

from __future__ import annotations

import inspect
from ast import literal_eval
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import cached_property
from typing import Any

import numpy as np

from lossc.errors import OutOfRange, RefusedArgument, RefusedCall, RefusedKind, RefusedValue
from lossc.ir.attributes import complete_attributes
from lossc.ir.composites import COMPOSITES, definition_of
from lossc.ir.diagnostics import CheckFailed, FailedCheck, LirError
from lossc.ir.failed_checks import place_of
from lossc.ir.frozen import frozen
from lossc.ir.losses._reduction import REDUCTIONS
from lossc.ir.ops import Attribute
from lossc.ir.other_words import notes_on_argument
from lossc.losses import bodies, shapes
from lossc.warnings import warn

RETIRED = ("size_average", "reduce")
"""Arguments that torch has replaced by `reduction`."""
WITHOUT_MEANING = ("options", "_stacklevel", "dtype")
"""Arguments that are no attributes: of torch's ways of working, or taken care of before."""

_KINDS: Mapping[str, frozenset[type]] = {
    "int": frozenset({int}), "float": frozenset({float, int}), "bool": frozenset({bool}), "str": frozenset({str}),
}  # fmt: skip
"""The classes of Python that an attribute takes as they are, by its kind. Equal values of these mean the same."""
_AXIS = Attribute("int", None)


def signature(text: str) -> inspect.Signature:
    """Parameters as they stand between the parentheses of a definition, with literals for defaults."""
    parameters: list[inspect.Parameter] = []
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in text.split(", "):
        name, _, default = part.partition("=")
        if name == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif default:
            parameters.append(inspect.Parameter(name, kind, default=literal_eval(default)))
        else:
            parameters.append(inspect.Parameter(name, kind))
    return inspect.Signature(parameters)


@frozen(eq=False)
class Row:
    """One function. `parameters` is its signature as text, `operands` the names of its tensors in the order of the
    operation's operands. The element types of `deciding` operands (default: the required ones) decide the result's.
    """

    name: str
    operation: str
    parameters: str
    operands: str
    layout: shapes.Layouter
    body: bodies.Body = bodies.one_operation
    deciding: str = ""
    failures: Mapping[str, type[CheckFailed]] = field(default_factory=dict)
    whole: bool = False
    """Whether the first operand may be integers where another is a float."""
    more_reductions: tuple[str, ...] = ()
    """What the operation has beside the reductions of all losses."""

    @cached_property
    def signature(self) -> inspect.Signature:
        return signature(self.parameters)

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        return tuple(self.operands.split())

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The tensors that have no default."""
        return tuple(n for n in self.tensors if self.signature.parameters[n].default is inspect.Parameter.empty)

    @cached_property
    def decided_by(self) -> tuple[str, ...]:
        """The operands whose element types decide the result's."""
        return tuple(self.deciding.split()) or self.required

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """The attributes."""
        others = (*self.tensors, *RETIRED, *WITHOUT_MEANING)
        return tuple(name for name in self.signature.parameters if name not in others)

    @cached_property
    def documented(self) -> str:
        """The operation whose rules these are: that of its own name, where another one computes it."""
        return self.name if self.name in COMPOSITES else self.operation

    @cached_property
    def help(self) -> str:
        """The docstring of the function."""
        definition = definition_of(self.documented)
        text = inspect.getdoc(getattr(definition, "function", None)) or ""
        names = [operand.rstrip("?") for operand in definition.operands]
        renamed = [f"`{name}` {theirs}" for name, theirs in zip(names, self.tensors) if name != theirs]
        head = "" if self.name == self.documented else f"This is lossc's `{self.documented}`. "
        tail = f"Above {', '.join(renamed)} here." if renamed else ""
        return f"{text}\n\n{head}{tail}".rstrip() + "\n"

    @cached_property
    def _binding(self) -> tuple[dict[str, int], tuple[Any, ...], int, int]:
        """The places of the names, the defaults, how many stand by position at most, how many at least."""
        parameters = self.signature.parameters.values()
        by_position = sum(p.kind is not inspect.Parameter.KEYWORD_ONLY for p in parameters)
        least = sum(p.default is inspect.Parameter.empty for p in parameters)
        places = {name: place for place, name in enumerate(self.signature.parameters)}
        return places, tuple(p.default for p in parameters), by_position, least

    def bind(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The value of every parameter, in order. Raises RefusedCall, a TypeError, as a function of that
        signature does.

        `signature.bind` and its defaults take twenty times as long, tens of microseconds in every call: here it only
        words the refusals.
        """
        places, defaults, by_position, least = self._binding
        given = len(arguments)
        if given > by_position or given < least:
            return self._bound(arguments, keywords)
        values = [*arguments, *defaults[given:]]
        for name, value in keywords.items():
            place = places.get(name, -1)
            if place < given:
                return self._bound(arguments, keywords)
            values[place] = value
        return values

    def _bound(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """As `bind`, by Python's own rules. Raises RefusedCall."""
        try:
            bound = self.signature.bind(*arguments, **keywords)
        except TypeError as error:
            known = list(self.signature.parameters)
            takes = f"it takes: {', '.join(known)}"
            unknown = [name for name in keywords if name not in known]
            if not unknown:
                raise RefusedCall(f"{self.name}() {error}", takes, code="LIR0025") from None
            message = f"{self.name}() got an unexpected keyword argument {unknown[0]!r}"
            raise RefusedCall(message, *notes_on_argument(unknown[0], known), takes, code="LIR0023") from None
        bound.apply_defaults()
        return list(bound.arguments.values())

    @cached_property
    def tensors_at(self) -> tuple[int, ...]:
        """The places of the tensors among the parameters."""
        return tuple(self._binding[0][name] for name in self.tensors)

    @cached_property
    def _settings_at(self) -> tuple[int, ...]:
        return tuple(self._binding[0][name] for name in self.settings)

    @cached_property
    def _reduction_at(self) -> int | None:
        return self.settings.index("reduction") if "reduction" in self.settings else None

    @cached_property
    def _retired_at(self) -> tuple[int, ...]:
        return tuple(self._binding[0][name] for name in RETIRED if name in self._binding[0])

    @cached_property
    def _reductions(self) -> tuple[str, ...]:
        return (*REDUCTIONS, *self.more_reductions)

    @cached_property
    def attributes(self) -> Mapping[str, Attribute]:
        """What the operation says of each setting but the reduction."""
        known = definition_of(self.operation).attributes
        return {name: known.get(name, _AXIS) for name in self.settings if name != "reduction"}

    @cached_property
    def _accepted(self) -> tuple[tuple[int, frozenset[type]], ...]:
        """The place of each setting but the reduction, and the classes of values that need no second look."""
        accepted = {
            name: _KINDS[attribute.kind] | ({type(None)} if attribute.optional or attribute.default is None else set())
            for name, attribute in self.attributes.items()
        }
        return tuple((place, accepted[name]) for place, name in enumerate(self.settings) if name in accepted)

    def _setting(self, name: str, value: Any) -> Any:
        """What the attribute takes, Python's number for one of NumPy or torch. Raises RefusedKind."""
        if hasattr(value, "item"):
            with suppress(ValueError, RuntimeError):
                # Of several numbers there is none, and the attribute takes no list.
                value = value.item()
        if getattr(value, "ndim", 0):
            raise RefusedKind(f"attribute `{name}` of `{self.name}` takes one number, found an array of shape "
                              f"{[*value.shape]}", code="LIR0024")  # fmt: skip
        try:
            return complete_attributes(self.name, {name: self.attributes[name]}, {name: value})[name]
        except LirError as error:
            raise RefusedKind(error.diagnostics) from None

    def settings_of(self, values: Sequence[Any]) -> list[Any]:
        """The attributes in the order of `settings`, with the reduction that is meant."""
        settings = [values[place] for place in self._settings_at]
        for place, accepted in self._accepted:
            if type(settings[place]) not in accepted:
                settings[place] = self._setting(self.settings[place], settings[place])
        if self._reduction_at is not None:
            retired = [values[place] for place in self._retired_at]
            settings[self._reduction_at] = _reduction(settings[self._reduction_at], retired, self._reductions)
        return settings

    @cached_property
    def _leading_tensors(self) -> int:
        """How many parameters stand before the first that is no tensor."""
        names = list(self.signature.parameters)
        return next((place for place, name in enumerate(names) if name not in self.tensors), len(names))

    @cached_property
    def _usual_settings(self) -> tuple[Any, ...]:
        return tuple(self.settings_of(self._binding[1]))

    def read(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """The value of every parameter, and of every attribute. Raises TypeError, LirError."""
        values = self.bind(arguments, keywords)
        if not keywords and len(arguments) <= self._leading_tensors:
            return values, [*self._usual_settings]
        return values, self.settings_of(values)

    def value_of(self, values: Sequence[Any], name: str) -> Any:
        """The value of one parameter."""
        return values[self._binding[0][name]]

    def failed(
        self, error: CheckFailed, names: Sequence[str] = (), views: Sequence[shapes.Sizes] = (),
        given: Sequence[shapes.Sizes] = (),
    ) -> CheckFailed:  # fmt: skip
        """The exception for a check that failed. `views` are the shapes of the arrays called `names` in the program,
        which sees fewer axes than were `given`: the place is one in the array as it was given."""
        kind = self.failures.get(error.code) or _FAILURES.get(error.code, CheckFailed)
        arrays = dict(zip(names, zip(views, given)))
        return kind([_at_its_place(failure, arrays) for failure in error.failures])


_FAILURES: Mapping[str, type[CheckFailed]] = {"label": OutOfRange, "probability": RefusedValue}


def _at_its_place(failure: FailedCheck, arrays: Mapping[str, tuple[shapes.Sizes, shapes.Sizes]]) -> FailedCheck:
    name, index = failure.input, failure.index
    view, given = arrays.get(name or "", ((), ()))
    if view == given:
        return failure
    found = tuple(map(int, np.unravel_index(int(np.ravel_multi_index(index, view)), given))) if given else ()
    rule = failure.diagnostic.message.removesuffix(place_of(index, name))
    diagnostic = replace(failure.diagnostic, message=rule + place_of(found, name))
    return replace(failure, index=found, diagnostic=diagnostic)


def _reduction(reduction: Any, retired: Sequence[Any], accepted: Sequence[str]) -> str:
    """The reduction that is meant: torch's retired arguments count before `reduction`. Raises LirError."""
    word = next((value for value in retired if isinstance(value, str)), None)
    if word is not None:
        raise RefusedArgument(f"size_average and reduce are truth values, found {word!r}",
                              f"the reduction is given by name: reduction={word!r}")  # fmt: skip
    if any(value is not None for value in retired):
        averages, reduces = (value is None or bool(value) for value in retired)
        meant = "none" if not reduces else "mean" if averages else "sum"
        warn(f"size_average and reduce are retired: write reduction={meant!r}")
        return meant
    if reduction == "elementwise_mean":
        warn("reduction='elementwise_mean' is retired: write reduction='mean'")
        return "mean"
    if reduction not in accepted:
        raise LirError(f"unknown reduction {reduction!r}", f"expected one of {', '.join(accepted)}")
    return reduction
