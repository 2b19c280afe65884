"""Random inputs: each function draws an array for a loss at a shape. Never zeros: what is drawn is what losses meet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], np.ndarray]


def normal(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """Of deviation 3, and never 0: at a kink systems differ in the subgradient that they take."""
    found = random.standard_normal(shape, np.float32) * np.float32(3)
    found[found == 0] = 0.5
    return found


def mild(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """Of deviation 1: two softmaxes of such numbers overlap."""
    return random.standard_normal(shape, np.float32)


def unit(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """Between 0.01 and 0.99."""
    return random.random(shape, np.float32) * np.float32(0.98) + np.float32(0.01)


def sign(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, 2, shape).astype(np.float32) * 2 - 1


def binary(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, 2, shape).astype(np.float32)


def count(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, 9, shape).astype(np.float32)


def rows(draw: Draw) -> Draw:
    """One number a row in place of one an element."""
    return lambda random, shape: draw(random, shape[:1])


def columns(draw: Draw) -> Draw:
    """One number a class."""
    return lambda random, shape: draw(random, shape[1:2])


def labels(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)


def label_lists(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """A few labels a row, then -1."""
    found = np.argsort(random.random(shape, np.float32), 1).astype(np.int32)
    found[np.arange(shape[1]) >= random.integers(1, 5, (shape[0], 1))] = -1
    return found


def softmax(random: np.random.Generator, shape: Shape) -> np.ndarray:
    power = np.exp(normal(random, shape))
    return power / power.sum(1, keepdims=True)


def log_softmax(random: np.random.Generator, shape: Shape) -> np.ndarray:
    x = normal(random, shape)
    return x - np.log(np.exp(x).sum(1, keepdims=True))
