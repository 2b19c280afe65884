"""Operations as Python calls: operands and attributes told apart, numbers lifted, shapes broadcast.

In: the name of an operation of the IR and what a user wrote in the parentheses. Out: the values it gives, appended to
a builder. `Graph` and the classes of `lossc.nn` call operations through here, so a new operation needs no line in
either.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lossc.ir.arguments import as_python, broadcast_shapes, one_or_several
from lossc.ir.builder import Builder
from lossc.ir.composites import COMPOSITES, Composite, definition_of, make_op
from lossc.ir.diagnostics import LirError, LosscError
from lossc.ir.ops import PRIMITIVES, OpDef
from lossc.ir.other_words import notes_on_argument, renamed_keywords
from lossc.ir.sample_weight import weigh_samples
from lossc.ir.tensor import Tensor
from lossc.ir.types import Shape

Result = Tensor | tuple[Tensor, ...]

WITHOUT_METHOD = frozenset({"constant", "iota", "check", "with_gradient"})
"""Primitives that graphs offer in another form, as a method of their own or of a value."""

SAMPLE_WEIGHT = "sample_weight"


def operation_names() -> list[str]:
    """Every operation that a graph has a method for."""
    return sorted({*COMPOSITES, *PRIMITIVES} - WITHOUT_METHOD)


def help_text(name: str) -> str:
    """The docstring of an operation's method."""
    definition = definition_of(name)
    operands = ", ".join(definition.operands)
    attributes = [f"{key}={a.default!r}" for key, a in definition.attributes.items() if key != "operands"]
    head = f"{name}({', '.join([*([operands] if operands else []), *attributes])})"
    if isinstance(definition, Composite):
        return f"{head}\n\n{inspect.getdoc(definition.function) or ''}"
    return f"{head}\n\n{definition.help}"


