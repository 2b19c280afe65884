"""Statements and expressions with others in place of some of their parts.

In: a node of the kernel IR. Out: the node that it becomes; the very same object where no part is another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cache
from operator import is_not
from typing import Any, TypeVar

from ..ir.kernel import Expr, Var, WorkItem

Node = TypeVar("Node")


def substituted(node: Node, other: Callable[[Any], Any]) -> Node:
    """`node` with what `other` gives in place of each part, the innermost first and `node` itself last. A part that
    stands in several places, as those of long expressions do, is asked for once."""
    known: dict[int, Any] = {}

    def change(part: Any) -> Any:
        if id(part) not in known:
            known[id(part)] = other(_with_parts(part, change))
        return known[id(part)]

    return change(node)


def _with_parts(node: Any, change: Callable[[Any], Any]) -> Any:
    changes: dict[str, Any] = {}
    for name in _parts_of(type(node)):
        value = getattr(node, name)
        if isinstance(value, tuple):
            parts = tuple(map(change, value))
            if any(map(is_not, parts, value)):
                changes[name] = parts
        elif (part := change(value)) is not value:
            changes[name] = part
    return replace(node, **changes) if changes else node


@cache
def _parts_of(kind: type) -> tuple[str, ...]:
    """The fields of a node that are nodes: the others are names, types and numbers."""
    return tuple(field.name for field in fields(kind) if field.type not in ("str", "int", "bool", "float | int | bool"))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """A statement or expression with other names for its variables and private arrays."""

    def other(part: Any) -> Any:
        named = "name" if isinstance(part, Var) else "buffer"
        name = vars(part).get(named, "")
        return replace(part, **{named: names[name]}) if name in names else part

    return substituted(node, other)


def with_items(node: Node, others: Mapping[WorkItem, Expr]) -> Node:
    """A statement or expression with other expressions in place of what it asks of its work-item."""
    return substituted(node, lambda part: others.get(part, part) if isinstance(part, WorkItem) else part)
