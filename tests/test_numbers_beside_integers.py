"""A Python number beside an integer tensor is not cut to an integer: in `lossc.functional` and in `lossc.torch`."""

from __future__ import annotations

import numpy as np
import pytest

import lossc.functional as arrays_of

INTEGERS, FLOATS = np.array([1, 2, 3]), np.array([1.5, 2.5, 2.0], np.float32)


def gaussian(x: np.ndarray, t: np.ndarray, var: float) -> float:
    return float(np.mean(0.5 * (np.log(var) + (x - t) ** 2 / var)))


@pytest.mark.parametrize("first", [INTEGERS, INTEGERS.astype(np.float32)], ids=["integers", "floats"])
def test_arrays(first: np.ndarray) -> None:
    found = arrays_of.gaussian_nll_loss(first, FLOATS, 0.5)
    np.testing.assert_allclose(found, gaussian(first, FLOATS, 0.5), rtol=1e-6)
    weight = np.ones(3, np.float32)
    np.testing.assert_allclose(arrays_of.mse_loss(first, 0.5, weight=weight), np.mean((INTEGERS - 0.5) ** 2), rtol=1e-6)


@pytest.mark.parametrize("integers", [True, False])
def test_tensors(integers: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lossc[torch]'")
    ours = pytest.importorskip("lossc.torch")
    first = torch.tensor(INTEGERS) if integers else torch.tensor(INTEGERS, dtype=torch.float32)
    found = ours.gaussian_nll_loss(first, torch.tensor(FLOATS), 0.5)
    torch.testing.assert_close(found, torch.nn.functional.gaussian_nll_loss(first, torch.tensor(FLOATS), 0.5))
