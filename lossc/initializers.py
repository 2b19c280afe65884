"""Rules for the first values of parameters.

In: a rule, a seed, the name and shape of a parameter. Out: an array.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lossc.ir.diagnostics import LirError, did_you_mean

# NumPy loads its generators when they are first named: 9 ms for who draws nothing.
Initializer = Callable[["np.random.Generator", tuple[int, ...]], np.ndarray]


def uniform(bound: float) -> Initializer:
    """U(-bound, bound)."""
    return lambda generator, shape: generator.uniform(-bound, bound, shape)


def fan_in(shape: Sequence[int]) -> int:
    """How many inputs one output of a weight [out, in, ...] adds up."""
    return math.prod(shape[1:]) if len(shape) > 1 else (shape[0] if shape else 1)


def kaiming_uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """U(-1/sqrt(in), 1/sqrt(in)) for a weight [out, in]: He's rule with a = sqrt(5), as torch's Linear has it."""
    return uniform(1 / math.sqrt(max(1, fan_in(shape))))(generator, shape)


def xavier_uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """U(-b, b) with b = sqrt(6 / (in + out)) for a weight [out, in]: Glorot's rule."""
    return uniform(math.sqrt(6 / max(1, fan_in(shape) + (shape[0] if shape else 1))))(generator, shape)


INITIALIZERS: Mapping[str, Initializer] = {
    "zeros": lambda generator, shape: np.zeros(shape),
    "ones": lambda generator, shape: np.ones(shape),
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "kaiming_uniform": kaiming_uniform,
    "xavier_uniform": xavier_uniform,
}


def draw(rule: str | float | Initializer, seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values by a rule: its name, a bound for U(-bound, bound), or a function of generator and shape.

    The generator depends on the seed and on the parameter's name alone: what else there is, and in which order, changes
    nothing. Raises LirError for a name that no rule has.
    """
    if isinstance(rule, str):
        if rule not in INITIALIZERS:
            raise LirError(f"no initializer `{rule}`", *did_you_mean(rule, INITIALIZERS),
                           f"there are {', '.join(INITIALIZERS)}")  # fmt: skip
        rule = INITIALIZERS[rule]
    elif isinstance(rule, (int, float)):
        rule = uniform(float(rule))
    elif not callable(rule):
        raise LirError(f"parameter `{name}`: init is a name, a bound or a function, found {type(rule).__name__}",
                       "an array of first values stands in place of the shape: g.param(name, array)")  # fmt: skip
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.asarray(rule(generator, shape), np.float64)
