"""Kernels put together as one.

In: kernels that name their buffers as the program does. Out: one kernel with all their arguments and statements. What
each calls its own is renamed apart; private arrays of kernels that may share them lie in the same memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..ir.kernel import (
    Assign,
    BufferArgument,
    Declare,
    For,
    Kernel,
    Let,
    PrivateArray,
    Stmt,
    Var,
    expressions_in,
    walk_statements,
)
from ..ir.names import distinct
from ..ir.program import Buffer, Launch, root_of
from .substitution import renamed


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
        if isinstance(statement, (Let, Declare, Assign, For)):
            yield statement.var
    for expression in expressions_in(body):
        if isinstance(expression, Var):
            yield expression
