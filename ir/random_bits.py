"""Random bits that are a function of a key and a counter: the meaning of `random_bits`, in NumPy.

In: a 64-bit key and a 64-bit counter. Out: 64 bits in two words that pass every test of randomness that is known,
for each key along the counters and for each counter along the keys. Nothing is kept from one call to the next, so
any part of a random tensor can be computed again, anywhere, in any order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint32]]

PARITY = 0x1BD11BDA
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
ROUNDS = 20


def threefry_2x32(key: tuple[Words, Words], counter: tuple[Words, Words]) -> tuple[Words, Words]:
    """Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3, 2011).

    A round is x += y; y = rotate(y) ^ x. After every fourth one the key is added, its words taken in turn with the
    parity word, and the number of the addition.
    """
    schedule = (*key, key[0] ^ key[1] ^ np.uint32(PARITY))
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for number in range(ROUNDS):
        rotation = ROTATIONS[number % len(ROTATIONS)]
        x = x + y
        y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        if number % 4 == 3:
            added = number // 4 + 1
            x = x + schedule[added % 3]
            y = y + schedule[(added + 1) % 3] + np.uint32(added)
    return x, y


def words_of(number: np.ndarray[Any, Any]) -> tuple[Words, Words]:
    """The low and the high half of 64-bit integers."""
    bits = np.asarray(number, np.int64).view(np.uint64)
    return (bits & np.uint64(0xFFFFFFFF)).astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)


def random_bits(key: np.ndarray[Any, Any], counter: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first word for each key and counter (i64), as an i32: all of -2^31 to 2^31 - 1 equally likely."""
    # The sums wrap around, which NumPy reports for single numbers.
    with np.errstate(over="ignore"):
        return threefry_2x32(words_of(key), words_of(counter))[0].view(np.int32)
