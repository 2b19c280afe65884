"""What a function of torch computes, in operations of the IR.

In: its tensors in the element type of the arithmetic, by torch's names, and its settings. Out: the loss. Nearly every
function is one operation, `one_operation`; the others are here because torch's function does more than the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossc.ir.arguments import broadcast_shapes
from lossc.ir.composites import definition_of, make_op
from lossc.ir.tensor import Tensor
from lossc.ir.types import Shape, is_integer, multiply_dims

Tensors = Mapping[str, Tensor]
Settings = Mapping[str, Any]
Body = Callable[[str, Tensors, Sequence[str], Settings], Tensor]
"""Of an operation's name, the tensors that were given, the names of all, and the settings."""


def emit(name: str, *operands: Tensor, **attributes: Any) -> Tensor:
    """One operation of the IR."""
    builder = operands[0].builder
    (result,) = builder.append(make_op(name, [operand.value for operand in operands], attributes, span=builder.span))
    return Tensor(result, builder)


def one_operation(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """The operation itself; `order` names its operands."""
    names = [operand.rstrip("?") for operand in definition_of(operation).operands]
    present = [(position, tensors[name]) for position, name in enumerate(order) if name in tensors]
    attributes = dict(settings)
    if [position for position, _ in present] != list(range(len(present))):
        attributes["operands"] = [names[position] for position, _ in present]
    return emit(operation, *(tensor for _, tensor in present), **attributes)


def _common(tensors: Tensors, *names: str) -> dict[str, Tensor]:
    """These tensors, repeated to their common shape."""
    shape: Shape = ()
    for name in names:
        shape = broadcast_shapes(shape, tensors[name].shape)
    return {**tensors, **{name: tensors[name].broadcast_to(shape) for name in names}}


def stretched(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """All tensors but weights in their common shape."""
    required = [name for name in order if name in tensors and "weight" not in name]
    return one_operation(operation, _common(tensors, *required), order, settings)


def averaged_by_weight(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """The mean divides by the sum of the weight in the shape that it was given in."""
    full = broadcast_shapes(tensors["input"].shape, tensors["target"].shape)
    if settings["reduction"] != "mean" or "weight" not in tensors or tensors["weight"].shape == full:
        return stretched(operation, tensors, order, settings)
    added = stretched(operation, tensors, order, {**settings, "reduction": "sum"})
    return added / tensors["weight"].sum().reshape([1])


def averaged_by_count(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """The loss of each element times its weight; the mean divides by the number of elements."""
    if "weight" not in tensors:
        return stretched(operation, tensors, order, settings)
    plain = {name: tensor for name, tensor in tensors.items() if name != "weight"}
    wide = {**plain, "input": plain["input"].widen()}
    values = stretched(operation, wide, order, {**settings, "reduction": "none"}).widen()
    values = values * tensors["weight"].cast(values.dtype).broadcast_to(values.shape)
    return _reduced(values, settings["reduction"])


def _reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return values
    total = values.sum().reshape([1])
    return total if reduction == "sum" else total / values.count()


def of_probabilities(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """A target outside [0, 1] is refused, too."""
    target = tensors["target"]
    if not is_integer(target.dtype) and target.dtype != "bool":
        wide = target.widen()
        ((wide >= 0) & (wide <= 1)).check(
            wide, code="probability", message="a target that is a probability must lie in [0, 1]"
        )
    return stretched(operation, tensors, order, settings)


def divided_by_batch(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """`batchmean` divides by the first size of the input as it was given."""
    if settings["reduction"] != "batchmean":
        return stretched(operation, tensors, order, settings)
    added = stretched(operation, tensors, order, {**settings, "reduction": "sum"})
    # The layout keeps the batch as the first axis.
    rows = tensors["input"].count([0])
    return added / (rows.cast(added.dtype) if isinstance(rows, Tensor) else rows)


def over_classes(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """Binary losses averaged over the last axis; a weight may have any shape that broadcasts."""
    tensors = _common(tensors, *tensors)
    wide = {name: tensor.widen() for name, tensor in tensors.items()}
    values = one_operation(operation, wide, order, {"reduction": "none"})
    return _reduced(values.sum(values.rank - 1) / values.count([values.rank - 1]), settings["reduction"])


def of_rows(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """Vectors [N, D], whatever axes stand before the last."""
    tensors = _common(tensors, *tensors)
    rows = {name: x.reshape([multiply_dims(x.shape[:-1]), x.shape[-1]]) for name, x in tensors.items()}
    return one_operation(operation, rows, order, settings)


def of_pairs(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """Vectors and targets that broadcast."""
    tensors = _common(tensors, "input1", "input2")
    shape = broadcast_shapes(tensors["input1"].shape[:-1], tensors["target"].shape)
    full = (*shape, tensors["input1"].shape[-1])
    count = multiply_dims(shape)
    rows = {name: tensors[name].broadcast_to(full).reshape([count, full[-1]]) for name in ("input1", "input2")}
    rows["target"] = tensors["target"].broadcast_to(shape).reshape([count])
    return one_operation(operation, rows, order, settings)


def along_axis_1(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """The layout has put the axis in place 1."""
    return emit(operation, tensors["input"], axis=1)


def after_a_layer(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """With a weight [C, d, H] the logits are [N, C, d]."""
    attributes = dict(settings)
    if attributes["ignore_index"] is None and is_integer(tensors["target"].dtype):
        attributes["ignore_index"] = -100
    weight = tensors["linear_weight"]
    if weight.rank == 2:
        return one_operation(operation, tensors, order, attributes)
    count, places, width = weight.shape
    outputs = multiply_dims([count, places])
    layer = [tensors["input"].widen(), weight.widen().reshape([outputs, width])]
    if "linear_bias" in tensors:
        layer.append(tensors["linear_bias"].widen().reshape([outputs]))
    del attributes["memory_budget"]  # of one operation; these are a layer and a loss
    logits = emit("linear", *layer).reshape([tensors["input"].shape[0], count, places])
    return one_operation("cross_entropy_loss", {**tensors, "input": logits}, ("input", "target", "weight"), attributes)


def labels_or_distribution(operation: str, tensors: Tensors, order: Sequence[str], settings: Settings) -> Tensor:
    """`ignore_index` is about labels; a distribution has no rows to ignore."""
    attributes = dict(settings)
    if not is_integer(tensors["target"].dtype):
        attributes["ignore_index"] = None
    return one_operation(operation, tensors, order, attributes)
