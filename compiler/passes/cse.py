"""Common subexpressions: operations with equal name, operands and attributes become one.

Before:  %a = exp %x ; %b = exp %x ; %c = add %a, %b
After:   %a = exp %x ; %c = add %a, %a

Operands of commutative operations count in either order. Equal `check`s become one, too. A cast of a 16-bit float stays
alone until gradients are taken: one in place of two would have one rounding of the sum of two gradients in place of
the sum of two that are rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.function import Function, Module, Op, Value
from ..functions import has_grad, map_functions, rounds_gradient, with_operands

COMMUTATIVE = frozenset({"add", "mul", "max", "min", "eq", "ne", "and", "or"})
_EFFECTS = frozenset({"call", "launch", "repeat"})


def cse(module: Module) -> Module:
    """Compute equal expressions once.

    f(x), f(x) = one of them  exact
    """
    return map_functions(module, _share)


def _share(function: Function) -> Function:
    known: dict[Any, Op] = {}
    replaced: dict[Value, Value] = {}
    ops: list[Op] = []
    is_differentiated = has_grad(function)
    for op in function.ops:
        operands = tuple(replaced.get(operand, operand) for operand in op.operands) if replaced else op.operands
        op = with_operands(op, operands)
        if op.name in _EFFECTS or (is_differentiated and rounds_gradient(op)):
            ops.append(op)
            continue
        first = known.setdefault(_key(op), op)
        if first is op:
            ops.append(op)
        else:
            replaced.update(zip(op.results, first.results))
    if len(ops) == len(function.ops):
        return function
    return function.with_(ops=tuple(ops), outputs=tuple(replaced.get(value, value) for value in function.outputs))


def _key(op: Op) -> Any:
    operands = op.operands
    if op.name in COMMUTATIVE and id(operands[0]) > id(operands[1]):
        operands = operands[::-1]
    return (op.name, operands, _attributes_key(op.attributes)) if op.attributes else (op.name, operands)


def _attributes_key(attributes: Mapping[str, Any]) -> Any:
    # Types tell 1 from 1.0 and true; repr tells 0.0 from -0.0, and NaN then equals itself.
    return tuple(
        [
            (name, value.__class__, repr(value) if isinstance(value, float) else value)
            for name, value in attributes.items()
        ]
    )
