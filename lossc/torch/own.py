"""Losses of one's own on torch tensors: a graph, LIR text, or a Python function over values, differentiable by torch.

In: the definition. Out: a function of tensors like those of `lossc.torch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, is_grad_enabled
from torch.overrides import handle_torch_function

from lossc.arrays import convert
from lossc.ir.shapes import bind_dimensions
from lossc.ir.types import Type, dim_value, is_float
from lossc.kept import keep
from lossc.losses.own import Definition, OwnLoss, is_one_number
from lossc.losses.programs import MOST_PROGRAMS
from lossc.torch.autograd import Differentiable, Plan, reduced_loss
from lossc.torch.tensors import (
    DTYPE_OF,
    as_array,
    as_tensor,
    check_modes,
    check_tensor,
    dtype_name,
    keep_out_of_graphs,
    overridden,
)


def function(loss: Definition) -> Any:
    """A loss of your own as a function of tensors, with its gradients: a `lossc.Graph` (lossc.load reads one from a
    file), LIR text, or a Python function over values of a graph. It may be a decorator.

    Inputs are the arguments, params among them, in their order or by name; a graph counts as it stands at this call. A
    result of one element is a tensor without axes, whose gradients come from the same kernels; several results are a
    tuple. Floats become the floats that an input is declared with, integers other integers if every value fits. Named
    dimensions of a graph or a text take any size; a Python function, whose arguments may also be numbers, strings,
    truth values or None, is compiled for each combination of these and of shapes.
    """
    own = OwnLoss(loss)
    plans: dict[Any, Plan] = {}

    def of_tensors(*arguments: Any, **keywords: Any) -> Any:
        values = own.read(arguments, keywords)
        everything = tuple(values.values())
        if overridden(everything):
            return handle_torch_function(of_tensors, everything, *arguments, **keywords)
        tensors: dict[str, Tensor] = {}
        for name, value in values.items():
            if name in own.inputs or isinstance(value, Tensor):
                tensors[name] = _read(own, name, value)
        check_modes(own.name, tensors.values())
        settings = {name: value for name, value in values.items() if name not in tensors}
        types = {name: Type(dtype_name(own.name, name, t), tuple(t.shape)) for name, t in tensors.items()}
        # The program says what it does not take as a setting.
        program = own.program(types, settings)
        key = (program, *types.values())
        plan = plans.get(key)
        if plan is None:
            plan = keep(plans, key, _plan(own, program, types), MOST_PROGRAMS)
        given = list(tensors.values())
        wanted = tuple(place for place, tensor in enumerate(given) if tensor.requires_grad)
        if not (wanted and is_grad_enabled()):
            found = plan.run(given)
            return found[0] if len(found) == 1 else tuple(found)
        if plan.reduced:
            return reduced_loss(plan.with_gradient(wanted), *given)
        return Differentiable.apply(plan, *given)

    of_tensors.__name__ = of_tensors.__qualname__ = own.name
    of_tensors.__doc__, of_tensors.__module__ = own.help, own.module
    keep_out_of_graphs(of_tensors)
    return of_tensors


def _read(own: OwnLoss, name: str, value: Any) -> Tensor:
    """The tensor of an input, in the element type that it is declared with. Raises LirError."""
    declared = own.inputs.get(name)
    if isinstance(value, Tensor):
        check_tensor(own.name, name, value)
        if declared is None or value.dtype is DTYPE_OF[declared.dtype]:
            return value
        if value.is_floating_point() and is_float(declared.dtype):
            return value.to(DTYPE_OF[declared.dtype])
        value = as_array(value, tuple(value.shape))
    assert declared is not None
    array, _ = convert(name, value, declared)
    return as_tensor(array, array.shape)


def _plan(own: OwnLoss, program: Any, types: Mapping[str, Type]) -> Plan:
    inputs = [(value.name, value.type) for value in program.function.inputs]
    shapes = {name: tuple(int(dim) for dim in type_.shape) for name, type_ in types.items()}  # type: ignore[arg-type]
    sizes = bind_dimensions(inputs, shapes)
    reduced = is_one_number(program)
    results = tuple(tuple(dim_value(dim, sizes) for dim in output.type.shape) for output in program.function.outputs)
    return Plan(own, program, sizes, tuple(shapes.values()), ((),) if reduced else results, reduced)
