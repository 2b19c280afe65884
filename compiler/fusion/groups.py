"""Groups of operations that are to become kernels, and how they hang together.

In: a function of primitives. Out: `Groups`, which knows for every set of targets what has to be computed for it, who
needs whom, and whether one loop nest serves. The policy is in `outline.py`, `repeated.py` and `small_values.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from ...ir.diagnostics import CompilerBug
from ...ir.frozen import frozen
from ...ir.function import Function, Op, Value
from ...ir.ops import WINDOWS
from ...ir.schedule import Refusal, Schedule
from ...ir.types import ITEM_SIZE, dim_names, dim_value
from .axes import is_row_reduction, is_unit_reshape
from .copies import with_copies
from .schedule import schedule_of

Target = Value | Op  # an Op is a check

TYPICAL_SIZE = 1024
"""What a dimension name counts as where savings are compared."""


@frozen(eq=False)
class Group:
    """A kernel in the making. `ops` lead from other groups' targets, the `leaves`, to its own `targets`; what others
    read of these is `stored`, and is the result of `schedule.written`. The inputs of that are `read`: a leaf that runs
    along two loops is two inputs. Groups are merged in the order of `number`. A `repeat` is a group without a schedule:
    it has kernels of its own."""

    number: int
    targets: tuple[Target, ...]
    ops: tuple[Op, ...]
    leaves: tuple[Value, ...]
    read: tuple[Value, ...]
    stored: tuple[Value, ...]
    schedule: Schedule | None

    @property
    def row_reductions(self) -> Iterator[Op]:
        return (op for op in self.ops if is_row_reduction(op))

    def __str__(self) -> str:
        return ", ".join(f"%{value.name}" for value in self.stored) or "a check"


class Groups:
    """The groups of one function. `materialised`: the values that lie in memory. `across`: whether a kernel may sum
    across its rows. `apart`: what no kernel computes that looks at it through a window."""

    def __init__(self, function: Function, across: bool = False, apart: Collection[Value] = ()):
        self.function, self.across, self.apart = function, across, frozenset(apart)
        self.producer = function.producers()
        self.outputs = frozenset(function.outputs)
        self._position = {op: index for index, op in enumerate(function.ops)}
        values = (*function.inputs, *(result for op in function.ops for result in op.results))
        self._rank = {value: rank for rank, value in enumerate(values)}
        multiplied = {operand for op in function.ops if op.name == "matmul" for operand in op.operands}
        # A reshape is the same memory under another shape where it regroups elements, or a matrix product, whose
        # operands are in memory, reads it. Other reshapes only rename axes inside a kernel.
        self.views = [op for op in function.ops
                      if op.name == "reshape" and (not is_unit_reshape(op) or op.result in multiplied)]  # fmt: skip
        self._source: dict[Value, Value] = {}
        self._sizes: dict[Value, int] = {}
        for op in self.views:
            self._source[op.result] = self.source(op.operands[0])
        self._viewed = {op.operands[0] for op in self.views}
        self.materialised = {*function.inputs, *self._source}
        self.all: dict[Group, None] = {}
        self.owner: dict[Target, Group] = {}
        self._successor: dict[Group, Group] = {}
        self._readers: dict[Value, dict[Group, None]] = {}
        self._dependents: dict[Value, dict[Group, None]] = {}
        self._computing: dict[Op, dict[Group, None]] = {}

    def source(self, value: Value) -> Value:
        """The stored value that a chain of views looks at."""
        return self._source.get(value, value)

    def is_view(self, value: Value) -> bool:
        return value in self._source

    @property
    def repeats(self) -> list[Op]:
        return [op for op in self.function.ops if op.name == "repeat"]

    def is_computed(self, target: Target) -> bool:
        """Whether a kernel computes a target: neither a view nor a repeat does."""
        return isinstance(target, Op) or not (self.is_view(target) or self.producer[target].name == "repeat")

    def in_order(self, targets: Iterable[Target]) -> tuple[Target, ...]:
        """Targets in the order of the program."""
        return tuple(sorted(targets, key=lambda t: self._position[t if isinstance(t, Op) else self.producer[t]]))

    # --- membership ---

    def add(self, group: Group) -> None:
        self.all[group] = None
        self.owner.update(dict.fromkeys(group.targets, group))
        for index, keys in self._indices(group):
            for key in keys:
                index.setdefault(key, {})[group] = None

    def remove(self, group: Group) -> None:
        del self.all[group]
        for index, keys in self._indices(group):
            for key in keys:
                index[key].pop(group, None)

    def replace(self, group: Group, other: Group) -> None:
        """Put `other` in place of a group: also for targets that it needs no longer store."""
        self.remove(group)
        self.add(other)
        self._successor[group] = other

    def group_for(self, target: Target) -> Group:
        """The group that has, or had, a target, or what came in its place."""
        group = self.owner[target]
        while group not in self.all:
            group = self._successor[group]
        return group

    def _indices(self, group: Group) -> list[tuple[dict, Collection]]:
        return [
            (self._readers, group.leaves),
            (self._dependents, dict.fromkeys(map(self.source, group.leaves))),
            (self._computing, tuple(group.row_reductions)),
        ]

    def drop_unread(self, group: Group) -> None:
        """Let a group compute for itself, if it has to, what no other reads any more."""
        read = [t for t in group.targets if isinstance(t, Op) or self._is_read_outside(t, {group})]
        unread = {t for t in group.targets if isinstance(t, Value) and t not in read}
        self.materialised -= unread
        smaller = self.group_of(group.number, read) if unread and read else None
        if isinstance(smaller, Group):
            self.replace(group, smaller)
        else:
            self.materialised |= unread

    # --- relations ---

    def computing(self, op: Op) -> Collection[Group]:
        """The groups that compute a row reduction."""
        return self._computing.get(op, {})

    def with_reductions_of(self, group: Group) -> Iterator[Group]:
        return (other for op in group.row_reductions for other in self.computing(op))

    def needed_by(self, group: Group) -> Iterator[Group]:
        """The groups that compute what `group` reads, directly or through a view."""
        owners = (self.owner.get(self.source(leaf)) for leaf in group.leaves)
        return (owner for owner in owners if owner is not None and owner is not group)

    def needing(self, group: Group) -> Iterator[Group]:
        return (other for t in group.targets if isinstance(t, Value) for other in self._dependents.get(t, ()))

    def reading_the_same(self, group: Group) -> Iterator[Group]:
        """The groups that read a tensor of more than one element that `group` reads; those of checks alone join what
        reads a single label, too."""
        large = (leaf for leaf in group.leaves if leaf.type.count != 1 or not group.stored)
        return (other for leaf in large for other in self._readers.get(leaf, ()))

    def partners(self, group: Group) -> set[Group]:
        """The groups that `group` needs, that need it, and that read the same."""
        found = {*self.needed_by(group), *self.needing(group), *self.reading_the_same(group)}
        return found - {group}

    def are_neighbours(self, a: Group, b: Group) -> bool:
        """Whether one of two groups needs the other."""
        return b in self.needed_by(a) or a in self.needed_by(b)

    def bytes_saved(self, a: Group, b: Group) -> int:
        """About how many bytes one group in place of two need not move: what both read, and twice what one stores and
        the other reads."""
        ours, theirs = map(self.source, a.leaves), map(self.source, b.leaves)
        read, also = set(ours), set(theirs)
        handed = {t for t in a.targets if t in also} | {t for t in b.targets if t in read}
        return sum(map(self.size_of, read & also)) + 2 * sum(self.size_of(t) for t in handed if isinstance(t, Value))

    def size_of(self, value: Value) -> int:
        """About how many bytes a value has."""
        if value not in self._sizes:
            sizes = dict.fromkeys((name for dim in value.type.shape for name in dim_names(dim)), TYPICAL_SIZE)
            count = math.prod(dim_value(dim, sizes) for dim in value.type.shape)
            self._sizes[value] = count * ITEM_SIZE[value.type.dtype]
        return self._sizes[value]

    def obstacle(self, a: Group, b: Group) -> str | None:
        """Why no kernel can be both groups, whatever they compute: one needs the other through memory, or repeats."""
        if a.schedule is None or b.schedule is None:
            return "a repeat has kernels of its own"
        for start, goal in ((a, b), (b, a)):
            view = next((leaf for leaf in start.leaves if self.is_view(leaf)
                         and self.owner.get(self.source(leaf)) is goal), None)  # fmt: skip
            if view is not None:
                return f"%{view.name} regroups the elements of %{self.source(view).name}, which only memory does"
            looks = any(op.name in WINDOWS for op in start.ops)
            apart = next((leaf for leaf in start.leaves if looks and leaf in self.apart
                          and self.owner.get(leaf) is goal), None)  # fmt: skip
            if apart is not None:
                return f"%{apart.name} would be computed at every point from which it is looked at"
            between = self._between(start, goal)
            if between is not None:
                return f"one needs the other through {between}"
        return None

    def _between(self, start: Group, goal: Group) -> Group | None:
        """A third group that needs `goal`, and that `start` needs."""
        pending = [group for group in self.needed_by(start) if group is not goal]
        seen = set(pending)
        while pending:
            group = pending.pop()
            for needed in self.needed_by(group):
                if needed is goal:
                    return group
                if needed not in seen:
                    seen.add(needed)
                    pending.append(needed)
        return None

    def ordered(self) -> list[Group]:
        """Groups so that each comes after those it needs, otherwise by their numbers."""
        order: dict[Group, None] = {}
        waiting = sorted(self.all, key=lambda group: -group.number)
        entered: set[Group] = set()
        while waiting:
            group = waiting[-1]
            missing = [needed for needed in self.needed_by(group) if needed not in order]
            if group in order or not missing:
                order[waiting.pop()] = None
            elif group in entered:
                raise CompilerBug("fused kernels need each other in a circle")
            else:
                entered.add(group)
                waiting += sorted(dict.fromkeys(missing), key=lambda needed: -needed.number)
        return list(order)

    # --- making groups ---

    def body(self, targets: Sequence[Target]) -> tuple[list[Op], list[Value]]:
        """The operations from what lies in memory to some targets, and what they read there."""
        own, seen = set(targets), set[Op]()
        leaves: set[Value] = set()
        pending = [t if isinstance(t, Op) else self.producer[t] for t in targets]
        while pending:
            op = pending.pop()
            if op in seen:
                continue
            seen.add(op)
            for operand in op.operands:
                if operand in self.materialised and operand not in own:
                    leaves.add(operand)
                elif operand in self.producer:
                    pending.append(self.producer[operand])
        return sorted(seen, key=self._position.__getitem__), sorted(leaves, key=self._rank.__getitem__)

    def group_of(self, number: int, targets: Sequence[Target]) -> Group | Refusal:
        """A new group with these targets; it is not yet one of these."""
        ops, leaves = self.body(targets)
        return self._scheduled(number, targets, ops, leaves, (), True)

    def group_of_repeat(self, op: Op) -> Group:
        """A repeat stands for itself."""
        # Numbers of other groups are fewer than the operations.
        number = self._position[op] + len(self.function.ops)
        return Group(number, op.results, (op,), op.operands, op.operands, op.results, None)

    def joined(self, a: Group, b: Group, may_copy: bool) -> Group | Refusal:
        """One group in place of two, with the number of the first. `may_copy`: what both read may be read twice."""
        targets = self.in_order([*a.targets, *b.targets])
        own = set(targets)
        ops = sorted({*a.ops, *b.ops}, key=self._position.__getitem__)
        leaves = sorted({leaf for leaf in (*a.leaves, *b.leaves) if leaf not in own}, key=self._rank.__getitem__)
        return self._scheduled(a.number, targets, ops, leaves, (a, b), may_copy)

    def _scheduled(
        self, number: int, targets: Sequence[Target], ops: Sequence[Op], leaves: Sequence[Value],
        inside: Collection[Group], may_copy: bool,
    ) -> Group | Refusal:  # fmt: skip
        # A group of one target has that because somebody needs it.
        stored = [t for t in targets if isinstance(t, Value) and (not inside or self._is_read_outside(t, inside))]
        function = Function("kernel", tuple(leaves), tuple(ops), tuple(stored), kind="kernel")
        schedule = schedule_of(function, self.across)
        read: Sequence[Value] = leaves
        if isinstance(schedule, Refusal) and schedule.along_two_loops and may_copy:
            found = with_copies(function)
            if found is None:
                return schedule
            schedule, read = found
        if isinstance(schedule, Refusal):
            return schedule
        return Group(number, tuple(targets), tuple(ops), tuple(leaves), tuple(read),
                     schedule.written.outputs, schedule)  # fmt: skip

    def _is_read_outside(self, value: Value, inside: Collection[Group]) -> bool:
        if value in self.outputs or value in self._viewed:
            return True
        return any(group not in inside for group in self._dependents.get(value, ()))
