"""Programs of losses as differentiable functions of torch.

In: a program and tensors. Out: tensors with a history. A reduced loss and its gradients come out of one run; an
unreduced one computes its gradients when the incoming gradient is known. With `create_graph=True` the gradients are
functions with a history, too, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lossc.ir.diagnostics import CheckFailed
from lossc.ir.frozen import frozen
from lossc.ir.shapes import bind_dimensions
from lossc.ir.types import dim_value
from lossc.losses.own import OwnLoss
from lossc.losses.programs import LossProgram
from lossc.losses.row import Row
from lossc.runtime.small_outputs import COUNTS_REFERENCES, LARGEST
from lossc.torch.small_results import SmallResults
from lossc.torch.tensors import (
    DTYPE_OF,
    as_array,
    as_tensor,
    check_upstreams,
    forward_ad,
    keep_out_of_graphs,
    lie_plainly,
)

Sizes = tuple[int, ...]


@frozen(eq=False)
class Plan:
    """A program for tensors of known shapes. `shapes` are those of its inputs in torch, `results` of its outputs;
    where it is the plan `loss` with gradients beside, `wanted` are the positions that these belong to. Tensors for one
    that `is_plain` are known to lie plainly."""

    row: Row | OwnLoss
    program: LossProgram
    sizes: dict[str, int]
    shapes: tuple[Sizes, ...]
    results: tuple[Sizes, ...]
    reduced: bool = False
    wanted: tuple[int, ...] = ()
    loss: Plan | None = None
    is_plain: bool = False
    _derived: dict[Any, Plan] = field(default_factory=dict)

    @cached_property
    def views(self) -> tuple[Sizes, ...]:
        """The shapes of the inputs in the program."""
        types = [value.type for value in self.program.function.inputs]
        return tuple(tuple(dim_value(dim, self.sizes) for dim in type_.shape) for type_ in types)

    @cached_property
    def rest(self) -> tuple[None, ...]:
        """As many as there are inputs after those that are `wanted`, where these are the first."""
        first = self.wanted == tuple(range(len(self.wanted)))
        return (None,) * (len(self.shapes) - len(self.wanted)) if first else ()

    @cached_property
    def _executable(self) -> Any:
        return self.program.executable()

    @cached_property
    def _small_results(self) -> SmallResults | None:
        """Where new results come from that are all small."""
        types = [value.type for value in self.program.function.outputs]
        results = [(shape, DTYPE_OF[type_.dtype]) for shape, type_ in zip(self.results, types)]
        small = all(0 < math.prod(shape) * dtype.itemsize <= LARGEST for shape, dtype in results)
        return SmallResults(results) if small and COUNTS_REFERENCES else None

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        small = self._small_results
        if small is not None and (self.is_plain or lie_plainly(tensors)):
            # No arrays of NumPy between: they take as long as the kernel.
            results, addresses = small.take()
            if self._executable.run_at(self.views, [*map(Tensor.data_ptr, tensors), *addresses]):
                return results
        arrays = list(map(as_array, tensors, self.views))
        try:
            found = self._executable.run(arrays)
        except CheckFailed as error:
            names = [value.name for value in self.program.function.inputs]
            raise self.row.failed(error, names, self.views, self.shapes) from None
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


def bound_sizes(program: LossProgram, views: Sequence[Sizes]) -> dict[str, int]:
    """The sizes of the named dimensions for arrays of these shapes."""
    inputs = [(value.name, value.type) for value in program.function.inputs]
    return bind_dimensions(inputs, {name: view for (name, _), view in zip(inputs, views)})


class ReducedLoss(torch.autograd.Function):
    """One number. The gradients are computed with it and handed out once; a second backward computes them again, so
    that what somebody does to the first ones is of no account."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> Tensor:
        value, *gradients = plan.run(tensors)
        ctx.computed = plan, gradients
        ctx.to_save = tensors
        return value

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> Any:
        plan, gradients = ctx.computed
        # Also where they are not needed: this raises for one that has been changed.
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled() or forward_ad._current_level >= 0:
            check_upstreams(plan.row.name, upstreams)
        if torch.is_grad_enabled():
            return (None, *_differentiable(plan.loss, ctx.needs_input_grad[1:], (*tensors, *upstreams)))
        ctx.computed = plan, None
        try:
            factor = upstreams[0].tolist()
        except RuntimeError:
            # No memory: a batch, or zeros that torch has not written down.
            check_upstreams(plan.row.name, upstreams)
            upstreams = (upstreams[0].clone(),)
            factor = upstreams[0].tolist()
        if gradients is None or (factor != 1.0 and any(gradient.itemsize < 4 for gradient in gradients)):
            # What is scaled so that 16 bits hold it must be scaled before it is rounded.
            gradients = plan.loss.gradient(plan.wanted).run((*tensors, *upstreams))
        elif factor != 1.0:
            for gradient in gradients:
                gradient.mul_(factor)
        if plan.rest:
            return (None, *gradients, *plan.rest)
        return (None, *_placed(gradients, plan.wanted, len(plan.shapes)))


# What `Function.apply` does before is for transforms of torch.func, which are refused.
reduced_loss: Callable[..., Tensor] = super(torch.autograd.Function, ReducedLoss).apply  # type: ignore[misc]
# What torch calls in a backward looks for `backward` and `vjp` each time, and calls the one that is there.
ReducedLoss._backward_cls.apply = ReducedLoss.backward  # type: ignore[attr-defined]


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
        check_upstreams(ctx.plan.row.name, upstreams)
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
