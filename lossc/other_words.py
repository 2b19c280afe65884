"""What torch calls the parts of training that are here in another place.

In: a name that an optimizer, a step, a compiled function or a parameter store does not have. Out: an AttributeError
that says what to write.
"""

from __future__ import annotations

from collections.abc import Mapping

from lossc.ir.diagnostics import did_you_mean

_UPDATE = "step = g.compile_step(optim.Adam(lr)) compiles loss, gradients and update; step(x=..., labels=...) does one"
_SAVED = "step.save(path) and step.load(path) keep parameters, optimizer state and counts, " \
    "graph.parameters.save(path) and .load(path) the parameters alone"  # fmt: skip
_RATE = "a learning rate that changes is a function of the step: optim.Adam(optim.schedules.cosine(1e-3, steps=1000))"
_GROUPS = 'groups of parameters have settings of their own: graph.parameters.set_group("biases", "*.bias"), ' \
    'optim.Adam(lr, groups={"biases": {"weight_decay": 0.0}})'  # fmt: skip
_PARAMETERS = "graph.parameters has them by name: graph.parameters['fc1.weight']"
_MODE = "compile_step trains with dropout, g.compile() computes without"
_DEVICE = "a device is chosen where a program is compiled: g.compile(device=...), g.compile_step(..., device=...)"
_GRADIENTS = "g.compile(grad=True) returns gradients, step.gradient(name) is that of the last batch"
_CALLED = "it is called with arrays by name: fn(x=..., labels=...)"

_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("step", "backward", "minimize", "fit", "closure"), _UPDATE),
    **dict.fromkeys(("zero_grad", "zero_gradients"), "every step begins with gradients of its own: leave it out"),
    **dict.fromkeys(("state_dict", "load_state_dict"), _SAVED),
    **dict.fromkeys(("param_groups", "add_param_group"), _GROUPS),
    **dict.fromkeys(("lr_scheduler", "scheduler", "set_lr", "get_last_lr", "lr", "learning_rate"), _RATE),
    **dict.fromkeys(("parameters", "named_parameters", "params", "weights", "get_weights", "set_weights"), _PARAMETERS),
    **dict.fromkeys(("train", "eval", "training"), _MODE),
    **dict.fromkeys(("to", "cuda", "cpu"), _DEVICE),
    **dict.fromkeys(("grad", "grads", "gradients"), _GRADIENTS),
    **dict.fromkeys(("forward", "apply", "predict"), _CALLED),
    "clip_grad_norm_": "g.compile_step(optimizer, clip_norm=1.0)",
    "clip_grad_value_": "g.compile_step(optimizer, clip_value=1.0)",
    "requires_grad_": "graph.parameters.freeze('fc1.*') keeps some from being trained",
}  # fmt: skip


_SCHEDULES: Mapping[str, str] = {
    "StepLR": "step_decay", "MultiStepLR": "multistep", "ExponentialLR": "exponential", "LinearLR": "linear",
    "PolynomialLR": "polynomial", "CosineAnnealingLR": "cosine", "CosineAnnealingWarmRestarts": "cosine_restarts",
    "OneCycleLR": "one_cycle", "ConstantLR": "constant", "SequentialLR": "sequence", "ChainedScheduler": "scaled",
}  # fmt: skip
"""torch's learning rates, and the functions of `lossc.optim.schedules` that are like them."""


def notes_on_training(name: str) -> tuple[str, ...]:
    """What to write for a word of torch's training."""
    if name in _SCHEDULES:
        return (f"it is optim.schedules.{_SCHEDULES[name]}, and given as lr to the optimizer",)
    if name in ("LambdaLR", "ReduceLROnPlateau"):
        return (_RATE,)
    return (_WORDS[name],) if name in _WORDS else ()


def missing(kind: type, name: str) -> AttributeError:
    """The exception for a name that what is of a kind does not have."""
    known = [other for other in dir(kind) if other[0] != "_"]
    hints = () if name[0] == "_" else notes_on_training(name) or did_you_mean(name, known)
    return AttributeError("; ".join([f"{kind.__name__} has no `{name}`", *hints]))
