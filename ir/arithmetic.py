"""Integer expressions of the kernel IR, put together: indices, sizes of launches and buffers, guards of variants.

In: expressions. Out: one of them, with constants folded; or a condition on sizes.
"""

from __future__ import annotations

from typing import overload

from .integers import INTEGER_OPERATIONS, Apply, Const, Var
from .kernel import Expr


def integer(value: int) -> Const:
    return Const(value, "i64")


def index_var(name: str) -> Var:
    return Var(name, "i64")


def _fold(op: str, a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return integer(INTEGER_OPERATIONS[op](int(a.value), int(b.value)))
    if (op == "add" and a == integer(0)) or (op == "mul" and a == integer(1)):
        return b
    if b == integer({"add": 0, "sub": 0, "mul": 1, "div": 1}.get(op, -1)) and op in ("add", "sub", "mul", "div"):
        return a
    if op == "mul" and integer(0) in (a, b):
        return integer(0)
    return Apply(op, (a, b), "i64")


def add(a: Expr, b: Expr) -> Expr:
    return _fold("add", a, b)


def sub(a: Expr, b: Expr) -> Expr:
    return _fold("sub", a, b)


def mul(a: Expr, b: Expr) -> Expr:
    return _fold("mul", a, b)


def div(a: Expr, b: Expr) -> Expr:
    return _fold("div", a, b)


def mod(a: Expr, b: Expr) -> Expr:
    return integer(0) if b == integer(1) else _fold("mod", a, b)


def minimum(a: Expr, b: Expr) -> Expr:
    return _fold("min", a, b)


def maximum(a: Expr, b: Expr) -> Expr:
    return _fold("max", a, b)


def ceil_div(a: Expr, b: Expr) -> Expr:
    return div(add(a, sub(b, integer(1))), b)


def at_least(a: Expr, b: int) -> Expr:
    return Apply("ge", (a, integer(b)), "bool")


def less(a: Expr, b: Expr) -> Expr:
    return Apply("lt", (a, b), "bool")


def divides(number: int, size: Expr) -> Expr:
    """The condition that `size` is a multiple of `number`."""
    return less(mod(size, integer(number)), integer(1))


@overload
def both(a: Expr, b: Expr | None) -> Expr: ...
@overload
def both(a: Expr | None, b: Expr) -> Expr: ...
@overload
def both(a: Expr | None, b: Expr | None) -> Expr | None: ...
def both(a: Expr | None, b: Expr | None) -> Expr | None:
    """The condition that two conditions hold, of which None always does."""
    if a is None or b is None or a == b:
        return a if b is None else b
    return Apply("and", (a, b), "bool")
