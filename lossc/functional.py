"""Losses of NumPy arrays, one call each, with the names, arguments, defaults and shapes of torch.nn.functional.

    import lossc.functional as F

    loss = F.cross_entropy(logits, target, label_smoothing=0.1)      # an array of shape ()
    loss, gradient = F.value_and_grad(F.cross_entropy)(logits, target)
    loss, (by_logits, by_weight) = F.value_and_grad(F.cross_entropy, argnums=(0, 2))(logits, target, weight)

In: NumPy arrays of f64, f32, f16 and bf16 (ml_dtypes), labels of any integer type; anything else that NumPy makes an
array of. Out: new arrays; a reduced loss has shape () and is f32 for 16-bit input, an unreduced loss and a gradient
have the element type of what they belong to. Where element types differ, the widest of the predictions' counts.
A program is compiled for each combination of settings, element types and number of classes; other sizes, as that of the
batch, are free. What torch refuses is refused, by exceptions that are both lossc's and of torch's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossc.ir.diagnostics import CheckFailed, LirError
from lossc.ir.types import Type, dtype_of, is_float
from lossc.loss_calls import LossProgram, loss_program
from lossc.loss_errors import RefusedArgument, RefusedElementType, RefusedKind, Unsupported, warn
from lossc.loss_shapes import Layout, axis_of_softmax
from lossc.loss_table import LOSSES, Row

Loss = Callable[..., np.ndarray]


@dataclass(frozen=True)
class _Call:
    """A function with its arguments: what is to be run, and on which arrays."""

    program: LossProgram
    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]
    layout: Layout
    reduced: bool

    def views(self) -> list[np.ndarray]:
        return [array.reshape(self.layout.views[name]) for name, array in zip(self.names, self.arrays)]


def _prepare(row: Row, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> _Call:
    values = row.bind(arguments, keywords)
    settings = dict(zip(row.settings, row.settings_of(values)))
    arrays: dict[str, np.ndarray] = {}
    for name, place in zip(row.tensors, row.tensors_at):
        if values[place] is not None or name in row.required:
            arrays[name] = _array(row, name, values[place], arrays)
    if "dim" in settings:
        settings["dim"] = axis_of_softmax(row.name, settings["dim"], arrays["input"].ndim)
        dtype = row.value_of(values, "dtype")
        arrays["input"] = arrays["input"] if dtype is None else arrays["input"].astype(dtype)
    types = {name: Type(_dtype(row, name, array), array.shape) for name, array in arrays.items()}
    layout = row.layout(types, settings)
    if layout.warning:
        warn(layout.warning)
    program = loss_program(row, types, layout, settings, narrow=False)
    return _Call(program, tuple(arrays), tuple(arrays.values()), layout, settings.get("reduction", "none") != "none")


def _array(row: Row, name: str, value: Any, others: Mapping[str, np.ndarray]) -> np.ndarray:
    if value is None:
        raise RefusedKind(f"{row.name}: {name} must be an array, found None")
    if isinstance(value, float) and others:
        # A Python number has neither an element type nor a shape of its own.
        like = next(iter(others.values()))
        value = np.full(like.shape, value, like.dtype if is_float(_dtype(row, name, like)) else np.float32)
    array = np.asarray(value)
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    # Not np.ascontiguousarray, which makes a scalar an array of shape [1].
    return np.require(array, array.dtype.newbyteorder("="), ("C", "A")).reshape(array.shape)


def _dtype(row: Row, name: str, array: np.ndarray) -> str:
    found = dtype_of(array.dtype)
    if found is None:
        raise RefusedElementType(f"{row.name}: {name} is an array of {array.dtype}, which lossc does not have",
                                 "convert it; labels are integers of up to 64 signed bits", code="LIR0031")  # fmt: skip
    return found


def _run(row: Row, program: LossProgram, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    try:
        return program.run(arrays)
    except CheckFailed as error:
        raise row.failed(error) from None


def _function(name: str) -> Loss:
    row = LOSSES[name]

    def loss(*arguments: Any, **keywords: Any) -> np.ndarray:
        call = _prepare(row, arguments, keywords)
        (value,) = _run(row, call.program, call.views())
        return value if call.reduced else value.reshape(call.layout.result)

    loss.__name__ = loss.__qualname__ = name
    loss.__signature__ = row.signature  # type: ignore[attr-defined]
    loss.__doc__ = row.help
    return loss


def value_and_grad(function: Loss, argnums: int | Sequence[int] = 0) -> Callable[..., tuple[np.ndarray, Any]]:
    """A function that returns the loss and its gradient by the argument at position `argnums`, of the same program.

    With a tuple of positions it returns a tuple of gradients. `function` is one of this module's; the loss is reduced.
    The gradient has the shape and the element type of its argument, which is a float array.
    """
    row = LOSSES.get(getattr(function, "__name__", ""))
    if row is None or globals().get(row.name) is not function:
        name = getattr(function, "__qualname__", repr(function))
        raise LirError(f"value_and_grad takes a loss of lossc.functional, found {name}",
                       "for a loss of your own write a Graph: lossc.Graph().compile(grad=True)")  # fmt: skip
    known = tuple(row.signature.parameters)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for position in positions:
        if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < len(known):
            raise LirError(f"argnums counts the arguments of {row.name} from 0 to {len(known) - 1}, found {position!r}")
        if known[position] not in row.tensors:
            raise LirError(f"argument {position} of {row.name}, {known[position]}, is no tensor")
    if not positions:
        raise LirError("argnums names no argument")
    wanted = tuple(known[position] for position in positions)

    def value_and_gradient(*arguments: Any, **keywords: Any) -> tuple[np.ndarray, Any]:
        call = _prepare(row, arguments, keywords)
        if not call.reduced:
            raise LirError(f"value_and_grad differentiates one number, and {row.name} was not reduced",
                           "take reduction='sum'")  # fmt: skip
        for name in wanted:
            if name not in call.names:
                raise LirError(f"{row.name} was not given {name}: there is nothing to differentiate by")
            array = call.arrays[call.names.index(name)]
            if not is_float(_dtype(row, name, array)):
                raise RefusedArgument(f"{name} is an array of {array.dtype}: only floats have gradients",
                                      code="LIR0031")  # fmt: skip
        places = tuple(sorted({call.names.index(name) for name in wanted}))
        value, *found = _run(row, call.program.with_gradient(places), call.views())
        gradients = {place: found[i].reshape(call.arrays[place].shape) for i, place in enumerate(places)}
        chosen = tuple(gradients[call.names.index(name)] for name in wanted)
        return value, chosen[0] if isinstance(argnums, int) else chosen

    value_and_gradient.__name__ = f"value_and_grad_of_{row.name}"
    value_and_gradient.__doc__ = f"The value of {row.name} and its gradient by {', '.join(wanted)}."
    return value_and_gradient


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0, swap: bool = False, reduction: str = "mean",
) -> np.ndarray:  # fmt: skip
    """max(0, d(a, p) - d(a, n) + margin) with a distance of your own, by default the Euclidean one.

    `distance_function` takes two arrays and gives one of distances. With `swap` the distance of positive and negative
    counts where it is smaller than that of anchor and negative.
    """
    if distance_function is None:
        return triplet_margin_loss(anchor, positive, negative, margin, swap=swap, reduction=reduction)
    if not margin > 0:
        raise LirError(f"margin must be positive, found {margin}")
    if len({np.ndim(x) for x in (anchor, positive, negative)}) > 1:
        raise RefusedArgument("anchor, positive and negative must have equally many axes", code="LIR0030")
    near, far = np.asarray(distance_function(anchor, positive)), np.asarray(distance_function(anchor, negative))
    if swap:
        far = np.minimum(far, distance_function(positive, negative))
    return margin_ranking_loss(near, far, np.full(near.shape, -1, np.int8), margin, reduction=reduction)


def ctc_loss(*arguments: Any, **keywords: Any) -> np.ndarray:
    """Not there yet: lossc has no CTC loss. Raises Unsupported."""
    raise Unsupported("lossc has no CTC loss yet", "torch.nn.functional.ctc_loss computes it")


cross_entropy = _function("cross_entropy")
nll_loss = _function("nll_loss")
linear_cross_entropy = _function("linear_cross_entropy")
binary_cross_entropy = _function("binary_cross_entropy")
binary_cross_entropy_with_logits = _function("binary_cross_entropy_with_logits")
mse_loss = _function("mse_loss")
l1_loss = _function("l1_loss")
smooth_l1_loss = _function("smooth_l1_loss")
huber_loss = _function("huber_loss")
kl_div = _function("kl_div")
poisson_nll_loss = _function("poisson_nll_loss")
gaussian_nll_loss = _function("gaussian_nll_loss")
cosine_embedding_loss = _function("cosine_embedding_loss")
hinge_embedding_loss = _function("hinge_embedding_loss")
margin_ranking_loss = _function("margin_ranking_loss")
soft_margin_loss = _function("soft_margin_loss")
multi_margin_loss = _function("multi_margin_loss")
multilabel_margin_loss = _function("multilabel_margin_loss")
multilabel_soft_margin_loss = _function("multilabel_soft_margin_loss")
triplet_margin_loss = _function("triplet_margin_loss")
softmax = _function("softmax")
log_softmax = _function("log_softmax")
hinge_loss = _function("hinge_loss")
squared_hinge_loss = _function("squared_hinge_loss")
log_cosh_loss = _function("log_cosh_loss")
sigmoid_focal_loss = _function("sigmoid_focal_loss")
focal_cross_entropy_loss = _function("focal_cross_entropy_loss")
poly_cross_entropy_loss = _function("poly_cross_entropy_loss")
dice_loss = _function("dice_loss")
tversky_loss = _function("tversky_loss")
js_div_loss = _function("js_div_loss")
distillation_loss = _function("distillation_loss")
info_nce_loss = _function("info_nce_loss")
l2_loss = _function("l2_loss")
l1_regularization = _function("l1_regularization")
