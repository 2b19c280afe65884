"""Scalar integer expressions over dimension names: sizes of launches and buffers, guards of variants.

In: an expression, sizes. Out: its value. These are the expressions of the kernel IR that stand outside of kernels too,
so that who runs a program need not load what kernels consist of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .diagnostics import CompilerBug
from .frozen import frozen


@frozen
class Const:
    value: float | int | bool
    dtype: str
    width: int = 1
    operands: ClassVar[tuple[Any, ...]] = ()


@frozen
class Var:
    name: str
    dtype: str
    width: int = 1
    operands: ClassVar[tuple[Any, ...]] = ()


@frozen
class Apply:
    """A pointwise primitive of `ops` (or `mod`, `fma`) on operands of one width."""

    op: str
    # Of the kernel's `Expr`, which is made of these: its module imports this one.
    operands: tuple[Any, ...]
    dtype: str
    width: int = 1


INTEGER_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b if b else 0, "mod": lambda a, b: a % b if b else 0, "min": min, "max": max,
    "ge": lambda a, b: a >= b, "lt": lambda a, b: a < b, "and": lambda a, b: a and b,
}  # fmt: skip


def evaluate_integer(expression: object, variables: Mapping[str, int]) -> int:
    """The value of a scalar integer expression. All quantities are non-negative."""
    match expression:
        case Const(value=value):
            return int(value)
        case Var(name=name):
            return variables[name]
        case Apply(op=op, operands=(a, b)):
            return int(INTEGER_OPERATIONS[op](evaluate_integer(a, variables), evaluate_integer(b, variables)))
        case _:
            raise CompilerBug(f"not a launch-time expression: {expression}")
