"""Launches of a repeated function: their kernels find one piece of the rows in buffers that hold all of them.

In: a launch whose kernel takes each buffer as if it began with the piece. Out: the same launch with a scalar argument,
the piece's first row, and with every index into such a buffer moved on by the rows before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..ir.kernel import Apply, AtomicMin, Expr, Load, Prefetch, Splat, Store, Var, add, index_var, mul, walk_expressions
from ..ir.program import Launch

Node = TypeVar("Node")


def move_to_piece(launch: Launch, start: str, row_elements: Mapping[str, Expr]) -> Launch:
    """`launch` with indices into the buffers of `row_elements` moved on by `start` rows of so many elements."""
    moved = {
        argument.name: mul(index_var(start), row_elements[name])
        for argument, name in zip(launch.kernel.buffers, launch.buffers)
        if name in row_elements
    }
    kernel = launch.kernel
    needed = dict.fromkeys([*kernel.scalars, *(var for offset in moved.values() for var in _variables(offset))])
    body = tuple(_moved(statement, moved) for statement in kernel.body)
    scalars = {**{var.name: var for var in needed}, **launch.scalars}
    return replace(launch, kernel=replace(kernel, scalars=tuple(needed), body=body), scalars=scalars)


def _variables(expression: Expr) -> Iterator[Var]:
    return (inner for inner in walk_expressions(expression) if isinstance(inner, Var))


def _moved(node: Node, moved: Mapping[str, Expr]) -> Node:
    """A statement or expression with the indices in it moved on."""
    changes: dict[str, Any] = {}
    for field in fields(node):  # type: ignore[arg-type]
        value = getattr(node, field.name)
        if isinstance(value, tuple):
            changes[field.name] = tuple(_moved(item, moved) if is_dataclass(item) else item for item in value)
        elif is_dataclass(value):
            changes[field.name] = _moved(value, moved)
    if isinstance(node, (Load, Store, AtomicMin, Prefetch)) and node.buffer in moved:
        index, offset = changes["index"], moved[node.buffer]
        changes["index"] = add(index, offset) if index.width == 1 else _added(index, offset)
    return replace(node, **changes) if changes else node  # type: ignore[type-var]


def _added(index: Expr, offset: Expr) -> Expr:
    return Apply("add", (index, Splat(offset, index.width)), "i64", index.width)
