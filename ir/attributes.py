"""Checking what stands in the braces: every attribute has a kind, most have a default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .diagnostics import LirError
from .ops import REQUIRED, Attribute
from .other_words import element_type_called, notes_on_argument
from .types import DTYPES, Dim


def complete_attributes(
    op_name: str, specification: Mapping[str, Attribute], given: Mapping[str, Any]
) -> dict[str, Any]:
    """All attributes of an operation, in the order of its definition: those given, checked, and the defaults.

    Raises LirError for an unknown name, a missing one, or a value of the wrong kind.
    """
    for name in given:
        if name not in specification:
            # Nobody writes `operands`: the names of operands stand before these.
            known = [attribute for attribute in specification if attribute != "operands"]
            raise LirError(f"`{op_name}` has no attribute `{name}`", *notes_on_argument(name, known),
                           f"its attributes: {', '.join(known) or 'none'}", code="LIR0023", about=name)  # fmt: skip
    complete: dict[str, Any] = {}
    for name, attribute in specification.items():
        if name in given:
            complete[name] = _checked(op_name, name, attribute, given[name])
        elif attribute.default is REQUIRED:
            raise LirError(f"`{op_name}` needs the attribute `{name}`: {_PHRASES[attribute.kind]}",
                           f"write {{{name} = {_EXAMPLES[attribute.kind]}}}", code="LIR0023")  # fmt: skip
        else:
            complete[name] = attribute.default
    return complete


def _checked(op_name: str, name: str, attribute: Attribute, value: Any) -> Any:
    if value is None and (attribute.optional or attribute.default is None):
        return None
    convert = _CONVERSIONS[attribute.kind]
    converted = convert(value)
    if converted is None:
        raise LirError(f"attribute `{name}` of `{op_name}` takes {_PHRASES[attribute.kind]}, "
                       f"found {attribute_text(value)}", f"write {name} = {_meant(attribute, value)}",
                       code="LIR0024", about=name)  # fmt: skip
    return converted


def _meant(attribute: Attribute, value: Any) -> str:
    """What is probably meant by a value of the wrong kind, as text; else an example of the right kind."""
    kind = attribute.kind
    if (attribute.optional or attribute.default is None) and str(value) in ("None", "null", "nil"):
        return "none"
    guess = _GUESSES[kind](value) if kind in _GUESSES else None
    meant = None if guess is None else _CONVERSIONS[kind](guess)
    if meant is None:
        return _EXAMPLES[kind]
    return meant if kind == "dtype" else attribute_text(meant)


def attribute_text(value: Any) -> str:
    """How an attribute is written in LIR. Floats and strings read back as exactly the same value."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(attribute_text, value))}]"
    return str(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _number(value: Any) -> float | int | bool | None:
    # No integer type holds more than 64 bits, so a larger number is meant as a float.
    return value if isinstance(value, (float, bool)) or _is_int(value) else _float(value)


def _float(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _sequence(value: Any, accepts: Any) -> tuple[Any, ...] | None:
    if isinstance(value, (list, tuple)) and all(accepts(item) for item in value):
        return tuple(value)
    return None


_CONVERSIONS = {
    "int": lambda v: v if _is_int(v) else None,
    "float": _float,
    "number": _number,
    "bool": lambda v: v if isinstance(v, bool) else None,
    "str": lambda v: v if isinstance(v, str) else None,
    "dtype": lambda v: v if v in DTYPES else None,
    "ints": lambda v: _sequence(v, _is_int),
    "dims": lambda v: _sequence(v, lambda d: (_is_int(d) and d >= 0) or isinstance(d, Dim)),
    "dim": lambda v: v if _is_int(v) or isinstance(v, Dim) else None,
    "strs": lambda v: _sequence(v, lambda s: isinstance(s, str)),
}

_PHRASES = {
    "int": "a 64-bit integer",
    "float": "a number", "number": "a number or a truth value", "bool": "true or false",
    "str": 'a string in quotes', "dtype": f"an element type ({', '.join(DTYPES)})",
    "ints": "a list of integers", "dims": "a list of dimensions from 0, [B, 10]",
    "dim": "an integer or a dimension, 2*B", "strs": "a list of strings",
}  # fmt: skip

_EXAMPLES = {
    "int": "1", "float": "0.5", "number": "0.5", "bool": "true", "str": '"mean"', "dtype": "f32", "ints": "[0, 1]",
    "dims": "[B, 10]", "dim": "2*B", "strs": '["x", "y"]',
}  # fmt: skip


def _one(value: Any) -> Any:
    """A scalar as the list that is meant."""
    return None if isinstance(value, (list, tuple)) else [value]


def _number_in(value: Any) -> float | None:
    """The number that a text holds, or that is one."""
    try:
        return float(value) if isinstance(value, (str, float)) else None
    except ValueError:
        return None


def _whole(value: Any) -> int | None:
    number = _number_in(value)
    return int(number) if number is not None and number.is_integer() else None


_GUESSES = {
    "int": _whole, "float": _number_in, "number": _number_in,
    "bool": lambda v: bool(v) if type(v) is int and v in (0, 1) else None,
    "str": lambda v: str(v) if str(v).isidentifier() and not isinstance(v, bool) else None,
    "dtype": lambda v: element_type_called(str(v[0] if isinstance(v, list) and len(v) == 1 else v)),
    "ints": _one, "dims": _one, "strs": _one,
}  # fmt: skip
"""What a value of another kind probably stands for, by the kind that an attribute takes."""
