"""Several rows in flight: one body does every pass, each for another row, so that loads, arithmetic and stores overlap.

In: the passes over a row, and what does some of them. Out: a loop over steps, and the variables and array sizes that it
takes. At step k pass s works on row k - lag[s]; a row may as well be a block of rows. What a pass found of a row is
carried to the next step in variables; values that a later pass needs again wait in private arrays, one row for each
step between. The first and last steps, where some pass has no row, do their passes one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from ...ir.arithmetic import add, both, integer, less, sub
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Apply, Assign, Const, Declare, Expr, For, If, Stmt, Var, register_dtype
from ..emission.emit import Emitter, Scope
from .stages import Stage

PAGE = 4096

Passes = Callable[[Scope, Sequence[Stage], Var], None]
"""Emits some passes at a step."""


@frozen
class Carried:
    """What a pass finds of a row: `new` in this step, `older[n]` n + 1 steps ago."""

    op: Op
    lag: int
    new: Var
    older: tuple[Var, ...]


def lags_of(stages: Sequence[Stage], realigns: bool = False) -> list[int]:
    """How many steps after the first pass over a row each pass works on it. `realigns`: one that stores needs to know
    of the row after its own."""
    lags = [0]
    for stage in stages[1:]:
        lags.append(lags[-1] + (2 if realigns and stage.element_outputs else 1))
    return lags


def pitch_of(length: int, width: int, item: int, copies: int) -> int:
    """Elements from one waiting row to the next: whole vectors, and far from a multiple of a page. A load whose address
    has the low 12 bits of a store still under way waits for it, whichever row that belongs to."""
    pitch = (length // width + 2) * width
    page = PAGE // item
    apart = page // max(2, copies) // width * width
    return pitch + (apart - pitch) % page


def declare_carried(
    emitter: Emitter, scope: Scope, found: Iterable[tuple[Op, int]], last: int, width: int
) -> list[Carried]:
    """Variables for each operation that a pass with some lag finds of a row: one for this step, one for each step until
    the last pass, with lag `last`, has used it."""
    carried = []
    for op, lag in found:
        dtype = register_dtype(op.result.type.dtype)
        variables = [emitter.fresh(op.result.name, dtype, width) for _ in range(last - lag + 1)]
        scope.statements += [Declare(variable, Const(0, dtype, width)) for variable in variables]
        carried.append(Carried(op, lag, variables[0], tuple(variables[1:])))
    return carried


def known_of(carried: Sequence[Carried], lag: int, younger: int = 0) -> dict[Value, Expr]:
    """What earlier passes found of the row that one with this lag works on, or of one that is `younger` by some
    steps."""
    return {each.op.result: each.older[lag - each.lag - younger - 1] for each in carried if lag > each.lag}


def steps(
    emitter: Emitter, scope: Scope, first: Expr, end: Expr, stages: Sequence[Stage], lags: Sequence[int],
    carried: Sequence[Carried], passes: Passes,
) -> None:  # fmt: skip
    """The loop over rows `first` to `end` (exclusive): every pass, in the order given, each on its own row; then what
    was found grows a step older."""
    step = emitter.fresh("step", "i64")
    inside = scope.inner()
    behind = add(first, integer(lags[-1]))
    full = emitter.let(inside, "full", both(Apply("ge", (step, behind), "bool"), less(step, end)))
    together = inside.inner()
    passes(together, stages, step)
    inside.statements.append(If(full, tuple(together.statements)))
    alone: list[Stmt] = []
    for stage in stages:
        row = sub(step, integer(lags[stage.number]))
        has_row = both(Apply("ge", (row, first), "bool"), less(row, end))
        single = inside.inner()
        passes(single, [stage], step)
        alone.append(If(has_row, tuple(single.statements)))
    inside.statements.append(If(Apply("not", (full,), "bool"), tuple(alone)))
    for each in carried:
        newest_first = (each.new, *each.older)
        for younger, older in reversed(list(pairwise(newest_first))):
            inside.statements.append(Assign(older, younger))
    # An item without rows takes no step.
    last = add(end, integer(lags[-1]))
    last = emitter.let(scope, "last", Apply("select", (less(first, end), last, first), "i64"))
    scope.statements.append(For(step, first, last, integer(1), tuple(inside.statements)))
