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
        values.reshape(-1)[-1:] = 8 + generator.random()
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


def _lists(generator: np.random.Generator, shape: tuple[int, ...], classes: int) -> Array:
    """Along the last axis different classes, then -1, then what counts for nothing; some lists are full."""
    places = np.argsort(generator.random(shape), axis=-1) % classes
    ends = generator.integers(0, shape[-1] + 1, size=shape[:-1])
    return np.where(np.arange(shape[-1]) == ends[..., None], -1, places)


REAL = _real
KINDS: Mapping[str, Kind] = {
    "log_probs": _log_distribution, "probs": _distribution, "target": _distribution, "t": _unit, "var": _positive,
    "weight": _positive, "pos_weight": _positive, "class_weight": _positive,
    "temperature": _positive, "delta": _positive, "beta": _positive,
}  # fmt: skip
"""Data for float operands of these names; others are real numbers. A matrix is real whatever its name."""

_SIGNED, _SIGNED_TARGET = {"t": _sign}, {"target": _sign}
OWN_KINDS: Mapping[str, Mapping[str, Kind]] = {
    "hinge_loss": _SIGNED_TARGET, "squared_hinge_loss": _SIGNED_TARGET, "soft_margin_loss": _SIGNED_TARGET,
    "hinge_embedding_loss": _SIGNED, "margin_ranking_loss": _SIGNED, "cosine_embedding_loss": _SIGNED,
    "bce_loss": {"pred": _unit, "target": _unit}, "bce_with_logits_loss": {"target": _unit},
    "poly_cross_entropy_loss": {"t": _distribution},
    "kl_div_loss": {"t": _distribution}, "poisson_nll_loss": {"t": _positive}, "multilabel_margin_loss": {"y": _lists},
}  # fmt: skip
"""Where a name means something else. Integers are labels unless they stand here."""

FALLBACKS: tuple[Kind, ...] = (_real, _unit, _sign, _positive, _distribution)


def find_kinds(op: str, function: Function, axis: int, classes: Sequence[int]) -> tuple[Mapping[str, Kind], int]:
    """Data for the inputs of a function of static, small shapes, by trial: its checks must hold, its results be finite
    numbers. Also the first of `classes` that bounds its labels.

    Raises AssertionError where none of the kinds known here does that: then `KINDS` lacks a row.
    """
    shapes = {
        value.name: tuple(size for size in value.type.shape if isinstance(size, int)) for value in function.inputs
    }
    for kinds in _by_changes(op, function):
        for count in classes:
            arrays = arguments(function, shapes, kinds, axis, 0, count)
            try:
                results = interpret(function, arrays)
            except LosscError:
                continue
            if all(np.isfinite(result).all() for result in results if result.dtype.kind == "f"):
                return kinds, count
    raise AssertionError(f"no kind of data suits the inputs of {op}: add to KINDS")


def _by_changes(op: str, function: Function) -> Iterator[dict[str, Kind]]:
    """The kinds that the names suggest, then with one of them changed, then with two, ..."""
    own = OWN_KINDS.get(op, {})
    floats = [value for value in function.inputs if is_float(value.type.dtype)]
    suggested = dict(own)
    for value in floats:
        matrix = value.name == "weight" and value.type.rank > 1
        suggested[value.name] = REAL if matrix else own.get(value.name, KINDS.get(value.name, REAL))
    for count in range(len(floats) + 1):
        for changed in itertools.combinations(floats, count):
            for others in itertools.product(FALLBACKS, repeat=count):
                yield {**suggested, **{value.name: kind for value, kind in zip(changed, others)}}


def arguments(
    function: Function, shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, Kind], axis: int, seed: int,
    classes: int, ignored: int | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Arrays for every input. Labels lie in [0, classes), some of them are `ignored`; `axis` is the class axis."""
    arrays: dict[str, Array] = {}
    for value in function.inputs:
        generator = np.random.default_rng([seed, zlib.crc32(value.name.encode())])
        shape, dtype = shapes[value.name], value.type.dtype
        if is_float(dtype):
            along = axis if -len(shape) <= axis < len(shape) else -1
            values = kinds.get(value.name, REAL)(generator, shape, along)
            arrays[value.name] = np.ascontiguousarray(values, numpy_dtype(dtype)).reshape(shape)
        elif is_integer(dtype) and value.name in kinds:
            arrays[value.name] = _whole(kinds[value.name], generator, shape, dtype, classes)
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


def _whole(kind: Kind, generator: np.random.Generator, shape: tuple[int, ...], dtype: str, classes: int) -> Array:
    """Integers that are no labels; an unsigned type has the part of them that it can hold."""
    info = np.iinfo(numpy_dtype(dtype))
    limit = min(classes, int(info.max) + 1) if kind is _lists else -1
    return np.asarray(kind(generator, shape, limit)).clip(info.min, info.max).astype(numpy_dtype(dtype))
