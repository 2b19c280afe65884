"""Sizes and numbers as people read them.

In: expressions of the kernel IR over sizes, dimensions, counts. Out: short text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lossc.ir import arithmetic
from lossc.ir.diagnostics import CompilerBug
from lossc.ir.integers import evaluate_integer
from lossc.ir.kernel import Apply, Const, Expr, Var
from lossc.ir.types import Dim, DimLike

ONE = arithmetic.integer(1)


def number_of(size: Expr, sizes: Mapping[str, int] | None) -> str:
    return readable(folded(size)) if sizes is None else str(evaluate_integer(size, sizes))


_FOLDED: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "add": arithmetic.add, "sub": arithmetic.sub, "mul": arithmetic.mul, "div": arithmetic.div, "mod": arithmetic.mod,
    "min": arithmetic.minimum, "max": arithmetic.maximum,
}  # fmt: skip


def folded(size: Expr) -> Expr:
    """A size with its constants folded, and max(a, min(b, x)) = a for b <= a: for people, who want it short."""
    match size:
        case Apply(op=op, operands=(left, right)) if op in _FOLDED:
            a, b = folded(left), folded(right)
            match op, a, b:
                case "max", Const(value=least), Apply(op="min", operands=(Const(value=most), _)) if most <= least:
                    return a
            return _FOLDED[op](a, b)
        case _:
            return size


_INFIX = {"add": ("+", 3), "sub": ("-", 3), "mul": ("*", 4), "div": ("/", 4), "mod": ("%", 4), "ge": (">=", 2),
          "lt": ("<", 2), "and": ("and", 1)}  # fmt: skip


def readable(expression: Expr, outer: int = 0) -> str:
    """A size or guard as people write it; `/` rounds down, `ceil(a / b)` up. `outer` is how tightly the place around it
    binds."""
    match expression:
        case Const(value=value):
            return str(value)
        case Var(name=name):
            return name
        case Apply(op="div", operands=(Apply(op="add", operands=(a, rest)), b)) if rest == arithmetic.sub(b, ONE):
            return f"ceil({readable(a, 4)} / {readable(b, 5)})"
        case Apply(op=op, operands=(a, b)) if op in _INFIX:
            symbol, binds = _INFIX[op]
            text = f"{readable(a, binds)} {symbol} {readable(b, binds + 1)}"
            return f"({text})" if binds < outer else text
        case Apply(op=op, operands=operands):
            return f"{op}({', '.join(map(readable, operands))})"
        case _:
            raise CompilerBug(f"not a launch-time expression: {expression}")


def sum_text(terms: Iterable[DimLike]) -> str:
    """`4 + 44*B` for sizes with names in them."""
    factors: dict[tuple[str, ...], int] = {}
    for term in terms:
        names, factor = ((), term) if isinstance(term, int) else (term.names, term.factor)
        factors[names] = factors.get(names, 0) + factor
    parts = [str(Dim(factor, names)) if names else str(factor) for names, factor in sorted(factors.items()) if factor]
    return " + ".join(parts) or "0"


def counted(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
