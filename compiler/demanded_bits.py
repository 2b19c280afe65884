"""Where a last bit decides: what `floor`, `sign`, comparisons and casts to integers are computed from.

In: a function. Out: the values of which such an operation is computed. 41 / 41 is 1, and 41 * (1 / 41) in f32 is not:
behind it `floor` gives 1 and 0, and `x / 41 >= 1` says yes and no. So rewrites that round a quotient differently ask,
and for 0.7 x - 0.7 y, which may be 0 where x and y differ, so do those that round a difference differently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..ir.frozen import frozen
from ..ir.function import Function, Op, Value
from ..ir.ops import COMPLEMENT, EXTREMES, VIEWS
from ..ir.types import is_float

_KEEPS_SIGNS = frozenset({
    "mul", "div", "neg", "abs", "max", "min", "select", "sqrt", "tanh", "erf", "expm1", "log1p", "gather", *EXTREMES,
    *VIEWS,
})  # fmt: skip
"""However an operand is rounded, what these give is 0, positive or negative as it was."""
_ADDS_UP = frozenset({"add", "sub", "reduce_sum", "cast"})
"""Of what may cancel here, the roundings of each operand say whether anything is left."""
_EDGE_AT_0 = frozenset({"sqrt", "log", "pow"})
"""Of these a number below 0 is none, however little it is below."""


@frozen
class Demanded:
    """The values whose last bit decides somewhere. `rounding`: as of a product or quotient. x / 41 > 0 does not ask for
    that, nor x / 41 < inf: at the ends of its type a quotient is 0 or infinite however it is rounded, and keeps its
    sign. `sign`: as of a sum or difference, of which x - y > 0 asks, too, and sqrt(x - y): of terms that cancel, the
    roundings say whether the rest is above 0, or is 0."""

    rounding: frozenset[Value]
    sign: frozenset[Value]


def demanded_in(function: Function) -> Demanded:
    """What of the values of a function is demanded by what is computed of them."""
    numbers = {op.result: op.attributes["value"] for op in function.ops if op.name == "constant"}
    rounding: set[Value] = set()
    sign: set[Value] = set()
    not_below_0: set[Value] = set()
    for op in reversed(function.ops):
        for index, operand in enumerate(op.operands):
            if _jumps(op):
                edge = _edge(op, index, numbers)
                shows_sign, shows_rounding = math.isfinite(edge), math.isfinite(edge) and edge != 0
            else:
                shows_sign = not sign.isdisjoint(op.results)
                shows_rounding = not rounding.isdisjoint(op.results) if op.name in _KEEPS_SIGNS else shows_sign
            sign.update([operand] if shows_sign else [])
            rounding.update([operand] if shows_rounding else [])
        if op.name in _EDGE_AT_0:
            not_below_0.add(op.operands[0])
        elif op.name in _KEEPS_SIGNS | _ADDS_UP and not not_below_0.isdisjoint(op.results):
            not_below_0.update(op.operands)
    return Demanded(frozenset(rounding), frozenset(sign | not_below_0))


def _edge(op: Op, index: int, numbers: Mapping[Value, float]) -> float:
    """The number at which an operation jumps by its operand of that index; 1 stands for any other than 0."""
    if op.name in COMPLEMENT:
        return numbers.get(op.operands[1 - index], 1.0)
    return 0.0 if op.name == "sign" else 1.0


def _jumps(op: Op) -> bool:
    if op.name == "cast":
        return is_float(op.operands[0].type.dtype) and not is_float(op.result.type.dtype)
    return op.name in ("floor", "sign") or (op.name in COMPLEMENT and is_float(op.operands[0].type.dtype))
