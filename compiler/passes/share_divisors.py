"""Divide once by what several numbers are divided by.

Before:  %a = div %x, %d ; %b = div %y, %d
After:   %r = div 1, %d ; %a = mul %x, %r ; %b = mul %y, %r

Before:  %l = log1p %x ; %d = add %x, 1 ; %a = div %y, %d
After:   %l = log1p %x ; %d = add %x, 1 ; %r = div 1, %d ; %a = mul %y, %r        (log1p divides by %d itself)

Only where the divisor is known to lie far from overflow and underflow, as 1 + exp(-|x|) does: elsewhere the reciprocal
may be infinite, or 0, where a quotient is neither. And only where no `floor` or comparison shows how a quotient is
rounded. Comes last, since other rules look for quotients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ...ir.function import Function, Module, Value
from ...ir.types import is_float
from ..demanded_bits import demanded_in
from ..functions import map_functions
from ..intervals import Range
from ..numbers import constant_number
from ..ranges import LOG1P_NEAR, bounds_of
from ..rewrite import Rebuild
from ._match import LARGEST_DIVISOR, LEAST_DIVISOR, is_constant


def share_divisors(module: Module) -> Module:
    """Divide once by what several numbers are divided by.

    a / d, b / d = a * (1 / d), b * (1 / d) where d lies in [2^-13, 2^13]; so a / (1 + x) beside log1p(x)  rounding
    """
    return map_functions(module, _share)


def _share(function: Function) -> Function:
    divisors = [op.operands[1] for op in function.ops if op.name == "div" and is_float(op.result.type.dtype)]
    if not divisors:
        return function
    ranges = bounds_of(function)
    uses = Counter([*divisors, *_of_logarithms(function, ranges)])
    shown = demanded_in(function).rounding
    exact = {op.operands[1] for op in function.ops if op.name == "div" and op.result in shown}
    shared = {d for d in divisors if uses[d] > 1 and ranges[d].within(LEAST_DIVISOR, LARGEST_DIVISOR)} - exact
    if not shared:
        return function
    build = Rebuild(function)
    reciprocals: dict[Value, Value] = {}
    renamed: dict[Value, Value] = {}
    for op in function.ops:
        if any(operand in renamed for operand in op.operands):
            op = replace(op, operands=tuple(renamed.get(operand, operand) for operand in op.operands))
        if op.name != "div" or op.operands[1] not in shared:
            build.append(op)
            continue
        x, divisor = op.operands
        if divisor not in reciprocals:
            one = build.constant(1, divisor.type.dtype, divisor.type.shape)
            reciprocals[divisor] = build.emit("div", one, divisor)
        if is_constant(build, x, 1):
            renamed[op.result] = reciprocals[divisor]
        else:
            build.append(replace(op, name="mul", operands=(x, reciprocals[divisor])))
    return function.with_(ops=tuple(build.ops), outputs=tuple(renamed.get(v, v) for v in function.outputs))


def _of_logarithms(function: Function, ranges: Mapping[Value, Range]) -> list[Value]:
    """1 + x of each logarithm log1p(x) that is computed with 1 / (1 + x)."""
    producer = function.producers()
    near = {op.operands[0] for op in function.ops if op.name == "log1p" and op.result.type.dtype == "f32"
             and ranges[op.operands[0]].within(*LOG1P_NEAR)}  # fmt: skip
    return [op.result for op in function.ops if op.name == "add" and op.operands[0] in near
            and constant_number(producer.get(op.operands[1])) == 1]  # fmt: skip
