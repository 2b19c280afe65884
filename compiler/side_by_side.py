"""Neighbouring steps that do not wait for one another, in one launch: the gradients of weights and biases, say, which
read the same.

In: the steps of a program, in order, and which outputs may be written over which inputs. Out: what is joined, with a
variant for each choice of theirs. Every work-item does its share of each step, so that it does not matter which core
takes which:

    item i of n does, of a step of m items, those from i m / n up to (i + 1) m / n

A launch costs its start, and the cores that wait for its last item. On CPUs; on a GPU the next launch begins before the
one before it has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from ..ir.arithmetic import add, both, div, index_var, integer, maximum, mul
from ..ir.kernel import Expr, For, Kernel, Stmt, Var, WorkItem, walk_expressions
from ..ir.names import fresh
from ..ir.program import STATUS, Beside, Buffer, Launch, Step, Variant, root_of
from ..ir.target import DeviceInfo
from .guards import NOTHING, Known
from .joining import one_kernel, variables_of, views_are_written
from .substitution import with_items

MOST_STEPS = 4
"""Steps that a launch does."""
WHOLE, ITEM = WorkItem("global_size"), WorkItem("global_id")


def side_by_side(
    name: str, steps: Sequence[Step], buffers: Mapping[str, Buffer], shared: Collection[tuple[str, str]],
    device: DeviceInfo,
) -> tuple[Beside, ...]:  # fmt: skip
    """What of the `steps` of the program `name` is joined. `shared` are buffers of an input and an output that may lie
    in one piece of memory where steps run in order."""
    if device.kind != "cpu":
        return ()
    found: list[Beside] = []
    first = 0
    while first < len(steps):
        stop = first + 1
        while stop < len(steps) and _may_join(steps[first:stop], steps[stop], buffers, shared):
            stop += 1
        if stop > first + 1:
            found.append(Beside(first, stop - first, tuple(_variants(name, first, steps[first:stop], buffers))))
        first = stop
    return tuple(found)


def _may_join(
    steps: Sequence[Step], other: Step, buffers: Mapping[str, Buffer], shared: Collection[tuple[str, str]]
) -> bool:
    several = (*steps, other)
    if len(several) > MOST_STEPS:
        return False
    if not all(step.repeat is None and any(map(_is_one_launch, step.variants)) for step in several):
        return False
    if any(_waits(other, step, buffers, shared) for step in steps):
        return False
    # Each choice is a kernel more. So many do not multiply: together they are as long as those of the steps.
    joined = [chosen for chosen in _choices(several) if all(map(_is_one_launch, chosen))]
    return len(joined) <= max(len(step.variants) for step in several)


def _waits(later: Step, step: Step, buffers: Mapping[str, Buffer], shared: Collection[tuple[str, str]]) -> bool:
    """Whether two steps must run one after the other."""
    (read, written), (read_before, written_before) = (_memory(each, buffers) for each in (later, step))
    if written & (read_before | written_before) or read & written_before:
        return True
    return any(
        (old in read_before and new in written) or (old in read and new in written_before) for old, new in shared
    )


def _memory(step: Step, buffers: Mapping[str, Buffer]) -> tuple[set[str], set[str]]:
    """What a step reads, and what it writes. Status words may be written by several at once."""
    read: set[str] = set()
    written: set[str] = set()
    for launch in (launch for variant in step.variants for launch in variant.launches):
        for argument, name in zip(launch.kernel.buffers, launch.buffers):
            if name != STATUS:
                (read if argument.access == "read" else written).add(root_of(name, buffers))
    return read, written


def _is_one_launch(variant: Variant) -> bool:
    """Whether it can be joined with others: its work-items are on their own."""
    if len(variant.launches) != 1 or variant.temporaries:
        return False
    kernel = variant.launches[0].kernel
    return kernel.local_size == 1 and not kernel.local_arrays and kernel.asked <= {WHOLE.query, ITEM.query}


def _choices(steps: Sequence[Step]) -> list[tuple[Variant, ...]]:
    """The choices of a variant for each step that some sizes take: those whose guards can hold together, where none
    before does. Sizes that several steps have in common leave few of all."""
    found: list[tuple[tuple[Variant, ...], Known]] = [((), NOTHING)]
    for step in steps:
        longer: list[tuple[tuple[Variant, ...], Known]] = []
        for chosen, before in found:
            for variant in step.variants:
                known = before.and_where(variant.guard)
                if known.is_possible and not any(known.implies(earlier) for _, earlier in longer):
                    longer.append(((*chosen, variant), known))
        found = longer
    return [chosen for chosen, _ in found]


def _variants(name: str, first: int, steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> Iterator[Variant]:
    """Of all choices, in the order of the steps' own: the first whose guards hold is what each step would take."""
    last = first + len(steps) - 1
    choices = _choices(steps)
    for number, chosen in enumerate(choices):
        launches = tuple(launch for variant in chosen for launch in variant.launches)
        guard: Expr | None = None
        for variant in chosen if number + 1 < len(choices) else ():
            guard = both(guard, variant.guard)
        if all(map(_is_one_launch, chosen)) and not views_are_written(launches, buffers):
            launches = (_one_launch(f"{name}_{first}_to_{last}_beside{number}", launches),)
        strategies = " + ".join(dict.fromkeys(variant.strategy for variant in chosen))
        temporaries = tuple(buffer for variant in chosen for buffer in variant.temporaries)
        yield Variant(strategies, launches, guard, temporaries)


def _one_launch(name: str, launches: Sequence[Launch]) -> Launch:
    items = launches[0].global_size
    for launch in launches[1:]:
        if launch.global_size != items:
            items = maximum(items, launch.global_size)
    parts = [_share_of_items(launch.kernel, launch.global_size) for launch in launches]
    comment = [line for kernel in parts for line in kernel.comment]
    kernel = one_kernel(name, parts, ("every work-item does its share of each:", *comment), share=True)
    scalars: dict[str, Expr] = {scalar.name: index_var(scalar.name) for scalar in kernel.scalars}
    return Launch(kernel, tuple(argument.name for argument in kernel.buffers), scalars, items)


def _share_of_items(kernel: Kernel, items: Expr) -> Kernel:
    """A kernel of so many work-items as part of one with more of them, or fewer."""
    taken = {variable.name for variable in variables_of(kernel.body)} | {each.name for each in kernel.scalars}
    taken |= {each.name for each in (*kernel.buffers, *kernel.private_arrays)}
    item = Var(fresh("item", taken), "i64")
    start, stop = (div(mul(at, items), WHOLE) for at in (ITEM, add(ITEM, integer(1))))
    body: tuple[Stmt, ...] = tuple(with_items(statement, {ITEM: item, WHOLE: items}) for statement in kernel.body)
    sizes = (each for each in walk_expressions(items) if isinstance(each, Var))
    scalars = dict.fromkeys([*kernel.scalars, *sizes])
    return replace(kernel, scalars=tuple(scalars), body=(For(item, start, stop, integer(1), body),))
