"""All steps of a program for one block of rows after the other, where no row has to do with another.

In: two or more fused kernels that run along the same rows, so short that a block of them fits into private arrays.
They are several where no loop nest does all: with pairs of classes, say, that are reduced along one class and then
along the other. Out: a variant of one launch that does everything for as many rows as a vector has lanes, each lane its
own row. What one kernel leaves for the next, and the rows of inputs and outputs, lie in private arrays with the rows
side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..ir.arithmetic import add, at_least, ceil_div, integer, minimum, mul, sub
from ..ir.diagnostics import CompilerBug
from ..ir.function import Value
from ..ir.kernel import Apply, Const, Expr, For, Load, PrivateArray, Reduce, Store, register_dtype
from ..ir.program import Buffer, Step, Variant
from ..ir.target import DeviceInfo
from ..ir.types import ITEM_SIZE, DimLike
from .computed_early import computed_early, end_of_pass
from .emission.addresses import index_at
from .emission.emit import Emitter, Scope
from .emission.points import Lanes, Point, lanes_where, size_of
from .emission.reductions import Accumulators, declare, fold
from .emission.vectors import static_size, vector_width
from .fused import Fused, dtypes_of, finish_launch, fold_partials, launch_of, partial_buffers, partial_dtypes
from .row_by_row import ends_of_rows, goes_row_by_row, only_rows_are_shared, row_axis
from .rows.blocks import Block, finish_block
from .rows.columns import LaneTrack, columns_below, leave_out_rest, visit_columns
from .rows.ownership import items_for, own_share
from .rows.transposed import TransposedRows, transpose_in, transpose_out, transposed
from .rows.work import Row, Work, work_of

MOST_BYTES = 64 * 1024
"""Of private arrays, a sixteenth of a second-level cache of 1 MiB. Rows that need more are long enough for vectors
along a row, which the kernels one by one have. Sizes around this one were not measured."""


def block_by_block(
    name: str, steps: Sequence[Step], fused: Mapping[str, Fused], buffers: Mapping[str, Buffer], device: DeviceInfo
) -> tuple[Variant, ...]:
    """The launch that does all steps of the program `name` a block of rows at a time; none where it cannot."""
    if device.kind != "cpu" or len(steps) < 2 or any(step.repeat is not None for step in steps):
        return ()
    kernels = [fused[step.name] for step in steps]
    if not all(goes_row_by_row(kernel) for kernel in kernels):
        return ()
    rows = {kernel.schedule.axes[row_axis(kernel)] for kernel in kernels}
    width = min(vector_width(kernel.schedule, device, size) for kernel in kernels for size in rows)
    if len(rows) > 1 or width < 2 or not only_rows_are_shared(kernels, buffers):
        return ()
    found = _BlockByBlock(name, kernels, rows.pop(), width, buffers, device)
    if sum(array.size * ITEM_SIZE[array.dtype] for array in found.arrays) > MOST_BYTES:
        return ()
    return (found.variant(),)


class _RowsInside(Emitter):
    """Emits for one of the kernels. What lies in private arrays has its rows in the lanes."""

    def __init__(self, fused: Fused, arrays: Mapping[str, str], width: int):
        buffers = {value: arrays.get(buffer, buffer) for value, buffer in fused.buffers.items()}
        super().__init__(fused.schedule, fused.facts, buffers, fused.slots, fused.reserved)
        self.inside = {value for value, buffer in fused.buffers.items() if buffer in arrays}
        self.row, self.width = row_axis(fused), width

    def index(self, value: Value, point: Point) -> tuple[Expr, int]:
        inside = {**point, self.row: Lanes(integer(0), self.width)} if value in self.inside else point
        return index_at(self.strides(value), inside)

    def strides(self, value: Value) -> list[tuple[int, Expr]]:
        found = super().strides(value)
        if value not in self.inside:
            return found
        return [(axis, integer(1) if axis == self.row else mul(stride, integer(self.width))) for axis, stride in found]


class _BlockByBlock:
    """The kernel under construction."""

    def __init__(
        self, name: str, kernels: Sequence[Fused], rows: DimLike, width: int, buffers: Mapping[str, Buffer],
        device: DeviceInfo,
    ):  # fmt: skip
        self.name, self.kernels, self.rows, self.width = name, kernels, rows, width
        self.buffers, self.device = buffers, device
        self.emitter = kernels[0].emitter()
        self.emitter.taken |= {*buffers, *(name for kernel in kernels for name in partial_dtypes(kernel))}
        self.transposed: dict[str, TransposedRows] = {}
        for kernel in kernels:
            for value in (*kernel.schedule.function.inputs, *kernel.schedule.function.outputs):
                self._transpose(kernel, value)
        self.early = computed_early(kernels, buffers, self._name_of_row)

    def _name_of_row(self, value: Value) -> str:
        return self.emitter.fresh(f"{value.name}_row", register_dtype(value.type.dtype)).name

    def _transpose(self, kernel: Fused, value: Value) -> None:
        """Have a private array for the rows of what is handed on, or has rows of several elements."""
        buffer = kernel.buffers[value]
        if buffer in self.transposed or row_axis(kernel) not in kernel.schedule.where[value]:
            return
        elements = _elements(value.type.shape[1:])
        if elements > 1 or self.buffers[buffer].role == "temporary":
            dtype = register_dtype(value.type.dtype)
            self.transposed[buffer] = transposed(self.emitter, buffer, dtype, elements, self.width)

    @property
    def arrays(self) -> list[PrivateArray]:
        found: list[PrivateArray] = []
        for buffer, rows in self.transposed.items():
            # What is only handed on never lies in rows.
            found += rows.arrays if self.buffers[buffer].role != "temporary" else rows.arrays[:1]
        return found + self._early_arrays()

    def _early_arrays(self) -> list[PrivateArray]:
        found: list[PrivateArray] = []
        for kernel in self.kernels:
            columns = _elements([kernel.schedule.axes[axis] for axis in kernel.schedule.columns])
            found += [PrivateArray(array, register_dtype(value.type.dtype), columns * self.width, (value,))
                      for value, array in self.early[kernel.name].fills.items()]  # fmt: skip
        return found

    def _prepare(self, scope: Scope, streamed: Sequence[str]) -> None:
        """Fill what is read before anything is stored there: rows of no use go along with others."""
        for buffer in streamed:
            scope.statements += self.transposed[buffer].prepare()
        by_rows = {array for early in self.early.values() for array in early.of_rows.values()}
        for array in self._early_arrays():
            if array.name in by_rows:
                place = self.emitter.fresh("place", "i64")
                cleared = Store(array.name, place, Const(0, array.dtype, self.width))
                scope.statements.append(For(place, integer(0), integer(array.size), integer(self.width), (cleared,)))

    def variant(self) -> Variant:
        emitter, scope, width = self.emitter, Scope(), self.width
        rows = size_of(self.rows)
        blocks = ceil_div(rows, integer(width))
        items = items_for(blocks, max(map(_elements_in_row, self.kernels)) * width, self.device, least=1)
        own = own_share(emitter, scope, blocks, "blocks")
        emitters = [self._emitter_of(kernel) for kernel in self.kernels]
        sums = [declare(each, scope, [op for stage in kernel.stages for op in stage.sums], width, 1)
                for kernel, each in zip(self.kernels, emitters)]  # fmt: skip
        streamed = [buffer for buffer in self.transposed if self.buffers[buffer].role != "temporary"]
        self._prepare(scope, streamed)

        number, inside = emitter.fresh("block", "i64"), scope.inner()
        wanted = emitter.let(inside, "wanted", mul(number, integer(width)))
        base = emitter.let(inside, "base", minimum(wanted, sub(rows, integer(width))))
        fresh = emitter.let(inside, "fresh", lanes_where("ge", sub(wanted, base), width))
        for buffer in streamed:
            if self.buffers[buffer].role == "input":
                rows_in = self.transposed[buffer]
                transpose_in(emitter, inside, buffer, mul(base, integer(rows_in.columns)), rows_in)
        for position, each in enumerate(emitters):
            self._kernel(inside, position, each, base, fresh, sums[position])
        for buffer in streamed:
            if self.buffers[buffer].role == "output":
                rows_out = self.transposed[buffer]
                transpose_out(emitter, inside, rows_out, buffer, mul(base, integer(rows_out.columns)))
        scope.statements.append(For(number, own.first, own.end, integer(1), tuple(inside.statements)))
        for kernel, each, groups in zip(self.kernels, emitters, sums):
            fold_partials(kernel, each, scope, groups, own.item)
        return self._finished(scope, items)

    def _emitter_of(self, kernel: Fused) -> _RowsInside:
        found = _RowsInside(kernel, {buffer: rows.array for buffer, rows in self.transposed.items()}, self.width)
        # One kernel: a name has one meaning.
        self.emitter.taken |= found.taken
        found.taken = self.emitter.taken
        return found

    def _kernel(
        self, scope: Scope, position: int, emitter: Emitter, base: Expr, fresh: Expr, sums: Sequence[Accumulators]
    ) -> None:  # fmt: skip
        """What one of the kernels does for a block: its loops over what belongs to a row, around its one pass."""
        kernel, schedule = self.kernels[position], emitter.schedule
        row, *others = schedule.rows
        (stage,) = kernel.stages
        alone = Block({row: Lanes(base, self.width)}, base, self.width, fresh)
        early = self.early[kernel.name]
        filled = {value: Row(array) for value, array in early.fills.items()}
        kept = {value: Row(array) for value, array in {**early.fills, **early.finds}.items()}
        before, end = scope.inner(), end_of_pass(kernel)
        within = None if end is None else columns_below(emitter, before, end, alone, before)
        if filled:
            visit_columns(emitter, before, [LaneTrack(before, alone, Work(keep=filled), (), ())], within=within)
        sizes = [schedule.axes[axis] for axis in others]
        abreast = _abreast(_elements(sizes[-1:])) if others else 1
        variables = [emitter.fresh("row", "i64") for _ in others]
        nest, tracks = before.inner(), []
        for copy in range(abreast):
            at = {axis: variable if axis != others[-1] else add(variable, integer(copy))
                  for axis, variable in zip(others, variables)}  # fmt: skip
            block = Block({**alone.point, **at}, base, self.width, fresh)
            groups = declare(emitter, nest, stage.reductions, self.width, 1)
            if within is not None:
                leave_out_rest(emitter, nest, groups)
            own = [group for group in sums if group.op in stage.element_sums]
            known = dict(nest.known)
            for value, array in early.of_rows.items():
                place = mul(at[others[-1]], integer(self.width))
                loaded = Load(array, place, register_dtype(value.type.dtype), self.width)
                known[value] = emitter.let(nest, value.name, loaded)
            tracks.append(LaneTrack(Scope(known, nest.statements), block, work_of(stage, kept=kept), groups, own))
        visit_columns(emitter, nest, tracks, within=within)
        for track in tracks:
            for group in track.rows:
                track.row.known[group.op.result] = fold(emitter, nest, group, False)
            finish_block(emitter, track.row, track.block, stage, sums)
        statements = tuple(nest.statements)
        end_of_rows = self._end_of_rows(before, position, base) if len(others) == 1 else None
        for number in reversed(range(len(others))):
            step = abreast if number == len(others) - 1 else 1
            stop = end_of_rows or size_of(sizes[number])
            statements = (For(variables[number], integer(0), stop, integer(step), statements),)
        scope.statements += [*before.statements, *statements]

    def _end_of_rows(self, scope: Scope, position: int, base: Expr) -> Expr | None:
        """Where the loop over rows of a kernel may end, of which no other kernel looks at the rest."""
        ends = ends_of_rows(self.kernels, position, self.buffers)
        known = {buffer for kernel in self.kernels[:position] for buffer in kernel.buffers.values()}
        if len(ends) != 1:
            return None
        ((buffer, (value, size)),) = ends.items()
        if buffer not in known and self.buffers[buffer].role != "input":
            return None
        place = (self.transposed[buffer].array, integer(0)) if buffer in self.transposed else (buffer, base)
        last = Reduce("max", Load(*place, register_dtype(value.type.dtype), self.width))
        wide = last if last.dtype == "i64" else Apply("cast", (last,), "i64")
        return self.emitter.let(scope, "end_of_rows", minimum(size_of(size), wide))

    def _finished(self, scope: Scope, items: Expr) -> Variant:
        """With the launches that add up what the work-items leave."""
        dtypes: dict[str, str] = {}
        dims: dict[str, None] = {}
        for kernel in self.kernels:
            dtypes |= dtypes_of(kernel)
            dims |= dict.fromkeys(kernel.emitter().dims)
        comment = (f"every step for {self.width} rows, one a lane, before the next {self.width}",)
        launch = launch_of(f"{self.name}_blocks{self.width}", dtypes, tuple(dims), scope.statements, items,
                           private_arrays=self.arrays, comment=comment)  # fmt: skip
        launches, temporaries = [launch], []
        for kernel in self.kernels:
            if kernel.schedule.whole_reductions:
                launches.append(finish_launch(kernel, self.device, items, f"_blocks{self.width}_finish"))
                temporaries += partial_buffers(kernel, items)
        guard = None if isinstance(self.rows, int) else at_least(size_of(self.rows), self.width)
        return Variant("block-by-block", tuple(launches), guard, tuple(temporaries))


def _abreast(size: int) -> int:
    """How many rows of a row's own to go by the columns with: what belongs to a column is read once for all."""
    return max(count for count in (1, 2, 3, 4) if size % count == 0)


def _elements(sizes: Iterable[DimLike]) -> int:
    found = static_size(tuple(sizes))
    if found is None:
        raise CompilerBug("a kernel whose rows have no known size goes block by block")
    return found


def _elements_in_row(kernel: Fused) -> int:
    schedule = kernel.schedule
    return _elements([schedule.axes[axis] for axis in schedule.looped - {row_axis(kernel)}])
