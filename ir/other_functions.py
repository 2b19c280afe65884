"""NumPy's and torch's functions of values: `np.exp(x)` and `torch.exp(x)` are `x.exp()`, as `np.sum(x)` is `x.sum()`.

In: the name of a function and what stands in its parentheses, at least one of it a value under construction. Out: what
the operator or the method of that name gives; where there is none its error says what to write.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .diagnostics import LirError

ValueLike = Any  # a `Tensor`, whose module imports this one


def _where(condition: ValueLike, *arms: Any) -> ValueLike:
    if len(arms) != 2:
        refuse("where of a condition alone")
    return condition.select(*arms)


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "sub": operator.sub, "multiply": operator.mul, "mul": operator.mul,
    "divide": operator.truediv, "true_divide": operator.truediv, "div": operator.truediv,
    "truediv": operator.truediv, "power": operator.pow, "float_power": operator.pow, "pow": operator.pow,
    "matmul": operator.matmul, "mm": operator.matmul, "negative": operator.neg, "neg": operator.neg,
    "absolute": operator.abs, "abs": operator.abs, "fabs": operator.abs, "less": operator.lt, "lt": operator.lt,
    "less_equal": operator.le, "le": operator.le, "greater": operator.gt, "gt": operator.gt,
    "greater_equal": operator.ge, "ge": operator.ge, "equal": operator.eq, "eq": operator.eq,
    "not_equal": operator.ne, "ne": operator.ne, "logical_and": operator.and_, "bitwise_and": operator.and_,
    "logical_or": operator.or_, "bitwise_or": operator.or_, "logical_not": operator.invert,
    "bitwise_not": operator.invert, "invert": operator.invert, "where": _where, "positive": lambda x: x,
    "square": lambda x: x * x, "reciprocal": lambda x: 1 / x,
}  # fmt: skip
"""Functions of NumPy and torch that are operators of Python, or nearly."""

_QUOTIENT = "(x / y).floor() is that of floats; x.div(y) of whole numbers rounds towards 0"
OTHER_OPERATORS: Mapping[str, tuple[str, str]] = {
    "mod": ("%", "x - y * (x / y).floor() is the remainder in NumPy and torch"),
    "floordiv": ("//", _QUOTIENT),
    "divmod": ("divmod", _QUOTIENT),
    "xor": ("^", "x ** y is a power; of two truth values x != y is true where one of them is"),
    "lshift": ("<<", "write x * 2**n"),
    "rshift": (">>", "(x / 2**n).floor() is that of floats"),
}
"""Python's operators that values do not have, by their methods, and what to write for each."""


def refused_operator(symbol: str, way: str) -> Callable[..., NoReturn]:
    """The method of an operator that values do not have. Raises LirError when it is called."""

    def refused(*_: Any) -> NoReturn:
        raise LirError(f"values of a graph have no `{symbol}`", way)

    return refused


_WITHOUT_MEANING = ("_stacklevel", "inplace")
"""Arguments of torch's functions about how they work."""


_JOINING = ("cat", "concat", "concatenate", "hstack", "vstack", "stack")


def refuse(function: str) -> NoReturn:
    """Raise LirError for a function that is no method of its first operand."""
    stacked = "[None]" if function.endswith(".stack") else ""
    joins = function.partition(".")[2] in _JOINING
    way = f"write x{stacked}.concat(y{stacked}, axis=0)" if joins else "write it with their methods"
    raise LirError(f"{function} knows no values of a graph", way)


def ufunc_of_values(like: ValueLike, name: str, way: str, operands: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """`np.<name>(...)`, where `like` is one of the operands. Raises LirError, AttributeError."""
    if way != "__call__":
        refuse(f"np.{name}.{way}")
    if keywords:
        raise LirError(f"np.{name} of a value of a graph takes no `{next(iter(keywords))}`", "values never change: "
                       "take the result")  # fmt: skip
    return _called(like, name, operands, {})


def function_of_values(like: ValueLike, name: str, operands: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """`np.<name>(...)`, where `like` is the first of the operands. Raises LirError, AttributeError, TypeError."""
    if name in ("shape", "ndim"):
        return getattr(like, name)
    if name == "size" and len(operands) == 1 and not keywords:
        return like.count()
    if name in ("max", "min"):
        # What NumPy's functions of these names give has rows, and is no pair.
        name = f"a{name}"
    return _called(like, name, operands, keywords)


def torch_function_of_values(name: str, operands: Sequence[Any], keywords: Mapping[str, Any], kind: type) -> Any:
    """`torch.<name>(...)`, where one of the arguments is of `kind`. Raises LirError, AttributeError, TypeError."""
    keywords = {key: value for key, value in keywords.items() if value is not None and key not in _WITHOUT_MEANING}
    name = name.strip("_")
    if not operands and "input" in keywords:
        operands = (keywords.pop("input"),)
    like = next((operand for operand in operands if isinstance(operand, kind)), None)
    if like is None:
        refuse(f"torch.{name}")
    if name in ("max", "min") and len(operands) > 1 and not isinstance(operands[1], kind):
        # torch.max(x, 1) is torch.max(x, dim=1).
        operands, keywords = operands[:1], {"dim": operands[1], **keywords}
    return _called(like, name, operands, keywords)


def _called(like: ValueLike, name: str, operands: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    # Python would ask the library of an array or number on the left again: it becomes a value, or is refused.
    first = operands[0] if isinstance(operands[0], type(like)) else like.constant(operands[0])
    if name in _OPERATORS and not keywords:
        return _OPERATORS[name](first, *operands[1:])
    return getattr(first, name)(*operands[1:], **keywords)
