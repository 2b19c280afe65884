"""What a function with gradients takes and returns: which inputs are meant, and what is differentiated.

In: the part of a graph that gives the outputs, and what the user asked for. Out: a module that returns the outputs
and then one gradient for each name; the compiler does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lossc.compiler.gradient import request_gradients
from lossc.cut import cut
from lossc.ir.builder import Tensor
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.function import Function, Module, Value
from lossc.ir.types import is_float

if TYPE_CHECKING:
    from lossc.graph import Graph

Wanted = bool | str | Sequence[str | Tensor]
