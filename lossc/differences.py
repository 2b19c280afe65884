"""How far arrays are from what they should be.

In: an array that was computed, and the one that is expected. Out: the largest difference over the largest value, and
what it may be: sums in another order differ.
"""

from __future__ import annotations

import numpy as np

TOLERANCE = {"f64": 1e-10, "f32": 1e-4, "f16": 1e-2, "bf16": 5e-2}
"""By element type. Integers and truth values have to be the same."""
CHUNK = 1 << 20


def differs(dtype: str, error: float) -> bool:
    """Whether a relative difference is more than rounding."""
    return not error <= TOLERANCE.get(dtype, 0.0)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest finite value; infinite where NaN and infinities are not the same."""
    largest = difference = 0.0
    for start in range(0, expected.size, CHUNK):
        a, b = (array.reshape(-1)[start : start + CHUNK].astype(np.float64) for array in (found, expected))
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
            return float("inf")
        largest = max(largest, float(np.abs(b[finite]).max(initial=0.0)))
        difference = max(difference, float(np.abs(a[finite] - b[finite]).max(initial=0.0)))
    return difference / largest if largest else difference
