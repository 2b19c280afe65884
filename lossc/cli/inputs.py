"""The inputs of a run: from words on the command line to arrays that fit the declarations.

In: what stands after `--input`, `--params` and `--bind`, and the function whose inputs are meant. Out: arrays of
exactly the declared element types, and the size of every dimension name. What does not fit is reported at the
declaration of the input in the text, with the file that the array came from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lossc.arrays import convert
from lossc.ir.diagnostics import Diagnostic, LirError, did_you_mean
from lossc.ir.frozen import frozen
from lossc.ir.function import Function, Value
from lossc.ir.shapes import bind_dimensions
from lossc.ir.types import dim_names, is_float

from .array_files import ARCHIVES, READABLE, read_archive, read_array, read_number
from .console import note

_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.+)", re.DOTALL)


@frozen
class Given:
    """An array, or a list of numbers without an element type, and where it came from."""

    value: Any
    origin: str


def read_inputs(words: Sequence[str], function: Function) -> dict[str, Given]:
    """`x=x.npy`, `x=all.npz:key`, `x=x.csv`, `x=0.5`, `labels=1,0,2`, or a file of named arrays: `all.npz`."""
    given: dict[str, Given] = {}
    for word in words:
        for name, found in _read_word(word).items():
            if name in given:
                raise LirError(f"input `{name}` is given twice: {given[name].origin} and {found.origin}")
            given[name] = found
    refuse_unknown({name: found.origin for name, found in given.items()}, function)
    return given


def read_params(path: Path, function: Function) -> dict[str, Given]:
    """The params of the function from a file of named arrays; what else is in the file is named on stderr."""
    found = read_archive(path)
    params = [value for value in function.inputs if value in function.params]
    missing = [value for value in params if value.name not in found]
    if missing:
        raise LirError([_about(value, f"{str(path)!r} has no param `{value.name}`: {value.type}",
                               *did_you_mean(value.name, found)) for value in missing])  # fmt: skip
    names = {value.name for value in params}
    others = [name for name in found if name not in names]
    if others:
        note(f"{str(path)!r} also has {', '.join(others)}: no params of @{function.name}")
    return {name: Given(found[name], f"{path}:{name}") for name in found if name in names}


def read_sizes(words: Sequence[str], function: Function) -> dict[str, int]:
    """`B=32` after `--bind`: sizes of dimension names."""
    known = list(dict.fromkeys(name for v in function.inputs for dim in v.type.shape for name in dim_names(dim)))
    sizes: dict[str, int] = {}
    for word in words:
        name, _, text = word.partition("=")
        if not text.isdecimal() or not name:
            raise LirError(f"--bind {word!r} is not a size for a dimension", "write --bind B=32")
        if name not in known:
            raise LirError(f"no input of @{function.name} has a dimension `{name}`", *did_you_mean(name, known),
                           f"its dimension names: {', '.join(known) or 'none'}")  # fmt: skip
        if sizes.setdefault(name, int(text)) != int(text):
            raise LirError(f"--bind gives `{name}` two sizes: {sizes[name]} and {text}")
    return sizes


def refuse_unknown(origins: Mapping[str, str], function: Function) -> None:
    """Raise LirError for every name that is not an input of the function."""
    known = [value.name for value in function.inputs]
    unknown = [name for name in origins if name not in known]
    if unknown:
        inputs = f"its inputs: {', '.join(known) or 'none'}"
        raise LirError([
            Diagnostic(LirError.code, f"@{function.name} has no input `{name}` (given by {origins[name]})",
                       function.span, notes=(*did_you_mean(name, known), inputs))
            for name in unknown
        ])  # fmt: skip


def converted(function: Function, given: Mapping[str, Given]) -> dict[str, np.ndarray]:
    """The arrays in the element types of their inputs. Raises LirError with everything that cannot be converted."""
    arrays: dict[str, np.ndarray] = {}
    problems: list[Diagnostic] = []
    for value in function.inputs:
        if value.name not in given:
            continue
        found = given[value.name]
        try:
            as_given = _in_rank(found.value, value.type.rank)
            arrays[value.name], how = convert(value.name, as_given, value.type)
            if how and is_float(value.type.dtype):
                _say_what_overflows(value, found.origin, as_given, arrays[value.name])
        except LirError as error:
            problems += _placed(error, value, given)
    if problems:
        raise LirError(problems)
    return arrays


def _say_what_overflows(value: Value, origin: str, given: Any, array: np.ndarray) -> None:
    """A note on finite numbers that the element type of an input has not."""
    beyond = np.isinf(array) & np.isfinite(np.asarray(given, np.float64))
    if beyond.any():
        found = np.asarray(given, np.float64)[beyond].flat[0]
        note(f"input `{value.name}`: {found:g} from {origin} is beyond {value.type.dtype} and becomes infinite "
             f"(numbers like that: {np.count_nonzero(beyond)})")  # fmt: skip


def bound_sizes(
    function: Function, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int], given: Mapping[str, Given]
) -> dict[str, int]:  # fmt: skip
    """The size of every dimension name that the arrays and `sizes` give. Raises LirError, at the input, where they
    contradict each other."""
    inputs = [(value.name, value.type) for value in function.inputs]
    shapes = {name: array.shape for name, array in arrays.items()}
    try:
        return bind_dimensions(inputs, shapes, sizes)
    except LirError as error:
        # The inputs up to the one that does not fit bring the same error; it is placed there.
        for count, value in enumerate(function.inputs, 1):
            try:
                bind_dimensions(inputs[:count], shapes, sizes)
            except LirError as found:
                if str(found) == str(error):
                    raise LirError(_placed(error, value, given)) from None
        raise


def missing_inputs(values: Iterable[Value]) -> LirError:
    """What to say where arrays are missing: all of them, each at its declaration."""
    return LirError([
        _about(value, f"missing input `{value.name}`: {value.type}", f"give it: --input {value.name}={value.name}.npy",
               "or fill what is missing with random values: --random 0")
        for value in values
    ])  # fmt: skip


def _read_word(word: str) -> dict[str, Given]:
    named = _NAMED.fullmatch(word)
    if named is None and _NAMED.fullmatch(f"{word}x"):
        raise LirError(f"--input {word!r} gives no value", f"write --input {word}{word[:-1]}.npy, or {word}0.5")
    if named is None:
        if not word.lower().endswith(ARCHIVES):
            raise LirError(f"--input {word!r} does not say which input it is for",
                           f"write --input x=x.npy; a file of named arrays ({', '.join(ARCHIVES)}) "
                           "stands alone")  # fmt: skip
        return {name: Given(array, f"{word}:{name}") for name, array in read_archive(Path(word)).items()}
    name, source = named.groups()
    if not os.path.exists(source):
        numbers = _numbers(source)
        if numbers is not None:
            return {name: Given(numbers, f"--input {word}")}
        if not Path(source).suffix:
            raise LirError(f"--input {word}: {source!r} is neither a number nor a file", f"files are {READABLE}")
    return {name: Given(read_array(source, name), source)}


def _numbers(text: str) -> list[Any] | int | float | bool | None:
    """`0.5`, `true` or `1,0,2`; None for what is no number."""
    words = {"true": True, "false": False}
    try:
        parts = [words[part] if part in words else read_number(part) for part in text.split(",")]
    except ValueError:
        return None
    return parts if "," in text else parts[0]


def _in_rank(value: Any, rank: int) -> Any:
    """Numbers that were written out as text have rows and columns whatever is meant: axes of size 1 come and go."""
    if isinstance(value, np.ndarray):
        return value
    flat = np.ravel(value)
    if rank == 0 and flat.size == 1:
        return flat[0].item()
    if rank == 1 and flat.size == max(np.shape(value), default=1):
        return flat.tolist()
    return value


def _about(value: Value, message: str, *notes: str) -> Diagnostic:
    return Diagnostic(LirError.code, message, value.span, notes=notes, about=value.name)


def _placed(error: LirError, value: Value, given: Mapping[str, Given]) -> list[Diagnostic]:
    """An error at the declaration of an input, with the file that its array came from."""
    origin = (f"it comes from {given[value.name].origin}",) if value.name in given else ()
    return [replace(d, span=d.span or value.span, notes=(*d.notes, *origin)) for d in error.diagnostics]
