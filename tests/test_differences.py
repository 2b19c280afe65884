"""How far arrays are from what they should be."""

from __future__ import annotations

import numpy as np
import pytest

from lossc.differences import relative_difference


@pytest.mark.parametrize(("found", "error"), [
    ([1.0, 2.0, np.nan, np.inf], 0.0), ([1.0, 2.5, np.nan, np.inf], 0.25), ([1.0, 2.0, 3.0, np.inf], np.inf),
    ([1.0, 2.0, np.nan, -np.inf], np.inf), ([1.0, np.nan, np.nan, np.inf], np.inf),
])  # fmt: skip
def test_differences(found: list[float], error: float) -> None:
    expected = np.array([1.0, 2.0, np.nan, np.inf])
    np.testing.assert_equal(relative_difference(np.array(found), expected), error)
