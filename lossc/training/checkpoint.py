"""Checkpoints: what a training step writes beside its parameters, to go on bit for bit.

In: how far a step is, an optimizer's state. Out: what a file of tensors says of them. The state lies under
`optimizer.<state>/<parameter>`; all other names are parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike, fspath
from typing import NamedTuple

import numpy as np

from lossc.arrays import to_dtype
from lossc.ir.diagnostics import LirError
from lossc.ir.frozen import frozen
from lossc.tensor_files import OPTIMIZER_PREFIX


class Done(NamedTuple):
    """What a step has done: updates, batches that wait for the next one, what those count together, and all batches
    that something was drawn for."""

    updates: int = 0
    waiting: int = 0
    shares: float = 0.0
    drawn: int = 0


@frozen
class Progress:
    """How far a training is: updates done, batches that gradients were computed for, the seed of what those drew."""

    step: int
    batches: int
    seed: int

    def about(self, optimizer: str) -> dict[str, str]:
        """What a checkpoint says of it."""
        return {"optimizer": optimizer, **{name: str(value) for name, value in vars(self).items()}}


def progress_in(about: Mapping[str, str], optimizer: str, path: str | PathLike[str]) -> Progress:
    """The inverse of `Progress.about`. Raises LirError for the state of another optimizer, or none."""
    kind = about.get("optimizer", "no optimizer")
    if kind != optimizer:
        raise LirError(f"{fspath(path)} holds the state of {kind}, this step has {optimizer}",
                       "graph.parameters.load reads the parameters alone")  # fmt: skip
    numbers = {name: about.get(name, "") for name in ("step", "batches", "seed")}
    wrong = [name for name, text in numbers.items() if not re.fullmatch("[0-9]{1,18}", text)]
    if wrong:
        raise LirError(f"{fspath(path)} does not say `{wrong[0]}`: it is no checkpoint of a training step",
                       "graph.parameters.load reads the parameters alone")  # fmt: skip
    return Progress(**{name: int(text) for name, text in numbers.items()})


def state_in(
    tensors: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...], dtype: str, path: str | PathLike[str]
) -> np.ndarray:
    """One parameter's part of an optimizer's state. Raises LirError where it is missing or of another type."""
    values = tensors.get(key)
    if values is None or values.shape != shape or values.dtype != to_dtype(dtype):
        found = "nothing" if values is None else f"{values.dtype}{list(values.shape)}"
        raise LirError(f"{fspath(path)}: expected {dtype}{list(shape)} as `{key}`, found {found}")
    return values


def state_key(state: str, parameter: str) -> str:
    """The name in a checkpoint of one parameter's part of an optimizer's state."""
    return f"{OPTIMIZER_PREFIX}{state}/{parameter}"
