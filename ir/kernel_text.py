"""The text of kernels: `print_kernel` writes it, `parse_kernel` reads it back, exactly.

In: a kernel, or its text. Out: the other. Where the type of an expression is not what its parts say (a constant is
i64, f32 or bool, a load is what the buffer holds, an operation is what `application_type` gives) it stands behind
the expression, as in `0.0:f32x16`. So a kernel that breaks the rules has a text too, and can be shown to the checker.
Nesting is no matter: neither direction recurses over expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from lark import Lark, Token, Tree, UnexpectedInput

from .diagnostics import Diagnostic, LirError, Source, Span, did_you_mean
from .kernel import (
    Apply, Assign, AtomicMin, Barrier, BufferArgument, Const, Declare, Expr, For, If, Iota, Kernel, Let, Load,
    LocalArray, Prefetch, PrivateArray, Reduce, Splat, Stmt, Store, Var, WorkItem, operands_of, register_dtype,
)  # fmt: skip
from .kernel_ops import QUERIES, REDUCTIONS, RegisterType, application_type, read_type, spell_type

# Types by name: of variables, and (width 0) of what can be loaded from.
Names = Mapping[str, RegisterType]

# --- printing -----------------------------------------------------------------------------------------------


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
        *_print_block(kernel.body, names, "  "),
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


_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def _print_block(body: tuple[Stmt, ...], outer: Names, indent: str) -> Iterator[str]:
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
            case Store(buffer=buffer, index=index, value=value, nontemporal=nontemporal):
                keyword = "store nontemporal" if nontemporal else "store"
                target = f"{value_name(buffer)}[{print_expression(index, names)}]"
                yield f"{indent}{keyword} {target} = {print_expression(value, names)}"
            case For(var=var, start=start, stop=stop, step=step, body=inner):
                low, high, by = (print_expression(bound, names) for bound in (start, stop, step))
                yield f"{indent}for {value_name(var.name)} in [{low}, {high}) step {by} {{"
                yield from _print_block(inner, {**names, var.name: (var.dtype, var.width)}, indent + "  ")
                yield f"{indent}}}"
            case If(condition=condition, body=inner):
                yield f"{indent}if {print_expression(condition, names)} {{"
                yield from _print_block(inner, names, indent + "  ")
                yield f"{indent}}}"
            case Barrier():
                yield f"{indent}barrier"
            case AtomicMin(buffer=buffer, index=index, value=value):
                target = f"{value_name(buffer)}[{print_expression(index, names)}]"
                yield f"{indent}atomic_min {target} = {print_expression(value, names)}"
            case Prefetch(buffer=buffer, index=index, level=level):
                target = f"{value_name(buffer)}[{print_expression(index, names)}]"
                yield f"{indent}prefetch {target} level {level}"


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
        for position, operand in enumerate(reversed(operands_of(node))):
            pending += [", ", operand] if position else [operand]
    return "".join(pieces)


def _spell(node: Expr) -> tuple[str, str]:
    """What stands before and after the operands."""
    match node:
        case Const(value=value):
            return json.dumps(value) if isinstance(value, bool) else repr(value), ""
        case Var(name=name):
            return value_name(name), ""
        case Load(buffer=buffer):
            return f"{value_name(buffer)}[", "]"
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


# --- parsing ------------------------------------------------------------------------------------------------


def parse_kernel(text: str, name: str = "<kernel>") -> Kernel:
    """The kernel that `text` is the print of. Raises LirError at the first place that makes no sense."""
    source = Source(name, text)
    return KernelReader(source).kernel(parse_tree(source, "kernel"))


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    grammar = (Path(__file__).parent / "kernel.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=["kernel", "program"], maybe_placeholders=True)


def parse_tree(source: Source, start: str) -> Tree:
    try:
        return _grammar().parse(source.text, start=start)
    except UnexpectedInput as error:
        position = len(source.text) if error.pos_in_stream in (None, -1) else error.pos_in_stream
        found = source.text[position : position + 20].split("\n")[0] or "the end of the text"
        span = Span(source, position, position + 1)
        raise LirError(Diagnostic("LIR0010", f"this makes no sense here: {found}", span)) from None


class KernelReader:
    """Trees of one text to kernels and expressions; every error has its place in the text."""

    def __init__(self, source: Source):
        self.source = source

    def kernel(self, tree: Tree) -> Kernel:
        *parts, block = tree.children
        docs = [part for part in parts if isinstance(part, Token) and part.type == "DOC"]
        symbol = next(part for part in parts if isinstance(part, Token) and part.type == "SYMBOL")
        sizes = [part for part in parts if isinstance(part, Token) and part.type == "INT"]
        buffers: list[BufferArgument] = []
        scalars: list[Var] = []
        arrays: dict[str, list[tuple[str, str, int]]] = {"local": [], "private": []}
        for part in parts:
            if isinstance(part, Tree) and part.data == "argument":
                kind, value, dtype = part.children
                if kind == "scalar":
                    scalars.append(Var(self.name(value), *self.register_type(dtype)))
                else:
                    buffers.append(BufferArgument(self.name(value), str(dtype), str(kind)))
            elif isinstance(part, Tree):
                kind, value, dtype, size = part.children
                arrays[kind].append((self.name(value), str(dtype), self.integer(size)))
        kernel = Kernel(
            self.name(symbol), tuple(buffers), tuple(scalars), (),
            tuple(LocalArray(*array) for array in arrays["local"]),
            tuple(PrivateArray(*array) for array in arrays["private"]),
            self.integer(sizes[0]) if sizes else 1, tuple(doc[3:].removeprefix(" ") for doc in docs),
        )  # fmt: skip
        names = memory_names(kernel) | {scalar.name: (scalar.dtype, scalar.width) for scalar in scalars}
        return Kernel(
            kernel.name, kernel.buffers, kernel.scalars, self.block(block, names), kernel.local_arrays,
            kernel.private_arrays, kernel.local_size, kernel.comment,
        )  # fmt: skip

    def block(self, tree: Tree, outer: Names) -> tuple[Stmt, ...]:
        names = dict(outer)
        return tuple(self.statement(statement, names) for statement in tree.children)

    def statement(self, tree: Tree, names: dict[str, RegisterType]) -> Stmt:
        match tree.data, tree.children:
            case ("let" | "declare") as kind, [value, type_, expression]:
                found = self.expression(expression, names)
                var = Var(self.name(value), *self.register_type(type_))
                names[var.name] = (var.dtype, var.width)
                return Let(var, found) if kind == "let" else Declare(var, found)
            case "assign", [value, expression]:
                var = self.variable(value, None, names)
                return Assign(var, self.expression(expression, names))
            case "store", [nontemporal, buffer, index, value]:
                found = self.expression(index, names), self.expression(value, names)
                return Store(self.name(buffer), *found, nontemporal is not None)
            case "for_", [value, start, stop, step, block]:
                bounds = [self.expression(bound, names) for bound in (start, stop, step)]
                counter = Var(self.name(value), "i64")
                return For(counter, *bounds, self.block(block, {**names, counter.name: ("i64", 1)}))
            case "if_", [condition, block]:
                return If(self.expression(condition, names), self.block(block, names))
            case "atomic_min", [buffer, index, value]:
                return AtomicMin(self.name(buffer), self.expression(index, names), self.expression(value, names))
            case "prefetch", [buffer, index, level]:
                return Prefetch(self.name(buffer), self.expression(index, names), self.integer(level))
            case _:
                return Barrier()

    def expression(self, tree: Tree, names: Names) -> Expr:
        """The expression of a `typed` tree, operands before what uses them."""
        done: list[Expr] = []
        pending: list[tuple[Tree, bool]] = [(tree, False)]
        while pending:
            typed, operands_done = pending.pop()
            plain, annotation = typed.children
            operands = [child for child in plain.children if isinstance(child, Tree)]
            if not operands_done:
                pending.append((typed, True))
                pending += [(operand, False) for operand in reversed(operands)]
                continue
            first = len(done) - len(operands)
            found = tuple(done[first:])
            done[first:] = [self.node(plain, annotation, found, names)]
        return done[0]

    def node(self, plain: Tree, annotation: Token | None, operands: tuple[Expr, ...], names: Names) -> Expr:
        given = None if annotation is None else self.register_type(annotation)
        head = plain.children[0]
        match plain.data:
            case "constant":
                return self.constant(head, given)
            case "variable":
                return self.variable(head, given, names)
            case "load":
                memory = self.name(head)
                if given is None and memory not in names:
                    raise self.error(f"no buffer {value_name(memory)}", head, *did_you_mean(memory, names))
                return Load(memory, operands[0], *(given or (names[memory][0], operands[0].width)))
            case _:
                return self.application(head, given, operands, annotation)

    def constant(self, token: Token, given: RegisterType | None) -> Const:
        match token.type:
            case "INT":
                return Const(self.integer(token), *(given or ("i64", 1)))
            case "FLOAT":
                return Const(float(token), *(given or ("f32", 1)))
            case _:
                return Const(token == "true", *(given or ("bool", 1)))

    def variable(self, token: Token, given: RegisterType | None, names: Names) -> Var:
        name = self.name(token)
        type_ = given or names.get(name)
        if type_ is None:
            raise self.error(f"no variable {value_name(name)}", token, *did_you_mean(name, names))
        return Var(name, *type_)

    def application(
        self, head: Token, given: RegisterType | None, operands: tuple[Expr, ...], annotation: Token | None
    ) -> Expr:
        special = _SPECIAL.get(head)
        if special is not None:
            arity, make = special
            if len(operands) != arity:
                raise self.error(f"`{head}` takes {arity} operands, found {len(operands)}", head)
            if given is None and head in ("splat", "iota"):
                raise self.error(f"`{head}` needs its type behind it, as in `{head}(...):f32x16`", head)
            found = make(operands, *(given or ("i64", 1)))
            if given is not None and (found.dtype, found.width) != given:
                raise self.error(f"this is of type {spell_type(found.dtype, found.width)}", annotation or head)
            return found
        if given is None and head == "cast":
            raise self.error("`cast` needs its type behind it, as in `cast(%x):i64`", head)
        if given is not None:
            return Apply(str(head), operands, *given)
        try:
            return Apply(str(head), operands, *application_type(head, [(o.dtype, o.width) for o in operands]))
        except LirError as error:
            raise error.at(self.span(head)) from None

    # --- tokens ---------------------------------------------------------------------------------------------

    def name(self, token: Token) -> str:
        """What a VALUE or SYMBOL names."""
        if not token.startswith('"', 1):
            return str(token[1:])
        try:
            return json.loads(token[1:])
        except ValueError:
            raise self.error("this is no string of JSON", token) from None

    def integer(self, token: Token) -> int:
        if len(token) > 20:
            raise self.error("integers have at most 64 bits", token)
        return int(token)

    def register_type(self, token: Token) -> RegisterType:
        try:
            return read_type(token)
        except LirError as error:
            raise error.at(self.span(token)) from None

    def span(self, token: Token) -> Span:
        start = token.start_pos or 0
        return Span(self.source, start, start + len(token))

    def error(self, message: str, token: Token, *notes: str) -> LirError:
        return LirError(message, *notes, span=self.span(token))


_SPECIAL: Mapping[str, tuple[int, Callable[[tuple[Expr, ...], str, int], Expr]]] = {
    "splat": (1, lambda operands, dtype, width: Splat(operands[0], width)),
    "iota": (0, lambda operands, dtype, width: Iota(dtype, width)),
    **{f"reduce_{op}": (1, lambda operands, dtype, width, op=op: Reduce(op, operands[0])) for op in REDUCTIONS},
    **{query: (0, lambda operands, dtype, width, query=query: WorkItem(query)) for query in QUERIES},
}  # fmt: skip
