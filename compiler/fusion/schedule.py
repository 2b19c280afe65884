"""Find the schedule of a set of operations that shall be one kernel, or the reason why there is none.

In: a function of primitives (a kernel's body). Out: `Schedule` or `Refusal`: the loops that the axes of its values are
(`axes.py`), their order, what is reduced along which, and the rules that one loop nest must meet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...ir.function import Function, Op, Value
from ...ir.ops import REDUCTIONS, WINDOWS, read_elsewhere
from ...ir.schedule import Refusal, Schedule
from ...ir.types import DimLike
from .across import sums_across
from .axes import (
    Axes,
    Slot,
    is_row_reduction,
    is_unit_reshape,
    is_whole_reduction,
    join_axes,
    long_axes,
    values_in_order,
)
from .collapse import collapse
from .masks import under_masks


def schedule_of(function: Function, across: bool = False) -> Schedule | Refusal:
    """The schedule of `function`, whose operations are the body of one kernel. `across`: whether it may sum across its
    rows."""
    found = _schedule_of(function, across)
    masked = under_masks(function) if isinstance(found, Refusal) else None
    if masked is None:
        return found
    together = _schedule_of(masked.function, False)
    if isinstance(together, Refusal):
        return found
    return replace(together, narrow=function, original=masked.original, places=masked.places)


def _schedule_of(function: Function, across: bool) -> Schedule | Refusal:
    axes = Axes()
    for op in function.ops:
        if op.name == "reshape" and not is_unit_reshape(op):
            return Refusal(f"reshape of {op.operands[0].type} to {op.result.type} regroups elements")
        join_axes(op, axes)
    found = _scheduled(function, axes, across)
    alike = _like_columns(function, axes) if isinstance(found, Refusal) else []
    for slot, other in alike:
        axes.join(slot, other)
    together = _scheduled(function, axes, across) if alike else found
    return found if isinstance(together, Refusal) else together


def _like_columns(function: Function, axes: Axes) -> list[tuple[Slot, Slot]]:
    """Columns of one size, of reductions of the same rows, that may run along one loop: of sums of two tensors that
    nothing else has in common."""
    first: dict[tuple[object, ...], list[Slot]] = {}
    found: list[tuple[Slot, Slot]] = []
    for op in filter(is_row_reduction, function.ops):
        value, reduced = op.operands[0], op.attributes["axes"]
        columns = [(value, axis) for axis in reduced if value.type.shape[axis] != 1]
        rows = {axes.find((value, axis)) for axis in long_axes(value) if axis not in reduced}
        alike = (frozenset(rows), *(value.type.shape[axis] for _, axis in columns))
        pairs = zip(columns, first.setdefault(alike, columns))
        found += [(slot, other) for slot, other in pairs if axes.find(slot) != axes.find(other)]
    return found


def _scheduled(function: Function, axes: Axes, across: bool) -> Schedule | Refusal:
    values = values_in_order(function)
    order = _axis_order(function, values, axes)
    numbers = {root: number for number, root in enumerate(order)}
    where: dict[Value, tuple[int | None, ...]] = {}
    for value in values:
        where[value] = tuple(
            None if size == 1 else numbers[axes.find((value, axis))] for axis, size in enumerate(value.type.shape)
        )
        used = [axis for axis in where[value] if axis is not None]
        if len(used) != len(set(used)):
            return Refusal(f"%{value.name} would run along one loop twice (a matrix and its transpose?)", True)
    sizes: list[DimLike] = [root[0].type.shape[root[1]] for root in order]
    return collapse(_classify(function, where, sizes, across))


def _axis_order(function: Function, values: list[Value], axes: Axes) -> list[Slot]:
    """Loops from outer to inner: as the memory of the widest input or output lies, then the next, ..."""
    stored = (*function.inputs, *function.outputs)
    order: list[Slot] = []
    for value in sorted(dict.fromkeys([*stored, *values]), key=lambda v: -len(long_axes(v))):
        position = 0
        for axis in long_axes(value):
            root = axes.find((value, axis))
            if root in order:
                position = order.index(root) + 1
            else:
                order.insert(position, root)
                position += 1
    return order


def _classify(
    function: Function, where: dict[Value, tuple[int | None, ...]], sizes: list[DimLike], may_sum_across: bool
) -> Schedule | Refusal:
    """Grains, stages, and the rules that one loop nest must meet."""
    varies = {value: frozenset(axis for axis in own if axis is not None) for value, own in where.items()}
    shared = _same_in_every_row(function, varies)
    rows_reduced = [op for op in function.ops if is_row_reduction(op) or op in shared]
    whole = [op for op in function.ops if is_whole_reduction(op) and op not in shared]
    stage, finished = _stages(function, rows_reduced), _finished(function, whole)
    refused = _refuse_order(function, varies, stage, finished)
    if refused is not None:
        return refused
    along = {op: frozenset(a for axis in op.attributes["axes"] if (a := where[op.operands[0]][axis]) is not None)
             for op in rows_reduced}  # fmt: skip
    across = sums_across(function, along, varies, stage, sizes) if may_sum_across else ()
    rows_reduced = [op for op in rows_reduced if op not in across]
    reduced = {along[op] for op in rows_reduced}
    if len(reduced) > 1:
        return Refusal("rows are reduced along different axes")
    columns: frozenset[int] = next(iter(reduced), frozenset())
    used = [*(v for v in function.outputs if v not in finished), *(op.operands[0] for op in whole),
            *(op.operands[0] for op in function.ops if op.name == "check")]  # fmt: skip
    looped = columns.union(*(varies[v] for v in used), *(varies[op.operands[0]] for op in rows_reduced))
    matmul = next((op for op in function.ops if op.name == "matmul"), None)
    if not rows_reduced and matmul is None:
        columns = _columns_without_reductions(looped, {varies[v] for v in used})
    finish = frozenset(op for op in function.ops if not finished.keys().isdisjoint(op.operands))
    schedule = Schedule(function, tuple(sizes), looped, columns, where, _dependences(function, where, varies), stage,
                        tuple(rows_reduced), tuple(whole), finish, matmul, across)  # fmt: skip
    return _refusal(schedule, varies, looped - columns) or _with_full_outputs(schedule, varies)


def _stages(function: Function, rows_reduced: Collection[Op]) -> dict[Value, int]:
    """How many passes over a row end before each value is known."""
    stage = dict.fromkeys(function.inputs, 0)
    for op in function.ops:
        level = max((stage[operand] for operand in op.operands), default=0) + (op in rows_reduced)
        stage.update(dict.fromkeys(op.results, level))
    return stage


def _finished(function: Function, whole: Sequence[Op]) -> dict[Value, Value]:
    """What is known only after all rows, each with the total that it comes from."""
    found = {op.result: op.result for op in whole}
    for op in function.ops:
        total = next((found[operand] for operand in op.operands if operand in found), None)
        if total is not None:
            found.update(dict.fromkeys(op.results, total))
    return found


def _refuse_order(
    function: Function, varies: Mapping[Value, frozenset[int]], stage: Mapping[Value, int],
    finished: Mapping[Value, Value],
) -> Refusal | None:  # fmt: skip
    """What is known of a row, or after all rows, is looked at there, and a matrix product reads memory."""
    multiplied: set[Value] = set()
    for op in function.ops:
        elsewhere = _refuse_elsewhere(op, stage, multiplied)
        if elsewhere is not None:
            return elsewhere
        after = [operand for operand in op.operands if operand in finished]
        if after and (op.name in REDUCTIONS or any(varies[result] for result in op.results)):
            total = finished[after[0]].name
            return Refusal(f"every element needs %{total}, known only after all rows: a launch before computes it")
        early = [operand for operand in op.operands if after and operand not in finished and stage[operand] > 0]
        if early:
            return Refusal(f"`{op.name}` needs %{early[0].name} of a row and %{after[0].name}, known after all rows")
        if op.name == "matmul":
            if multiplied:
                return Refusal("two matrix products do not share a kernel")
            computed = next((operand for operand in op.operands if operand not in function.inputs), None)
            if computed is not None:
                return Refusal(f"a matrix product reads %{computed.name} from memory")
        if op.name == "matmul" or not multiplied.isdisjoint(op.operands):
            multiplied.update(op.results)
    return None


def _refuse_elsewhere(op: Op, stage: Mapping[Value, int], multiplied: Collection[Value]) -> Refusal | None:
    """What is known at one point at a time is looked at elsewhere through memory."""
    for value in read_elsewhere(op):
        if value in multiplied:
            return Refusal(f"`{op.name}` reads %{value.name}, which waits for a matrix product, at other elements")
        if op.name in WINDOWS and stage[value] > 0:
            return Refusal(f"`{op.name}` reads %{value.name}, which waits for a row, along another loop")
    return None


def _same_in_every_row(function: Function, varies: Mapping[Value, frozenset[int]]) -> frozenset[Op]:
    """The whole reductions that each row can do for itself: along the columns, of what does not vary along rows, such
    as class weights."""
    rows_reduced = [op for op in function.ops if is_row_reduction(op)]
    columns = {frozenset(varies[op.operands[0]] - varies[op.result]) for op in rows_reduced}
    if len(columns) != 1 or not any(varies[op.result] for op in rows_reduced):
        return frozenset()
    (own,) = columns
    return frozenset(op for op in function.ops if is_whole_reduction(op) and own and varies[op.operands[0]] == own)


def _columns_without_reductions(looped: frozenset[int], used: set[frozenset[int]]) -> frozenset[int]:
    """The columns of a kernel that reduces no rows: the axes that some of what is stored, summed or checked does not
    run along, as a row's label does not run along its classes."""
    of_rows = [axes for axes in used if axes and axes != looped]
    # Rows that do not begin with the outermost loop are columns of the memory: going along them would jump.
    if len(of_rows) != 1 or min(looped) not in of_rows[0]:
        return frozenset()
    return looped - of_rows[0]


