"""Cut the entry function into fused kernels.

In: a module whose entry is primitives only. Out: the same module with one `kernel` function for each fused kernel,
and an entry of `launch` and `reshape` operations.

The policy, greedy and in this order:
1. What must exist in memory is a target: outputs, operands and results of matrix products, what regroups
   elements, results of whole reductions, checks; and what windows behind windows would compute at too many points
   (`window_chains.py`), which no kernel that looks at it computes. Each target starts as a group of its own; its body
   is everything it needs back to other targets. Cheap values are computed again in every group that needs them.
2. Where no loop nest computes a target alone, since rows are reduced along one axis and then along another, the
   reductions along the first become targets, too.
3. Groups that share a row reduction are merged if one loop nest serves both: loss and gradient come together first,
   so that what the gradient must wait for (the number of rows that count) stays apart from them.
4. So are groups where one needs the other or that read the same tensor, those first that save most bytes: a sum that
   a gradient must wait for then does not take along what the gradient's kernel reads anyway.
5. A row reduction that is still in several groups is computed by the first and stored: reductions are never
   computed twice.
6. Small values with divisions or worse that a large kernel would compute at every element are stored by the kernel
   that has their operands.
7. What is compared with an extreme of its own that another kernel took is a target, too (`compared.py`), and all this
   is done again, until there is no more such.
What may be merged is told in `merge.py`. Reasons of refused merges are kept: `explain` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...ir.diagnostics import CompilerBug, Limitation, LirError
from ...ir.frozen import frozen
from ...ir.function import Function, Module, Op, Value
from ...ir.ops import LOOKING_ELSEWHERE
from ...ir.printer import names_of_values
from ...ir.schedule import Refusal, Schedule
from ..functions import with_names_of, with_values
from .across import sum_lines_first
from .axes import Axes, is_row_reduction, is_whole_reduction, join_axes, slots_of
from .compared import rounded_elsewhere
from .groups import Group, Groups, Target
from .launches import launched
from .merge import Refused, merge, merge_by_bytes, still_apart
from .schedule import schedule_of
from .small_values import store_small_values
from .window_chains import stored_between_windows


@frozen
class Outlined:
    """The outlined module, the schedule of each kernel, and why some groups stayed apart."""

    module: Module
    schedules: Mapping[str, Schedule]
    refused: tuple[str, ...]


def outline(module: Module, across: bool = False) -> Outlined:
    """Cut the entry of `module`, and what it repeats, into fused kernels. A function that launches kernels of its own
    is taken as it is. `across`: whether the device has a strategy for kernels that sum across their rows."""
    entry = module.entry.name
    whole = _outline_function(module, module.entry, across)
    for name in [op.attributes["callee"] for op in module.entry.ops if op.name == "repeat"]:
        piece = _outline_function(whole.module, module.functions[name], across)
        whole = Outlined(piece.module, {**whole.schedules, **piece.schedules}, (*whole.refused, *piece.refused))
    return replace(whole, module=Module(whole.module.functions, entry))


def _outline_function(module: Module, function: Function, across: bool) -> Outlined:
    if any(op.name == "launch" for op in function.ops):
        return _as_written(module, function, across)
    function = _named_apart(_with_sizes(function))
    if across:
        function = sum_lines_first(function, slots_of(function))
    apart = stored_between_windows(function)
    stored = set(apart)
    while True:
        groups = Groups(function, across, apart)
        _separate(groups, stored)
        refusals: list[Refused] = []
        refusals += merge(groups, groups.with_reductions_of)
        refusals += merge_by_bytes(groups)
        _store_shared_reductions(groups)
        store_small_values(groups)
        if (more := rounded_elsewhere(groups)) <= stored:
            return Outlined(*launched(module, groups), still_apart(groups, refusals))
        stored |= more


def _named_apart(function: Function) -> Function:
    """`function` with a name of its own for every value that may be stored: kernels are told by what they store."""
    names = names_of_values(function)
    stored = (result for op in function.ops if op.name not in _SELDOM_STORED for result in op.results)
    instead = {value: replace(value, name=names[value]) for value in stored if names[value] != value.name}
    return with_names_of(with_values(function, instead), function)


_SELDOM_STORED = frozenset({"constant", "broadcast", "reshape", "iota", "size", "cast"})


def _as_written(module: Module, entry: Function, across: bool) -> Outlined:
    """A function that was outlined by hand, or printed and read back."""
    other = next((op for op in entry.ops if op.name not in ("launch", "reshape", "repeat")), None)
    if other is not None:
        raise Limitation(f"@{entry.name} launches kernels and computes `{other.name}` itself",
                         "put that into a kernel too, or leave all of it to be fused", span=other.span)  # fmt: skip
    kernels = {op.attributes["callee"]: op for op in entry.ops if op.name == "launch"}
    schedules: dict[str, Schedule] = {}
    for name, launch in kernels.items():
        kernel = _with_sizes(module.functions[name])
        for inside, outside in zip(kernel.inputs, launch.operands):
            if inside.type != outside.type:
                raise Limitation(f"@{name} takes %{inside.name}: {inside.type} and is launched with {outside.type}",
                                 "name the dimensions alike", span=launch.span)  # fmt: skip
        found = schedule_of(kernel, across)
        if isinstance(found, Refusal):
            raise LirError(f"@{name} is no single kernel: {found.reason}", span=kernel.span)
        schedules[name] = found
    return Outlined(module, schedules, ())


def _with_sizes(function: Function) -> Function:
    """`dim %x` as `size` of the dimension itself: a kernel that needs a size needs no tensor for it."""
    ops = [
        Op("size", (), {"of": (op.operands[0].type.shape[op.attributes["axis"]],)}, op.results, op.span)
        if op.name == "dim" else op
        for op in function.ops
    ]  # fmt: skip
    return function.with_(ops=tuple(ops))


def _separate(groups: Groups, stored: Iterable[Value]) -> None:
    """Add a group for each target and for what is to be `stored` as well, with more targets where no loop nest computes
    one alone."""
    targets = _targets(groups) | {*stored}
    while True:
        groups.materialised |= {target for target in targets if isinstance(target, Value)}
        ordered = [target for target in groups.in_order(targets) if groups.is_computed(target)]
        found = [(target, groups.group_of(number, [target])) for number, target in enumerate(ordered)]
        cuts = {value for target, group in found if isinstance(group, Refusal) for value in _cut(groups, target, group)}
        if not cuts:
            break
        targets |= cuts
    for _, group in found:
        assert isinstance(group, Group)
        groups.add(group)
    for op in groups.repeats:
        groups.add(groups.group_of_repeat(op))


def _targets(groups: Groups) -> set[Target]:
    """What must exist in memory."""
    wanted: set[Target] = {value for value in groups.function.outputs if value in groups.producer}
    views = set(groups.views)
    for op in groups.function.ops:
        if op.name == "check":
            wanted.add(op)
        elif op.name in ("matmul", "repeat") or op in views:
            wanted.update(value for value in (*op.operands, *op.results) if value in groups.producer)
        elif is_whole_reduction(op):
            wanted.add(op.result)
    return wanted


def _cut(groups: Groups, target: Target, refusal: Refusal) -> list[Value]:
    """What to store so that a target whose operations are no single loop nest becomes one: the row reductions along
    the axes that are reduced first; without reductions, what is first repeated or transposed."""
    ops, _ = groups.body([target])
    inside = [op for op in ops if op is not target and op.results and op.result is not target]
    reductions = [op for op in inside if is_row_reduction(op)]
    if reductions:
        axes = Axes()
        for op in ops:
            join_axes(op, axes)
        along = [frozenset(axes.find((op.operands[0], axis)) for axis in op.attributes["axes"]) for op in reductions]
        return [op.result for op, own in zip(reductions, along) if own == along[0]]
    moved = [op for op in inside if op.name in ("transpose", "broadcast", *LOOKING_ELSEWHERE)]
    if moved:
        return [moved[0].result]
    maker = target if isinstance(target, Op) else groups.producer[target]
    raise CompilerBug(f"`{maker.name}` alone has no schedule: {refusal.reason}", span=maker.span)


def _store_shared_reductions(groups: Groups) -> None:
    """A row reduction that several groups compute is stored by the first of them, or if that cannot, by one of its
    own."""
    for first in groups.ordered():
        group = groups.group_for(first.targets[0])
        for op in list(group.row_reductions):
            computing = [*groups.computing(op)]
            if op.result in groups.materialised or len(computing) < 2:
                continue
            groups.materialised.add(op.result)
            storing = groups.group_of(group.number, groups.in_order([*group.targets, op.result]))
            if isinstance(storing, Refusal):
                groups.add(_scheduled(groups.group_of(group.number, [op.result])))
            else:
                computing.remove(group)
                groups.replace(group, storing)
            for other in computing:
                _make_anew(groups, other)
            # Merged groups keep targets that only they read; groups made anew store all they have.
            for other in (group, *computing):
                groups.drop_unread(groups.group_for(other.targets[0]))
            group = groups.group_for(first.targets[0])


def _make_anew(groups: Groups, group: Group) -> None:
    """A group that reads now what it reduced; each target for itself where only the reduction gave them one loop."""
    whole = groups.group_of(group.number, group.targets)
    if isinstance(whole, Group):
        groups.replace(group, whole)
        return
    first, *others = (_scheduled(groups.group_of(group.number, [target])) for target in group.targets)
    groups.replace(group, first)
    for other in others:
        groups.add(other)


def _scheduled(found: Group | Refusal) -> Group:
    if isinstance(found, Refusal):
        raise CompilerBug(f"a fused kernel has no schedule: {found.reason}")
    return found
