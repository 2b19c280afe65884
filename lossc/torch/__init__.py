"""Losses of torch tensors, compiled: `import lossc.torch as F` in place of `import torch.nn.functional as F`.

    import lossc.torch as F

    loss = F.cross_entropy(model(images), labels)      # a tensor, with its gradient from the same kernel
    loss.backward()

The losses of torch.nn.functional have its names, arguments, defaults, shapes, results and refusals; lossc's own losses
stand beside them. Every other name (`relu`, `linear`, `dropout`, ...) is torch.nn.functional's own. Tensors are on the
CPU and their memory is read in place, by the device that `LOSSC_DEVICE` names at the first call; results and gradients
are new tensors. Any float tensor may require a gradient, targets and weights too, and `create_graph=True` gives
gradients of gradients, of any order.

Beyond torch: labels may be i8, u8, i16, i32 or i64, and element types may be mixed where torch wants them equal.
Under `torch.autocast("cpu")` losses compute in f32 as torch's do. `torch.compile` leaves a loss out of its graphs and
calls it. Not supported, and refused by name: other devices, `ctc_loss`, transforms of torch.func, forward-mode
derivatives, batches of incoming gradients, tracing, sparse and quantized tensors. What a loss was computed from must
not change before backward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import is_
from typing import Any, NamedTuple

try:
    import torch
except ImportError as error:
    raise ImportError("lossc.torch needs torch, which is not installed: pip install 'lossc[torch]'") from error

from torch import Tensor, is_grad_enabled
from torch.overrides import handle_torch_function, has_torch_function

from lossc.ir.types import Type
from lossc.losses.calls import Calls
from lossc.losses.functions import functions, notes_on_function
from lossc.losses.row import Row
from lossc.torch.autograd import Differentiable, Plan, bound_sizes, reduced_loss
from lossc.torch.own import function as function
from lossc.torch.tensors import (
    PLAIN,
    check_modes,
    check_tensor,
    dtype_name,
    forward_ad,
    is_tracing,
    keep_out_of_graphs,
    lie_plainly,
    likeness,
    overridden,
)
from lossc.warnings import warn

MOST_USUAL = 4
PATIENCE = 32
"""Calls of kinds that are not remembered, for each that takes the place of another."""

Loss = Callable[..., Tensor]


class _Usual(NamedTuple):
    """A kind of call that was made before, with nothing but tensors and the usual settings."""

    arity: int
    are_like: Callable[..., bool]
    plan: Plan
    graded: Plan | None
    """The plan with gradients, where some are wanted."""


class _Calls(Calls[tuple[Plan, str]]):
    """Calls of one function on tensors: a plan, and what to warn of each time."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self.usual: tuple[_Usual, ...] = ()
        self._passed_over = 0

    def remember(self, tensors: Sequence[Tensor], plan: Plan, wanted: tuple[int, ...]) -> None:
        """Have calls like this one, with nothing but these tensors, find their plan without being read."""
        if len({*map(id, tensors)}) < len(tensors):
            # No likeness has one tensor in two places.
            return
        if len(self.usual) == MOST_USUAL and self._passed_over < PATIENCE:
            # To remember a kind of call takes as long as several calls: not each time that many take turns.
            self._passed_over += 1
            return
        self._passed_over = 0
        if (wanted and not plan.reduced) or any(tensor.dtype in NARROW for tensor in tensors):
            # Those have a way of their own, and autocast is to be asked each time.
            return
        if self.row.settings == ("dim",) or not lie_plainly(tensors):
            # torch's axis where none is named comes with a warning each time.
            return
        graded = replace(plan.with_gradient(wanted), is_plain=True) if wanted else None
        usual = _Usual(len(tensors), likeness(tensors), replace(plan, is_plain=True), graded)
        self.usual = (usual, *self.usual[: MOST_USUAL - 1])

    def __call__(
        self, values: Sequence[Any], settings: list[Any], given: list[Any], alone: Sequence[Any] = ()
    ) -> Tensor:  # fmt: skip
        """`alone` are the arguments of a call that had no keywords."""
        row = self.row
        tensors = [tensor for tensor in given if tensor is not None]
        for tensor in tensors:
            if type(tensor) not in PLAIN or not tensor.is_cpu or tensor.layout is not torch.strided:
                given, tensors = self._checked(given)
                break
        if not tensors:
            self._checked(given)
        check_modes(row.name, tensors)
        if row.settings == ("dim",):
            (tensor,) = tensors
            tensors = [self.operand_of_softmax(settings, values, tensor, tensor.ndim, tensor.to)]
        if torch.is_autocast_enabled("cpu") and row.name not in NOT_CAST:
            tensors = [tensor.float() if tensor.dtype in NARROW else tensor for tensor in tensors]
        key = (*settings, *[tensor is None for tensor in given],
               *[tensor.shape for tensor in tensors], *[tensor.dtype for tensor in tensors])  # fmt: skip
        found = self.plans.get(key)
        is_new = found is None
        if found is None:
            # Here and not in every call: a tensor that is missing never has a plan.
            self._checked(given)
            names = [name for name, tensor in zip(row.tensors, given) if tensor is not None]
            found = self.keep(key, self._planned(settings, dict(zip(names, tensors))))
        plan, warning = found
        if warning:
            warn(warning)
        if is_grad_enabled():
            wanted = tuple([place for place, tensor in enumerate(tensors) if tensor.requires_grad])
            if not is_new and not warning and len(alone) == len(tensors) and all(map(is_, alone, tensors)):
                self.remember(tensors, plan, wanted)
            if wanted and plan.reduced:
                return reduced_loss(plan.with_gradient(wanted), *tensors)
            if wanted:
                return Differentiable.apply(plan, *tensors)
        return plan.run(tensors)[0]

    def _checked(self, given: list[Any]) -> tuple[list[Any], list[Tensor]]:
        """Only tensors that lossc can read; a Python number becomes one like the first tensor."""
        row = self.row
        for place, (name, tensor) in enumerate(zip(row.tensors, given)):
            if tensor is None and name not in row.required:
                continue
            if isinstance(tensor, float) and place:
                dtype = given[0].dtype if given[0].is_floating_point() else torch.get_default_dtype()
                given[place] = tensor = torch.full_like(given[0], tensor, dtype=dtype)
            check_tensor(row.name, name, tensor)
        return given, [tensor for tensor in given if tensor is not None]

    def _planned(self, values: Sequence[Any], tensors: Mapping[str, Tensor]) -> tuple[Plan, str]:
        row = self.row
        types = {name: Type(dtype_name(row.name, name, t), tuple(t.shape)) for name, t in tensors.items()}
        program, layout, reduced = self.specialised(values, types, narrow=True)
        sizes = bound_sizes(program, [layout.views[name] for name in tensors])
        shapes = tuple(tuple(t.shape) for t in tensors.values())
        return Plan(row, program, sizes, shapes, (() if reduced else layout.result,), reduced), layout.warning


