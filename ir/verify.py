"""The rules of the IR that no single operation can check, in one place.

In: a `Module`, from the parser, from the graph API or from a pass. Out: every `Diagnostic`, none for a
sound module. The parser leaves all of this to the verifier; passes are followed by it. Linear in the size
of the module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from .attributes import attribute_text
from .call_graph import call_errors
from .composites import make_op
from .diagnostics import Diagnostic, LirError, LosscError, Span, did_you_mean
from .function import Function, Module, Op, Value
from .other_words import element_type_called
from .repeat import NAME as REPEAT
from .repeat import make_repeat
from .signature import CALLED_BY, make_call, unbound_names
from .types import DTYPES, Dim, Type, is_float

HIGHEST_RANK = 32
MOST_FACTORS = HIGHEST_RANK * HIGHEST_RANK
LARGEST_COUNT = 2**63 - 1
LONGEST_NAME = 256

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_DIMENSION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def verify(module: Module, sound: Collection[Op] = ()) -> list[Diagnostic]:
    """Everything that is wrong with a module, function by function. What the operations in `sound` say of themselves
    is not looked at again: a pass leaves most of them as they were."""
    problems = [
        problem for function in module.functions.values() for problem in verify_function(function, module, sound)
    ]
    problems += verify_calls(module)
    for error in _names_of_functions(module):
        problems += error.diagnostics
    return problems


def check_module(module: Module, sound: Collection[Op] = ()) -> Module:
    """The module itself, or LirError with everything that is wrong with it."""
    problems = verify(module, sound)
    if problems:
        raise LirError(problems)
    return module


def verify_calls(module: Module) -> list[Diagnostic]:
    """What is wrong with the functions of a module together: recursion, and sizes that no call gives."""
    return [diagnostic for error in [*_unbound(module), *call_errors(module)] for diagnostic in error.diagnostics]


def verify_function(function: Function, module: Module, sound: Collection[Op] = ()) -> Iterator[Diagnostic]:
    """What is wrong with one function of a module."""
    for error in _errors(function, module, sound):
        yield from error.diagnostics


def check_type(type_: Type) -> None:
    """Raise LirError unless this is a type within the limits of the language."""
    if type_.dtype not in DTYPES:
        meant = element_type_called(type_.dtype) or type_.dtype
        raise LirError(f"unknown element type `{type_.dtype}`", *did_you_mean(meant, DTYPES),
                       f"expected one of {', '.join(DTYPES)}", code="LIR0034")  # fmt: skip
    if type_.rank > HIGHEST_RANK:
        raise LirError(f"a type of {type_.rank} axes; at most {HIGHEST_RANK} are allowed", code="LIR0013")
    for dim in type_.shape:
        _check_dim(dim)
    count = type_.count
    if (count if isinstance(count, int) else count.factor) > LARGEST_COUNT:
        raise LirError(f"a tensor {type_} has more than 2^63 - 1 elements", code="LIR0013")


def _check_dim(dim: object) -> None:
    if isinstance(dim, Dim):
        sound = dim.factor >= 1 and dim.names and tuple(sorted(dim.names)) == dim.names
        if not sound or not all(map(_DIMENSION.match, dim.names)):
            raise LirError(f"`{dim}` is not a dimension: a dimension is a size, a name or a product of them",
                           code="LIR0034")  # fmt: skip
        if len(dim.names) > MOST_FACTORS or max(map(len, dim.names)) > LONGEST_NAME or dim.factor > LARGEST_COUNT:
            raise LirError("a dimension is too large or its name too long", code="LIR0013")
    elif not isinstance(dim, int) or isinstance(dim, bool) or dim < 0:
        raise LirError(f"`{dim}` is not a dimension: a size is an integer from 0",
                       "a size that is known at run time has a name: f32[B, 10]", code="LIR0034")  # fmt: skip
    elif dim > LARGEST_COUNT:
        raise LirError(f"a size of {dim}; at most 2^63 - 1 is allowed", code="LIR0013")


def _errors(function: Function, module: Module, sound: Collection[Op]) -> Iterator[LosscError]:
    """The rules of one function, in the order of its text."""
    if function.kind not in CALLED_BY:
        yield LirError(f"@{function.name} is a `{function.kind}`; expected func or kernel", span=function.span)
    yield from _interface(function)
    defined: dict[Value, None] = {}
    for value in function.inputs:
        yield from _definition(value, defined, value.span or function.span)
    for op in function.ops:
        for operand in op.operands:
            if operand not in defined:
                yield LirError(f"%{operand.name} is used by `{op.name}` before it is defined", span=op.span,
                               code="LIR0020", about=operand.name)  # fmt: skip
        known = op in sound and "callee" not in op.attributes
        for result in op.results:
            yield from _definition(result, defined, op.span, known)
        if not known:
            yield from _operation(op, function, module)
    for output in function.outputs:
        if output not in defined:
            yield LirError(
                f"@{function.name} returns %{output.name}, which is not defined in it",
                span=function.span,
                code="LIR0020",
            )
    yield from _gradient(function, module)


def _interface(function: Function) -> Iterator[LirError]:
    seen: dict[str, Value] = {}
    for value in function.inputs:
        if not _NAME.match(value.name) or len(value.name) > LONGEST_NAME:
            yield LirError(
                f"{value.name!r} is not a name for an input",
                _NAMES,
                span=value.span or function.span,
                code="LIR0048",
            )
        elif value.name in seen:
            first = seen[value.name].span
            yield LirError(f"@{function.name} has two inputs called %{value.name}", code="LIR0048",
                           span=value.span or function.span,
                           labels=[(first, "the first one is here")] if first else ())  # fmt: skip
        seen.setdefault(value.name, value)
    if not function.params <= set(function.inputs):
        yield LirError(f"a param of @{function.name} is not one of its inputs", span=function.span, code="LIR0048")
    names = function.output_names
    if names and len(names) != len(function.outputs):
        yield LirError(
            f"@{function.name} has {len(function.outputs)} results and {len(names)} names for them",
            span=function.span,
            code="LIR0048",
        )
    for name in names:
        if not _DIMENSION.match(name.replace(".", "_")) or len(name) > LONGEST_NAME:
            yield LirError(f"{name!r} is not a name for a result", _NAMES, span=function.span, code="LIR0048")
    if len(set(names)) != len(names):
        yield LirError(f"two results of @{function.name} have the same name", span=function.span, code="LIR0048")


_NAMES = "names consist of letters, digits, `_` and `.`, and begin with a letter or `_`"


def _definition(
    value: Value, defined: dict[Value, None], span: Span | None, known: bool = False
) -> Iterator[LosscError]:
    if value in defined:
        yield LirError(f"%{value.name} is defined twice", span=span, code="LIR0021")
    defined[value] = None
    if known:
        return
    try:
        check_type(value.type)
    except LirError as error:
        yield error.at(span)


def _operation(op: Op, function: Function, module: Module) -> Iterator[LosscError]:
    """What an operation says must be what its definition makes of its operands and attributes."""
    try:
        if op.name in (*CALLED_BY.values(), REPEAT):
            again = _call_again(op, function, module)
        else:
            again = make_op(op.name, op.operands, op.attributes, span=op.span)
    except LosscError as error:
        yield error
        return
    if len(again.results) != len(op.results):
        yield LirError(
            f"`{op.name}` gives {len(again.results)} results, found {len(op.results)}",
            span=op.span,
            code="LIR0026",
        )
    for result, expected in zip(op.results, again.results):
        if result.type != expected.type:
            yield LirError(f"%{result.name} has type {result.type}, but `{op.name}` gives {expected.type}",
                           span=op.span, code="LIR0032")  # fmt: skip
    if not _same_attributes(op.attributes, again.attributes):
        yield LirError(f"the attributes of `{op.name}` are not complete and in the order of its definition",
                       f"expected {', '.join(again.attributes)}", span=op.span, code="LIR0023")  # fmt: skip


def _same_attributes(found: Mapping[str, object], expected: Mapping[str, object]) -> bool:
    if list(found) != list(expected):
        return False
    return all(
        value is expected[name]
        or (type(value) is type(expected[name]) and attribute_text(value) == attribute_text(expected[name]))
        for name, value in found.items()
    )


def _call_again(op: Op, function: Function, module: Module) -> Op:
    name = op.attributes.get("callee")
    if not isinstance(name, str) or (op.name != REPEAT and list(op.attributes) != ["callee"]):
        raise LirError(f"`{op.name}` has one attribute, the name of its callee", span=op.span, code="LIR0023")
    if name not in module.functions:
        raise LirError(f"there is no function @{name}", *did_you_mean(name, module.functions), span=op.span,
                       code="LIR0040")  # fmt: skip
    if op.name != "call" and function.kind == "kernel":
        does = "repeats" if op.name == REPEAT else "launches"
        raise LirError(f"the kernel @{function.name} {does} @{name}", f"a kernel {does} nothing", span=op.span,
                       code="LIR0043")  # fmt: skip
    if op.name == REPEAT:
        attributes = {key: value for key, value in op.attributes.items() if key != "callee"}
        return make_repeat(module.functions[name], op.operands, attributes, span=op.span)
    return make_call(op.name, module.functions[name], op.operands, span=op.span)


def _gradient(function: Function, module: Module) -> Iterator[LirError]:
    """`gradient @g`: g takes the inputs and a gradient a float result, and gives one for each float input."""
    if function.gradient is None:
        return
    if function.gradient not in module.functions:
        yield LirError(f"there is no function @{function.gradient} to be the gradient of @{function.name}",
                       *did_you_mean(function.gradient, module.functions), span=function.span,
                       code="LIR0040")  # fmt: skip
        return
    gradient = module.functions[function.gradient]
    takes = [value.type for value in function.inputs]
    takes += [value.type for value in function.outputs if is_float(value.type.dtype)]
    gives = [value.type for value in function.inputs if is_float(value.type.dtype)]
    try:
        call = make_call("call", gradient, [Value("", type_) for type_ in takes])
        fits = [result.type for result in call.results] == gives
    except LirError:
        fits = False
    if not fits:
        inputs, outputs = [v.type for v in gradient.inputs], [v.type for v in gradient.outputs]
        yield LirError(
            f"@{gradient.name} cannot be the gradient of @{function.name}: expected {_form(takes, gives)}, "
            f"found {_form(inputs, outputs)}",
            "it takes the inputs and a gradient for each float result, and gives one for each float input",
            span=function.span,
            code="LIR0046",
        )


def _form(takes: Sequence[Type], gives: Sequence[Type]) -> str:
    return f"({', '.join(map(str, takes))}) -> ({', '.join(map(str, gives))})"


def _names_of_functions(module: Module) -> Iterator[LirError]:
    for name, function in module.functions.items():
        if name != function.name or not _NAME.match(name) or len(name) > LONGEST_NAME:
            yield LirError(f"{function.name!r}, known as {name!r}, is not a name for a function", _NAMES,
                           span=function.span, code="LIR0048")  # fmt: skip
    if module.entry_name is not None and module.entry_name not in module.functions:
        yield LirError(f"there is no function @{module.entry_name} to be the entry",
                       *did_you_mean(module.entry_name, module.functions), code="LIR0040")  # fmt: skip


def _unbound(module: Module) -> Iterator[LirError]:
    functions = module.functions.values()
    called = {op.attributes.get("callee") for function in functions for op in function.ops if op.name == "call"}
    called |= {function.gradient for function in functions}
    for name in [name for name in module.functions if name in called]:
        unbound = unbound_names(module.functions[name])
        if unbound:
            yield LirError(f"@{name} is called, but none of its inputs gives the size of {unbound[0]}",
                           span=module.functions[name].span, code="LIR0049")  # fmt: skip
