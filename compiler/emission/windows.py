"""Slices, joined tensors and margins at one point of a kernel's domain: their operands at another place along one axis.

In: `slice`, `concat` or `pad`, a point, the scope there. Out: the value, with the statements it takes; or a store of
what lies in a window. A slice is a shifted index. What may lie beside its operand begins as what is there instead, and
is replaced where the operand has elements: a vector that lies within it is loaded as one, the one or two that straddle
its ends lane by lane. So no element is read that is not there, and an operand that has none is never read. Where the
place is a number, as in the last vector of a row, what cannot be is not emitted, and what must be is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from ...ir.arithmetic import add, integer, maximum, minimum, sub
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.integers import INTEGER_OPERATIONS
from ...ir.kernel import (
    Apply,
    Assign,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Load,
    PrivateArray,
    Reduce,
    Stmt,
    Store,
    Var,
    register_dtype,
)
from ...ir.ops import WINDOWS, read_elsewhere
from ...ir.schedule import Schedule
from ...ir.types import DimLike, is_float
from ...ir.windows import offsets
from .points import Coordinate, Lanes, Point, size_of, widen
from .scope import Scope

ALWAYS, NEVER = Const(True, "bool"), Const(False, "bool")


class Emits(Protocol):
    """What a window asks of the emitter of its kernel: names, and operands at another point."""

    schedule: Schedule
    aligned: bool
    buffers: Mapping[Value, str]
    private_arrays: list[PrivateArray]

    def index(self, value: Value, point: Point) -> tuple[Expr, int]: ...

    def fresh(self, hint: str, dtype: str, width: int = 1) -> Var: ...

    def let(self, scope: Scope, hint: str, expression: Expr) -> Expr: ...

    def compute(self, targets: Sequence[Value], point: Point, scope: Scope) -> None: ...


@frozen
class Place:
    """Where a result's point lies in one operand of a window, counted along `axis`."""

    operand: Value
    axis: int
    at: Coordinate
    point: Point


@frozen
class _Branch:
    """What an operand gives under a condition; in some lanes only, where there is a `mask`."""

    condition: Expr
    value: Expr
    statements: list[Stmt] = field(default_factory=list)
    mask: Expr | None = None


def window(emitter: Emits, op: Op, point: Point, scope: Scope) -> Expr:
    """The value of a `slice`, `concat` or `pad` at a point."""
    axis = op.attributes["axis"]
    along = emitter.schedule.where[op.result][axis]
    here: Coordinate = integer(0) if along is None else point[along]
    if op.name == "slice":
        return _value(emitter, Place(op.operands[0], axis, _moved(here, size_of(op.attributes["start"])), point), scope)
    branches: list[_Branch] = []
    for operand, start in zip(op.operands, _starts(op)):
        if operand.type.shape[axis] != 0:
            at = _moved(here, sub(integer(0), size_of(start)))
            if isinstance(at, Lanes):
                at = Lanes(emitter.let(scope, "from", at.base), at.width)
            else:
                at = emitter.let(scope, "from", at)
            branches += _branches(emitter, Place(operand, axis, at, point), scope)
    dtype = register_dtype(op.result.type.dtype)
    width = max((branch.value.width for branch in branches), default=1)
    beside = value_beside(op, dtype, width)
    if not branches:
        return beside
    for branch in branches:
        if branch.condition == ALWAYS and branch.mask is None:
            scope.statements += branch.statements
            return branch.value
    found = emitter.fresh(op.result.name, dtype, width)
    scope.statements.append(Declare(found, beside))
    for branch in branches:
        value = widen(branch.value, width)
        if branch.mask is not None:
            value = Apply("select", (widen(branch.mask, width), value, found), dtype, width)
        statements = (*branch.statements, Assign(found, value))
        scope.statements += statements if branch.condition == ALWAYS else [If(branch.condition, statements)]
    return found


def store_part(emitter: Emits, value: Value, point: Point, scope: Scope) -> None:
    """Store a choice inside of a window, where it is known to be inside; else whole vectors as they are, and those that
    straddle an end lane by lane."""
    schedule = emitter.schedule
    shape, axis, start = schedule.places[value]
    mask = schedule.producer[value].operands[0]
    emitter.compute([mask], point, scope)
    known, along = scope.known[mask], schedule.where[value][axis]
    assert along is not None
    index, lanes = emitter.index(value, point)
    at, size, found = point[along], size_of(shape[axis]), widen(scope.known[value], lanes)
    column, width = (at.base, at.width) if isinstance(at, Lanes) else (at, 1)
    first = sub(column, size_of(start))
    whole = _both(_at_least(first, integer(0)), _at_least(size, add(first, integer(width))))
    whole = known if isinstance(known, Const) else emitter.let(scope, "whole", whole)
    if whole != NEVER:
        inner = scope.inner()
        if index.width > 1:
            index = emitter.let(inner, "at", index)
        inner.statements.append(Store(emitter.buffers[value], index, found))
        scope.statements += inner.statements if whole == ALWAYS else [If(whole, tuple(inner.statements))]
    if width == 1 or isinstance(known, Const):
        return
    array = PrivateArray(emitter.fresh(f"{value.name}_lanes", found.dtype).name, found.dtype, width)
    emitter.private_arrays.append(array)
    lane = emitter.fresh("lane", "i64")
    place, _ = emitter.index(value, {**point, along: add(column, lane)})
    copy = Store(emitter.buffers[value], place, Load(array.name, lane, found.dtype))
    low, high = maximum(integer(0), sub(integer(0), first)), minimum(integer(width), sub(size, first))
    statements = (Store(array.name, integer(0), found), For(lane, low, high, integer(1), (copy,)))
    scope.statements += statements if whole == NEVER else [If(_not(whole), statements)]


