"""What a row gives once a pass over it is done: stored values, sums over rows, checks.

In: the stages of a schedule and, after each pass, the values known of the row. Out: statements, private arrays, and the
accumulators of the sums. Costly functions that nothing on the row's elements waits for (the logarithm of a
log-sum-exp) are put off: what they need is noted for each row, and a vector of rows is computed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir.arithmetic import add, integer, mod, sub
from ...ir.frozen import frozen
from ...ir.function import Op, Value
from ...ir.kernel import Apply, Const, Expr, For, If, Load, PrivateArray, Splat, Store, register_dtype
from ..emission.emit import Emitter, Scope
from ..emission.points import Point, lanes_where
from ..emission.reductions import Accumulators, accumulate, declare
from .blocks import finish_rows
from .late import late_values
from .ownership import point_of
from .stages import Stage


@frozen
class Batch:
    """What one stage puts off: `noted` values go to an array of one element a row, `sums` and `outputs` come from them.
    `held` are the arrays that outputs pass on their way to memory."""

    noted: dict[Value, str]
    sums: tuple[Accumulators, ...]
    outputs: tuple[Value, ...]
    held: dict[Value, str]


class RowValues:
    """The values of rows `first` to `end` (exclusive), which a work-item takes one after the other."""

    def __init__(
        self, emitter: Emitter, scope: Scope, stages: Sequence[Stage], row_axes: Sequence[int], width: int,
        first: Expr, end: Expr,
    ):  # fmt: skip
        self.emitter, self.row_axes, self.width, self.first, self.end = emitter, row_axes, width, first, end
        self.arrays: list[PrivateArray] = []
        self.totals: list[Accumulators] = []
        self.batches: dict[int, Batch] = {}
        for stage in stages:
            late = late_values(emitter, stage, stages) if width > 1 else set()
            sums = [op for op in stage.row_sums if op.operands[0] in late]
            self.totals += declare(emitter, scope, [op for op in stage.row_sums if op not in sums], 1, 1)
            if late:
                self.batches[stage.number] = self._batch(scope, stage, late, sums)

    def _batch(self, scope: Scope, stage: Stage, late: set[Value], sums: Sequence[Op]) -> Batch:
        groups = declare(self.emitter, scope, sums, self.width, 1)
        self.totals += groups
        outputs = tuple(value for value in stage.row_outputs if value in late)
        noted = {value: self._array(scope, value) for value in _border(self.emitter, late)}
        return Batch(noted, tuple(groups), outputs, {value: self._array(scope, value) for value in outputs})

    def _array(self, scope: Scope, value: Value) -> str:
        """Memory for one value of a vector of rows. The last vector of an item may be short: all of it is filled."""
        dtype = register_dtype(value.type.dtype)
        name = self.emitter.fresh(f"{value.name}_rows", dtype).name
        self.arrays.append(PrivateArray(name, dtype, self.width))
        scope.statements.append(Store(name, integer(0), Const(1, dtype, self.width)))
        return name

    def emit(self, scope: Scope, point: Point, stage: Stage, row: Expr) -> None:
        """The values of one row after one stage."""
        emitter, batch = self.emitter, self.batches.get(stage.number)
        later = set() if batch is None else {*batch.outputs, *(group.value for group in batch.sums)}
        groups = [group for group in self.totals if group.value not in later]
        outputs = tuple(value for value in stage.row_outputs if value not in later)
        finish_rows(emitter, scope, point, replace(stage, row_outputs=outputs), groups)
        if batch is not None:
            self._note(scope, point, row, batch)

    def _note(self, scope: Scope, point: Point, row: Expr, batch: Batch) -> None:
        """Note what this row gives; with the last row of a vector, or of the item, compute what was put off."""
        emitter, width = self.emitter, self.width
        slot = emitter.let(scope, "slot", mod(sub(row, self.first), integer(width)))
        emitter.compute(batch.noted, point, scope)
        for value, array in batch.noted.items():
            scope.statements.append(Store(array, slot, scope.known[value]))
        known = {v: Load(array, integer(0), register_dtype(v.type.dtype), width) for v, array in batch.noted.items()}
        inner = Scope({v: e for v, e in scope.known.items() if not emitter.schedule.varies[v]})
        for value, load in known.items():
            inner.known[value] = emitter.let(inner, value.name, load)
        emitter.compute([*batch.outputs, *(group.value for group in batch.sums)], {}, inner)
        mask = emitter.let(inner, "noted", lanes_where("le", slot, width))
        for group in batch.sums:
            accumulate(emitter, inner, group, 0, mask)
        self._store(inner, row, slot, batch)
        is_last = Apply("or", (Apply("eq", (slot, integer(width - 1)), "bool"),
                               Apply("eq", (add(row, integer(1)), self.end), "bool")), "bool")  # fmt: skip
        scope.statements.append(If(is_last, tuple(inner.statements)))

    def _store(self, scope: Scope, row: Expr, slot: Expr, batch: Batch) -> None:
        """Outputs of a vector of rows, one by one: rows need not lie side by side in memory."""
        if not batch.outputs:
            return
        emitter = self.emitter
        lane = emitter.fresh("lane", "i64")
        inside = Scope()
        point = point_of(emitter, inside, add(sub(row, slot), lane), self.row_axes)
        for value in batch.outputs:
            dtype = register_dtype(value.type.dtype)
            wide = scope.known[value]
            if wide.width == 1:
                wide = Splat(wide, self.width)
            scope.statements.append(Store(batch.held[value], integer(0), wide))
            inside.known[value] = Load(batch.held[value], lane, dtype)
            emitter.store(value, point, inside)
        scope.statements.append(For(lane, integer(0), add(slot, integer(1)), integer(1), tuple(inside.statements)))


def _border(emitter: Emitter, late: set[Value]) -> list[Value]:
    """What late values are computed from: values of a row that are not late themselves."""
    operands = [operand for op in emitter.schedule.function.ops if op.results and op.result in late
                for operand in op.operands]  # fmt: skip
    return [value for value in dict.fromkeys(operands) if value not in late and emitter.schedule.varies[value]]
