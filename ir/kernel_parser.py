"""The text of kernels and programs to the data: the inverse of `kernel_printer`.

In: text in the grammar of `kernel.lark`. Out: a kernel or a program, not checked; or a `LirError` with the
place in the text. Nesting is no matter: nothing here recurses over expressions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree, UnexpectedInput, UnexpectedToken

from .diagnostics import Diagnostic, LirError, Source, Span, did_you_mean
from .kernel import (
    Apply,
    Assign,
    AtomicMin,
    Barrier,
    BufferArgument,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Kernel,
    Let,
    Load,
    LocalArray,
    Prefetch,
    PrivateArray,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    WorkItem,
)
from .kernel_ops import QUERIES, REDUCTIONS, RegisterType, application_type, read_type, spell_type
from .kernel_printer import Names, memory_names, value_name

# What lark makes: a tree with a rule's name in `data`, or a token.
Node = Any


def parse_kernel(text: str, name: str = "<kernel>") -> Kernel:
    """The kernel that `text` is the print of. Raises LirError at the first place that makes no sense."""
    source = Source(name, text)
    return KernelReader(source).kernel(parse_tree(source, "kernel"))


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    grammar = (Path(__file__).parent / "kernel.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=["kernel", "program"], maybe_placeholders=True)


def parse_tree(source: Source, start: str) -> Node:
    try:
        return _grammar().parse(source.text, start=start)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        position = len(source.text) if ended else error.pos_in_stream or 0
        found = source.text[position : position + 20].split("\n")[0] or "the end of the text"
        span = Span(source, position, position + 1)
        raise LirError(Diagnostic("LIR0010", f"this makes no sense here: {found}", span)) from None


class KernelReader:
    """Trees of one text to kernels and expressions; every error has its place in the text."""

    def __init__(self, source: Source):
        self.source = source

    def kernel(self, tree: Node) -> Kernel:
        docs, symbol, arguments, size, arrays, block = tree.children
        buffers = [
            BufferArgument(self.name(value), str(dtype), str(access))
            for access, value, dtype in (argument.children for argument in arguments.children)
            if access.type != "SCALAR"
        ]
        scalars = [
            Var(self.name(value), *self.register_type(type_))
            for kind, value, type_ in (argument.children for argument in arguments.children)
            if kind.type == "SCALAR"
        ]
        local, private = (
            [
                (self.name(value), str(dtype), self.integer(count))
                for kind, value, dtype, count in (array.children for array in arrays.children)
                if kind.type == wanted
            ]
            for wanted in ("LOCAL", "PRIVATE")
        )
        head = Kernel(
            self.name(symbol),
            tuple(buffers),
            tuple(scalars),
            (),
            tuple(LocalArray(*array) for array in local),
            tuple(PrivateArray(*array) for array in private),
            1 if size is None else self.integer(size),
            tuple(doc[3:].removeprefix(" ") for doc in docs.children),
        )
        names = memory_names(head) | {scalar.name: (scalar.dtype, scalar.width) for scalar in scalars}
        return replace(head, body=self.block(block, names))

    def block(self, tree: Node, outer: Names) -> tuple[Stmt, ...]:
        names = dict(outer)
        return tuple(self.statement(statement, names) for statement in tree.children)

    def statement(self, tree: Node, names: dict[str, RegisterType]) -> Stmt:
        match tree.data, tree.children:
            case ("let" | "declare") as kind, [value, type_, expression]:
                found = self.expression(expression, names)
                var = Var(self.name(value), *self.register_type(type_))
                names[var.name] = (var.dtype, var.width)
                return Let(var, found) if kind == "let" else Declare(var, found)
            case "assign", [value, type_, expression]:
                var = self.variable(value, type_ and self.register_type(type_), names)
                return Assign(var, self.expression(expression, names))
            case "store", [nontemporal, aligned, buffer, index, value]:
                found = self.expression(index, names), self.expression(value, names)
                return Store(self.name(buffer), *found, nontemporal is not None, aligned is not None)
            case "for_", [value, type_, start, stop, step, block]:
                low, high, by = (self.expression(bound, names) for bound in (start, stop, step))
                counter = Var(self.name(value), *(self.register_type(type_) if type_ else ("i64", 1)))
                inner = {**names, counter.name: (counter.dtype, counter.width)}
                return For(counter, low, high, by, self.block(block, inner))
            case "if_", [condition, block]:
                return If(self.expression(condition, names), self.block(block, names))
            case "atomic_min", [buffer, index, value]:
                place = self.expression(index, names)
                return AtomicMin(self.name(buffer), place, self.expression(value, names))
            case "prefetch", [write, buffer, index, level]:
                place = self.expression(index, names)
                return Prefetch(self.name(buffer), place, self.integer(level), write is not None)
            case _:
                return Barrier()

    def expression(self, tree: Node, names: Names) -> Expr:
        """The expression of a `typed` tree, operands before what uses them."""
        done: list[Expr] = []
        pending: list[tuple[Node, bool]] = [(tree, False)]
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

    def node(self, plain: Node, annotation: Token | None, operands: tuple[Expr, ...], names: Names) -> Expr:
        given = None if annotation is None else self.register_type(annotation)
        head = plain.children[0]
        match plain.data:
            case "constant":
                return self.constant(head, given)
            case "variable":
                return self.variable(head, given, names)
            case "load" | "aligned_load" as kind:
                memory = self.name(head)
                if given is None and memory not in names:
                    raise self.error(f"no buffer {value_name(memory)}", head, *did_you_mean(memory, names))
                type_ = given or (names[memory][0], operands[0].width)
                return Load(memory, operands[0], *type_, kind == "aligned_load")
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
                actual = spell_type(found.dtype, found.width)
                raise self.error(f"this is of type {actual}", annotation or head)
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
        return self.string(token, token[1:]) if token.startswith('"', 1) else str(token[1:])

    def string(self, token: Token, text: str) -> str:
        """The string that `text`, all or a part of `token`, is in JSON."""
        try:
            return json.loads(text)
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
    **{f"reduce_{op}": (1, lambda operands, dtype, width, op=op: Reduce(op, operands[0]))
       for op in REDUCTIONS},
    **{query: (0, lambda operands, dtype, width, query=query: WorkItem(query)) for query in QUERIES},
}  # fmt: skip