NARROW = (torch.float16, torch.bfloat16)
NOT_CAST = ("gaussian_nll_loss", "multilabel_soft_margin_loss", "softmax", "log_softmax")
"""What torch.autocast leaves in 16 bits on the CPU."""


def _function(row: Row) -> Loss:
    calls, places = _Calls(row), row.tensors_at
    name = row.name

    def loss(*arguments: Any, **keywords: Any) -> Tensor:
        if not keywords:
            for arity, are_like, plan, graded in calls.usual:
                if len(arguments) == arity and are_like(*arguments) and not has_torch_function(arguments):
                    if forward_ad._current_level >= 0 or is_tracing():
                        check_modes(name, arguments)
                    if graded is None or not is_grad_enabled():
                        return plan.run(arguments)[0]
                    return reduced_loss(graded, *arguments)
        values, settings = row.read(arguments, keywords)
        given = [values[place] for place in places]
        if overridden(given):
            return handle_torch_function(loss, given, *arguments, **keywords)
        return calls(values, settings, given, () if keywords else arguments)

    keep_out_of_graphs(loss)
    return loss


_FUNCTIONS = functions(_function, torch.minimum, __name__)
globals().update(_FUNCTIONS)


def __getattr__(name: str) -> Any:
    # What is no loss is torch's: layers, activations, pooling, ...
    try:
        return getattr(torch.nn.functional, name)
    except AttributeError:
        hint = "".join(f"; {note}" for note in notes_on_function(name, [*_FUNCTIONS, *dir(torch.nn.functional)]))
        raise AttributeError(
            f"module 'lossc.torch' has no attribute {name!r}, nor has torch.nn.functional{hint}"
        ) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(torch.nn.functional)})
