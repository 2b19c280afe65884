"""The tensor IR: immutable values, operations, functions and modules in SSA form.

A `Value` is its own identity (two values with the same name are different values); its `name` is a hint that
the printer makes unique. Passes build new functions, they never change one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from .diagnostics import LirError, Span, did_you_mean
from .frozen import frozen
from .types import Type


@frozen(eq=False)
class Value:
    """One tensor: an input of a function or a result of one operation."""

    name: str
    type: Type
    span: Span | None = field(default=None, repr=False)


@frozen(eq=False)
class Op:
    """`results = name operands {attributes}`. Attributes are plain Python values, in a fixed order."""

    name: str
    operands: tuple[Value, ...]
    attributes: Mapping[str, Any]
    results: tuple[Value, ...]
    span: Span | None = field(default=None, repr=False)

    @property
    def result(self) -> Value:
        (result,) = self.results
        return result


@frozen(eq=False)
class Function:
    """`func` or `kernel`: inputs, operations in order, outputs.

    `params` are the inputs that are trainable state. `output_names` are how callers see the outputs.
    `gradient` names the function that computes the gradients of this one, where the user wrote it.
    """

    name: str
    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Value, ...]
    params: frozenset[Value] = frozenset()
    output_names: tuple[str, ...] = ()
    kind: str = "func"
    gradient: str | None = None
    span: Span | None = field(default=None, repr=False)

    def with_(self, **changes: Any) -> Function:
        return replace(self, **changes)

    @property
    def names_of_outputs(self) -> tuple[str, ...]:
        """One distinct name an output: `output_names`, else the values' own names made distinct."""
        if self.output_names:
            return self.output_names
        names: dict[str, None] = {}
        for position, value in enumerate(self.outputs):
            name = value.name
            while name in names:
                name = f"{name}_{position}"
            names[name] = None
        return tuple(names)

    def callees(self) -> set[str]:
        """The functions that this one refers to: by `call`, `launch` or `repeat`, or as its gradient."""
        called = {op.attributes["callee"] for op in self.ops if "callee" in op.attributes}
        return called | ({self.gradient} if self.gradient else set())

    def producers(self) -> dict[Value, Op]:
        return {result: op for op in self.ops for result in op.results}

    def users(self) -> dict[Value, list[Op]]:
        """Every value with the operations that read it, in order; outputs are not operations."""
        users: dict[Value, list[Op]] = {value: [] for value in self.inputs}
        for op in self.ops:
            for operand in dict.fromkeys(op.operands):
                users.setdefault(operand, []).append(op)
            for result in op.results:
                users.setdefault(result, [])
        return users


@frozen(eq=False)
class Module:
    """Functions by name, in the order of the text. `entry` is the one nobody calls, unless named."""

    functions: Mapping[str, Function]
    entry_name: str | None = None

    @property
    def entry(self) -> Function:
        if self.entry_name is not None:
            if self.entry_name not in self.functions:
                known = ", ".join(f"@{name}" for name in self.functions)
                raise LirError(f"no function @{self.entry_name}", f"the module has {known}",
                               *did_you_mean(self.entry_name, self.functions), code="LIR0040")  # fmt: skip
            return self.functions[self.entry_name]
        called = {callee for function in self.functions.values() for callee in function.callees()}
        roots = [f for f in self.functions.values() if f.kind == "func" and f.name not in called]
        if len(roots) != 1:
            if not self.functions:
                raise LirError("expected a function, found none", "write one: func @f(%x: f32[N]) -> f32[N] { ... }")
            found = ", ".join(f"@{root.name}" for root in roots) or "none"
            raise LirError(f"expected one function that nobody calls, found {found}", "name the entry with --func")
        return roots[0]

    def with_functions(self, functions: Iterable[Function]) -> Module:
        return Module({function.name: function for function in functions}, self.entry_name)

    def with_function(self, function: Function) -> Module:
        return Module({**self.functions, function.name: function}, self.entry_name)
