"""Tensors by name in safetensors files, which other programs read too.

In: arrays by name, and a few words of text about them. Out: a file that is there whole or not at all. Names that begin
with `optimizer.` are the state of an optimizer, all others parameters.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from lossc.ir.diagnostics import LirError
from lossc.writing import cannot_write

OPTIMIZER_PREFIX = "optimizer."


def write_tensors(path: str | PathLike[str], tensors: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write a safetensors file. A file that is there already stays whole until the new one is. Raises LirError."""
    from safetensors.numpy import save

    target = Path(path)
    if target.suffix in (".npz", ".npy", ".pt"):
        raise LirError(f"{target}: what is written is a .safetensors file, whose name cannot end in {target.suffix}",
                       f"write {target.with_suffix('.safetensors')}")  # fmt: skip
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
        raise cannot_write(target, error) from None


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
