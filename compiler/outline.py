"""Cut the entry function into fused kernels.

In: a module whose entry is primitives only. Out: the same module with one `kernel` function for each fused kernel,
and an entry of `launch` and `reshape` operations.

The policy, greedy and in this order:
1. What must exist in memory is a target: outputs, operands and results of matrix products, what regroups
   elements, results of whole reductions, checks. Each target starts as a group of its own; its body is everything
   it needs back to other targets. Cheap values are computed again in every group that needs them.
2. Groups that share a row reduction are merged if one loop nest serves both: loss and gradient come together first,
   so that what the gradient must wait for (the number of rows that count) stays apart from them.
3. So are groups where one needs the other, then groups that read the same tensor.
4. A row reduction that is still in several groups is computed by the first and stored: reductions are never
   computed twice.
A merge is legal if no third group lies between, and `schedule_of` finds a schedule. Reasons of refused merges
are kept: `explain` prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..ir.diagnostics import CompilerBug, Limitation, LirError
from ..ir.function import Function, Module, Op, Value
from ..ir.schedule import Refusal, Schedule
from .schedule import is_row_reduction, is_unit_reshape, is_whole_reduction, schedule_of

Target = Value | Op  # an Op is a check


@dataclass(eq=False)
class Group:
    """A kernel in the making: its targets, and the operations from them back to other targets."""

    targets: list[Target]
    ops: list[Op] = field(default_factory=list)
    leaves: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class Outlined:
    """The outlined module, the schedule of each kernel, and why some groups stayed apart."""

    module: Module
    schedules: dict[str, Schedule]
    refused: tuple[str, ...]


def outline(module: Module) -> Outlined:
    """Cut the entry of `module` into fused kernels. An entry that launches kernels of its own is taken as it is."""
    if any(op.name == "launch" for op in module.entry.ops):
        return _as_written(module)
    return _Outliner(module).run()


def _as_written(module: Module) -> Outlined:
    """A module that was outlined by hand, or printed and read back."""
    entry = module.entry
    other = next((op for op in entry.ops if op.name not in ("launch", "reshape")), None)
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
        found = schedule_of(kernel)
        if isinstance(found, Refusal):
            raise LirError(f"@{name} is no single kernel: {found.reason}", span=kernel.span)
        schedules[name] = found
    return Outlined(module, schedules, ())


class _Outliner:
    def __init__(self, module: Module):
        self.module, self.function = module, _with_sizes(module.entry)
        self.producer = self.function.producers()
        self.position = {op: index for index, op in enumerate(self.function.ops)}
        self.multiplied = {operand for op in self.function.ops if op.name == "matmul" for operand in op.operands}
        self.refused: dict[str, None] = {}

    def _is_view(self, op: Op) -> bool:
        """Whether a reshape is the same memory under another shape: where it regroups elements, or a matrix product,
        whose operands are in memory, reads it. Other reshapes only rename axes inside a kernel."""
        return op.name == "reshape" and (not is_unit_reshape(op) or op.result in self.multiplied)

    def run(self) -> Outlined:
        targets = self._targets()
        self.views = [op for op in self.function.ops if self._is_view(op)]
        views = {op.result for op in self.views}
        self.materialised: set[Value] = {*self.function.inputs, *views, *(t for t in targets if isinstance(t, Value))}
        groups = [Group([target]) for target in targets if target not in views]
        for group in groups:
            self._fill(group)
        for shares in (self._share_reduction, self._one_needs_other, self._share_input):
            groups = self._merge(groups, shares)
        self._store_shared_reductions(groups)
        return self._emit(self._ordered(groups))

    # --- targets ---

    def _targets(self) -> list[Target]:
        """What must exist in memory, in the order of the program."""
        wanted: set[Target] = {value for value in self.function.outputs if value in self.producer}
        for op in self.function.ops:
            if op.name == "check":
                wanted.add(op)
            elif op.name == "matmul" or self._is_view(op):
                wanted.update(value for value in (*op.operands, op.result) if value in self.producer)
            elif is_whole_reduction(op):
                wanted.add(op.result)
        ordered: list[Target] = []
        for op in self.function.ops:
            ordered += [target for target in (op, *op.results) if target in wanted]
        return ordered

    def _fill(self, group: Group) -> None:
        """Collect the operations of a group: back from its targets to what others store."""
        own = set(group.targets)
        seen: set[Op] = set()
        leaves: dict[Value, None] = {}
        pending = [t if isinstance(t, Op) else self.producer[t] for t in group.targets]
        while pending:
            op = pending.pop()
            if op in seen:
                continue
            seen.add(op)
            for operand in op.operands:
                if operand in self.materialised and operand not in own:
                    leaves[operand] = None
                elif operand in self.producer:
                    pending.append(self.producer[operand])
        group.ops = sorted(seen, key=self.position.__getitem__)
        read = {operand for op in group.ops for operand in op.operands}
        order = [*self.function.inputs, *(r for op in self.function.ops for r in op.results)]
        group.leaves = [value for value in order if value in leaves and value in read]

    # --- merging ---

    def _merge(self, groups: list[Group], shares) -> list[Group]:
        """Merge later groups into earlier ones wherever they share something and the result is one loop nest."""
        merged: list[Group] = []
        for group in groups:
            host = group
            for other in list(merged):
                joined = self._try(other, host, merged, groups) if shares(other, host) else None
                if joined is not None:
                    merged[merged.index(other)] = joined
                    if host in merged:
                        merged.remove(host)
                    host = joined
            if host not in merged:
                merged.append(host)
        return merged

    def _share_reduction(self, a: Group, b: Group) -> bool:
        reductions = {op for op in a.ops if is_row_reduction(op)}
        return any(op in reductions for op in b.ops)

    def _one_needs_other(self, a: Group, b: Group) -> bool:
        return self._needs(b, a) or self._needs(a, b)

    def _share_input(self, a: Group, b: Group) -> bool:
        return any(leaf.type.rank > 0 and leaf.type.count != 1 for leaf in a.leaves if leaf in b.leaves)

    def _try(self, a: Group, b: Group, merged: list[Group], rest: list[Group]) -> Group | None:
        others = {id(g): g for g in (*merged, *rest) if g is not a and g is not b}
        if self._path_between(a, b, list(others.values())):
            return None
        joined = Group(sorted([*a.targets, *b.targets], key=self._target_position))
        self._fill(joined)
        found = schedule_of(self._body(joined, self._stored(joined, list(others.values())), "trial"))
        if isinstance(found, Refusal):
            self.refused.setdefault(f"{_names(a)} and {_names(b)} stay apart: {found.reason}")
            return None
        return joined

    def _target_position(self, target: Target) -> int:
        return self.position[target if isinstance(target, Op) else self.producer[target]]

    def _needs(self, group: Group, other: Group) -> bool:
        stored = {t for t in other.targets if isinstance(t, Value)}
        return any(self._source(leaf) in stored for leaf in group.leaves)

    def _source(self, value: Value) -> Value:
        """The stored value that a chain of regrouping reshapes looks at."""
        while (op := self.producer.get(value)) is not None and op in self._view_set():
            value = op.operands[0]
        return value

    def _view_set(self) -> set[Op]:
        if not hasattr(self, "_views"):
            self._views = set(self.views)
        return self._views

    def _path_between(self, a: Group, b: Group, others: list[Group]) -> bool:
        """Whether one needs the other through a third group (or through a view, which only memory gives)."""
        return self._reaches(a, b, others) or self._reaches(b, a, others)

    def _reaches(self, start: Group, goal: Group, others: list[Group]) -> bool:
        if any(leaf in {r for op in self.views for r in op.results} and self._source(leaf) in set(goal.targets)
               for leaf in start.leaves):  # fmt: skip
            return True
        pending, seen = [g for g in others if self._needs(start, g)], set()
        while pending:
            group = pending.pop()
            if id(group) in seen:
                continue
            seen.add(id(group))
            if self._needs(group, goal):
                return True
            pending += [g for g in others if self._needs(group, g)]
        return False

    def _store_shared_reductions(self, groups: list[Group]) -> None:
        """A row reduction that several groups compute is stored by the first of them."""
        for group in self._ordered(groups):
            for op in list(group.ops):
                elsewhere = [g for g in groups if g is not group and op in g.ops]
                if is_row_reduction(op) and op.result not in self.materialised and elsewhere:
                    self.materialised.add(op.result)
                    group.targets.append(op.result)
                    for changed in (group, *elsewhere):
                        self._fill(changed)

    def _ordered(self, groups: Sequence[Group]) -> list[Group]:
        """Groups so that each comes after those it needs."""
        order: list[Group] = []
        waiting = list(groups)
        while waiting:
            ready = next((g for g in waiting if not any(self._needs(g, o) for o in waiting if o is not g)), None)
            if ready is None:
                raise CompilerBug("fused kernels need each other in a circle")
            waiting.remove(ready)
            order.append(ready)
        return order

    # --- writing the module ---

    def _stored(self, group: Group, others: Iterable[Group]) -> list[Value]:
        """The targets of a group that somebody outside reads, or that nobody reads inside."""
        outside = {self._source(leaf) for other in others for leaf in other.leaves} | set(self.function.outputs)
        outside |= {op.operands[0] for op in self.views}
        stored = [t for t in group.targets if isinstance(t, Value)]
        return [value for value in stored if value in outside]

    def _body(self, group: Group, stored: Sequence[Value], name: str) -> Function:
        return Function(name, tuple(group.leaves), tuple(group.ops), tuple(stored), kind="kernel")

    def _emit(self, groups: list[Group]) -> Outlined:
        kernels: dict[str, Function] = {}
        schedules: dict[str, Schedule] = {}
        launches: list[Op] = []
        pending_views = list(self.views)
        known: set[Value] = set(self.function.inputs)
        for number, group in enumerate(groups):
            name = f"{re.sub('[^A-Za-z0-9_]', '_', self.function.name)}_{number}"
            stored = self._stored(group, [g for g in groups if g is not group])
            kernel = self._body(group, stored, name)
            schedule = schedule_of(kernel)
            if isinstance(schedule, Refusal):
                raise CompilerBug(f"a fused kernel has no schedule: {schedule.reason}")
            kernels[name], schedules[name] = kernel, schedule
            pending_views = _take_views(pending_views, known, launches)
            launches.append(Op("launch", kernel.inputs, {"callee": name}, tuple(stored)))
            known.update(stored)
        _take_views(pending_views, known, launches)
        entry = self.function.with_(ops=tuple(launches))
        others = [f for f in self.module.functions.values() if f.name != entry.name and f.kind == "func"]
        functions = {f.name: f for f in (*others, *kernels.values(), entry)}
        return Outlined(Module(functions, entry.name), schedules, tuple(self.refused))


def _with_sizes(function: Function) -> Function:
    """`dim %x` as `size` of the dimension itself: a kernel that needs a size needs no tensor for it."""
    ops = [
        Op("size", (), {"of": (op.operands[0].type.shape[op.attributes["axis"]],)}, op.results, op.span)
        if op.name == "dim" else op
        for op in function.ops
    ]  # fmt: skip
    return function.with_(ops=tuple(ops))


def _take_views(views: list[Op], known: set[Value], launches: list[Op]) -> list[Op]:
    """Append the views whose operand is in memory; return the others."""
    waiting = []
    for op in views:
        if op.operands[0] in known:
            launches.append(op)
            known.add(op.result)
        else:
            waiting.append(op)
    return waiting


def _names(group: Group) -> str:
    return ", ".join(f"%{t.name}" if isinstance(t, Value) else "a check" for t in group.targets)
