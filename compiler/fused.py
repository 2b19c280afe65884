"""What strategies share: the fused kernel they lower, putting a kernel together, finishing whole reductions.

A whole reduction leaves one partial result a work-item in a temporary buffer. The finish kernel, one work-item, adds
them up in order (in f64 where the device has it) and computes what depends on the total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property

from ..ir.arithmetic import index_var, integer
from ..ir.frozen import frozen
from ..ir.function import Op, Value
from ..ir.kernel import (
    Assign,
    AtomicMin,
    BufferArgument,
    Declare,
    Expr,
    For,
    Kernel,
    Load,
    LocalArray,
    PrivateArray,
    Stmt,
    Store,
    Var,
    WorkItem,
    expressions_in,
    walk_statements,
)
from ..ir.program import STATUS, Buffer, Launch, Variant
from ..ir.schedule import Schedule
from ..ir.target import DeviceInfo
from ..ir.types import multiply_dims
from .emission.emit import Emitter, Scope
from .emission.facts import Facts, facts_of
from .emission.monoids import for_many_parts, monoid_of, partial_dtype
from .emission.points import converted
from .emission.reductions import Accumulators, fold
from .rows.row_costs import RowCosts, row_costs
from .rows.stages import Stage, stages_of


@frozen
class Fused:
    """One fused kernel to lower: its schedule, the buffer of each input and output, the status slot of each check, what
    a tuner tries in place of figures of the strategy, and names that its launches get as arguments later."""

    name: str
    schedule: Schedule
    buffers: Mapping[Value, str]
    slots: Mapping[Op, int]
    settings: Mapping[str, int] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()

    def setting(self, name: str, usual: int) -> int:
        return self.settings.get(name, usual)

    @cached_property
    def facts(self) -> Facts:
        schedule = self.schedule
        if schedule.narrow is None:
            return facts_of(schedule.function, schedule.maxima, schedule.missing)
        # In the columns that count, what is masked has the values that it has in its windows.
        own = facts_of(schedule.narrow, schedule.maxima, schedule.missing).spelling
        spelling = {op: own[was] for op, was in schedule.original.items() if was in own}
        return facts_of(schedule.function, schedule.maxima, (), spelling)

    @cached_property
    def stages(self) -> list[Stage]:
        return stages_of(self.schedule)

    @cached_property
    def row_costs(self) -> RowCosts:
        """Where rows are reduced."""
        columns = multiply_dims([self.schedule.axes[axis] for axis in self.schedule.columns])
        return row_costs(self.emitter(), self.stages, columns)

    def emitter(self) -> Emitter:
        return Emitter(self.schedule, self.facts, self.buffers, self.slots, self.reserved)


Finish = Callable[[Fused, DeviceInfo, Expr, str], Launch]
"""Makes the launch that joins so many partial results of each whole reduction; the string ends its kernel's name."""


def partial_name(fused: Fused, op: Op) -> str:
    """The buffer of a whole reduction's partial results."""
    return f"{fused.name}.partials{fused.schedule.whole_reductions.index(op)}"


def part_buffer(fused: Fused, op: Op, count: Expr) -> Buffer:
    """The `count` partial results of a row reduction, one for each part of each row."""
    name = f"{fused.name}.parts{fused.schedule.row_reductions.index(op)}"
    return Buffer(name, partial_dtype(op), count, "temporary")


def kernel_and_launch(
    fused: Fused, emitter: Emitter, suffix: str, body: Sequence[Stmt], global_size: Expr, *,
    handed: Sequence[Buffer] = (), local_size: int = 1, local_arrays: Sequence[LocalArray] = (),
    private_arrays: Sequence[PrivateArray] = (), comment: Sequence[str] = (),
) -> Launch:  # fmt: skip
    """The kernel with the buffers and dimension names that its body uses, and its launch. `handed`: what one launch of
    the fused kernel leaves for another, beside partial results."""
    dtypes = {**dtypes_of(fused), **{buffer.name: buffer.dtype for buffer in handed}}
    return launch_of(f"{fused.name}{suffix}", dtypes, emitter.dims, body, global_size, local_size, local_arrays,
                     [*private_arrays, *emitter.private_arrays], comment)  # fmt: skip


def dtypes_of(fused: Fused) -> dict[str, str]:
    """The buffers of inputs, outputs and partial results."""
    function = fused.schedule.function
    stored = {fused.buffers[value]: value.type.dtype for value in (*function.inputs, *function.outputs)}
    return stored | partial_dtypes(fused)


def launch_of(
    name: str, dtypes: Mapping[str, str], dims: Sequence[str], body: Sequence[Stmt], global_size: Expr,
    local_size: int = 1, local_arrays: Sequence[LocalArray] = (), private_arrays: Sequence[PrivateArray] = (),
    comment: Sequence[str] = (),
) -> Launch:  # fmt: skip
    """A kernel whose body uses some of these buffers and dimension names."""
    dtypes = {**dtypes, STATUS: "i32"}
    read, written, names = _memory_and_names(body)
    order = [buffer for buffer in dtypes if buffer in read | written]
    buffers = tuple(
        BufferArgument(buffer, dtypes[buffer], "readwrite" if buffer == STATUS or buffer in read & written
                       else "write" if buffer in written else "read")
        for buffer in order
    )  # fmt: skip
    scalars = tuple(Var(dim, "i64") for dim in dims if dim in names)
    kernel = Kernel(name, buffers, scalars, tuple(body), tuple(local_arrays), tuple(private_arrays), local_size,
                    tuple(comment))  # fmt: skip
    return Launch(kernel, tuple(order), {scalar.name: index_var(scalar.name) for scalar in scalars}, global_size)