def _with_full_outputs(schedule: Schedule, varies: dict[Value, frozenset[int]]) -> Schedule:
    """What is stored, reduced or checked counts as varying along every axis it has, also where it only repeats."""
    stored = {value: varies[value] for value in schedule.function.outputs}
    read = (*schedule.row_reductions, *schedule.whole_reductions, *schedule.across, *schedule.checks)
    operands = {op.operands[0]: varies[op.operands[0]] for op in read}
    return replace(schedule, varies={**schedule.varies, **operands, **stored})


def _dependences(
    function: Function, where: Mapping[Value, tuple[int | None, ...]], varies: Mapping[Value, frozenset[int]]
) -> dict[Value, frozenset[int]]:
    """The axes that values depend on: shape-only operations make values that repeat, and depend on what their operands
    do."""
    depends = {value: varies[value] for value in function.inputs}
    for op in function.ops:
        for result in op.results:
            along = where[result][op.attributes["axis"]] if op.name in ("iota", *WINDOWS) else None
            own = frozenset() if along is None else frozenset({along})
            found = own.union(*(depends[operand] for operand in op.operands)) & varies[result]
            depends[result] = varies[result] if op.name == "matmul" else found
    return depends


def _refusal(schedule: Schedule, varies: dict[Value, frozenset[int]], rows: frozenset[int]) -> Refusal | None:
    """One iteration space: everything stored or summed runs over all rows, or over all rows and columns."""
    looped = schedule.looped
    finished = schedule.finished | {op.result for op in schedule.across}
    for value in schedule.function.outputs:
        if value not in finished and varies[value] not in (rows, looped):
            return Refusal(f"%{value.name} is stored along other axes than the rows of this kernel")
    for op in schedule.whole_reductions:
        if varies[op.operands[0]] not in (rows, looped):
            return Refusal(f"the sum of %{op.operands[0].name} runs along other axes than the rows of this kernel")
    # What fails at every turn of a loop that it does not run along is reported once: the first place.
    if rows and any(not varies[op.operands[0]] for op in schedule.checks):
        return Refusal("a check of one value is no part of a loop")
    if schedule.matmul is not None:
        if schedule.row_reductions or schedule.whole_reductions or schedule.finish:
            return Refusal("a matrix product takes elementwise work after it, not reductions")
        if any(op.name == "check" for op in schedule.function.ops):
            return Refusal("a matrix product takes elementwise work after it, not checks")
        if varies[schedule.matmul.result] != looped:
            return Refusal("what follows a matrix product must have its shape")
    return None
