"""A module as text, the exact inverse of the parser: what is printed reads back as the same module.

In: a `Module` or a `Function`. Out: LIR text, the same bytes for the same module. Attributes equal to their
default are left out, result types are always written. A value keeps its name where it is free; otherwise a
number is added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from .attributes import attribute_text
from .composites import COMPOSITES, Composite
from .function import Function, Module, Op, Value
from .ops import PRIMITIVES, Attribute, OpDef
from .repeat import ATTRIBUTES

HEADER = "// lir 1"
WIDTH = 100

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_LONGEST_NAME = 256
_LONGEST_BASE = 200


def print_module(module: Module) -> str:
    """All functions of a module, in its order."""
    return "\n".join([HEADER + "\n", *(print_function(function) + "\n" for function in module.functions.values())])


def print_function(function: Function) -> str:
    """One function, from its head to its closing brace."""
    return _print(function, names_of_values(function))


def equal_modules(left: Module, right: Module) -> bool:
    """Whether two modules are the same but for the names of values inside their functions."""
    return _nameless(left) == _nameless(right)


def names_of_values(function: Function) -> dict[Value, str]:
    """A distinct printable name for every value: inputs first, then results in order."""
    values = dict.fromkeys([*function.inputs, *(result for op in function.ops for result in op.results)])
    hints = [_printable(value.name) for value in values]
    # A number that is added never takes a name that a later value has of its own.
    wanted, taken, counters = set(hints), set(), {}
    names: dict[Value, str] = {}
    for value, hint in zip(values, hints):
        name = base = hint[:_LONGEST_BASE] if hint in taken else hint
        while name in taken or (name in wanted and name != hint):
            # Each number is tried once for each base, so that naming stays linear.
            counters[base] = counters.get(base, 0) + 1
            name = f"{base}_{counters[base]}"
        names[value] = name
        taken.add(name)
    return names


def head_lines(prefix: str, inputs: Sequence[str], suffix: str) -> list[str]:
    """`func @f(` + inputs + `) -> (...) {` on one line where it fits, else one input a line."""
    line = f"{prefix}{', '.join(inputs)}{suffix}"
    if len(line) <= WIDTH or not inputs:
        return [line]
    return [prefix, *(f"    {text}," for text in inputs), suffix]


def _printable(hint: str) -> str:
    if _NAME.match(hint) and len(hint) <= _LONGEST_NAME:
        return hint
    name = re.sub(r"[^A-Za-z0-9_.]", "_", hint)[:_LONGEST_BASE]
    return name if _NAME.match(name) else f"v{name}"


def _nameless(module: Module) -> list[str]:
    texts = []
    for function in module.functions.values():
        # `%x` and `%0` cannot be mistaken for each other: no name begins with a digit.
        names = {value: value.name for value in function.inputs}
        results = (result for op in function.ops for result in op.results)
        names.update((value, str(number)) for number, value in enumerate(results))
        texts.append(_print(function.with_(output_names=_result_names(function, names_of_values(function))), names))
    return texts


def _print(function: Function, names: Mapping[Value, str]) -> str:
    inputs = [f"{'param ' * (value in function.params)}%{names[value]}: {value.type}" for value in function.inputs]
    gradient = f" gradient @{function.gradient}" if function.gradient else ""
    suffix = f") -> ({_results(function, names)}){gradient} {{"
    lines = head_lines(f"{function.kind} @{function.name}(", inputs, suffix)
    lines += [f"  {_statement(op, names)}" for op in function.ops]
    lines += [f"  return {_values(function.outputs, names)}".rstrip(), "}"]
    return "\n".join(lines)


def _results(function: Function, names: Mapping[Value, str]) -> str:
    """The result types, with their names where they are not those of the values that are returned."""
    wanted = _result_names(function, names)
    if wanted == _following_names(function, names):
        return ", ".join(str(value.type) for value in function.outputs)
    return ", ".join(f"%{name}: {value.type}" for name, value in zip(wanted, function.outputs))


def _result_names(function: Function, names: Mapping[Value, str]) -> tuple[str, ...]:
    """What callers call the results. Names that no text could hold follow from the printed values."""
    wanted = function.names_of_outputs
    if function.output_names or all(_printable(name) == name for name in wanted):
        return wanted
    return _following_names(function, names)


def _following_names(function: Function, names: Mapping[Value, str]) -> tuple[str, ...]:
    printed = tuple(Value(names.get(value, value.name), value.type) for value in function.outputs)
    return function.with_(outputs=printed, output_names=()).names_of_outputs


def _values(values: Iterable[Value], names: Mapping[Value, str]) -> str:
    # A value that nothing defines has no name here: the text of a broken module is read by people only.
    return ", ".join(f"%{names.get(value, f'{value.name} (undefined)')}" for value in values)


def _statement(op: Op, names: Mapping[Value, str]) -> str:
    targets = f"{_values(op.results, names)} = " if op.results else ""
    types = f" : {', '.join(str(result.type) for result in op.results)}" if op.results else ""
    if "callee" in op.attributes:
        called = f"{targets}{op.name} @{op.attributes['callee']}({_values(op.operands, names)})"
        return f"{called}{_attributes(op, ATTRIBUTES)}{types}"
    definition = PRIMITIVES.get(op.name) or COMPOSITES.get(op.name)
    operands = _operands(op, definition, names)
    attributes = _attributes(op, definition.attributes if definition else {})
    return f"{targets}{op.name}{' ' * bool(operands)}{operands}{attributes}{types}"


def _operands(op: Op, definition: OpDef | Composite | None, names: Mapping[Value, str]) -> str:
    """Operands by position as far as none is left out, then by keyword, in the order of the definition."""
    keywords = op.attributes.get("operands")
    if not isinstance(definition, Composite) or keywords is None:
        return _values(op.operands, names)
    parameters = [parameter.rstrip("?") for parameter in definition.operands]
    given = dict(zip(keywords, op.operands))
    texts = []
    for position, parameter in enumerate(name for name in parameters if name in given):
        keyword = "" if parameters[position] == parameter else f"{parameter} = "
        texts.append(keyword + _values([given[parameter]], names))
    return ", ".join(texts)


def _attributes(op: Op, specification: Mapping[str, Attribute]) -> str:
    texts = []
    for name, value in op.attributes.items():
        attribute = specification.get(name)
        as_default = attribute and value == attribute.default and type(value) is type(attribute.default)
        if name in ("operands", "callee") or as_default:
            continue
        texts.append(f"{name} = {value if attribute and attribute.kind == 'dtype' else attribute_text(value)}")
    return f" {{{', '.join(texts)}}}" if texts else ""
