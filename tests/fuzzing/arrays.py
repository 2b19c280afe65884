"""Arrays for random functions, of several kinds: plain numbers, ties, NaN and infinities, zeros of both signs, very
different sizes, exact multiples of a divisor.

In: an example. Out: arrays by input name, the same for the same seed.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from lossc.ir.types import dim_value, is_float, numpy_dtype

from .functions import Example
from .sample import IGNORED

Array = np.ndarray[Any, Any]

KINDS = ("mild", "ties", "large", "zeros", "scales", "multiples", "nan", "special")
SPECIAL = ("nan", "special")
"""Kinds with what is no finite number."""


def arrays(example: Example, kind: str) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for value in example.function.inputs:
        generator = np.random.default_rng([example.seed, zlib.crc32(f"{value.name} {kind}".encode())])
        shape = tuple(dim_value(dim, example.sizes) for dim in value.type.shape)
        if is_float(value.type.dtype):
            made = _floats(generator, shape, kind)
        elif value.type.dtype == "bool":
            made = generator.integers(0, 2, shape)
        elif value.name[0] == "t":
            made = _labels(generator, shape, value.type.dtype, example.classes)
        else:
            made = generator.integers(0 if value.type.dtype == "u8" else -3, 4, shape)
        with np.errstate(over="ignore"):
            found[value.name] = np.asarray(made).astype(numpy_dtype(value.type.dtype))
    return found


def _floats(generator: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    plain = generator.standard_normal(shape) * 2
    match kind:
        case "ties":
            return generator.integers(-2, 3, shape).astype(float)
        case "large":
            return plain * 20
        case "zeros":
            return np.where(generator.random(shape) < 0.5, np.copysign(0.0, plain), plain)
        case "scales":
            each = shape if generator.random() < 0.5 else ()
            return plain * generator.choice([0.0, 1.0, 1e-30, 1e-6, 1e8, 1e15], each)
        case "multiples":
            return generator.integers(-3, 4, shape) * generator.choice([41.0, 49.0, 0.1, 3.0])
        case "nan":
            return _with(generator, plain, [np.nan])
        case "special":
            choices = [[np.nan, np.inf, -np.inf, -np.inf, 0.0, -0.0], [-np.inf, 0.0]]
            found = _with(generator, plain, choices[generator.integers(2)])
            if found.ndim > 1 and len(found) and generator.random() < 0.3:
                found[generator.integers(len(found))] = -np.inf
            return found
    return plain


def _with(generator: np.random.Generator, values: Array, choices: list[float]) -> Array:
    spots = generator.random(values.shape) < generator.choice([0.02, 0.2])
    return np.where(spots, generator.choice(choices, values.shape), values)


def _labels(generator: np.random.Generator, shape: tuple[int, ...], dtype: str, classes: int) -> Array:
    """In range as far as the type goes; some of them, or all, are ignored."""
    labels = generator.integers(0, max(1, min(classes, int(np.iinfo(numpy_dtype(dtype)).max) + 1)), shape)
    share = generator.choice([0.0, 0.0, 0.3, 1.0], p=[0.25, 0.25, 0.4, 0.1])
    return np.where(generator.random(shape) < share, IGNORED[dtype], labels)
