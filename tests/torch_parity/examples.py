"""lossc.torch beside torch, and a few logits with their labels."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lossc[torch]'")
ours = pytest.importorskip("lossc.torch")
theirs = torch.nn.functional

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 3, 2, 4, 1, 0])


def leaf(x: Any) -> Any:
    return x.detach().clone().requires_grad_()
