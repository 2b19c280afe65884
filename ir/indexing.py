"""What stands in the brackets of `x[...]`, as in NumPy: whole numbers, slices of neighbours, `None` and `...`.

In: the type of a tensor and the items. Out: which slices to take of it, and which axes to keep. What NumPy has beside,
arrays of numbers and of truth values, is `gather` and `select` here.
"""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

from .diagnostics import Limitation, LirError
from .frozen import frozen
from .types import Dim, DimLike, Type


@frozen
class Part:
    """The slices, each an axis with where it starts and stops, and the axes that are left: None is a new one."""

    slices: tuple[tuple[int, DimLike, DimLike], ...]
    axes: tuple[int | None, ...]


def part_of(type_: Type, items: tuple[Any, ...]) -> Part:
    """The part of a tensor that the items name. Raises LirError."""
    slices: list[tuple[int, DimLike, DimLike]] = []
    axes: list[int | None] = []
    axis = 0
    for item in _with_all_axes(type_, items):
        if item is None:
            axes.append(None)
            continue
        start, stop = _bounds(type_, axis, item)
        if (start, stop) != (0, type_.shape[axis]):
            slices.append((axis, start, stop))
        if isinstance(item, slice):
            axes.append(axis)
        axis += 1
    return Part(tuple(slices), tuple(axes))


def _with_all_axes(type_: Type, items: tuple[Any, ...]) -> list[Any]:
    """The items with a slice for every axis that none is for."""
    used = sum(item is not None and not isinstance(item, EllipsisType) for item in items)
    dots = [place for place, item in enumerate(items) if isinstance(item, EllipsisType)]
    if used > type_.rank:
        raise LirError(f"{used} indices for {type_}, which has {type_.rank} axes", code="LIR0033")
    if len(dots) > 1:
        raise LirError("`...` stands for the other axes once", code="LIR0033")
    place = dots[0] if dots else len(items)
    return [*items[:place], *[slice(None)] * (type_.rank - used), *items[place + 1 :]]


def _bounds(type_: Type, axis: int, item: Any) -> tuple[DimLike, DimLike]:
    size = type_.shape[axis]
    if isinstance(item, slice):
        if item.step is not None and not (_is_whole(item.step) and operator.index(item.step) == 1):
            raise Limitation(f"a slice takes neighbours in their order, found a step of {item.step}",
                             "reshape, and take one element of the new axis: x.reshape((n, 2))[:, 0]")  # fmt: skip
        given = [bound for bound in (item.start, item.stop) if bound is not None]
        if isinstance(size, int) and all(map(_is_whole, given)):
            start, stop, _ = item.indices(size)
            return start, max(start, stop)
        for bound in given:
            _check(bound)
        stop = size if item.stop is None else item.stop
        return 0 if item.start is None else item.start, stop
    if not _is_whole(item):
        _check(item)
        raise LirError(f"one element of an axis is named by a whole number, found {item}", code="LIR0033")
    if not isinstance(size, int):
        raise Limitation(f"whether axis {axis} of {type_} has an element {item} is known only at run time",
                         "declare the axis with its size, or use gather, which gives 0 where there is none",
                         )  # fmt: skip
    if not -size <= item < size:
        raise LirError(f"index {item} is out of range for axis {axis} of {type_}", code="LIR0033")
    start = int(item) % size
    return start, start + 1


def _is_whole(item: Any) -> bool:
    if isinstance(item, bool):
        return False
    try:
        operator.index(item)
    except TypeError:  # arrays have `__index__` too, and only one number counts as a whole one
        return False
    return True


def _check(bound: Any) -> None:
    if not _is_whole(bound) and not isinstance(bound, Dim):
        raise LirError(f"expected a whole number or a slice in the brackets, found {type(bound).__name__}",
                       "one element a position is gather, a choice by truth values is select",
                       code="LIR0033")  # fmt: skip
