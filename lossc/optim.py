"""Optimizers: how parameters change, as LIR over whole arenas.

In: tensors of one flat piece of parameters, its gradients and the optimizer's state, and scalars of this step. Out:
the new parameters and state. `update` is built once, as primitives, and compiled to one kernel; what changes from step
to step (the learning rate, corrections of bias) comes in as run-time scalars, so annealing never recompiles.

Another optimizer is a class with `state`, `scalars` and `update`. Formulas are those of torch.optim. `schedules` has
learning rates as functions of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar

from lossc.errors import RefusedCall
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.frozen import frozen
from lossc.ir.tensor import Tensor
from lossc.other_words import missing, notes_on_training
from lossc.training import schedules

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "schedules"]

LearningRate = float | Callable[[int], float]


class GroupSettings(TypedDict, total=False):
    """What a group of parameters may have of its own."""

    lr: LearningRate
    weight_decay: float


Groups = Mapping[str, GroupSettings] | Mapping[str, Mapping[str, float]]
Updated = tuple[Tensor, dict[str, Tensor]]


class Optimizer(Protocol):
    """What a training step asks of an optimizer."""

    @property
    def state(self) -> tuple[str, ...]:
        """Names of what is kept for every parameter element between steps; it begins as zeros."""
        ...

    def scalars(self, step: int, group: str) -> dict[str, float]:
        """The run-time scalars of step 0, 1, ... for the parameters of a group. The names are always the same."""
        ...

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> Updated:
        """The new parameters and the new state, all of the shape [P] of the old: all parameters of a group, one after
        another, with zeros up to a multiple of 64 bytes behind each, which a mean would count."""
        ...


def rate_at(rate: LearningRate, step: int) -> float:
    """A learning rate that is a number or a function of the step: 0 at the first."""
    value = rate(step) if callable(rate) else rate
    if not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
        raise LirError(f"the learning rate at step {step} is no number: {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise LirError(f"the learning rate at step {step} is {value}", "a rate is a finite number")
    return number


def _setting(optimizer: Any, group: str, name: str) -> Any:
    """A setting of a group, where it has its own, else of the optimizer."""
    own = optimizer.groups.get(group)
    return own[name] if own and name in own else getattr(optimizer, name)


def _check(optimizer: Any) -> None:
    kind = type(optimizer).__name__
    for name, value in vars(optimizer).items():
        _check_setting(f"{kind}: {name}", name, value)
    for group, own in optimizer.groups.items():
        unknown = [name for name in own if name not in GroupSettings.__annotations__]
        if unknown:
            raise LirError(f"group `{group}` sets `{unknown[0]}`", "a group may have its own lr and weight_decay")
        for name, value in own.items():
            _check_setting(f"{kind}: {name} of group `{group}`", name, value)


def _check_setting(what: str, name: str, value: Any) -> None:
    """Raise LirError for numbers that mean nothing. Only a learning rate may be a function of the step."""
    if name not in ("lr", "momentum", "eps", "weight_decay") or (name == "lr" and callable(value)):
        return
    is_number = hasattr(value, "__float__") and not isinstance(value, bool)
    if not is_number or not (float(value) >= 0 and math.isfinite(value)):
        shown = value if is_number else repr(value)
        raise LirError(f"{what} must be a number from 0, found {shown}")


def _decays(optimizer: Any) -> bool:
    """Whether any group decays weights: else the update has no term for it."""
    return bool(optimizer.weight_decay or [own for own in optimizer.groups.values() if own.get("weight_decay")])


Made = TypeVar("Made")


class _Settings:
    """What an optimizer is made of: settings by names, of which unknown ones are refused with the nearest."""

    def __new__(cls: type[Made], *arguments: Any, **keywords: Any) -> Made:
        # A class of the user's that is made of one of these may take what it likes.
        accepted = [*signature(cls.__init__).parameters.values()][1:]
        known = [parameter.name for parameter in accepted]
        for name in keywords:
            if name not in known and all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in accepted):
                near = ("did you mean `lr`?",) if name == "learning_rate" else did_you_mean(name, known)
                raise RefusedCall(f"{cls.__name__} has no setting `{name}`", *near, f"it has {', '.join(known)}")
        first = arguments[0] if arguments and known[:1] == ["lr"] else 0.0
        if isinstance(first, Iterable) and not isinstance(first, str) and not hasattr(first, "__float__"):
            raise RefusedCall(f"{cls.__name__} takes its learning rate first, found {type(first).__name__}",
                              f"the graph has its parameters: g.compile_step(optim.{cls.__name__}(lr))")  # fmt: skip
        return object.__new__(cls)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(type(self), name)


@frozen
class SGD(_Settings):
    """Gradient descent, with momentum where that is not 0.

    g' = g + weight_decay p;  b = momentum b + g';  p = p - lr b  (nesterov: p - lr (g' + momentum b))

    `lr` is a number or a function of the step. `groups` gives groups of parameters an lr or weight_decay of their own:
    `{"biases": {"weight_decay": 0.0}}`.
    """

    lr: LearningRate
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    groups: Groups = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)
        if self.nesterov and not self.momentum:
            raise LirError("SGD: nesterov needs a momentum")

    @property
    def state(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def scalars(self, step: int, group: str) -> dict[str, float]:
        rate = {"lr": rate_at(_setting(self, group, "lr"), step)}
        return {**rate, "weight_decay": _setting(self, group, "weight_decay")} if _decays(self) else rate

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> Updated:
        if "weight_decay" in scalars:
            gradient = gradient + parameter * scalars["weight_decay"]
        if not self.momentum:
            return parameter - gradient * scalars["lr"], {}
        velocity = state["momentum"] * self.momentum + gradient
        direction = gradient + velocity * self.momentum if self.nesterov else velocity
        return parameter - direction * scalars["lr"], {"momentum": velocity}


@frozen
class Adam(_Settings):
    """Adam (Kingma and Ba, 2015), as torch has it; t counts steps from 1.

    m = m + (g - m) (1 - beta1);  v = beta2 v + (1 - beta2) g^2
    p = p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    weight_decay adds weight_decay p to g; `decoupled` scales p by 1 - lr weight_decay instead, which is AdamW.
    `lr` is a number or a function of the step. `groups` gives groups of parameters an lr or weight_decay of their own.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    groups: Groups = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)
        several = isinstance(self.betas, (list, tuple)) and len(self.betas) == 2
        if not several or not all(0 <= beta < 1 for beta in self.betas):
            raise LirError(f"{type(self).__name__}: betas must be two numbers in [0, 1), found {self.betas}")

    @property
    def state(self) -> tuple[str, ...]:
        return ("m", "v")

    def scalars(self, step: int, group: str) -> dict[str, float]:
        rate, count = rate_at(_setting(self, group, "lr"), step), step + 1
        corrected = {
            "step_size": rate / (1 - self.betas[0] ** count),
            "inverse_root": 1 / math.sqrt(1 - self.betas[1] ** count),
        }
        if not _decays(self):
            return corrected
        decay = _setting(self, group, "weight_decay")
        return {**corrected, "decay": 1 - rate * decay if self.decoupled else decay}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> Updated:
        if "decay" in scalars:
            if self.decoupled:
                parameter = parameter * scalars["decay"]
            else:
                gradient = gradient + parameter * scalars["decay"]
        m = state["m"] + (gradient - state["m"]) * (1 - self.betas[0])
        v = state["v"] * self.betas[1] + gradient * gradient * (1 - self.betas[1])
        denominator = v.sqrt() * scalars["inverse_root"] + self.eps
        return parameter - m * scalars["step_size"] / denominator, {"m": m, "v": v}


@frozen
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): p is first scaled by 1 - lr weight_decay."""

    weight_decay: float = 1e-2
    decoupled: bool = True


if not TYPE_CHECKING:
    # A checker finds such names by itself.

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        other = next((known for known in __all__ if known.lower() == name.lower()), name)
        hints = notes_on_training(name) or did_you_mean(other, __all__) or (
            "another one is a class with state, scalars and update: see Optimizer",
        )  # fmt: skip
        raise AttributeError("; ".join([f"lossc.optim has SGD, Adam and AdamW, no `{name}`", *hints]))
