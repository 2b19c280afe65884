"""Which barriers a part of a work-group could miss.

In: a kernel. Out: the loops and conditions with a barrier inside whose bounds or condition may differ between
the work-items of a group. An expression is uniform (the same for the whole group) unless it asks for the
work-item's own number, loads what the kernel may have written, or uses a variable that is not uniform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ir.kernel import (
    Assign,
    Barrier,
    Declare,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    Stmt,
    Var,
    WorkItem,
    walk_statements,
)
from ...ir.kernel_ops import postorder

_UNIFORM_QUERIES = ("group_id", "global_size", "group_count")

# The statement that binds each name; arguments have none and are uniform.
_Scope = Mapping[str, int]


def divergent_barriers(kernel: Kernel) -> list[For | If]:
    """The innermost statements around barriers that are not reached by all items of a group alike."""
    if not any(isinstance(statement, Barrier) for statement in walk_statements(kernel.body)):
        return []
    read_only = frozenset(buffer.name for buffer in kernel.buffers if buffer.access == "read")
    divergent: set[int] = set()
    while True:
        # A variable assigned late in a loop is read early in the next turn: walk until nothing is found.
        before = len(divergent)
        walk = _Walk(read_only, divergent)
        walk.block(kernel.body, {}, None)
        if len(divergent) == before:
            return walk.found


class _Walk:
    """One walk over a kernel. Variables are known by the identity of the statement that binds them."""

    def __init__(self, read_only: frozenset[str], divergent: set[int]):
        self.read_only, self.divergent = read_only, divergent
        self.found: list[For | If] = []

    def block(self, body: tuple[Stmt, ...], outer: _Scope, branch: For | If | None) -> None:
        """`branch` is the innermost divergent statement around, if there is one."""
        scope = dict(outer)
        for statement in body:
            match statement:
                case Let(var=var, value=value) | Declare(var=var, value=value):
                    self._mark(id(statement), not self._uniform([value], scope))
                    scope[var.name] = id(statement)
                case Assign(var=var, value=value) if var.name in scope:
                    self._mark(scope[var.name], branch is not None or not self._uniform([value], scope))
                case For(var=var, start=start, stop=stop, step=step, body=inner):
                    uniform = self._uniform([start, stop, step], scope)
                    self._mark(id(statement), not uniform)
                    self.block(inner, {**scope, var.name: id(statement)}, branch if uniform else statement)
                case If(condition=condition, body=inner):
                    self.block(inner, scope, branch if self._uniform([condition], scope) else statement)
                case Barrier() if branch is not None and all(branch is not other for other in self.found):
                    self.found.append(branch)
                case _:
                    pass

    def _mark(self, variable: int, divergent: bool) -> None:
        if divergent:
            self.divergent.add(variable)

    def _uniform(self, expressions: Iterable[Expr], scope: _Scope) -> bool:
        return all(self._uniform_node(node, scope) for root in expressions for node in postorder(root))

    def _uniform_node(self, node: Expr, scope: _Scope) -> bool:
        match node:
            case Load(buffer=buffer):
                return buffer in self.read_only
            case WorkItem(query=query):
                return query in _UNIFORM_QUERIES
            case Var(name=name):
                return scope.get(name) not in self.divergent
            case _:
                return True
