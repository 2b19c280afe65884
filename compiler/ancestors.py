"""The ancestors of values in the graph of a function: what they are computed from, and what they repeat."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ..ir.function import Op, Value
from ..ir.ops import VIEWS, read_here

Producer = Callable[[Value], "Op | None"]
"""Who makes a value; None for inputs."""

Places = tuple["int | None", ...]
"""For each axis of a value, the axis of another along which it lies. None: it has one element and is repeated."""


def source(value: Value, producer: Mapping[Value, Op]) -> Value:
    """The value that `value` repeats or renames, through any number of views."""
    while (op := producer.get(value)) is not None and op.name in VIEWS:
        value = op.operands[0]
    return value


def behind_views(value: Value, producer: Producer, places: Places | None = None) -> tuple[Value, Places]:
    """The value behind views that cut no axis anew, and where its axes lie; `places`: where those of `value` do, else
    each in its own place."""
    places = tuple(range(value.type.rank)) if places is None else places
    while (op := producer(value)) is not None and op.name in VIEWS:
        before = _places_before(op, places)
        if before is None:
            break
        places, value = before, op.operands[0]
    return value, places


def _places_before(view: Op, places: Places) -> Places | None:
    """Where the axes of a view's operand lie, from where those of its result do; None where they are cut anew."""
    before, after = view.operands[0].type.shape, view.result.type.shape
    match view.name:
        case "broadcast":
            dims = view.attributes["dims"]
            return tuple(places[dim] if size == after[dim] else None for dim, size in zip(dims, before))
        case "transpose":
            return tuple(places[view.attributes["permutation"].index(axis)] for axis in range(len(before)))
        case "reshape":
            long = [(size, place) for size, place in zip(after, places) if size != 1]
            if [size for size in before if size != 1] != [size for size, _ in long]:
                return None
            rest = iter(place for _, place in long)
            return tuple(None if size == 1 else next(rest) for size in before)
    return places


def ancestors(
    targets: Iterable[Value], producer: Mapping[Value, Op], stop: Collection[Value] = (), elsewhere: bool = True
) -> set[Value]:
    """The targets and everything that they are computed from: the backward slice. Values of `stop` count, their own
    ancestors do not; without `elsewhere` only what is read at the same point, not what a gather or a window reads at
    another one."""
    pending, seen = list(targets), set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        op = producer.get(value)
        if op is not None and value not in stop:
            pending += op.operands if elsewhere else read_here(op)
    return seen
