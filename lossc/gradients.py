"""What a function with gradients takes and returns: which inputs are meant, and what is differentiated.

In: a graph, the outputs and gradients that a user asked for. Out: a module that returns the outputs and then one
gradient for each name; the compiler does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossc.compiler.gradient import request_module_gradients
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.frozen import frozen
from lossc.ir.function import Function, Module, Value
from lossc.ir.tensor import Tensor
from lossc.ir.types import is_float
from lossc.parameters import Parameters


@frozen
class Differentiated:
    """A module with gradients: the first `outputs` results are what was asked for, the others are the gradients by
    `names`, in order."""

    module: Module
    outputs: int
    names: tuple[str, ...]


def names_wanted(module: Module, parameters: Parameters, grad: Any) -> list[str]:
    """The inputs that `grad` means. True is all parameters that are not frozen, all float inputs where the module
    has no parameters."""
    entry = module.entry
    if grad is True:
        params = [value.name for value in entry.inputs if value in entry.params]
        trained = [name for name in params if name not in parameters or not parameters.entry(name).frozen]
        if params and not trained:
            raise LirError(
                f"all parameters of @{entry.name} are frozen: there is nothing to differentiate by",
                'unfreeze some: g.parameters.unfreeze("*")',
                'or name inputs for compile: grad=["x"]',
            )
        floats = [value.name for value in entry.inputs if is_float(value.type.dtype)]
        return trained or [name for name in floats if name not in parameters]
    items = [grad] if isinstance(grad, (str, Tensor)) else grad
    if isinstance(items, Mapping) or not isinstance(items, Sequence):
        raise LirError(f"grad is True or a list of names, found {type(grad).__name__}")
    return [_name_of(item) for item in items]


def _name_of(item: Any) -> str:
    if isinstance(item, Tensor):
        return item.value.name
    if not isinstance(item, str):
        raise LirError(f"grad is True or a list of names, found a list with {type(item).__name__}")
    return item


def differentiate(
    module: Module, parameters: Parameters, grad: Any, of: Value | None, upstream: bool
) -> Differentiated:
    """`module` with gradients of `of`, by default of its first output. `of` that is no output is not returned.

    Raises LirError for a name that does not exist or what is no float.
    """
    entry = module.entry
    outputs = len(entry.outputs)
    name: str | None = None
    if of is not None:
        if of not in entry.outputs:
            extra = entry.with_(outputs=(*entry.outputs, of), output_names=(*entry.names_of_outputs, _fresh(of, entry)))
            module = module.with_function(extra)
        entry = module.entry
        name = entry.names_of_outputs[entry.outputs.index(of)]
    names = names_wanted(module, parameters, grad)
    changed = request_module_gradients(module, names, name, upstream)
    if len(entry.outputs) != outputs:
        final = changed.entry
        kept = [*range(outputs), *range(len(entry.outputs), len(final.outputs))]
        changed = changed.with_function(
            final.with_(outputs=tuple(final.outputs[i] for i in kept),
                        output_names=tuple(final.names_of_outputs[i] for i in kept))
        )  # fmt: skip
    return Differentiated(changed, outputs, tuple(dict.fromkeys(names)))


def check_inplace(names: Sequence[str], gradients: Sequence[str], parameters: Parameters) -> None:
    """Raise LirError for a name of `names` over which no gradient can be written."""
    for name in names:
        if name not in gradients or name in parameters:
            why = "it is a parameter" if name in parameters else "its gradient is not asked for"
            raise LirError(f"no gradient can be written over `{name}`: {why}", *did_you_mean(name, gradients),
                           f"gradients: {', '.join(gradients)}")  # fmt: skip


def _fresh(value: Value, entry: Function) -> str:
    name, taken, number = value.name, set(entry.names_of_outputs), 2
    while name in taken:
        name, number = f"{value.name}_{number}", number + 1
    return name
