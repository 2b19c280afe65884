"""The schedule of one fused kernel: what is computed at which grain and in which pass over a row. Plain data.

A fused kernel runs over a domain of axes. Each tensor axis of each value is one of them (or has size 1), so
broadcasts and transposes cost nothing: they only say which axes a value varies along. Row reductions all reduce
the same axes; the other looped axes are the rows. What is the same in every row (a sum of class weights) is reduced
in each. A whole reduction reduces everything and is finished after the rows; what depends on it is computed once, at
the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property

from .frozen import frozen
from .function import Function, Op, Value
from .types import DimLike, Shape

Place = tuple[Shape, int, DimLike]
"""A shape that places are told in, and the axis along which it begins so far behind the first of a longer one."""


@frozen
class Schedule:
    """`axes`: sizes, outer to inner. `looped`: those that need a loop (others are only indexed by `gather`).
    `where`: the domain axis of each tensor axis, None for size 1. `varies`: the axes a value depends on.
    `stage`: the pass over the row in which a value can be computed; a row reduction ends its pass. `across`: sums along
    the innermost axis of the rows, one for every column, which are only stored. `maxima`: inputs that another kernel
    has found as maxima of an input. `missing`: maxima that may miss a NaN: in all that the program makes of them it
    comes back by itself. `narrow`: the kernel as it is written, where `function` computes its windows along whole
    arrays (`fusion/masks.py`); of that, `original` has the operation that each was, `places` where its checks fail, and
    where its choices inside of a window are stored."""

    function: Function
    axes: tuple[DimLike, ...]
    looped: frozenset[int]
    reduced: frozenset[int]
    where: Mapping[Value, tuple[int | None, ...]]
    varies: Mapping[Value, frozenset[int]]
    stage: Mapping[Value, int]
    row_reductions: tuple[Op, ...]
    whole_reductions: tuple[Op, ...]
    finish: frozenset[Op]
    matmul: Op | None = None
    across: tuple[Op, ...] = ()
    maxima: Mapping[Value, Value] = field(default_factory=dict)
    missing: frozenset[Op] = frozenset()
    narrow: Function | None = None
    original: Mapping[Op, Op] = field(default_factory=dict)
    places: Mapping[Op | Value, Place] = field(default_factory=dict)

    @cached_property
    def written(self) -> Function:
        """The kernel as it reads in text."""
        return self.function if self.narrow is None else self.narrow.with_(name=self.function.name)

    def shape_of(self, value: Value) -> Shape:
        """The shape of what is read or stored as `value`."""
        return self.places[value][0] if value in self.places else value.type.shape

    def axis_of(self, op: Op, value: Value) -> int | None:
        """The axis of the domain that is the `axis` of an operation, as it is one of `value`'s; None for size 1."""
        return self.where[value][op.attributes["axis"]]

    @cached_property
    def producer(self) -> Mapping[Value, Op]:
        """The operation that makes each value but the inputs."""
        return self.function.producers()

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The looped axes that are not reduced, outer to inner."""
        return tuple(sorted(self.looped - self.reduced))

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The reduced axes, outer to inner."""
        return tuple(sorted(self.reduced))

    @cached_property
    def stages(self) -> int:
        """Passes over a row: up to the last that reduces, stores, sums or checks elements."""
        at_elements = (*self.row_reductions, *self.element_sums, *self.element_checks, *self.across)
        read = [op.operands[0] for op in at_elements]
        return 1 + max((self.stage[value] for value in (*read, *self.element_outputs)), default=0)

    @cached_property
    def repeated_reductions(self) -> tuple[Op, ...]:
        """The row reductions that give the same in every row; none of a single row."""
        if not self.rows:
            return ()
        return tuple(op for op in self.row_reductions if not self.varies[op.operands[0]] & frozenset(self.rows))

    @cached_property
    def element_sums(self) -> tuple[Op, ...]:
        """The whole reductions over elements; the others are over rows."""
        return tuple(op for op in self.whole_reductions if self.varies[op.operands[0]] == self.looped)

    @cached_property
    def checks(self) -> tuple[Op, ...]:
        """The checks of elements and rows; the others are of what is known at the end."""
        return tuple(op for op in self.function.ops if op.name == "check" and op not in self.finish)

    @cached_property
    def element_checks(self) -> tuple[Op, ...]:
        """The checks along columns; the others are of rows."""
        return tuple(op for op in self.checks if not self.reduced or self.varies[op.operands[0]] & self.reduced)

    @cached_property
    def element_outputs(self) -> tuple[Value, ...]:
        return tuple(v for v in self.function.outputs if v not in self.finished and self.varies[v] == self.looped)

    @cached_property
    def parts(self) -> tuple[Value, ...]:
        """The outputs that are stored where a window is."""
        return tuple(value for value in self.function.outputs if value in self.places)

    @cached_property
    def row_outputs(self) -> tuple[Value, ...]:
        elements = {*self.element_outputs, *(op.result for op in self.across)}
        return tuple(v for v in self.function.outputs if v not in elements and v not in self.finished)

    @cached_property
    def finished(self) -> frozenset[Value]:
        """Values known only after the whole reductions."""
        done = {op.result for op in self.whole_reductions}
        return frozenset(done | {result for op in self.finish for result in op.results})


@frozen
class Refusal:
    """Why operations cannot be one kernel. `along_two_loops`: one value would be indexed by two loops at once, so that
    a copy of it for each may be the way out."""

    reason: str
    along_two_loops: bool = False
