"""Composite operations: every public function of `layers` and of the modules in `losses/`.

A function becomes an operation by standing there: its positional parameters are the operands (`= None` makes one
optional), its keyword-only parameters are the attributes, its docstring is the help. A keyword-only parameter of type
`float | Tensor` is both: an attribute, and an optional last operand that stands in its place, so that a run-time value
can be given. `expand` gives its meaning.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

from . import layers, losses
from .attributes import complete_attributes
from .builder import Builder, check_operand_count
from .diagnostics import LirError, LosscError, did_you_mean
from .frozen import frozen
from .function import Op, Value
from .op_types import count_axes_from_front
from .ops import PRIMITIVES, REQUIRED, Attribute, OpDef
from .other_words import notes_in_text
from .tensor import Tensor
from .types import Type


@frozen
class Composite:
    """An operation that is a function over primitives."""

    name: str
    kind: str  # "layer" or "loss"
    operands: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    function: Callable[..., Tensor | tuple[Tensor, ...]]

    @property
    def help(self) -> str:
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


_KINDS = {"int": "int", "float": "float", "bool": "bool", "str": "str", "int | None": "int", "float | None": "float",
          "str | None": "str", "float | Tensor": "float"}  # fmt: skip
_ATTRIBUTE_OR_OPERAND = "float | Tensor"


def composite_of(function: FunctionType, kind: str) -> Composite:
    """Read an operation off a function's signature: `inspect.signature` takes twice as long to say the same."""
    code, defaults = function.__code__, function.__kwdefaults__ or {}
    names = code.co_varnames[: code.co_argcount]
    required = len(names) - len(function.__defaults__ or ())
    operands = [name + "?" * (place >= required) for place, name in enumerate(names)]
    attributes: dict[str, Attribute] = {}
    for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]:
        annotation = function.__annotations__[name]
        attributes[name] = Attribute(_KINDS[annotation], defaults.get(name, REQUIRED), annotation.endswith("| None"))
        if annotation == _ATTRIBUTE_OR_OPERAND:
            operands.append(name + "?")
    if any(operand.endswith("?") for operand in operands):
        attributes["operands"] = Attribute("strs", None)
    return Composite(function.__name__, kind, tuple(operands), attributes, function)


def _public_functions(module: ModuleType) -> list[FunctionType]:
    return [
        function
        for name, function in vars(module).items()
        if isinstance(function, FunctionType) and function.__module__ == module.__name__ and not name.startswith("_")
    ]


def _discover() -> dict[str, Composite]:
    found = [composite_of(function, "layer") for function in _public_functions(layers)]
    for module in pkgutil.iter_modules(losses.__path__):
        if not module.name.startswith("_"):
            loaded = importlib.import_module(f"{losses.__name__}.{module.name}")
            found += [composite_of(function, "loss") for function in _public_functions(loaded)]
    return {composite.name: composite for composite in found}


COMPOSITES: Mapping[str, Composite] = _discover()

ACTIVATIONS: tuple[str, ...] = (
    *(row.name for row in COMPOSITES.values()
      if row.kind == "layer" and row.operands == ("x",) and "axis" not in row.attributes),
    "softplus", "sigmoid", "tanh",
)  # fmt: skip
"""Functions of each element of a layer's result: layers of one operand without an axis, and three primitives."""


def definition_of(name: str) -> OpDef | Composite:
    """The row of an operation. Raises LirError, with the nearest name, for an unknown one."""
    definition = PRIMITIVES.get(name) or COMPOSITES.get(name)
    if definition is None:
        raise LirError(f"unknown operation `{name}`", *notes_in_text(name, [*PRIMITIVES, *COMPOSITES]), code="LIR0022")
    return definition


def bind_operands(composite: Composite, count: int, names: Sequence[str] | None) -> list[str]:
    """Which parameter each of `count` operands is: where some are left out, `names` (the attribute `operands`)."""
    parameters = [operand.rstrip("?") for operand in composite.operands]
    if names is None:
        check_operand_count(composite.name, composite.operands, count)
        return parameters[:count]
    missing = [o for o in composite.operands if not o.endswith("?") and o not in names]
    unknown = [name for name in names if name not in parameters]
    if unknown:
        attribute = unknown[0] in composite.attributes
        notes = ("it is an attribute, and stands in braces",) if attribute else did_you_mean(unknown[0], parameters)
        raise LirError(f"`{composite.name}` has no operand `{unknown[0]}`", *notes, code="LIR0025", about=unknown[0])
    if missing or len(names) != count or len(set(names)) != count:
        raise LirError(f"`{composite.name}` takes the operands ({', '.join(composite.operands)}), "
                       f"found ({', '.join(names)})", code="LIR0025")  # fmt: skip
    return list(names)


def expand(
    composite: Composite, builder: Builder, operands: Sequence[Value], attributes: Mapping[str, Any]
) -> tuple[Value, ...]:
    """Emit the primitives of a composite into `builder` and return its results."""
    names = bind_operands(composite, len(operands), attributes.get("operands"))
    tensors = {name: Tensor(value, builder) for name, value in zip(names, operands)}
    keywords = {name: value for name, value in attributes.items() if name != "operands" and name not in tensors}
    results = composite.function(**tensors, **keywords)
    return tuple(result.value for result in (results if isinstance(results, tuple) else (results,)))


def _refuse_twice(composite: Composite, operands: Sequence[str], attributes: Mapping[str, Any]) -> None:
    """A parameter that may be either is not both an operand and an attribute."""
    for name in operands:
        if name in attributes and attributes[name] != composite.attributes[name].default:
            raise LirError(f"`{composite.name}` is given `{name}` twice, as an operand and as an attribute",
                           code="LIR0023", about=name)  # fmt: skip


@lru_cache(maxsize=4096)
def _infer(name: str, types: tuple[Type, ...], attributes: tuple[tuple[str, Any], ...]) -> tuple[Type, ...]:
    builder = Builder()
    inputs = [builder.input(f"operand{index}", type_) for index, type_ in enumerate(types)]
    return tuple(value.type for value in expand(COMPOSITES[name], builder, inputs, dict(attributes)))


def make_op(
    name: str, operands: Sequence[Value], attributes: Mapping[str, Any], hints: Sequence[str] = (), span: Any = None
) -> Op:
    """A checked operation, primitive or composite. Raises LirError placed at `span`.

    `call` and `launch` are not made here: they need the module.
    """
    try:
        definition = definition_of(name)
        complete = complete_attributes(name, definition.attributes, attributes)
        types = tuple(operand.type for operand in operands)
        if isinstance(definition, Composite):
            names = bind_operands(definition, len(operands), complete.get("operands"))
            _refuse_twice(definition, names, complete)
            results = _infer(name, types, tuple(complete.items()))
        else:
            check_operand_count(name, definition.operands, len(operands))
            results = definition.infer(types, complete)
            complete = count_axes_from_front(types, complete)
    except LosscError as error:
        raise error.at(span) from None
    names = [*hints, *[""] * (len(results) - len(hints))]
    values = tuple(Value(hint or name, type_, span) for hint, type_ in zip(names, results))
    return Op(name, tuple(operands), complete, values, span)
