"""What a pass does at one vector of elements: reduce, store, keep, check.

In: a stage, and where values wait between passes. Out: `Work`, and the statements that do it at a point, in whichever
loop; where more is known of some columns, less of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from ...ir.arithmetic import add, integer
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Expr, Load, Stmt, Store, register_dtype
from ..emission.emit import Emitter, Scope
from ..emission.marks import Known, needed_in
from ..emission.points import Lanes, Point, widen
from ..emission.reductions import Accumulators, accumulate
from .stages import Kept, Stage

ZERO = integer(0)


@frozen
class Row:
    """An array that holds element values of a row between passes; element 0 lies at `start`. `aligned`: every vector of
    it lies at a multiple of its size."""

    array: str
    start: Expr = ZERO
    aligned: bool = False


@frozen
class Work:
    """What one pass does at every element. `joined` are values that accumulators take, `keep` those stored in private
    arrays for a later pass, `kept` those that an earlier pass stored."""

    joined: tuple[Value, ...] = ()
    stores: tuple[Value, ...] = ()
    checks: tuple[Op, ...] = ()
    keep: Mapping[Value, Row] = field(default_factory=dict)
    kept: Mapping[Value, Row] = field(default_factory=dict)
    prefetch: tuple[tuple[str, Expr, int], ...] = ()

    @property
    def targets(self) -> list[Value]:
        return [*self.joined, *(op.operands[0] for op in self.checks), *self.stores, *self.keep]

    @property
    def is_empty(self) -> bool:
        return not self.targets


def work_of(
    stage: Stage, keep: Mapping[Value, Row] | None = None, kept: Mapping[Value, Row] | None = None,
    prefetch: tuple[tuple[str, Expr, int], ...] = (),
) -> Work:  # fmt: skip
    """What a pass does at every element, with some values that wait between passes."""
    joined = tuple(op.operands[0] for op in stage.summed)
    return Work(joined, stage.element_outputs, stage.element_checks, keep or {}, kept or {}, prefetch)


def waiting_rows(kept: Mapping[Value, Kept], stage: Stage) -> tuple[dict[Value, Row], dict[Value, Row]]:
    """The values that a pass keeps, and those that it reads back."""
    keep = {value: Row(each.array) for value, each in kept.items() if each.filled == stage.number}
    return keep, {value: Row(each.array) for value, each in kept.items() if stage.number in each.read}


def visit(
    emitter: Emitter, scope: Scope, point: Point, work: Work, groups: Sequence[Accumulators], copy: int = 0,
    mask: Expr | None = None, nontemporal: bool = False, column: Expr = ZERO,
) -> None:  # fmt: skip
    """Do the work of a pass at one point. Lanes outside `mask` were counted before."""
    width = max((c.width for c in point.values() if isinstance(c, Lanes)), default=1)
    load_kept(emitter, scope, work, column, width)
    emitter.compute(work.targets, point, scope)
    for value, row in work.keep.items():
        place, found = add(row.start, column), widen(scope.known[value], width)
        scope.statements.append(Store(row.array, place, found, aligned=row.aligned and width > 1))
    for group in groups:
        accumulate(emitter, scope, group, copy, None if group.monoid.is_idempotent else mask)
    for value in work.stores:
        emitter.store(value, point, scope, nontemporal)
    for op in work.checks:
        emitter.check(op, point, scope)


def load_kept(emitter: Emitter, scope: Scope, work: Work, column: Expr, width: int) -> None:
    """What earlier passes have stored."""
    for value, row in work.kept.items():
        dtype, aligned = register_dtype(value.type.dtype), row.aligned and width > 1
        loaded = Load(row.array, add(row.start, column), dtype, width, aligned)
        scope.known[value] = emitter.let(scope, value.name, loaded)


def along(emitter: Emitter, known: Known, row: Scope, work: Work) -> tuple[Scope, Work]:
    """A scope and the work of a pass where more is known: of what waits between passes, and of what is fetched ahead,
    only what is needed there."""
    needed = needed_in(emitter.marks, known)
    keep, kept = ({value: place for value, place in waiting.items() if value in needed}
                  for waiting in (work.keep, work.kept))  # fmt: skip
    read = {emitter.buffers[value] for value in needed if value in emitter.buffers}
    prefetch = tuple(each for each in work.prefetch if each[0] in read)
    there = Scope({**row.known, **known}, row.statements)
    return there, replace(work, keep=keep, kept=kept, prefetch=prefetch)


def lockstep(blocks: Sequence[list[Stmt]]) -> list[Stmt]:
    """The first statement of every block, then the second, ..."""
    if len({len(block) for block in blocks}) != 1:
        return [statement for block in blocks for statement in block]
    return [statement for line in zip(*blocks) for statement in line]
