"""Warnings about what is legal and probably not meant: probabilities where a loss takes logits, and the like.

In: a module as it was read, with its losses still in one piece. Out: `Diagnostic`s of severity "warning", each at the
loss, with a label where the operand was made. They change nothing. A lint is a function of a loss under a name in
`LINTS`: it says what is wrong, or nothing. It speaks only of what is known: an input is whatever the user says it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..ir.composites import ACTIVATIONS, COMPOSITES, bind_operands
from ..ir.diagnostics import Diagnostic
from ..ir.frozen import frozen
from ..ir.function import Function, Module, Op, Value
from ..ir.op_types import class_axis
from ..ir.types import is_float, is_integer

LOGITS: Mapping[str, tuple[str, ...]] = {
    "cross_entropy_loss": ("logits",),
    "focal_cross_entropy_loss": ("logits",),
    "poly_cross_entropy_loss": ("logits",),
    "bce_with_logits_loss": ("logits",),
    "sigmoid_focal_loss": ("logits",),
    "multilabel_soft_margin_loss": ("x",),
    "js_div_loss": ("p_logits", "q_logits"),
    "distillation_loss": ("student", "teacher"),
}
"""The operands that are logits: a softmax or sigmoid is inside the loss."""

LOG_PROBABILITIES: Mapping[str, str] = {"kl_div_loss": "log_probs", "nll_loss": "log_probs"}

_PASSED_THROUGH = ("cast", "reshape", "transpose", "broadcast", "stop_gradient")
_SCORES = ("linear", "matmul", *ACTIVATIONS)


@frozen
class Finding:
    """What is wrong, what to try, and the operation that the loss should not have met."""

    message: str
    note: str
    at: Op | None = None


class Loss:
    """A loss operation with its operands by name, and where they come from."""

    def __init__(self, op: Op, function: Function, producers: Mapping[str, Mapping[Value, Op]], module: Module):
        self.op, self.function = op, function
        self._producers, self._module = producers, module
        names = bind_operands(COMPOSITES[op.name], len(op.operands), op.attributes.get("operands"))
        self.operands = dict(zip(names, op.operands))

    def origin(self, operand: str) -> Op | None:
        """The operation that computes an operand, behind changes of shape and type, also in a function that is called.
        None for inputs."""
        value, function = self.operands.get(operand), self.function
        while value is not None:
            op = self._producers[function.name].get(value)
            if op is None:
                return None
            if op.name == "call":
                position = op.results.index(value)
                function = self._module.functions[op.attributes["callee"]]
                value = function.outputs[position]
            elif op.name in _PASSED_THROUGH:
                value = op.operands[0]
            else:
                return op
        return None


def probabilities_for_logits(loss: Loss) -> Iterator[Finding]:
    for operand in LOGITS.get(loss.op.name, ()):
        made = loss.origin(operand)
        if made is not None and made.name in ("softmax", "sigmoid"):
            yield Finding(
                f"`{loss.op.name}` takes logits, %{loss.operands[operand].name} is the result of {made.name}",
                f"the loss has one inside; a second one flattens the gradient: leave the {made.name} out", made,
            )  # fmt: skip


def sigmoid_for_bce(loss: Loss) -> Iterator[Finding]:
    made = loss.origin("pred") if loss.op.name == "bce_loss" else None
    if made is not None and made.name == "sigmoid" and made.results[0] is loss.operands["pred"]:
        yield Finding(
            "`bce_loss` of a sigmoid is computed as `bce_with_logits_loss` of what goes into it",
            "no logarithm is clamped then, so that far from the target the gradient stays; write that loss to say so",
            made,
        )
    elif made is not None and made.name == "softmax":
        yield Finding("`bce_loss` treats each class as a question of its own, these probabilities come from a softmax",
                      "one class of several is cross_entropy_loss of what goes into the softmax", made)  # fmt: skip


def not_log_probabilities(loss: Loss) -> Iterator[Finding]:
    operand = LOG_PROBABILITIES.get(loss.op.name)
    made = loss.origin(operand) if operand is not None else None
    if operand is None or made is None:
        return
    name = loss.operands[operand].name
    if made.name in ("softmax", "sigmoid"):
        yield Finding(f"`{loss.op.name}` takes log-probabilities, %{name} are probabilities, the result of {made.name}",
                      "use log_softmax, or take the log", made)  # fmt: skip
    elif made.name in _SCORES:
        yield Finding(f"`{loss.op.name}` takes log-probabilities, %{name} is the result of {made.name}",
                      "put a log_softmax between", made)  # fmt: skip


def other_kind_of_target(loss: Loss) -> Iterator[Finding]:
    made = loss.origin("t") if loss.op.name == "kl_div_loss" else None
    if made is None:
        return
    is_log, name = loss.op.attributes["log_target"], loss.operands["t"].name
    if is_log and made.name in ("softmax", "sigmoid"):
        yield Finding(f"with log_target the target is log-probabilities, %{name} is the result of {made.name}",
                      "leave log_target out", made)  # fmt: skip
    elif not is_log and made.name == "log_softmax":
        yield Finding(f"the target is probabilities, %{name} is the result of log_softmax",
                      "say log_target = true", made)  # fmt: skip


def ignored_class(loss: Loss) -> Iterator[Finding]:
    ignored = loss.op.attributes.get("ignore_index")
    if ignored is None or not any(is_integer(operand.type.dtype) for operand in loss.op.operands):
        return
    classes = _class_count(loss)
    if classes is not None and 0 <= ignored < classes:
        yield Finding(
            f"ignore_index = {ignored} is one of the {classes} classes: rows with that label count for nothing",
            "to leave out a class that is there, this is right; a label that marks missing data is better negative",
        )


def _class_count(loss: Loss) -> int | None:
    """The number of classes where it is no name."""
    if loss.op.name == "linear_cross_entropy_loss":
        size = loss.operands["weight"].type.shape[0]
    else:
        scores = loss.operands.get("logits", loss.operands.get("log_probs"))
        if scores is None:
            return None
        size = scores.type.shape[class_axis(scores.type.rank, loss.op.attributes.get("axis"))]
    return size if isinstance(size, int) else None


def smoothed_twice(loss: Loss) -> Iterator[Finding]:
    target = loss.operands.get("target")
    if not loss.op.attributes.get("label_smoothing") or target is None or not is_float(target.type.dtype):
        return
    made = loss.origin("target")
    if made is not None and made.name in ("softmax", "sigmoid"):
        yield Finding(f"label_smoothing of a target that is soft already: %{target.name} is the result of {made.name}",
                      "smoothing is meant for targets of 0 and 1: leave label_smoothing out", made)  # fmt: skip


LINTS: Mapping[str, tuple[Callable[[Loss], Iterator[Finding]], ...]] = {
    "LIR0200": (probabilities_for_logits,),
    "LIR0201": (sigmoid_for_bce,),
    "LIR0202": (not_log_probabilities, other_kind_of_target),
    "LIR0203": (ignored_class,),
    "LIR0204": (smoothed_twice,),
}


def find_lints(module: Module) -> list[Diagnostic]:
    """Every warning about a module, in the order of its text."""
    producers = {name: function.producers() for name, function in module.functions.items()}
    return [
        _diagnostic(code, loss, finding)
        for function in module.functions.values()
        for op in function.ops
        if op.name in COMPOSITES and COMPOSITES[op.name].kind == "loss"
        for loss in (Loss(op, function, producers, module),)
        for code, lints in LINTS.items()
        for lint in lints
        for finding in lint(loss)
    ]


def _diagnostic(code: str, loss: Loss, finding: Finding) -> Diagnostic:
    at = finding.at
    labels = ((at.span, f"the {at.name} is here"),) if at is not None and at.span is not None else ()
    return Diagnostic(code, finding.message, loss.op.span, labels, (finding.note,), severity="warning")
