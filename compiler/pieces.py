"""Launches of a repeated function: their kernels find one piece of the rows in buffers that hold all of them.

In: a launch whose kernel takes each buffer as if it began with the piece. Out: the same launch with a scalar argument,
the piece's first row, and with every index into such a buffer, and every position that a check reports, moved on by the
rows before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..ir.arithmetic import add, index_var, integer, minimum, mul
from ..ir.kernel import Apply, AtomicMin, Expr, Load, Prefetch, Splat, Store, Var, walk_expressions, walk_statements
from ..ir.program import CHECK_HOLDS, Launch

Node = TypeVar("Node")


def move_to_piece(launch: Launch, start: str, row_elements: Mapping[str, Expr], checked: Mapping[int, Expr]) -> Launch:
    """`launch` with indices into the buffers of `row_elements` moved on by `start` rows of so many elements, and so the
    positions in the status words of `checked`."""
    moved = {
        argument.name: mul(index_var(start), row_elements[name])
        for argument, name in zip(launch.kernel.buffers, launch.buffers)
        if name in row_elements
    }
    kernel = launch.kernel
    positions: dict[Expr, Expr] = {integer(slot): mul(index_var(start), elements) for slot, elements in checked.items()}
    reported = {s.index for s in walk_statements(kernel.body) if isinstance(s, AtomicMin)}
    offsets = [*moved.values(), *(offset for word, offset in positions.items() if word in reported)]
    needed = dict.fromkeys([*kernel.scalars, *(var for offset in offsets for var in _variables(offset))])
    body = tuple(_moved(statement, moved, positions) for statement in kernel.body)
    scalars = {**{var.name: var for var in needed}, **launch.scalars}
    return replace(launch, entry=replace(kernel, scalars=tuple(needed), body=body), scalars=scalars)


def _variables(expression: Expr) -> Iterator[Var]:
    return (inner for inner in walk_expressions(expression) if isinstance(inner, Var))


def _moved(node: Node, moved: Mapping[str, Expr], positions: Mapping[Expr, Expr]) -> Node:
    """A statement or expression with the indices in it moved on."""
    changes: dict[str, Any] = {}
    for field in fields(node):  # type: ignore[arg-type]
        value = getattr(node, field.name)
        if isinstance(value, tuple):
            inner = (_moved(item, moved, positions) if is_dataclass(item) else item for item in value)
            changes[field.name] = tuple(inner)
        elif is_dataclass(value):
            changes[field.name] = _moved(value, moved, positions)
    if isinstance(node, AtomicMin):
        changes["value"] = _position(changes["value"], positions[node.index])
    elif isinstance(node, (Load, Store, Prefetch)) and node.buffer in moved:
        index, offset = changes["index"], moved[node.buffer]
        changes["index"] = add(index, offset) if index.width == 1 else _added(index, offset)
    return replace(node, **changes) if changes else node  # type: ignore[type-var]


def _position(first: Expr, offset: Expr) -> Expr:
    """A position, as far as it fits a status word."""
    return Apply("cast", (minimum(add(Apply("cast", (first,), "i64"), offset), integer(CHECK_HOLDS - 1)),), "i32")


def _added(index: Expr, offset: Expr) -> Expr:
    return Apply("add", (index, Splat(offset, index.width)), "i64", index.width)