def call_operation(builder: Builder, name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Result:
    """Append the operation `name` to `builder` and give its result, or all of them.

    Operands come by position or by name, attributes by name; what may be either, such as a margin, is an operand where
    it is a value of the graph and an attribute where it is a number. Other numbers become constants of the first
    tensor's element type. Where NumPy's rules allow it the operands of a loss and of pointwise operations are
    broadcast. A loss takes `sample_weight` beside its operands. Raises LirError.
    """
    definition = definition_of(name)
    if definition.operands and definition.operands[-1].endswith("..."):
        arguments = one_or_several(arguments)
    arguments = [as_python(value) for value in arguments]
    known = {operand.rstrip("?") for operand in definition.operands} | {*definition.attributes}
    keywords = {key: _plain(value) for key, value in renamed_keywords(keywords, known).items()}
    weight = keywords.pop(SAMPLE_WEIGHT, None) if is_loss(definition) else None
    before = len(builder.ops)
    try:
        given, attributes = bind_arguments(builder, definition, arguments, keywords)
        if weight is not None:
            first = next(iter(given.values()))
            weight = as_operand(builder, name, SAMPLE_WEIGHT, weight, first if first.dtype == "f64" else None)
            return weigh_samples(partial(_reduced, builder, definition, attributes), given, weight, attributes)
        return _append(builder, definition, given, attributes)
    except LosscError:
        # Constants and broadcasts made for a call that is refused go with it.
        del builder.ops[before:]
        raise


def call_method(tensor: Tensor, name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Result:
    """`tensor.<name>(...)` as the operation of that name, with the tensor as its first operand. An axis may stand by
    position behind a lone operand: `x.softmax(-1)`."""
    definition = definition_of(name)
    if definition.operands == ("x",) and "axis" in definition.attributes and len(arguments) == 1:
        arguments, keywords = (), {"axis": arguments[0], **keywords}
    if name == "argmax" and tensor.rank > 1 and not arguments and not keywords:
        raise LirError("argmax without an axis is that of all elements in NumPy and torch, and of the last axis in LIR",
                       "write x.argmax(-1), or x.reshape(-1).argmax()")  # fmt: skip
    return call_operation(tensor.builder, name, (tensor, *arguments), keywords)


def _plain(value: Any) -> Any:
    """An attribute without numbers of NumPy."""
    return [as_python(item) for item in value] if isinstance(value, (list, tuple)) else as_python(value)


def is_loss(definition: OpDef | Composite) -> bool:
    return isinstance(definition, Composite) and definition.kind == "loss"


def bind_arguments(
    builder: Builder, definition: OpDef | Composite, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The operands that are given, by name, in the order of the definition, and the attributes. A `None` leaves an
    operand out."""
    name, declared = definition.name, list(definition.operands)
    if declared and declared[-1].endswith("..."):
        # As many of the last as there are: they have no names of their own.
        rest = declared.pop().removesuffix("...")
        declared += [f"{rest}{number}" for number in range(max(0, len(arguments) - len(declared)))]
    names = [operand.rstrip("?") for operand in declared]
    if len(arguments) > len(names):
        ways = ("attributes are given by name: " + ", ".join(definition.attributes),) if definition.attributes else ()
        raise LirError(f"`{name}` takes the operands ({', '.join(definition.operands)}), found {len(arguments)}",
                       *ways, code="LIR0025")  # fmt: skip
    values, attributes = dict(zip(names, arguments)), {}
    for key, value in keywords.items():
        if key in names:
            if key in values:
                raise LirError(f"`{name}` is given its operand `{key}` twice", code="LIR0025")
            values[key] = value
        elif key not in definition.attributes or key == "operands":
            known = [*names, *(attribute for attribute in definition.attributes if attribute != "operands")]
            raise LirError(f"`{name}` has no operand or attribute `{key}`", *notes_on_argument(key, known),
                           f"it takes: {', '.join(dict.fromkeys(known))}", code="LIR0023")  # fmt: skip
        else:
            attributes[key] = value
    for key in [key for key in values if key in definition.attributes and not isinstance(values[key], Tensor)]:
        value = values.pop(key)
        if value is not None:
            attributes[key] = value
    missing = [operand for operand in declared if not operand.endswith("?") and values.get(operand) is None]
    if missing:
        raise LirError(f"`{name}` needs its operand `{missing[0]}`",
                       f"it takes the operands ({', '.join(definition.operands)})", code="LIR0025")  # fmt: skip
    present = {key: values[key] for key in names if values.get(key) is not None}
    first = next((value for value in present.values() if isinstance(value, Tensor)), None)
    return {key: as_operand(builder, name, key, value, first) for key, value in present.items()}, attributes


def as_operand(builder: Builder, operation: str, name: str, value: Any, like: Tensor | None) -> Tensor:
    """A value of this graph as it is, a number as a scalar constant of the element type of `like`."""
    if isinstance(value, Tensor):
        if value.builder is not builder:
            raise LirError(f"operand `{name}` of `{operation}`, %{value.value.name}, belongs to another graph",
                           "a value is used in the graph that made it")  # fmt: skip
        return value
    if isinstance(value, (bool, int, float)):
        dtype = "f32" if like is None else like.dtype
        return Tensor(builder.constant(value, dtype), builder)
    way = "bring arrays in with g.input(...) or g.buffer(...), or as arguments"
    if isinstance(value, str):
        known = [name for name in definition_of(operation).attributes if name != "operands"]
        way = f"attributes are given by name: {', '.join(known)}"
    raise LirError(f"operand `{name}` of `{operation}` must be a value of the graph or a number, found "
                   f"{type(value).__module__}.{type(value).__qualname__}".replace("builtins.", ""), way)  # fmt: skip


def _append(
    builder: Builder, definition: OpDef | Composite, given: Mapping[str, Tensor], attributes: Mapping[str, Any]
) -> Result:
    attributes = dict(attributes)
    if isinstance(definition, Composite):
        names = [operand.rstrip("?") for operand in definition.operands]
        if list(given) != names[: len(given)]:
            attributes["operands"] = list(given)
    try:
        return _emit(builder, definition.name, list(given.values()), attributes)
    except LirError as error:
        if error.diagnostics[0].code != "LIR0030":
            raise
        stretched = _broadcast(definition, given)
        if stretched is None:
            raise
        try:
            return _emit(builder, definition.name, list(stretched.values()), attributes)
        except LirError:
            # Of the shapes that the user gave.
            raise error from None


def _reduced(
    builder: Builder, definition: OpDef | Composite, attributes: Mapping[str, Any], given: Mapping[str, Tensor],
    reduction: str,
) -> Tensor:  # fmt: skip
    """A loss under another reduction."""
    result = _append(builder, definition, given, {**attributes, "reduction": reduction})
    assert isinstance(result, Tensor)
    return result


def _emit(builder: Builder, name: str, operands: Sequence[Tensor], attributes: Mapping[str, Any]) -> Result:
    op = make_op(name, [operand.value for operand in operands], attributes, span=builder.span)
    results = tuple(Tensor(value, builder) for value in builder.append(op))
    return results[0] if len(results) == 1 else results


def _broadcast(definition: OpDef | Composite, given: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The required operands of a loss or pointwise operation in their common shape; None where there is none.

    Only those: `linear` and its like give their operands' shapes a meaning of their own.
    """
    if not is_loss(definition) and definition.kind != "pointwise":
        return None
    required = [operand for operand in definition.operands if not operand.endswith("?")]
    shape: Shape = ()
    try:
        for name in required:
            shape = broadcast_shapes(shape, given[name].shape)
    except LirError:
        return None
    return {name: value.broadcast_to(shape) if name in required else value for name, value in given.items()}