def axes_moved(schedule: Schedule) -> frozenset[int]:
    """The axes along which a kernel with windows looks elsewhere; none without them."""
    ops = schedule.function.ops
    if not any(op.name in WINDOWS for op in ops):
        return frozenset()
    found = {schedule.axis_of(op, v) for op in ops for v in read_elsewhere(op)}
    return frozenset(axis for axis in found if axis is not None)


def reads_beside(schedule: Schedule, axis: int) -> bool:
    """Whether lanes before the first or behind the last place along `axis` would read or store what is not there:
    windows and gathers along other axes load what they look at where they stand."""
    picks = [op for op in schedule.function.ops if op.name == "gather" and axis in schedule.varies[op.operands[0]]]
    along = [schedule.axis_of(op, op.operands[0]) for op in picks]
    return bool(axes_moved(schedule) or schedule.parts) or any(picked != axis for picked in along)


def _starts(op: Op) -> list[DimLike]:
    if op.name == "pad":
        return [op.attributes["before"]]
    return offsets(tuple(operand.type for operand in op.operands), op.attributes["axis"])


def value_beside(op: Op, dtype: str, width: int) -> Const:
    """What is where no operand of a window is."""
    value = op.attributes.get("value", 0)
    if dtype == "bool":
        return Const(bool(value), dtype, width)
    return Const(float(value) if is_float(dtype) else int(value), dtype, width)


def _value(emitter: Emits, place: Place, scope: Scope) -> Expr:
    """An operand there. What is known at this point and does not vary along the axis is known there."""
    along = emitter.schedule.where[place.operand][place.axis]
    there = scope.inner()
    there.statements = scope.statements
    point: Mapping[int, Coordinate] = place.point
    if along is not None:
        there.known = {v: e for v, e in scope.known.items() if along not in emitter.schedule.varies[v]}
        point = {**point, along: place.at}
    aligned, emitter.aligned = emitter.aligned, False
    emitter.compute([place.operand], point, there)
    emitter.aligned = aligned
    return there.known[place.operand]


def _branches(emitter: Emits, place: Place, scope: Scope) -> list[_Branch]:
    """What an operand gives where it has elements: as whole vectors, then lane by lane."""
    at, size = place.at, size_of(place.operand.type.shape[place.axis])
    if not isinstance(at, Lanes) and at.width > 1:
        return [_lane_by_lane(emitter, place, scope, at, None)]
    start, width = (at.base, at.width) if isinstance(at, Lanes) else (at, 1)
    end = add(start, integer(width))
    whole = emitter.let(scope, "whole", _both(_at_least(start, integer(0)), _at_least(size, end)))
    found = [] if whole == NEVER else [_branch(emitter, place, scope, whole)]
    some = _both(_both(_below(integer(0), end), _below(start, size)), _not(whole)) if width > 1 else NEVER
    if some != NEVER:
        lanes = Apply("add", (widen(start, width), Iota("i64", width)), "i64", width)
        found.append(_lane_by_lane(emitter, place, scope, lanes, some))
    return found


def _branch(emitter: Emits, place: Place, scope: Scope, condition: Expr) -> _Branch:
    inner = scope.inner()
    value = _value(emitter, place, inner)
    return _Branch(condition, value, inner.statements)


def _lane_by_lane(emitter: Emits, place: Place, scope: Scope, at: Expr, condition: Expr | None) -> _Branch:
    """Elements that need not follow each other, and 0 in place of those that are not there."""
    width, size = at.width, size_of(place.operand.type.shape[place.axis])
    outer = scope if condition is None else scope.inner()
    zero = Const(0, "i64", width)
    lanes = emitter.let(outer, "lanes", at)
    mask = emitter.let(outer, "inside", _both(_at_least(lanes, zero), _below(lanes, widen(size, width))))
    inner = scope.inner()
    inner.statements = [] if condition is None else outer.statements
    safe = emitter.let(inner, "safe", Apply("select", (mask, lanes, zero), "i64", width))
    value = _value(emitter, Place(place.operand, place.axis, safe, place.point), inner)
    value = widen(value, max(width, value.width))
    return _Branch(Reduce("or", mask) if condition is None else condition, value, inner.statements, mask)


def _moved(here: Coordinate, by: Expr) -> Coordinate:
    if isinstance(here, Lanes):
        return Lanes(add(here.base, by), here.width)
    if here.width == 1:
        return add(here, by)
    return here if by == integer(0) else Apply("add", (here, widen(by, here.width)), "i64", here.width)


def _compared(op: str, a: Expr, b: Expr) -> Expr:
    """A comparison of whole numbers; its truth where they are known. Of a constant condition drivers warn."""
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(bool(INTEGER_OPERATIONS[op](int(a.value), int(b.value))), "bool", a.width)
    return Apply(op, (a, b), "bool", a.width)


def _at_least(a: Expr, b: Expr) -> Expr:
    return _compared("ge", a, b)


def _below(a: Expr, b: Expr) -> Expr:
    return _compared("lt", a, b)


def _both(a: Expr, b: Expr) -> Expr:
    for known, other in ((a, b), (b, a)):
        if isinstance(known, Const):
            return other if known.value else known
    return Apply("and", (a, b), "bool", a.width)


def _not(a: Expr) -> Expr:
    return Const(not a.value, "bool", a.width) if isinstance(a, Const) else Apply("not", (a,), "bool", a.width)
