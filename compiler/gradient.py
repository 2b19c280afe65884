"""Asking for gradients: add a `grad` operation, and its results as outputs.

In: a function, and what to differentiate by what. Out: the function with one more output `grad_<input>` for
each input asked for. The pass `autodiff` then computes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.builder import Builder
from ..ir.diagnostics import LirError, did_you_mean
from ..ir.function import Function, Module, Value
from ..ir.signature import make_call
from ..ir.types import is_float


def request_gradients(
    function: Function, wrt: Sequence[str] | None = None, of: str | int | None = None, upstream: bool = False
) -> Function:
    """`function` with the gradients of output `of` with respect to the inputs `wrt` as further outputs.

    wrt: names of float inputs; None means the params, or all float inputs where there are no params.
    of: an output by name or position; what is differentiated is the sum of its elements. None means the first
        one, which must then have one element (unless `upstream`).
    upstream: take the incoming gradient as a further input `grad_<output>`, of the shape of the output.
    Raises LirError for a name that does not exist, for what is not a float, and for a function that names its
    gradient (`request_module_gradients` calls that).
    """
    if function.gradient is not None:
        raise LirError(f"@{function.name} names its gradient, which counts where it is called",
                       "differentiate a function that calls it", span=function.span)  # fmt: skip
    position = _output_position(function, of, upstream)
    name, value = function.names_of_outputs[position], function.outputs[position]
    if not is_float(value.type.dtype):
        raise LirError(f"output `{name}` has type {value.type}: only floats have gradients", code="LIR0031")
    asked = _inputs(function, wrt)
    build = Builder()
    build.inputs, build.params, build.ops = list(function.inputs), set(function.params), list(function.ops)
    build.span = function.span
    incoming = (build.input(_fresh(f"grad_{name}", function.inputs), value.type),) if upstream else ()
    names = [_fresh(f"grad_{input_.name}", incoming) for input_ in asked]
    gradients = build.emit_many("grad", (value, *incoming, *asked), {"upstream": upstream}, names)
    taken = set(names) & set(function.names_of_outputs)
    if taken:
        raise LirError(f"@{function.name} already has an output `{min(taken)}`", "name that output otherwise",
                       code="LIR0048")  # fmt: skip
    return function.with_(
        inputs=tuple(build.inputs),
        ops=tuple(build.ops),
        outputs=(*function.outputs, *gradients),
        output_names=(*function.names_of_outputs, *names),
    )


def request_module_gradients(
    module: Module, wrt: Sequence[str] | None = None, of: str | int | None = None, upstream: bool = False
) -> Module:
    """`module` with an entry that gives the gradients of its entry too, as `request_gradients` does.

    An entry that names its gradient is called by a new entry `<name>_and_gradients`, so that this one counts.
    """
    entry = module.entry
    if entry.gradient is None:
        changed = request_gradients(entry, wrt, of, upstream)
        return Module({**module.functions, entry.name: changed}, entry.name)
    name = f"{entry.name}_and_gradients"
    if name in module.functions:
        raise LirError(f"there is a function @{name} already", "name it otherwise", code="LIR0041")
    inputs = tuple(Value(value.name, value.type, value.span) for value in entry.inputs)
    call = make_call("call", entry, inputs, span=entry.span)
    params = frozenset(new for new, old in zip(inputs, entry.inputs) if old in entry.params)
    caller = Function(name, inputs, (call,), call.results, params, entry.names_of_outputs, span=entry.span)
    return Module({**module.functions, name: request_gradients(caller, wrt, of, upstream)}, name)


def _output_position(function: Function, of: str | int | None, upstream: bool) -> int:
    names = function.names_of_outputs
    if not names:
        raise LirError(f"@{function.name} has no outputs to differentiate", span=function.span)
    if of is None:
        if function.outputs[0].type.count != 1 and not upstream:
            raise LirError(f"the first output `{names[0]}` has type {function.outputs[0].type}: a gradient is that "
                           f'of one number', f'reduce it, name it (of = "{names[0]}") to differentiate its sum, or '
                           "give an incoming gradient (upstream)", span=function.span)  # fmt: skip
        return 0
    if isinstance(of, int):
        if not -len(names) <= of < len(names):
            raise LirError(f"@{function.name} has {len(names)} outputs, not one at {of}", span=function.span)
        return of % len(names)
    if of not in names:
        raise LirError(f"@{function.name} has no output `{of}`", *did_you_mean(of, names),
                       f"outputs: {', '.join(names)}", span=function.span, code="LIR0020")  # fmt: skip
    return names.index(of)


def _inputs(function: Function, wrt: Sequence[str] | None) -> list[Value]:
    if wrt is None:
        params = [value for value in function.inputs if value in function.params]
        floats = [value for value in params or function.inputs if is_float(value.type.dtype)]
        if not floats:
            raise LirError(f"@{function.name} has no float input to differentiate by", span=function.span)
        return floats
    if isinstance(wrt, str):
        raise LirError(f'wrt is a list of names: ["{wrt}"]')
    known = {value.name: value for value in function.inputs}
    asked: list[Value] = []
    for name in dict.fromkeys(wrt):
        if name not in known:
            raise LirError(f"@{function.name} has no input `{name}`", *did_you_mean(name, known),
                           f"inputs: {', '.join(known)}", span=function.span, code="LIR0020")  # fmt: skip
        if not is_float(known[name].type.dtype):
            raise LirError(f"input `{name}` has type {known[name].type}: only floats have gradients",
                           span=known[name].span, code="LIR0031")  # fmt: skip
        asked.append(known[name])
    if not asked:
        raise LirError("no input is named to differentiate by")
    return asked


def _fresh(name: str, others: Sequence[Value]) -> str:
    if any(value.name == name for value in others):
        raise LirError(f"there is an input `{name}` already", "name that input otherwise", code="LIR0048")
    return name
