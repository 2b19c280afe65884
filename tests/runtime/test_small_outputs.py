"""Memory of small results: used again when nobody holds it, and never before."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from lossc.runtime.memory import ALIGNMENT, address_of
from lossc.runtime.small_outputs import MOST_BLOCKS, SmallOutput

F32 = np.dtype(np.float32)


def output(shape: tuple[int, ...] = (8, 4)) -> SmallOutput:
    return SmallOutput(shape, F32)


def place(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_that_nobody_holds_is_used_again() -> None:
    small = output()
    first, _ = small.take()
    there = place(first)
    del first
    again, _ = small.take()
    assert place(again) == there


@pytest.mark.parametrize("hold", [
    lambda array: array, lambda array: array[1:], lambda array: array.T, lambda array: array.reshape(-1)[3:5],
    memoryview, lambda array: np.asarray(memoryview(array)), lambda array: array.view(np.int32), lambda array: [array],
    lambda array: array.ravel().__array_interface__ and array.diagonal(),
])  # fmt: skip
def test_memory_that_somebody_holds_is_not(hold: Any) -> None:
    small = output()
    array, _ = small.take()
    array[...] = 1
    there = place(array)
    held = hold(array)
    del array
    others = [small.take()[0] for _ in range(5)]
    assert all(place(other) != there for other in others)
    del others, held
    gc.collect()
    assert there in [place(small.take()[0]) for _ in range(1)]


def test_what_a_user_does_to_an_array_is_of_no_account() -> None:
    small = output()
    array, _ = small.take()
    array.setflags(write=False)
    array.shape = (32,)
    del array
    again, _ = small.take()
    assert again.shape == (8, 4)
    assert again.flags.writeable


def test_arrays_are_aligned_and_as_many_as_are_wanted() -> None:
    small = output((3,))
    arrays = [small.take()[0] for _ in range(MOST_BLOCKS + 4)]
    assert all(address_of(array) % ALIGNMENT == 0 for array in arrays)
    assert len({place(array) for array in arrays}) == len(arrays)
