"""Numbers to call operations with: a kind of data for each operand name, others found by trial.

In: a function, the name of each input and its concrete shape. Out: arrays by input name, the same for the same seed.
Values lie exactly in their dtype. The largest of a row stand first and last, where a loop that stops too early or
counts an end twice shows most.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lossc.ir.diagnostics import LosscError
from lossc.ir.function import Function
from lossc.ir.interp import interpret
from lossc.ir.types import is_float, is_integer, numpy_dtype

Array = np.ndarray[Any, Any]
Kind = Callable[[np.random.Generator, tuple[int, ...], int], Array]


def _real(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    values = generator.normal(size=shape) * 2
    if values.size and shape:
        last = np.moveaxis(values, axis, -1).reshape(-1, shape[axis])
        last[::3, -1:] += 6
        last[1::3, :1] += 6
        values = np.moveaxis(last.reshape(np.moveaxis(values, axis, -1).shape), -1, axis)
        values.reshape(-1)[-1:] = 8
    return values


def _unit(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    return generator.uniform(0.05, 0.95, size=shape)


def _positive(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    return generator.uniform(0.25, 3.0, size=shape)


def _sign(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    return generator.choice([-1.0, 1.0], size=shape)


def _distribution(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    values = generator.uniform(0.05, 1.0, size=shape) ** 3
    return values / values.sum(axis=axis, keepdims=True) if shape else values


def _log_distribution(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    return np.log(_distribution(generator, shape, axis))


REAL = _real
KINDS: Mapping[str, Kind] = {
    "log_probs": _log_distribution, "log_prob": _log_distribution,
    "probs": _distribution, "probabilities": _distribution,
    "target": _distribution, "t": _unit, "var": _positive, "variance": _positive,
    "weight": _positive, "pos_weight": _positive, "sample_weight": _positive, "class_weight": _positive,
}  # fmt: skip
"""Data for float operands of these names; others are real numbers. A matrix is real whatever its name."""

FALLBACKS: tuple[Kind, ...] = (_real, _unit, _sign, _positive, _distribution)


def find_kinds(function: Function, axis: int, classes: Sequence[int]) -> tuple[Mapping[str, Kind], int]:
    """Data for the float inputs of a function of static, small shapes, by trial: its checks must hold, its results be
    finite numbers. Also the first of `classes` that bounds its labels.

    Raises AssertionError where none of the kinds known here does that: then `KINDS` lacks a row.
    """
    names = [value.name for value in function.inputs if is_float(value.type.dtype)]
    shapes = {
        value.name: tuple(size for size in value.type.shape if isinstance(size, int)) for value in function.inputs
    }
    for kinds in _by_changes(names, function):
        for count in classes:
            arrays = arguments(function, shapes, kinds, axis, 0, count)
            try:
                results = interpret(function, arrays)
            except LosscError:
                continue
            if all(np.isfinite(result).all() for result in results if result.dtype.kind == "f"):
                return kinds, count
    raise AssertionError(f"no kind of data suits the inputs of @{function.name}: {', '.join(names)}; add to KINDS")


def _by_changes(names: list[str], function: Function) -> Iterator[dict[str, Kind]]:
    """The kinds that the names suggest, then with one of them changed, then with two, ..."""
    ranks = {value.name: value.type.rank for value in function.inputs}
    suggested = {name: REAL if name == "weight" and ranks[name] > 1 else KINDS.get(name, REAL) for name in names}
    for count in range(len(names) + 1):
        for changed in itertools.combinations(names, count):
            for others in itertools.product(FALLBACKS, repeat=count):
                yield {**suggested, **dict(zip(changed, others))}


def arguments(
    function: Function, shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, Kind], axis: int, seed: int,
    classes: int, ignored: int | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Arrays for every input. Integers are labels in [0, classes), some of them `ignored`; `axis` is the class axis."""
    arrays: dict[str, Array] = {}
    for value in function.inputs:
        generator = np.random.default_rng([seed, zlib.crc32(value.name.encode())])
        shape, dtype = shapes[value.name], value.type.dtype
        if is_float(dtype):
            along = axis if -len(shape) <= axis < len(shape) else -1
            values = kinds.get(value.name, REAL)(generator, shape, along)
            arrays[value.name] = np.ascontiguousarray(values, numpy_dtype(dtype)).reshape(shape)
        elif is_integer(dtype):
            arrays[value.name] = _labels(generator, shape, dtype, classes, ignored)
        else:
            arrays[value.name] = generator.integers(0, 2, size=shape).astype(numpy_dtype(dtype))
    return arrays


def _labels(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: str, classes: int, ignored: int | None
) -> Array:
    info = np.iinfo(numpy_dtype(dtype))
    most = min(classes, int(info.max) + 1)
    labels = np.asarray(generator.integers(0, most, size=shape))
    flat = labels.reshape(-1)
    # The first and the last class, where an index is off by one.
    flat[:1] = most - 1
    flat[1:2] = 0
    if ignored is not None and info.min <= ignored <= info.max:
        flat[2::3] = ignored
    return labels.astype(numpy_dtype(dtype))
