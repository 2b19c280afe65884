"""What failed checks say: the rule, the value that breaks it, and where that is.

In: a `check` of a function or of a program, and the first position where it does not hold. Out: `FailedCheck`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .diagnostics import Diagnostic, FailedCheck, Span
from .program import Check, Program, root_of
from .types import Type, dim_value


def message_of_check(attributes: Mapping[str, Any]) -> str:
    """What a `check` says where it fails: its message, or its code where it has none."""
    return attributes["message"] or f"a check does not hold: {attributes['code']}"


def place_of(index: tuple[int, ...], name: str | None = None) -> str:
    """A position as messages of checks say it, in the input of that name."""
    place = f" at row {index[0]}" if len(index) == 1 else f" at index {list(index)}" if index else ""
    return place if name is None else f"{place} of `{name}`" if place else f" in `{name}`"


def failed_check(
    attributes: Mapping[str, Any], position: int, shape: tuple[int, ...], value: Any, span: Span | None = None,
    name: str | None = None,
) -> FailedCheck:  # fmt: skip
    """A `check` with the first position that breaks it, in an array of that shape, and the value there. That is an
    element of the input called `name`, or computed."""
    index = tuple(map(int, np.unravel_index(position, shape))) if shape else ()
    # That nothing counts is said of a whole loss.
    place = "" if attributes["code"] == "empty" else place_of(index, name)
    # Nine digits tell any two f32 apart.
    shown = f"{value:.9g}" if isinstance(value, (float, np.floating)) else value
    found = "" if value is None else f": found {shown}"
    notes = []
    if attributes["code"] == "label" and value == -100:
        # What torch ignores unless it is told otherwise.
        notes.append("a loss with ignore_index = -100 ignores labels of -100")
    if place and name is None and span is None:
        notes.append("what is checked is computed, no input as it was given")
    diagnostic = Diagnostic("LIR0100", f"{message_of_check(attributes)}{found}{place}", span, notes=tuple(notes))
    return FailedCheck(str(attributes["code"]), index, value, diagnostic, name)


def failed_in_program(
    program: Program, check: Check, position: int, sizes: Mapping[str, int], value: Any
) -> FailedCheck:  # fmt: skip
    """The same of a program that ran. A kernel may look at an input in another shape: the place is one in the input."""
    name, type_ = checked_input(program, check) or (None, None)
    shape = tuple(dim_value(dim, sizes) for dim in (check.shape if type_ is None else type_.shape))
    return failed_check(check.attributes, position, shape, value, check.span, name)


def checked_input(program: Program, check: Check) -> tuple[str, Type] | None:
    """The input whose elements a check shows, None where it shows something computed, or nothing."""
    root = root_of(check.value_buffer or "", program.buffers)
    inputs = zip(program.inputs, program.input_buffers)
    return next((named_type for named_type, buffer in inputs if buffer == root), None)
