"""A block of a kernel under construction."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.function import Value
from ...ir.kernel import Expr, Stmt


@dataclass
class Scope:
    """A block under construction: its statements, and the value each tensor value has at this point."""

    known: dict[Value, Expr] = field(default_factory=dict)
    statements: list[Stmt] = field(default_factory=list)

    def inner(self) -> Scope:
        """A block inside this one: it sees what is known here."""
        return Scope(dict(self.known))
