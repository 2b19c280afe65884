"""Dead code: operations that nothing needs go.

Before:  %a = exp %x ; %b = log %x ; return %a
After:   %a = exp %x ; return %a

Needed are the outputs, and whatever may refuse the run: `check`, calls, and losses that are not yet expanded.
"""

from __future__ import annotations

from ...ir.function import Module
from ..functions import map_functions, without_dead


def dce(module: Module) -> Module:
    """Remove operations that no output and no check needs.

    what nobody reads = nothing  exact
    """
    return map_functions(module, without_dead)
