"""What is done to programs: passes over modules, cutting into fused kernels, schedules, strategies, OpenCL C.

module --passes--> prepared --outline--> fused kernels --strategies--> program --opencl--> source
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compiled import Compiled, compile_module

__all__ = ["Compiled", "compile_module"]


def __getattr__(name: str) -> Any:
    # A program that is found on disk needs nothing of the compiler but its name.
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.compiled"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