def _memory_and_names(body: Sequence[Stmt]) -> tuple[set[str], set[str], set[str]]:
    """The buffers read, the buffers written, and the variables named in a body."""
    written = {statement.buffer for statement in walk_statements(body) if isinstance(statement, (Store, AtomicMin))}
    read: set[str] = set()
    names: set[str] = set()
    for expression in expressions_in(body):
        if isinstance(expression, Load):
            read.add(expression.buffer)
        elif isinstance(expression, Var):
            names.add(expression.name)
    return read, written, names


def partial_dtypes(fused: Fused) -> dict[str, str]:
    return {partial_name(fused, op): partial_dtype(op) for op in fused.schedule.whole_reductions}


def partial_buffers(fused: Fused, count: Expr) -> tuple[Buffer, ...]:
    """The `count` partial results of each whole reduction."""
    return tuple(Buffer(name, dtype, count, "temporary") for name, dtype in partial_dtypes(fused).items())


def finish_launch(fused: Fused, device: DeviceInfo, count: Expr, suffix: str) -> Launch:
    """One work-item joins the `count` partial results of each whole reduction, and computes what depends on them."""
    emitter, scope = fused.emitter(), Scope()
    for op in fused.schedule.whole_reductions:
        name = partial_name(fused, op)
        scope.known[op.result] = join_in_order(emitter, scope, op, device, name, lambda position: position, count)
    finish_whole(emitter, scope)
    return kernel_and_launch(fused, emitter, suffix, scope.statements, integer(1),
                             comment=("adds up the partial results and finishes what depends on them",))  # fmt: skip


def with_finish(
    fused: Fused, device: DeviceInfo, launches: Sequence[Launch], count: Expr, strategy: str, guard: Expr | None,
    temporaries: Sequence[Buffer] = (), finish: Finish = finish_launch,
) -> Variant:  # fmt: skip
    """The variant of launches of which the last leaves `count` partial results for each whole reduction, and of the
    launch that joins them."""
    if not fused.schedule.whole_reductions:
        return Variant(strategy, tuple(launches), guard, tuple(temporaries))
    # Its body holds `count`: each variant has a finish of its own.
    last = finish(fused, device, count, launches[-1].kernel.name.removeprefix(fused.name) + "_finish")
    return Variant(strategy, (*launches, last), guard, (*temporaries, *partial_buffers(fused, count)))


def join_in_order(
    emitter: Emitter, scope: Scope, op: Op, device: DeviceInfo, buffer: str, place: Callable[[Expr], Expr],
    count: Expr, width: int = 1,
) -> Expr:  # fmt: skip
    """The `count` partial results of a reduction as one, joined in order, in f64 where the device has it: that of
    number n lies at `place(n)` of `buffer`, in `width` lanes."""
    total = add_up(emitter, scope, op, device, buffer, place, (integer(0), count, integer(1)), width)
    return emitter.let(scope, op.result.name, in_registers(op, total))


def add_up(
    emitter: Emitter, scope: Scope, op: Op, device: DeviceInfo, buffer: str, place: Callable[[Expr], Expr],
    numbers: tuple[Expr, Expr, Expr], width: int = 1,
) -> Var:  # fmt: skip
    """The partial results with some `numbers`, from, below, and in steps of, as one; of the wide type."""
    monoid = monoid_of(op, emitter.facts)
    wide = for_many_parts(monoid, device)
    total = emitter.fresh(f"{op.result.name}_total", wide.dtype, width)
    number = emitter.fresh("part", "i64")
    part = converted(Load(buffer, place(number), monoid.dtype, width), wide.dtype)
    start, end, step = numbers
    scope.statements += [
        Declare(total, wide.neutral(width)),
        For(number, start, end, step, (Assign(total, wide.join(total, part)),)),
    ]
    return total


def in_registers(op: Op, total: Expr) -> Expr:
    """A reduction's wide total in the type that it has in registers."""
    return converted(total, partial_dtype(op))


def finish_whole(emitter: Emitter, scope: Scope) -> None:
    """Compute and store what depends on whole reductions, at the one point there is."""
    schedule = emitter.schedule
    for op in schedule.function.ops:
        if op.name == "check" and op in schedule.finish:
            emitter.check(op, {}, scope)
    outputs = [value for value in schedule.function.outputs if value in schedule.finished]
    emitter.compute(outputs, {}, scope)
    for value in outputs:
        emitter.store(value, {}, scope)


def store_partials(fused: Fused, scope: Scope, totals: Mapping[Op, Expr], item: Expr) -> None:
    for op, total in totals.items():
        scope.statements.append(Store(partial_name(fused, op), item, total))


def fold_partials(fused: Fused, emitter: Emitter, scope: Scope, sums: Iterable[Accumulators], item: Expr) -> None:
    """What a work-item has of the whole reductions becomes one partial result each."""
    store_partials(fused, scope, {group.op: fold(emitter, scope, group, True) for group in sums}, item)


def work_item(emitter: Emitter, scope: Scope, query: str) -> Expr:
    return emitter.let(scope, query, WorkItem(query))
