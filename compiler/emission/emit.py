"""Tensor values as kernel expressions at one point of a kernel's domain.

In: a schedule, a point (a coordinate for each axis) and the values already known there. Out: statements that compute
the wanted values. Everything that a strategy does not decide is here: indices, vector and scalar operands, gathers.
Shape operations emit nothing: axes of the domain are all that an index is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from ...ir.arithmetic import integer
from ...ir.diagnostics import CompilerBug
from ...ir.function import Op, Value
from ...ir.kernel import (
    Apply,
    AtomicMin,
    Const,
    Expr,
    If,
    Iota,
    Let,
    Load,
    PrivateArray,
    Reduce,
    Splat,
    Store,
    Var,
    register_dtype,
)
from ...ir.ops import REDUCTIONS, VIEWS, WINDOWS, read_here
from ...ir.program import CHECK_HOLDS, STATUS
from ...ir.schedule import Schedule
from ...ir.types import DimLike, dim_names, is_integer
from ..ancestors import ancestors
from .addresses import index_of, place_of, strides_of
from .facts import Facts
from .folding import folded, fused_multiply_add, scaled
from .marks import marks_of, read_where
from .points import Point, converted, coordinate_value, product, size_of, widen
from .polynomials import POLYNOMIALS, SCALED
from .scope import Scope
from .windows import axes_moved, store_part, window


class Emitter:
    """Emits for one kernel, of whose function `facts` are known. `buffers` names the buffer of each input and output;
    `reserved` are names that no variable gets."""

    def __init__(
        self, schedule: Schedule, facts: Facts, buffers: Mapping[Value, str], slots: Mapping[Op, int],
        reserved: Iterable[str] = (),
    ):  # fmt: skip
        self.schedule, self.facts, self.buffers, self.slots = schedule, facts, buffers, slots
        self.producer = schedule.function.producers()
        self.position = {op: position for position, op in enumerate(schedule.function.ops)}
        self.inputs = set(schedule.function.inputs)
        names = {name for dim in _all_dims(schedule) for name in dim_names(dim)}
        self.dims = tuple(sorted(names))
        self.taken: set[str] = {*names, *buffers.values(), *reserved, STATUS}
        self.counter: dict[str, int] = {}
        # Whether every vector lies at a multiple of its size, by how the strategy places them.
        self.aligned = False
        self.moved = axes_moved(schedule)
        self.private_arrays: list[PrivateArray] = []
        self.marks = marks_of(schedule)

    # --- names and statements ---

    def fresh(self, hint: str, dtype: str, width: int = 1) -> Var:
        """A new variable. Names end in a number where the hint is taken."""
        name = hint
        while name in self.taken:
            self.counter[hint] = self.counter.get(hint, 0) + 1
            name = f"{hint}_{self.counter[hint]}"
        self.taken.add(name)
        return Var(name, dtype, width)

    def let(self, scope: Scope, hint: str, expression: Expr) -> Expr:
        if isinstance(expression, (Var, Const)):
            return expression
        var = self.fresh(hint, expression.dtype, expression.width)
        scope.statements.append(Let(var, expression))
        return var

    # --- memory ---

    def index(self, value: Value, point: Point) -> tuple[Expr, int]:
        return index_of(self.schedule, value, point)

    def strides(self, value: Value) -> list[tuple[int, Expr]]:
        return strides_of(self.schedule, value)

    def load(self, value: Value, point: Point, scope: Scope) -> Expr:
        index, width = self.index(value, point)
        if index.width > 1:
            index = self.let(scope, "at", index)
        aligned = self.aligned and width > 1 and index.width == 1
        dtype = register_dtype(value.type.dtype)
        return self.let(scope, value.name, Load(self.buffers[value], index, dtype, width, aligned))

    def store(self, value: Value, point: Point, scope: Scope, nontemporal: bool = False) -> None:
        if value in self.schedule.parts:
            store_part(self, value, point, scope)
            return
        index, width = self.index(value, point)
        if index.width > 1:
            index = self.let(scope, "at", index)
        found = widen(scope.known[value], width)
        aligned = self.aligned and width > 1 and index.width == 1
        scope.statements.append(Store(self.buffers[value], index, found, nontemporal and width > 1, aligned))

    # --- values ---

    def needed(self, targets: Iterable[Value], known: Mapping[Value, Expr]) -> list[Op]:
        """The operations between what is known and the targets, in order."""
        pending = [self.producer[v] for v in targets if v not in known and v in self.producer]
        seen: set[Op] = set()
        while pending:
            op = pending.pop()
            if op in seen:
                continue
            seen.add(op)
            # What a gather or a slice looks at is computed at another point, by itself.
            pending += [self.producer[v] for v in read_where(op, known) if v not in known and v in self.producer]
        return sorted(seen, key=self.position.__getitem__)

    def hoist(
        self, targets: Sequence[Value], axes: frozenset[int], point: Point, scope: Scope, given: Iterable[Value] = ()
    ) -> None:
        """Compute in `scope` whatever the targets need that does not vary along `axes`. `given` values come from
        elsewhere."""
        stop = {**scope.known, **dict.fromkeys(given, integer(0))}
        for op in self.needed(targets, stop):
            self._hoist((*read_here(op), *op.results), axes, point, scope)
        if self.moved:
            # What a window looks at elsewhere is the same here where it does not vary along the way there.
            seen = ancestors(targets, self.producer, stop)
            for op in self.schedule.function.ops:
                if op.results and op.result in seen:
                    self._hoist((*op.operands, op.result), axes | self.moved, point, scope)

    def _hoist(self, values: Iterable[Value], axes: frozenset[int], point: Point, scope: Scope) -> None:
        fixed = [v for v in values if v not in scope.known and not self.schedule.varies[v] & axes]
        self.compute([v for v in fixed if not self._is_free(v)], point, scope)

    def _is_free(self, value: Value) -> bool:
        op = self.producer.get(value)
        return op is not None and op.name in ("constant", "iota", "size")

    def compute(self, targets: Iterable[Value], point: Point, scope: Scope) -> None:
        """Emit what the targets need at `point`, in order; afterwards `scope.known` has them."""
        targets = list(targets)
        for op in self.needed(targets, scope.known):
            if op.name != "check":
                scope.known[op.result] = self.operation(op, point, scope)
        for value in targets:
            self.operand(value, point, scope)

    def operand(self, value: Value, point: Point, scope: Scope) -> Expr:
        if value not in scope.known:
            if value not in self.inputs:
                raise CompilerBug(f"%{value.name} is used before it is computed")
            scope.known[value] = self.load(value, point, scope)
        return scope.known[value]

    def operation(self, op: Op, point: Point, scope: Scope) -> Expr:
        """The value of one operation's result."""
        dtype = register_dtype(op.result.type.dtype) if op.results else ""
        match op.name:
            case "constant":
                return Const(op.attributes["value"], dtype)
            case "iota":
                axis = self.schedule.axis_of(op, op.result)
                return Const(0, dtype) if axis is None else self.let(scope, "i", coordinate_value(point[axis], dtype))
            case "size":
                return product(op.attributes["of"])
            case name if name in VIEWS:
                return self.operand(op.operands[0], point, scope)
            case "select" if len(taken := read_where(op, scope.known)) == 1:
                return self.operand(taken[0], point, scope)
            case "gather":
                return self.gather(op, point, scope)
            case name if name in WINDOWS:
                return window(self, op, point, scope)
            case name if name in REDUCTIONS or name == "matmul":
                raise CompilerBug(f"%{op.result.name} must be known before what uses it")
        operands = [self.operand(operand, point, scope) for operand in op.operands]
        if (known := folded(op.name, operands)) is not None:
            return known
        width = max(operand.width for operand in operands)
        wide = tuple(widen(operand, width) for operand in operands)
        if op.name == "div" and is_integer(dtype):
            wide = self.safe_divisor(wide, scope)
        name = self.spelling(op, dtype)
        if (name, dtype) in POLYNOMIALS:
            let = partial(self.let, scope)
            x, scale = scaled(wide[0])
            found = POLYNOMIALS[name, dtype](let, x) if scale == 1 else SCALED[name](let, x, scale)
        elif name in ("add", "sub") and (fused := fused_multiply_add(name, wide)) is not None:
            found = fused
        else:
            found = self.apply(op, wide, dtype, width)
        # What its user takes in is not rounded by itself: it has no name.
        return found if op in self.facts.open else self.let(scope, op.result.name, found)

    def safe_divisor(self, operands: tuple[Expr, ...], scope: Scope) -> tuple[Expr, ...]:
        """Operands of an integer division that gives 0 where the divisor is 0: 0 / 1 there."""
        a, b = operands
        none = self.let(scope, "none", Apply("eq", (b, Const(0, b.dtype, b.width)), "bool", b.width))
        return (
            self.let(scope, "over", Apply("select", (none, Const(0, a.dtype, a.width), a), a.dtype, a.width)),
            self.let(scope, "under", Apply("select", (none, Const(1, b.dtype, b.width), b), b.dtype, b.width)),
        )

    def apply(self, op: Op, operands: tuple[Expr, ...], dtype: str, width: int) -> Expr:
        if op.name == "cast":
            target = op.attributes["dtype"]
            rounds = target in ("f16", "bf16") and op not in self.facts.open
            found = converted(operands[0], dtype)
            return Apply(f"round_{target}", (found,), "f32", width) if rounds else found
        return Apply(op.name, operands, dtype, width)

    def spelling(self, op: Op, dtype: str) -> str:
        """What to compute for `op`: what the facts allow, if there is a polynomial of ours for this dtype."""
        name = self.facts.spelling.get(op, op.name)
        return name if (name, dtype) in POLYNOMIALS else op.name

    def gather(self, op: Op, point: Point, scope: Scope) -> Expr:
        """The operand at another coordinate of its axis, 0 where that is out of range."""
        source, indices = op.operands
        position = op.attributes["axis"]
        axis = self.schedule.where[source][position]
        found = self.operand(indices, point, scope)
        width = found.width
        wide = self.let(scope, "picked", converted(found, "i64"))
        limit = size_of(source.type.shape[position])
        inside = Apply("and", (Apply("ge", (wide, Const(0, "i64", width)), "bool", width),
                               Apply("lt", (wide, widen(limit, width)), "bool", width)), "bool", width)  # fmt: skip
        inside = self.let(scope, "inside", inside)
        safe = self.let(scope, "safe", Apply("select", (inside, wide, Const(0, "i64", width)), "i64", width))
        there = Scope({v: e for v, e in scope.known.items() if axis not in self.schedule.varies[v]}, scope.statements)
        at = dict(point) if axis is None else {**point, axis: safe}
        self.compute([source], at, there)
        value = there.known[source]
        width = max(width, value.width)
        dtype = register_dtype(op.result.type.dtype)
        zero = Const(0, dtype, width)
        picked = Apply("select", (widen(inside, width), widen(value, width), zero), dtype, width)
        return self.let(scope, op.result.name, picked)

    def check(self, op: Op, point: Point, scope: Scope) -> None:
        """Lower the check's status word to the first position here that fails."""
        ok = op.operands[0]
        self.compute([ok], point, scope)
        # A condition that repeats along an axis which is not swept here fails first at the start of that.
        first_along = {axis: integer(0) for axis, _ in self.strides(ok)}
        index, width = place_of(self.schedule, op, {**first_along, **point})
        condition = widen(scope.known[ok], width)
        place: Expr = index
        if index.width != width:
            place = Apply("add", (Splat(index, width), Iota("i64", width)), "i64", width)
        last = CHECK_HOLDS - 1
        place = converted(Apply("min", (place, Const(last, "i64", width)), "i64", width), "i32")
        fails: Expr = Apply("not", (condition,), "bool", width)
        first: Expr = place
        if width > 1:
            # Where it is, only once it is known that there is one.
            fails = Reduce("or", fails)
            first = Reduce("min", Apply("select", (condition, Const(CHECK_HOLDS, "i32", width), place), "i32", width))
        report = AtomicMin(STATUS, integer(self.slots[op]), first)
        scope.statements.append(If(fails, (report,)))


def _all_dims(schedule: Schedule) -> list[DimLike]:
    ops = schedule.function.ops
    values = [*schedule.function.inputs, *(result for op in ops for result in op.results)]
    return [dim for value in values for dim in value.type.shape] + [
        dim for op in ops if op.name == "size" for dim in op.attributes["of"]
    ]
