"""What `Graph.compile` and `Graph.compile_step` make of the module of a graph. Loaded where something is compiled.

In: a module with what its outputs need, the graph's parameters, what the user asked for. Out: a compiled function or a
training step, of the kind that measures where that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lossc.gradients import check_inplace, differentiate
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Module, Value
from lossc.parameters import Parameters
from lossc.tuning.wanted import tuning_wanted

if TYPE_CHECKING:
    from lossc.compiled import CompiledFunction
    from lossc.optim import Optimizer
    from lossc.training.step import Step


def function_of(
    module: Module, parameters: Parameters, grad: Any, of: Value | None, upstream: bool, inplace: str | Sequence[str],
    tune: bool | None, **settings: Any,
) -> CompiledFunction:  # fmt: skip
    """A function of arrays; with its gradients, if `grad` asks for some."""
    if tuning_wanted(tune):
        from lossc.tuning.function import TunedFunction as kind
    else:
        from lossc.compiled import CompiledFunction as kind
    if grad is False or grad is None:
        if of is not None or upstream or inplace:
            raise LirError("of, upstream and inplace say what to do with gradients: they need grad")
        return kind(module, parameters, **settings)
    found = differentiate(module, parameters, grad, of, upstream)
    if isinstance(inplace, bool):
        raise LirError(f"inplace names inputs whose arrays gradients are written over, found {inplace}",
                       'write inplace="x", or a list of names')  # fmt: skip
    names = (inplace,) if isinstance(inplace, str) else tuple(inplace)
    check_inplace(names, found.names, parameters)
    return kind(found.module, parameters, outputs=found.outputs, gradients=found.names, inplace=names, **settings)


def step_of(
    module: Module, parameters: Parameters, optimizer: Optimizer, tune: bool | None, **settings: Any
) -> Step:  # fmt: skip
    """A training step."""
    if tuning_wanted(tune):
        from lossc.tuning.step import TunedStep as kind
    else:
        from lossc.training.step import Step as kind
    return kind(module, parameters, optimizer, **settings)
