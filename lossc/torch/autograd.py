"""Programs of losses as differentiable functions of torch.

In: a program and tensors. Out: tensors with a history. A reduced loss and its gradients come out of one run; an
unreduced one computes its gradients when the incoming gradient is known. With `create_graph=True` the gradients are
functions with a history, too, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lossc.ir.diagnostics import CheckFailed
from lossc.ir.shapes import bind_dimensions
from lossc.ir.types import dim_value
from lossc.losses.programs import LossProgram
from lossc.losses.table import Row
from lossc.torch.tensors import DTYPE_OF, as_array, as_tensor, keep_out_of_graphs

Sizes = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """A program for tensors of known shapes. `shapes` are those of its inputs in torch, `results` of its outputs;
    where it is the plan `loss` with gradients beside, `wanted` are the positions that these belong to."""

    row: Row
    program: LossProgram
    sizes: dict[str, int]
    shapes: tuple[Sizes, ...]
    results: tuple[Sizes, ...]
    reduced: bool = False
    wanted: tuple[int, ...] = ()
    loss: Plan | None = None
    _derived: dict[Any, Plan] = field(default_factory=dict)

    @cached_property
    def views(self) -> tuple[Sizes, ...]:
        """The shapes of the inputs in the program."""
        types = [value.type for value in self.program.function.inputs]
        return tuple(tuple(dim_value(dim, self.sizes) for dim in type_.shape) for type_ in types)

    @cached_property
    def _likes(self) -> list[Tensor]:
        """A tensor like each output of a small plan."""
        types = [value.type for value in self.program.function.outputs]
        return [torch.empty(shape, dtype=DTYPE_OF[type_.dtype]) for shape, type_ in zip(self.results, types)]

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        executable = self.program.executable()
        small = executable.small_plan(self.views)
        if small is not None and all(map(_lies_plainly, tensors)):
            # No arrays of NumPy between: they take as long as the kernel.
            results = [torch.empty_like(like) for like in self._likes]
            given = [tensor.data_ptr() for tensor in tensors]
            if executable.run_at(small, given, [result.data_ptr() for result in results]):
                return results
        arrays = list(map(as_array, tensors, self.views))
        try:
            found = executable.run(arrays)
        except CheckFailed as error:
            raise self.row.failed(error) from None
        return list(map(as_tensor, found, self.results))

    def gradient(self, wanted: tuple[int, ...]) -> Plan:
        """The plan of the gradients by the inputs `wanted`; it takes one incoming gradient an output."""
        key = ("gradient", wanted)
        if key not in self._derived:
            shapes = (*self.shapes, *self.results)
            results = tuple(self.shapes[position] for position in wanted)
            self._derived[key] = Plan(self.row, self.program.gradient(wanted), self.sizes, shapes, results)
        return self._derived[key]

    def with_gradient(self, wanted: tuple[int, ...]) -> Plan:
        """The plan of the outputs and their gradients under an incoming gradient of 1."""
        key = ("with_gradient", wanted)
        if key not in self._derived:
            results = (*self.results, *(self.shapes[position] for position in wanted))
            program = self.program.with_gradient(wanted)
            self._derived[key] = Plan(self.row, program, self.sizes, self.shapes, results, wanted=wanted, loss=self)
        return self._derived[key]


def _lies_plainly(tensor: Tensor) -> bool:
    """Whether the elements lie one after another, as they are."""
    return tensor.is_contiguous() and not tensor.is_neg()


def bound_sizes(program: LossProgram, views: Sequence[Sizes]) -> dict[str, int]:
    """The sizes of the named dimensions for arrays of these shapes."""
    inputs = [(value.name, value.type) for value in program.function.inputs]
    return bind_dimensions(inputs, {name: view for (name, _), view in zip(inputs, views)})


class ReducedLoss(torch.autograd.Function):
    """One number. The gradients are computed with it and handed out once; a second backward computes them again, so
    that what somebody does to the first ones is of no account."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> Tensor:
        value, *ctx.gradients = plan.run(tensors)
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        return value

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> Any:
        (upstream,) = upstreams
        plan: Plan = ctx.plan
        loss, wanted, gradients = plan.loss, plan.wanted, ctx.gradients
        assert loss is not None
        # Also where they are not needed: this raises for one that has been changed.
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, *_differentiable(loss, ctx.needs_input_grad[1:], (*tensors, upstream)))
        ctx.gradients = None
        factor = upstream.item()
        if gradients is not None and factor != 1.0:
            if any(gradient.itemsize < 4 for gradient in gradients):
                # What is scaled so that 16 bits hold it must be scaled before it is rounded.
                gradients = None
            else:
                for gradient in gradients:
                    gradient.mul_(factor)
        if gradients is None:
            gradients = loss.gradient(wanted).run((*tensors, upstream))
        return (None, *_placed(gradients, wanted, len(plan.shapes)))


# What `Function.apply` does before is for transforms of torch.func, which are refused.
reduced_loss: Callable[..., Tensor] = super(torch.autograd.Function, ReducedLoss).apply  # type: ignore[misc]


class Differentiable(torch.autograd.Function):
    """Any program: an unreduced loss, or gradients of a loss."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> Any:
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        found = plan.run(tensors)
        return found[0] if len(found) == 1 else tuple(found)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> Any:
        tensors = (*ctx.saved_tensors, *upstreams)
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return (None, *_differentiable(ctx.plan, needed, tensors))
        wanted = tuple(position for position, needs in enumerate(needed) if needs)
        return (None, *_placed(ctx.plan.gradient(wanted).run(tensors), wanted, len(needed)))


def _differentiable(plan: Plan, needed: Sequence[bool], tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients by what is needed, with a history."""
    wanted = tuple(position for position, needs in enumerate(needed) if needs)
    found = Differentiable.apply(plan.gradient(wanted), *tensors)
    return _placed([found] if isinstance(found, Tensor) else list(found), wanted, len(needed))


def _placed(gradients: Sequence[Tensor], wanted: Sequence[int], count: int) -> list[Tensor | None]:
    placed: list[Tensor | None] = [None] * count
    for position, gradient in zip(wanted, gradients):
        placed[position] = gradient
    return placed


for _method in (ReducedLoss.forward, ReducedLoss.backward, Differentiable.forward, Differentiable.backward):
    keep_out_of_graphs(_method)
