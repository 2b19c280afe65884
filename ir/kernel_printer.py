"""Kernels and programs to text, of which `kernel_parser` makes them again.

In: a kernel or a program. Out: its text, the same for the same data. The type of an expression stands behind
it where it is not what its parts say. Nesting is no matter: nothing here recurses over expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from .diagnostics import LirError
from .kernel import (
    Apply,
    Assign,
    AtomicMin,
    Barrier,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Kernel,
    Let,
    Load,
    Prefetch,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    WorkItem,
    register_dtype,
)
from .kernel_ops import RegisterType, application_type, spell_type

# Types by name: of variables, and (width 0) of what can be loaded from.
Names = Mapping[str, RegisterType]

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def print_kernel(kernel: Kernel) -> str:
    """The kernel as text, ending in a line break."""
    names = memory_names(kernel) | {scalar.name: (scalar.dtype, scalar.width) for scalar in kernel.scalars}
    arguments = [f"{b.access} {value_name(b.name)}: {b.dtype}" for b in kernel.buffers]
    arguments += [f"scalar {value_name(s.name)}: {spell_type(s.dtype, s.width)}" for s in kernel.scalars]
    arrays = [("local", a) for a in kernel.local_arrays] + [("private", a) for a in kernel.private_arrays]
    size = f" local_size {kernel.local_size}" if kernel.local_size != 1 else ""
    lines = [
        *(f"/// {line}" for line in kernel.comment),
        f"kernel {symbol_name(kernel.name)}({', '.join(arguments)}){size} {{",
        *(f"  {kind} {value_name(array.name)}: {array.dtype}[{array.size}]" for kind, array in arrays),
        *print_block(kernel.body, names, "  "),
        "}",
    ]
    return "\n".join(lines) + "\n"


def memory_names(kernel: Kernel) -> dict[str, RegisterType]:
    memories = (*kernel.buffers, *kernel.local_arrays, *kernel.private_arrays)
    return {memory.name: (register_dtype(memory.dtype), 0) for memory in memories}


def value_name(name: str) -> str:
    return "%" + (name if _PLAIN_NAME.fullmatch(name) else json.dumps(name))


def symbol_name(name: str) -> str:
    return "@" + (name if _PLAIN_NAME.fullmatch(name) else json.dumps(name))


def print_block(body: tuple[Stmt, ...], outer: Names, indent: str) -> Iterator[str]:
    names = dict(outer)
    for statement in body:
        match statement:
            case Let(var=var, value=value) | Declare(var=var, value=value):
                keyword = "let" if isinstance(statement, Let) else "var"
                head = f"{keyword} {value_name(var.name)}: {spell_type(var.dtype, var.width)}"
                yield f"{indent}{head} = {print_expression(value, names)}"
                names[var.name] = (var.dtype, var.width)
            case Assign(var=var, value=value):
                yield f"{indent}{print_expression(var, names)} := {print_expression(value, names)}"
            case Store(buffer=buffer, index=index, value=value, nontemporal=nontemporal, aligned=aligned):
                keyword = "store" + " nontemporal" * nontemporal + " aligned" * aligned
                target = f"{value_name(buffer)}[{print_expression(index, names)}]"
                yield f"{indent}{keyword} {target} = {print_expression(value, names)}"
            case For(var=var, start=start, stop=stop, step=step, body=inner):
                low, high, by = (print_expression(bound, names) for bound in (start, stop, step))
                counter = print_expression(var, {var.name: ("i64", 1)})
                yield f"{indent}for {counter} in [{low}, {high}) step {by} {{"
                yield from print_block(inner, {**names, var.name: (var.dtype, var.width)}, indent + "  ")
                yield f"{indent}}}"
            case If(condition=condition, body=inner):
                yield f"{indent}if {print_expression(condition, names)} {{"
                yield from print_block(inner, names, indent + "  ")
                yield f"{indent}}}"
            case Barrier():
                yield f"{indent}barrier"
            case AtomicMin(buffer=buffer, index=index, value=value):
                target = f"{value_name(buffer)}[{print_expression(index, names)}]"
                yield f"{indent}atomic_min {target} = {print_expression(value, names)}"
            case Prefetch(buffer=buffer, index=index, level=level, for_write=for_write):
                target = f"{value_name(buffer)}[{print_expression(index, names)}]"
                yield f"{indent}prefetch {'write ' * for_write}{target} level {level}"


def print_expression(expression: Expr, names: Names) -> str:
    """An expression among variables and buffers of these types."""
    pieces: list[str] = []
    pending: list[Expr | str] = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            pieces.append(node)
            continue
        head, tail = _spell(node)
        if _default_type(node, names) != (node.dtype, node.width):
            tail += f":{spell_type(node.dtype, node.width)}"
        pieces.append(head)
        pending.append(tail)
        for position, operand in enumerate(reversed(node.operands)):
            pending += [", ", operand] if position else [operand]
    return "".join(pieces)


def _spell(node: Expr) -> tuple[str, str]:
    """What stands before and after the operands."""
    match node:
        case Const(value=value):
            if isinstance(value, bool):
                return json.dumps(value), ""
            return repr(int(value) if isinstance(value, int) else float(value)), ""
        case Var(name=name):
            return value_name(name), ""
        case Load(buffer=buffer, aligned=aligned):
            return f"{'aligned ' * aligned}{value_name(buffer)}[", "]"
        case Apply(op=op):
            return f"{op}(", ")"
        case Splat():
            return "splat(", ")"
        case Iota():
            return "iota(", ")"
        case Reduce(op=op):
            return f"reduce_{op}(", ")"
        case WorkItem(query=query):
            return f"{query}(", ")"


def _default_type(node: Expr, names: Names) -> RegisterType | None:
    """The type that the text of `node` has without an annotation."""
    match node:
        case Const(value=value):
            return ("bool" if isinstance(value, bool) else "i64" if isinstance(value, int) else "f32"), 1
        case Var(name=name):
            return names.get(name)
        case Load(buffer=buffer, index=index):
            return (names[buffer][0], index.width) if buffer in names else None
        case Apply(op=op, operands=operands):
            if op == "cast":
                return None
            try:
                return application_type(op, [(operand.dtype, operand.width) for operand in operands])
            except LirError:
                return None
        case Splat() | Iota():
            return None
        case _:
            return node.dtype, node.width
