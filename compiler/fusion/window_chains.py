"""Chains of windows, as of stencils: each slice, joined tensor or margin looks at its operand at a point of its own,
and those behind one another multiply the points.

In: a function. Out: what has to lie in memory between them, so that nothing is computed at more than `MOST_POINTS` of
these points. Of d differences of neighbours, each of the one before, the first would be computed at 2^d.
"""

from __future__ import annotations

from ...ir.function import Function, Op, Value
from ...ir.ops import FREE, REDUCTIONS, VIEWS, WINDOWS
from ..costs import cost_of
from .small_values import WORTH

MOST_POINTS = 4
_REDUCES = ("matmul", *REDUCTIONS)

Point = tuple[int, ...]
"""The windows on the way from a result, from the last to the first."""
HERE: frozenset[Point] = frozenset({()})


def stored_between_windows(function: Function) -> set[Value]:
    """What to store, and to compute in no kernel that looks at it elsewhere. What is cheap and behind no window may be
    computed wherever it is looked at."""
    if not any(op.name in WINDOWS for op in function.ops):
        return set()
    behind = _behind_windows(function)
    points: dict[Value, frozenset[Point]] = {}
    found: set[Value] = set()
    for number, op in reversed([*enumerate(function.ops, 1)]):
        own = frozenset(point for result in op.results for point in points.get(result, HERE)) or HERE
        # Windows that are not behind one another are as often parts: slices of what a layer gives.
        many = sum(len(point) > 1 for point in own) > MOST_POINTS
        # As many as tell that there are too many: the sets of what is not stored do not grow.
        own = frozenset(sorted(own, key=lambda point: (len(point), point))[-MOST_POINTS - 1 :])
        if many and len(op.results) == 1 and op.name not in (*FREE, *VIEWS, *_REDUCES):
            (value,) = op.results
            if value in behind or cost_of(op) >= WORTH:
                found.add(value)
                own = HERE
        for operand in op.operands:
            points[operand] = points.get(operand, frozenset()) | _points_of_operand(op, number, own)
    return found


def _points_of_operand(op: Op, number: int, own: frozenset[Point]) -> frozenset[Point]:
    """Where an operation at the points `own` needs its operands. What a row has one of is computed once a row."""
    if op.name in WINDOWS:
        # What may lie beside its operand is computed as a whole vector, and lane by lane at the ends.
        turns = (number,) if op.name == "slice" else (number, -number)
        return frozenset((*point, turn) for point in own for turn in turns)
    return HERE if op.name in ("broadcast", *_REDUCES) else own


def _behind_windows(function: Function) -> set[Value]:
    """What is computed from windows, on a way through no reduction."""
    found: set[Value] = set()
    for op in function.ops:
        if op.name in WINDOWS or not (op.name in _REDUCES or found.isdisjoint(op.operands)):
            found.update(op.results)
    return found
