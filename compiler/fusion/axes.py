"""Which axes of the values of a function are the same loop: one union-find over (value, axis) pairs.

In: operations, each of which says which axes of its operands and results run together. Out: for each axis one that
stands for all that are the same loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ir.function import Function, Op, Value
from ...ir.ops import FREE, REDUCTIONS, WINDOWS

Slot = tuple[Value, int]


class Axes:
    """Union-find of tensor axes. Axes of static size 1 take no part."""

    def __init__(self) -> None:
        self.parent: dict[Slot, Slot] = {}

    def find(self, slot: Slot) -> Slot:
        root = slot
        while (above := self.parent.setdefault(root, root)) != root:
            root = above
        while self.parent[slot] != root:
            self.parent[slot], slot = root, self.parent[slot]
        return root

    def join(self, a: Slot, b: Slot) -> None:
        if a[0].type.shape[a[1]] != 1 and b[0].type.shape[b[1]] != 1:
            self.parent[self.find(a)] = self.find(b)


def is_unit_reshape(op: Op) -> bool:
    """Whether a reshape only adds or drops axes of size 1."""
    source, target = op.operands[0].type.shape, op.result.type.shape
    return [d for d in source if d != 1] == [d for d in target if d != 1]


def is_whole_reduction(op: Op) -> bool:
    """Whether a reduction names every axis of its operand."""
    return op.name in REDUCTIONS and len(op.attributes["axes"]) == op.operands[0].type.rank


def is_row_reduction(op: Op) -> bool:
    return op.name in REDUCTIONS and not is_whole_reduction(op)


def join_axes(op: Op, axes: Axes) -> None:
    """Say which axes of the operands and results of one operation are the same loop."""
    if op.name == "broadcast":
        for axis, target in enumerate(op.attributes["dims"]):
            axes.join((op.operands[0], axis), (op.result, target))
    elif op.name == "transpose":
        for axis, source in enumerate(op.attributes["permutation"]):
            axes.join((op.operands[0], source), (op.result, axis))
    elif op.name == "reshape":
        pairs = zip(long_axes(op.operands[0]), long_axes(op.result))
        for source, target in pairs:
            axes.join((op.operands[0], source), (op.result, target))
    elif is_row_reduction(op):
        _join_kept(op.operands[0], op.attributes["axes"], op.result, axes)
    elif op.name == "gather":
        _join_kept(op.operands[0], (op.attributes["axis"],), op.result, axes)
        for axis in range(op.result.type.rank):
            axes.join((op.operands[1], axis), (op.result, axis))
    elif op.name in WINDOWS:
        for operand in op.operands:
            for axis in range(operand.type.rank):
                if axis != op.attributes["axis"]:
                    axes.join((operand, axis), (op.result, axis))
    elif op.name == "matmul":
        left, right = op.operands
        rows, inner_left = (1, 0) if op.attributes["transpose_left"] else (0, 1)
        columns, inner_right = (0, 1) if op.attributes["transpose_right"] else (1, 0)
        axes.join((left, rows), (op.result, 0))
        axes.join((right, columns), (op.result, 1))
        axes.join((left, inner_left), (right, inner_right))
    elif op.name not in FREE and not is_whole_reduction(op):
        values = [*op.operands, *op.results]
        for value in values[1:]:
            for axis in range(value.type.rank):
                axes.join((values[0], axis), (value, axis))


def slots_of(function: Function) -> Mapping[Value, tuple[Slot, ...]]:
    """For each axis of each value, one that stands for all axes which are the same loop."""
    axes = Axes()
    for op in function.ops:
        if op.name != "repeat":
            join_axes(op, axes)
    values = values_in_order(function)
    return {value: tuple(axes.find((value, axis)) for axis in range(value.type.rank)) for value in values}


def long_axes(value: Value) -> list[int]:
    return [axis for axis, size in enumerate(value.type.shape) if size != 1]


def _join_kept(operand: Value, removed: Iterable[int], result: Value, axes: Axes) -> None:
    kept = [axis for axis in range(operand.type.rank) if axis not in removed]
    for target, axis in enumerate(kept):
        axes.join((operand, axis), (result, target))


def values_in_order(function: Function) -> list[Value]:
    values = list(function.inputs)
    for op in function.ops:
        values += op.results
    return list(dict.fromkeys(values))
