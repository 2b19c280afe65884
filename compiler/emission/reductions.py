"""Accumulators: the partial results of a reduction inside a kernel, whoever computes them.

In: a reduction and a place in the loops. Out: variables at the identity, values joined to them, one value in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from ...ir.function import Op, Value
from ...ir.kernel import Apply, Assign, Declare, Expr, Reduce, Var
from .conditional import with_added
from .emit import Emitter, Scope
from .monoids import Monoid, monoid_of
from .points import widen


@dataclass
class Accumulators:
    """The partial results of one reduction: for each unrolled copy one variable, or `turns` of them that take turns."""

    op: Op
    monoid: Monoid
    variables: list[Var] = field(default_factory=list)
    turns: int = 1

    @property
    def value(self) -> Value:
        """What they join."""
        return self.op.operands[0]


def declare(
    emitter: Emitter, scope: Scope, ops: Sequence[Op], width: int, copies: int, turns: int = 1
) -> list[Accumulators]:  # fmt: skip
    """Declare the accumulators of some reductions, at their identity. `turns` is for sums, which round: the
    fewer values join one accumulator, the smaller the error. What keeps one of its values is exact with one."""
    found = []
    for op in ops:
        monoid = monoid_of(op, emitter.facts)
        group = Accumulators(op, monoid, turns=1 if monoid.is_idempotent else turns)
        for _ in range(copies * group.turns):
            variable = emitter.fresh(f"{op.result.name}_part", monoid.dtype, width)
            scope.statements.append(Declare(variable, monoid.neutral(width)))
            group.variables.append(variable)
        found.append(group)
    return found


def accumulate(emitter: Emitter, scope: Scope, group: Accumulators, copy: int, mask: Expr | None) -> None:
    """Join the value at this point to one accumulator; masked lanes count as the identity."""
    first = copy * group.turns % len(group.variables)
    own = group.variables[first : first + group.turns]
    variable = own[0]
    found = scope.known[group.value]
    if found == group.monoid.neutral(found.width):
        return
    if group.monoid.combine == "add":
        joined = with_added(partial(emitter.let, scope), variable, found, mask)
    else:
        value = widen(found, variable.width)
        if mask is not None:
            chosen = Apply("select", (mask, value, group.monoid.neutral(value.width)), value.dtype, value.width)
            value = emitter.let(scope, "masked", chosen)
        joined = group.monoid.join(variable, value)
    if group.turns > 1:
        joined = emitter.let(scope, "joined", joined)
    # The one that was joined to goes to the end: whose turn it is stays known without a counter.
    for earlier, later in pairwise(own):
        scope.statements.append(Assign(earlier, later))
    scope.statements.append(Assign(own[-1], joined))


def fold(emitter: Emitter, scope: Scope, group: Accumulators, across_lanes: bool) -> Expr:
    """All copies (and lanes) of an accumulator as one value. The order is fixed."""
    parts: list[Expr] = list(group.variables)
    while len(parts) > 1:
        pairs = [group.monoid.join(a, b) for a, b in zip(parts[::2], parts[1::2])]
        parts = [emitter.let(scope, group.op.result.name, pair) for pair in pairs] + parts[len(pairs) * 2 :]
    result = parts[0]
    if across_lanes and result.width > 1:
        result = Reduce(group.monoid.combine, result)
    # A variable goes on changing; what is known from here on is its value now.
    if isinstance(result, Var) and result in group.variables:
        fixed = emitter.fresh(group.op.result.name, result.dtype, result.width)
        scope.statements.append(Declare(fixed, result))
        return fixed
    return emitter.let(scope, group.op.result.name, result)
