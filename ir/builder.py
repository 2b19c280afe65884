"""Building functions: `Builder` emits checked operations.

The Python graph API, the losses and the passes all build through here, most of them by the operators of
`tensor.Tensor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .attributes import complete_attributes
from .diagnostics import LirError, LosscError, Span, did_you_mean
from .function import Function, Op, Value
from .op_types import count_axes_from_front
from .ops import PRIMITIVES, OpDef
from .other_words import notes_in_python
from .types import Shape, Type


class Builder:
    """Collects the inputs and operations of one function. `span` marks what is emitted next."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.params: set[Value] = set()
        self.ops: list[Op] = []
        self.span: Span | None = None

    def input(self, name: str, type_: Type, param: bool = False) -> Value:
        value = Value(name, type_, self.span)
        self.inputs.append(value)
        if param:
            self.params.add(value)
        return value

    def emit(self, name: str, *operands: Value, hint: str = "", **attributes: Any) -> Value:
        """Append a primitive with one result and return that."""
        (result,) = self.emit_many(name, operands, attributes, (hint,) if hint else ())
        return result

    def emit_many(
        self, name: str, operands: Sequence[Value], attributes: dict[str, Any], hints: Sequence[str] = ()
    ) -> tuple[Value, ...]:
        """Append a primitive with any number of results. Raises LirError, placed at `span`."""
        if name not in PRIMITIVES:
            raise LirError(f"unknown operation `{name}`", *did_you_mean(name, PRIMITIVES), span=self.span,
                           code="LIR0022")  # fmt: skip
        definition = PRIMITIVES[name]
        try:
            check_operand_count(definition.name, definition.operands, len(operands))
            complete = complete_attributes(name, definition.attributes, attributes)
            types = infer_types(definition, operands, complete)
            complete = count_axes_from_front(tuple(operand.type for operand in operands), complete)
        except LosscError as error:
            raise error.at(self.span) from None
        names = [*hints, *[""] * (len(types) - len(hints))]
        results = tuple(Value(hint or name, type_, self.span) for hint, type_ in zip(names, types))
        return self.append(Op(name, tuple(operands), complete, results, self.span))

    def append(self, op: Op) -> tuple[Value, ...]:
        """Append an operation that is already checked."""
        self.ops.append(op)
        return op.results

    def constant(self, value: float | int | bool, dtype: str, shape: Shape = ()) -> Value:
        return self.emit("constant", value=value, dtype=dtype, shape=shape, hint="c")

    def broadcast_to(self, value: Value, shape: Shape) -> Value:
        """`value` repeated to `shape` by NumPy's rule: axes line up from the right, size 1 stretches."""
        if value.type.shape == shape:
            return value
        dims = tuple(range(len(shape) - value.type.rank, len(shape)))
        if dims and dims[0] < 0:
            raise LirError(f"cannot broadcast {value.type} to [{', '.join(map(str, shape))}]", span=self.span,
                           code="LIR0030")  # fmt: skip
        return self.emit("broadcast", value, dims=dims, shape=shape)

    def function(self, name: str, outputs: Iterable[Value], output_names: tuple[str, ...] = ()) -> Function:
        return Function(name, tuple(self.inputs), tuple(self.ops), tuple(outputs), frozenset(self.params), output_names)

    def method(self, tensor: Any, name: str, known: Iterable[str] = ()) -> Callable[..., Any]:
        """What `tensor.<name>` is where `Tensor` says nothing of it. Raises AttributeError, with what to write; `known`
        are methods that there are beside those of `Tensor`."""
        known = [*known, *(n for n in dir(tensor) if n[0] != "_")]
        hint = "".join(f"; {note}" for note in notes_in_python(name, known))
        raise AttributeError(f"a value of a graph has no `{name}`{hint}")


def check_operand_count(name: str, operands: tuple[str, ...], found: int) -> None:
    """Raise LirError unless `found` operands fit the names (`x?` is optional, `x...` takes one or more)."""
    least = sum(not operand.endswith("?") for operand in operands)
    most = None if operands and operands[-1].endswith("...") else len(operands)
    if found < least or (most is not None and found > most):
        expected = ", ".join(operands) or "none"
        over_axes = (f"over axes it is `reduce_{name}`",) if found == 1 and f"reduce_{name}" in PRIMITIVES else ()
        raise LirError(f"`{name}` takes the operands ({expected}), found {found}", *over_axes, code="LIR0025")


def infer_types(definition: OpDef, operands: Sequence[Value], attributes: dict[str, Any]) -> tuple[Type, ...]:
    return definition.infer(tuple(operand.type for operand in operands), attributes)
