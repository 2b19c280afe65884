"""Inline calls: the operations of the callee take the place of the `call`.

Before:  func @main(%x: f32[8]) -> (f32[8]) { %y = call @square(%x) ; return %y }
         func @square(%a: f32[N]) -> (f32[N]) { %b = mul %a, %a ; return %b }
After:   func @main(%x: f32[8]) -> (f32[8]) { %y = mul %x, %x ; return %y }

Dimension names of the callee become what they stand for at each call. A function that names its gradient stays a
call while there is a `grad` in the module: autodiff needs to see it. Functions that were called and no longer are
go. The parser and the verifier refuse recursion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.call_graph import MOST_OPERATIONS, call_errors, callees_first
from ...ir.diagnostics import LirError, Span
from ...ir.function import Function, Module, Op, Value
from ...ir.signature import substitute, unify
from ...ir.types import Dim, DimLike, bind_dim
from ..functions import has_grad, with_names_of
from ..rewrite import Rebuild


def inline(module: Module) -> Module:
    """Replace calls by the body of the function that is called.

    call @f(x) = the operations of f on x  exact
    """
    if not any(op.name == "call" for function in module.functions.values() for op in function.ops):
        return module
    for error in call_errors(module):
        raise error
    differentiating = any(map(has_grad, module.functions.values()))
    done = module
    for function in callees_first(module):
        done = done.with_function(_inline_into(function, done, differentiating))
    return _without_unused(module, done)


def _inline_into(function: Function, module: Module, differentiating: bool) -> Function:
    def is_inlined(op: Op) -> bool:
        return op.name == "call" and not (differentiating and module.functions[op.attributes["callee"]].gradient)

    if not any(map(is_inlined, function.ops)):
        return function
    build = Rebuild(function)
    for op in function.ops:
        operands = tuple(map(build.now, op.operands))
        if is_inlined(op):
            callee = module.functions[op.attributes["callee"]]
            results = splice(build, module, callee, operands, op.span)
            build.replaced.update(zip(op.results, results))
        else:
            build.append(Op(op.name, operands, op.attributes, op.results, op.span))
    inlined = function.with_(ops=tuple(build.ops), outputs=tuple(map(build.now, function.outputs)))
    return with_names_of(inlined, function)


def splice(
    build: Builder, module: Module, function: Function, operands: Sequence[Value], span: Span | None
) -> tuple[Value, ...]:
    """Emit the operations of `function` on `operands` into `build`; returns the values of its outputs."""
    if len(build.ops) + len(function.ops) > MOST_OPERATIONS:
        raise LirError(f"@{function.name} called here makes more than {MOST_OPERATIONS:,} operations",
                       "calls are inlined, so that calls of calls multiply", span=span, code="LIR0013")  # fmt: skip
    sizes = unify(function, [operand.type for operand in operands])
    new = dict(zip(function.inputs, operands))
    for op in function.ops:
        results = tuple(Value(result.name, substitute(result.type, sizes), result.span) for result in op.results)
        new.update(zip(op.results, results))
        build.append(Op(op.name, tuple(new[operand] for operand in op.operands), _bound(op.attributes, sizes), results,
                        op.span))  # fmt: skip
    return tuple(new[output] for output in function.outputs)


def _bound(attributes: Mapping[str, Any], sizes: Mapping[str, DimLike]) -> Mapping[str, Any]:
    return {name: _bound_value(value, sizes) for name, value in attributes.items()}


def _bound_value(value: Any, sizes: Mapping[str, DimLike]) -> Any:
    if isinstance(value, tuple):
        return tuple([_bound_value(item, sizes) for item in value])
    return bind_dim(value, sizes) if isinstance(value, Dim) else value


def _without_unused(before: Module, after: Module) -> Module:
    """Drop functions that others referred to before, and nobody that is left refers to."""
    referred = {callee for function in before.functions.values() for callee in function.callees()}
    kept = [name for name in before.functions if name not in referred or name == before.entry_name]
    position = 0
    while position < len(kept):
        kept += [callee for callee in after.functions[kept[position]].callees() if callee not in kept]
        position += 1
    return Module({name: f for name, f in after.functions.items() if name in kept}, after.entry_name)
