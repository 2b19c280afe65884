"""Checkpoints: tensors by name in a safetensors file, which other programs read too.

In: arrays by name, and a few words of text about them. Out: a file that is there whole or not at all. A training
step keeps its optimizer's state under `optimizer.<state>/<parameter>`; all other names are parameters.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lossc.arrays import to_dtype
from lossc.ir.diagnostics import LirError

OPTIMIZER_PREFIX = "optimizer."


class Done(NamedTuple):
    """What a step has done: updates, batches that wait for the next one, what those count together, and all batches
    that something was drawn for."""

    updates: int = 0
    waiting: int = 0
    shares: float = 0.0
    drawn: int = 0


@dataclass(frozen=True)
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


def write_tensors(path: str | PathLike[str], tensors: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write a safetensors file. A file that is there already stays whole until the new one is. Raises LirError."""
    from safetensors.numpy import save

    target = Path(path)
    if target.suffix in (".npz", ".npy", ".pt"):
        raise LirError(f"{target} would not be a {target.suffix} file", f"write {target.with_suffix('.safetensors')}")
    data = save({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()},
                {"format": "lossc", **about})  # fmt: skip
    try:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise LirError(f"cannot write {target}: {error.strerror or error}") from None


def read_tensors(path: str | PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a safetensors file and what it says about them. Raises LirError."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb"):
            pass
        with safe_open(fspath(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            return tensors, dict(file.metadata() or {})
    except OSError as error:
        raise LirError(f"cannot read {fspath(path)}: {error.strerror or error}") from None
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise LirError(f"{fspath(path)} is not a safetensors file that lossc can read: {error}") from None


def parameters_in(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of a checkpoint, without an optimizer's state."""
    return {name: array for name, array in tensors.items() if not name.startswith(OPTIMIZER_PREFIX)}


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
