"""How the work-items of a group find the value of a reduction together, in local memory.

In: accumulators of every item. Out: for each reduction one value, the same in every item of a row (or of the group).
One barrier where up to 32 items share a row, two where more do: no tree of halves with a barrier at each step.

    one level     every item stores its part; barrier; every item joins all parts of its row
    two levels    every item stores its part; barrier; item l joins the parts l, l + s, l + 2 s, ... of its row, the
                  first s items store what they found; barrier; every item joins those s

In what follows no array is written before all have read it: with two levels a barrier lies between the reading of
either array and the next writing, and meetings of one level that follow each other have arrays of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir.arithmetic import add, integer, less, mod, mul, sub
from ...ir.function import Op
from ...ir.kernel import Apply, Barrier, Expr, If, Load, LocalArray, Reduce, Store
from ...ir.target import DeviceInfo
from ...ir.types import ITEM_SIZE
from ..emission.emit import Emitter, Scope
from ..emission.monoids import Monoid
from ..emission.reductions import Accumulators, fold

ONE_LEVEL = 32
"""Most parts that every item joins by itself: eight loads of four."""


@dataclass
class Meeting:
    """All meetings of one kernel. `item` is an item's number in the group of `size`."""

    emitter: Emitter
    size: int
    item: Expr
    widest: int = 4
    """Lanes of a vector that is read of local memory."""
    arrays: list[LocalArray] = field(default_factory=list)
    shared: dict[tuple[int, str, int, int], LocalArray] = field(default_factory=dict)
    alone: int = 0

    def join(self, scope: Scope, groups: Sequence[Accumulators], lanes: int) -> dict[Op, Expr]:
        """The value of each reduction over the `lanes` neighbours that an item belongs to, known to all of them."""
        values = {each.op: fold(self.emitter, scope, each, True) for each in groups}
        return self.join_values(scope, values, {each.op: each.monoid for each in groups}, lanes)

    def join_values(
        self, scope: Scope, values: dict[Op, Expr], monoids: dict[Op, Monoid], lanes: int
    ) -> dict[Op, Expr]:
        if lanes == 1 or not values:
            return values
        emitter, whole = self.emitter, lanes == self.size
        lane = self.item if whole else emitter.let(scope, "lane", mod(self.item, integer(lanes)))
        first = integer(0) if whole else emitter.let(scope, "first", sub(self.item, lane))
        second = 1 << (lanes.bit_length() - 1) // 2
        own = self.alone if lanes <= ONE_LEVEL else -1
        self.alone += lanes <= ONE_LEVEL
        found: dict[Op, Expr] = {}
        parts = [self._array(lanes, monoid.dtype, own, place) for place, monoid in enumerate(monoids.values())]
        scope.statements += [Store(part.name, self.item, values[op]) for op, part in zip(values, parts)]
        scope.statements.append(Barrier())
        if lanes <= ONE_LEVEL:
            for (op, monoid), part in zip(monoids.items(), parts):
                found[op] = self._all(scope, op, monoid, part, first, lanes)
            return found
        seconds = [self._array(-lanes, monoid.dtype, own, place) for place, monoid in enumerate(monoids.values())]
        row = integer(0) if whole else mul(Apply("div", (self.item, integer(lanes)), "i64"), integer(second))
        row = emitter.let(scope, "row", row)
        few = scope.inner()
        start = add(first, lane)
        for (op, monoid), part, other in zip(monoids.items(), parts, seconds):
            places = [add(start, integer(step)) for step in range(0, lanes, second)]
            joined = self._joined(few, op, monoid, [Load(part.name, place, monoid.dtype) for place in places])
            few.statements.append(Store(other.name, add(row, lane), joined))
        scope.statements.append(If(less(lane, integer(second)), tuple(few.statements)))
        scope.statements.append(Barrier())
        for (op, monoid), other in zip(monoids.items(), seconds):
            found[op] = self._all(scope, op, monoid, other, row, second)
        return found

    def close_turn(self, scope: Scope) -> None:
        """At the end of a loop's body: nobody starts the next turn while others still read what it writes first."""
        if self.alone == 1:
            scope.statements.append(Barrier())

    def _all(self, scope: Scope, op: Op, monoid: Monoid, array: LocalArray, first: Expr, count: int) -> Expr:
        """The parts from `first` on, read by every item alike: one access serves all of them."""
        width = min(self.widest, count) if ITEM_SIZE[monoid.dtype] == 4 else min(2, self.widest, count)
        places = [add(first, integer(step)) for step in range(0, count, width)]
        parts = [Load(array.name, place, monoid.dtype, width, aligned=width > 1) for place in places]
        joined = self._joined(scope, op, monoid, parts)
        value = Reduce(monoid.combine, joined) if width > 1 else joined
        return self.emitter.let(scope, op.result.name, value)

    def _joined(self, scope: Scope, op: Op, monoid: Monoid, parts: Sequence[Expr]) -> Expr:
        """Some parts as one, from the first to the last."""
        joined = self.emitter.let(scope, op.result.name, parts[0])
        for part in parts[1:]:
            other = self.emitter.let(scope, "part", part)
            joined = self.emitter.let(scope, op.result.name, monoid.join(joined, other))
        return joined

    def _array(self, level: int, dtype: str, own: int, place: int) -> LocalArray:
        key = (level, dtype, own, place)
        if key not in self.shared:
            size = self.size if level > 0 else self.size // -level * (1 << ((-level).bit_length() - 1) // 2)
            name = self.emitter.fresh("met", dtype).name
            self.shared[key] = LocalArray(name, dtype, size)
            self.arrays.append(self.shared[key])
        return self.shared[key]


def widest_of(device: DeviceInfo) -> int:
    return min(4, device.vector_width)


def meeting_bytes(size: int, lanes: int, reductions: Sequence[int], sums: int, item: int) -> int:
    """The most local memory that meetings take: of so many reductions at each stage of a row, of so many sums in the
    end, with items of so many bytes."""
    each = size + 2 * ONE_LEVEL
    if lanes == size > ONE_LEVEL:
        return item * each * max(*reductions, sums)
    met = 0 if lanes == 1 else sum(reductions) if lanes <= ONE_LEVEL else max(reductions)
    return item * each * (met + sums)
