"""The arrays of a case, and the right answer in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import lossc

from .cases import Case

Arrays = dict[str, np.ndarray]
CACHE_LINE = 64
ROUNDING = 2.0**-22


@dataclass(frozen=True)
class Data:
    """Sets of inputs, used in turn; of the first one, from float64, the loss and its gradients. `slack` is what a
    single element of a gradient may be off by beside its relative error. `fewest_bytes`: every input read once, every
    gradient written once."""

    sets: tuple[Arrays, ...]
    loss: float
    gradients: Arrays
    slack: dict[str, float]
    fewest_bytes: int


def make_data(case: Case, cache_bytes: int = 128 * 2**20, seed: int = 0) -> Data:
    """So many sets that what one call leaves in the caches is gone when its turn comes again."""
    random = np.random.default_rng(seed)
    first = _draw(case, random)
    count = max(1, -(-cache_bytes // (2 * sum(array.nbytes for array in first.values()))))
    sets = (first, *(_draw(case, random) for _ in range(min(count, 64) - 1)))
    loss, gradients = _answer(case, first)
    slack = {name: ROUNDING * float(np.abs(g).max()) if case.loss.cancels else 1e-35 for name, g in gradients.items()}
    return Data(sets, loss, gradients, slack, fewest_bytes(case, first))


def fewest_bytes(case: Case, inputs: Arrays) -> int:
    """Every input read once, every gradient written once. Of what is only looked up by label, a cache line a label."""
    read = sum(CACHE_LINE * inputs["t"].size if name in case.loss.picked else array.nbytes
               for name, array in inputs.items())  # fmt: skip
    return read + sum(inputs[name].nbytes for name in case.loss.by)


def as_tensors(arrays: Arrays, dtype: Any = None) -> dict[str, Any]:
    """As a torch program has them: labels are int64."""
    import torch

    kinds = {"i": np.int64, "f": dtype or np.float32}
    return {name: torch.from_numpy(array.astype(kinds[array.dtype.kind], copy=False)) for name, array in arrays.items()}


def _draw(case: Case, random: np.random.Generator) -> Arrays:
    found = {}
    for name, draw in case.loss.inputs.items():
        values = draw(random, case.shape)
        found[name] = lossc.empty(values.shape, values.dtype)
        found[name][...] = values
    return found


def _answer(case: Case, arrays: Arrays) -> tuple[float, Arrays]:
    import torch
    from torch.nn import functional

    tensors = as_tensors(arrays, np.float64)
    wanted = [tensors[name].requires_grad_() for name in case.loss.by]
    loss = case.loss.torch(functional, *tensors.values())
    gradients = torch.autograd.grad(loss, wanted)
    return float(loss), {name: g.numpy().astype(np.float32) for name, g in zip(case.loss.by, gradients)}
