"""Divide once by what several numbers are divided by.

Before:  %a = div %x, %d ; %b = div %y, %d
After:   %r = div 1, %d ; %a = mul %x, %r ; %b = mul %y, %r

Only where the divisor is known to lie far from overflow and underflow, as 1 + exp(-|x|) does: elsewhere the reciprocal
may be infinite, or 0, where a quotient is neither. Comes last, since other rules look for quotients.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.function import Function, Module, Value
from ...ir.types import is_float
from ..ranges import ranges_of
from ..rewrite import Rebuild, map_functions

LEAST, LARGEST = 2.0**-13, 2.0**13
"""Within these the reciprocal is normal in every type."""


def share_divisors(module: Module) -> Module:
    """Divide once by what several numbers are divided by.

    a / d, b / d = a * (1 / d), b * (1 / d) where d lies in [2^-13, 2^13]  rounding
    """
    return map_functions(module, _share)


def _share(function: Function) -> Function:
    divisors = [op.operands[1] for op in function.ops if op.name == "div" and is_float(op.result.type.dtype)]
    shared = {divisor for divisor in divisors if divisors.count(divisor) > 1}
    ranges = ranges_of(function).of if shared else {}
    shared = {divisor for divisor in shared if ranges[divisor].within(LEAST, LARGEST)}
    if not shared:
        return function
    build = Rebuild(function)
    reciprocals: dict[Value, Value] = {}
    for op in function.ops:
        if op.name != "div" or op.operands[1] not in shared:
            build.append(op)
            continue
        x, divisor = op.operands
        if divisor not in reciprocals:
            one = build.constant(1, divisor.type.dtype, divisor.type.shape)
            reciprocals[divisor] = build.emit("div", one, divisor)
        build.append(replace(op, name="mul", operands=(x, reciprocals[divisor])))
    return function.with_(ops=tuple(build.ops))
