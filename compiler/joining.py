"""Kernels put together as one.

In: kernels that name their buffers as the program does. Out: one kernel with all their arguments and statements. What
each calls its own is renamed apart; private arrays of kernels that may share them lie in the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from ..ir.kernel import (
    BufferArgument,
    Expr,
    Kernel,
    PrivateArray,
    Stmt,
    Var,
    WorkItem,
    expressions_in,
    walk_statements,
)
from ..ir.names import distinct
from ..ir.program import Buffer, Launch, root_of

Node = TypeVar("Node")


def one_kernel(name: str, kernels: Sequence[Kernel], comment: Sequence[str], share: bool) -> Kernel:
    """Everything that these kernels do, one after the other. `share`: whether their private arrays lie in the same
    memory, where they are of one type; no kernel reads there what another has left."""
    arguments: dict[str, BufferArgument] = {}
    scalars: dict[str, Var] = {}
    for kernel in kernels:
        scalars |= {scalar.name: scalar for scalar in kernel.scalars}
        for buffer in kernel.buffers:
            known = arguments.get(buffer.name, buffer)
            arguments[buffer.name] = buffer if known.access == buffer.access else replace(buffer, access="readwrite")
    taken = {*arguments, *scalars}
    body: list[Stmt] = []
    arrays: dict[str, PrivateArray] = {}
    shared: dict[tuple[str, int], str] = {}
    for kernel in kernels:
        variables = dict.fromkeys(v.name for v in variables_of(kernel.body) if v.name not in scalars)
        own = dict.fromkeys([*(array.name for array in kernel.private_arrays), *variables])
        names = dict(zip(own, distinct(own, taken)))
        of_type: dict[str, int] = {}
        for array in kernel.private_arrays:
            if share:
                number = of_type[array.dtype] = of_type.get(array.dtype, 0) + 1
                names[array.name] = shared.setdefault((array.dtype, number), names[array.name])
            there = arrays.get(names[array.name], array)
            holds = array.holds if there is array else ()
            arrays[names[array.name]] = PrivateArray(names[array.name], array.dtype, max(array.size, there.size), holds)
        taken |= {*names.values()}
        body += [renamed(statement, names) for statement in kernel.body]
    return Kernel(name, tuple(arguments.values()), tuple(scalars.values()), tuple(body), (), tuple(arrays.values()),
                  comment=tuple(comment))  # fmt: skip


def views_are_written(launches: Sequence[Launch], buffers: Mapping[str, Buffer]) -> bool:
    """Whether memory would be written that has two names, which kernels take for two pieces of memory."""
    names: dict[str, set[str]] = {}
    written: set[str] = set()
    for launch in launches:
        for argument in launch.kernel.buffers:
            root = root_of(argument.name, buffers)
            names.setdefault(root, set()).add(argument.name)
            if argument.access != "read":
                written.add(root)
    return any(len(names[root]) > 1 for root in written)


def variables_of(body: tuple[Stmt, ...]) -> Iterator[Var]:
    for statement in walk_statements(body):
        for field in fields(statement):
            value = getattr(statement, field.name)
            if isinstance(value, Var):
                yield value
    for expression in expressions_in(body):
        if isinstance(expression, Var):
            yield expression


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """A statement or expression with other names for its variables and private arrays."""

    def other(part: Any) -> Any:
        named = "name" if isinstance(part, Var) else "buffer"
        name = vars(part).get(named)
        return _rebuilt(part, rebuilt, {named: names[name]} if name in names else {})

    rebuilt = _once_each(other)
    return rebuilt(node)


def with_items(node: Node, others: Mapping[WorkItem, Expr]) -> Node:
    """A statement or expression with other expressions in place of what it asks of its work-item."""

    def other(part: Any) -> Any:
        return others.get(part, part) if isinstance(part, WorkItem) else _rebuilt(part, rebuilt, {})

    rebuilt = _once_each(other)
    return rebuilt(node)


def _once_each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change of nodes that is made once of a node that stands in several places, as long expressions do."""
    changed: dict[int, Any] = {}

    def once(node: Any) -> Any:
        if id(node) not in changed:
            changed[id(node)] = change(node)
        return changed[id(node)]

    return once


def _rebuilt(node: Any, other: Callable[[Any], Any], own: Mapping[str, Any]) -> Any:
    """A node with other nodes in place of those that it has, and these fields of its own; itself if none is another."""
    changes = dict(own)
    for name in _fields_of(type(node)):
        value = getattr(node, name)
        if isinstance(value, tuple):
            parts = tuple([other(item) if is_dataclass(item) else item for item in value])
            if any(new is not old for new, old in zip(parts, value)):
                changes[name] = parts
        elif is_dataclass(value) and (part := other(value)) is not value:
            changes[name] = part
    return replace(node, **changes) if changes else node


@cache
def _fields_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
