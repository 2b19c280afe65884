"""Where a last bit decides: what `floor`, `sign`, comparisons and casts to integers are computed from.

In: a function. Out: the values of which such an operation is computed. 41 / 41 is 1, and 41 * (1 / 41) in f32 is not:
behind it `floor` gives 1 and 0, and `x / 41 >= 1` says yes and no. So rewrites that round a quotient differently ask,
and for 0.7 x - 0.7 y, which may be 0 where x and y differ, so do those that round a difference differently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..ir.function import Function, Op, Value
from ..ir.ops import COMPLEMENT, VIEWS
from ..ir.types import is_float

_KEEPS_SIGNS = frozenset({
    "mul", "div", "neg", "abs", "max", "min", "select", "sqrt", "tanh", "erf", "expm1", "log1p", "gather",
    "reduce_max", "reduce_min", *VIEWS,
})  # fmt: skip
"""However an operand is rounded, what these give is 0, positive or negative as it was."""


_ADDS_UP = frozenset({"add", "sub", "reduce_sum", "cast"})
"""Of what may cancel here, the roundings of each operand say whether anything is left."""
_EDGE_AT_0 = frozenset({"sqrt", "log", "pow"})
"""Of these a number below 0 is none, however little it is below."""


def shows_rounding(function: Function) -> frozenset[Value]:
    """The values whose last bit decides somewhere, as of a product or quotient. A comparison with 0 or infinity does
    not ask for that: but at the ends of its type a product is 0 or infinite however it is rounded, and keeps its
    sign."""
    return _shown(function)[1]


def shows_sign(function: Function) -> frozenset[Value]:
    """The values whose last bit decides somewhere, as of a sum or difference: of terms that cancel, the roundings say
    whether the rest is above 0, or is 0."""
    signs: set[Value] = set()
    for op in reversed(function.ops):
        if op.name in _EDGE_AT_0:
            signs.add(op.operands[0])
        elif op.name in _KEEPS_SIGNS | _ADDS_UP and not signs.isdisjoint(op.results):
            signs.update(op.operands)
    return _shown(function)[0] | signs


def _shown(function: Function) -> tuple[frozenset[Value], frozenset[Value]]:
    """The values whose last bit decides, and those that it decides of though no rounding changes their sign."""
    numbers = {op.result: op.attributes["value"] for op in function.ops if op.name == "constant"}
    shown: set[Value] = set()
    shown_but_sign: set[Value] = set()  # of a value whose sign no rounding changes
    for op in reversed(function.ops):
        for index, operand in enumerate(op.operands):
            if _jumps(op):
                edge = _edge(op, index, numbers)
                shows, shows_but_sign = math.isfinite(edge), math.isfinite(edge) and edge != 0
            else:
                shows = not shown.isdisjoint(op.results)
                shows_but_sign = not shown_but_sign.isdisjoint(op.results) if op.name in _KEEPS_SIGNS else shows
            shown.update([operand] if shows else [])
            shown_but_sign.update([operand] if shows_but_sign else [])
    return frozenset(shown), frozenset(shown_but_sign)


def _edge(op: Op, index: int, numbers: Mapping[Value, float]) -> float:
    """The number at which an operation jumps by its operand of that index; 1 stands for any other than 0."""
    if op.name in COMPLEMENT:
        return numbers.get(op.operands[1 - index], 1.0)
    return 0.0 if op.name == "sign" else 1.0


def _jumps(op: Op) -> bool:
    if op.name == "cast":
        return is_float(op.operands[0].type.dtype) and not is_float(op.result.type.dtype)
    return op.name in ("floor", "sign") or (op.name in COMPLEMENT and is_float(op.operands[0].type.dtype))
