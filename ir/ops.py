"""The primitive operations: one row each, with its operands, attributes, type rule and meaning.

`infer` computes the result types or raises `LirError` (`op_types.py`); `evaluate` is the meaning, in NumPy
(`op_meanings.py`). What the compiler does with an operation (its gradient, its C spelling) is not here: each of those
is one table in the compiler, and a test crosses them with this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import op_meanings as meanings
from . import op_types as rules
from . import windows
from .frozen import frozen
from .function import Op, Value
from .op_types import Attributes
from .random_bits import random_bits
from .types import Type

REQUIRED = object()


@frozen
class Attribute:
    """`kind` is one of int, float, bool, str, ints, dim, dims, dtype, number. It may be none where it is `optional` or
    its default is None."""

    kind: str
    default: Any = REQUIRED
    optional: bool = False


@frozen
class OpDef:
    """One primitive. `operands` ending in `...` take any number; a trailing `?` marks an optional one."""

    name: str
    kind: str  # constant | pointwise | shape | reduce | index | matmul | effect | meta
    operands: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    infer: Callable[[tuple[Type, ...], Attributes], tuple[Type, ...]]
    evaluate: Callable[..., np.ndarray] | None
    help: str


_FLOAT, _NUMBER, _BOOL = rules.pointwise("float"), rules.pointwise("number"), rules.pointwise("bool")
_COMPARE = rules.pointwise("number", "bool")
_AXES = {"axes": Attribute("ints")}


def _row(name: str, kind: str, operands: str, infer: Any, evaluate: Any, help: str, **attributes: Attribute) -> OpDef:
    return OpDef(name, kind, tuple(operands.split()), attributes, infer, evaluate, help)


def _rows(kind: str, operands: str, infer: Any, functions: Mapping[str, tuple[Callable[..., Any], str]]) -> list[OpDef]:
    return [
        _row(name, kind, operands, infer, meanings.plain(function), help)
        for name, (function, help) in functions.items()
    ]


_TABLE: list[OpDef] = [
    _row("constant", "constant", "", rules.constant, meanings.constant,
         "one value in every element",
         value=Attribute("number"), dtype=Attribute("dtype"), shape=Attribute("dims", ())),
    _row("iota", "constant", "", rules.iota, meanings.iota, "0, 1, 2, ... along `axis`",
         axis=Attribute("int"), dtype=Attribute("dtype"), shape=Attribute("dims")),
    _row("dim", "constant", "x", rules.dim, None, "the size of an axis, as an i64", axis=Attribute("int")),
    _row("size", "constant", "", lambda types, attributes: (Type("i64"),), None,
         "the product of some dimensions, as an i64", of=Attribute("dims")),
    _row("cast", "pointwise", "x", rules.cast, meanings.cast, "convert the element type, rounding",
         dtype=Attribute("dtype")),
    *_rows("pointwise", "x", _NUMBER, {
        "neg": (np.negative, "-x"), "abs": (np.abs, "|x|"), "sign": (np.sign, "-1, 0 or 1"),
    }),
    *_rows("pointwise", "x", _FLOAT, {
        "exp": (np.exp, "e to the x"), "expm1": (np.expm1, "exp(x) - 1, exact near 0"),
        "log": (np.log, "natural logarithm"), "log1p": (np.log1p, "log(1 + x), exact near 0"),
        "sqrt": (np.sqrt, "square root"), "erf": (meanings.erf, "the error function"),
        "floor": (np.floor, "round down"),
        "tanh": (np.tanh, "hyperbolic tangent"), "sigmoid": (meanings.sigmoid, "1 / (1 + exp(-x))"),
        "softplus": (lambda x: np.logaddexp(0.0, x), "log(1 + exp(x)), without overflow"),
    }),
    _row("isnan", "pointwise", "x", rules.pointwise("float", "bool"), meanings.plain(np.isnan),
         "true where x is not a number"),
    *_rows("pointwise", "a b", _NUMBER, {
        "add": (np.add, "a + b"), "sub": (np.subtract, "a - b"), "mul": (np.multiply, "a * b"),
        "max": (np.maximum, "the larger; NaN if either is"), "min": (np.minimum, "the smaller; NaN if either is"),
    }),
    _row("div", "pointwise", "a b", _NUMBER, meanings.divide, "a / b; integers truncate, and a / 0 is 0"),
    _row("pow", "pointwise", "a b", _FLOAT, meanings.plain(np.power), "a to the b"),
    *_rows("pointwise", "a b", _COMPARE, {
        "eq": (np.equal, "a == b"), "ne": (np.not_equal, "a != b"), "lt": (np.less, "a < b"),
        "le": (np.less_equal, "a <= b"), "gt": (np.greater, "a > b"), "ge": (np.greater_equal, "a >= b"),
    }),
    *_rows("pointwise", "a b", _BOOL, {"and": (np.logical_and, "both"), "or": (np.logical_or, "either")}),
    _row("not", "pointwise", "x", _BOOL, meanings.plain(np.logical_not), "logical negation"),
    _row("select", "pointwise", "condition a b", rules.select, meanings.plain(np.where),
         "a where the condition holds, else b"),
    _row("random_bits", "pointwise", "key counter", rules.random_bits, meanings.plain(random_bits),
         "32 random bits for each counter, the same whenever the key is the same"),
    _row("stop_gradient", "pointwise", "x", rules.pointwise("any"), meanings.plain(lambda x: x),
         "x, with no gradient through it"),
    _row("broadcast", "shape", "x", rules.broadcast, meanings.broadcast, "repeat: axis i of x becomes axis dims[i]",
         dims=Attribute("ints"), shape=Attribute("dims")),
    _row("reshape", "shape", "x", rules.reshape, lambda c, x: x.reshape(c.shape), "the same elements in another shape",
         shape=Attribute("dims")),
    _row("transpose", "shape", "x", rules.transpose, lambda c, x: x.transpose(c.attributes["permutation"]),
         "axis i of the result is axis permutation[i] of x", permutation=Attribute("ints")),
    _row("reduce_sum", "reduce", "x", rules.reduce, meanings.reduction(np.sum, 0.0), "sum over axes", **_AXES),
    _row("reduce_max", "reduce", "x", rules.reduce, meanings.reduction(np.max, -math.inf),
         "the largest; NaN if any is", **_AXES),
    _row("reduce_min", "reduce", "x", rules.reduce, meanings.reduction(np.min, math.inf),
         "the smallest; NaN if any is", **_AXES),
    _row("gather", "index", "x indices", rules.gather, meanings.gather,
         "one element a position along `axis`; 0 where the index is out of range", axis=Attribute("int")),
    _row("matmul", "matmul", "left right", rules.matmul, meanings.matmul,
         "matrix product; with memory_budget, all that hangs on it is computed for so few rows at a time that it fits",
         transpose_left=Attribute("bool", False), transpose_right=Attribute("bool", False),
         memory_budget=Attribute("int", None)),
    _row("slice", "index", "x", windows.slice_, windows.evaluate_slice,
         "the elements from `start` to before `stop` along `axis`; negative bounds count from the end",
         axis=Attribute("int"), start=Attribute("dim", 0), stop=Attribute("dim", None)),
    _row("concat", "index", "x...", windows.concat, windows.evaluate_concat,
         "tensors one after the other along `axis`", axis=Attribute("int")),
    _row("pad", "index", "x", windows.pad, windows.evaluate_pad,
         "`before` and `after` more elements along `axis`, each `value`",
         axis=Attribute("int"), before=Attribute("dim", 0), after=Attribute("dim", 0), value=Attribute("number", 0.0)),
    _row("check", "effect", "ok value?", rules.check, None,
         "refuse the whole run where ok is false; the message names the first position and `value` there",
         code=Attribute("str"), message=Attribute("str", "")),
    _row("with_gradient", "meta", "value wrt_and_derivative...", rules.with_gradient, lambda c, value, *pairs: value,
         "value, declared to have the given elementwise derivative by each operand that precedes one"),
    _row("grad", "meta", "of wrt...", rules.grad, None,
         "gradient of the sum of `of` with respect to each further operand; with upstream = true the second operand "
         "is the incoming gradient", upstream=Attribute("bool", False)),
]  # fmt: skip

PRIMITIVES: Mapping[str, OpDef] = {row.name: row for row in _TABLE}


def is_pointwise(name: str) -> bool:
    """Whether an operation of that name is a primitive that computes each element from those at the same place."""
    row = PRIMITIVES.get(name)
    return row is not None and row.kind == "pointwise"


COMPLEMENT: Mapping[str, str] = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
"""Comparisons, each with that which holds where it does not; of ordered floats neither does where one is NaN."""

MIRRORED: Mapping[str, str] = {"eq": "eq", "ne": "ne", "lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
"""Comparisons, each with that of the operands in the other order."""

REDUCTIONS = tuple(row.name for row in _TABLE if row.kind == "reduce")
"""What makes one element of all along some axes."""

EXTREMES = ("reduce_max", "reduce_min")
"""What gives one of the elements that it reduces, as it is."""

VIEWS = ("broadcast", "reshape", "transpose", "stop_gradient", "with_gradient")
"""What repeats its first operand or renames it, element by element."""

WINDOWS = windows.NAMES
"""What reads each operand at another place along one axis: shifted, and only where there is something."""

LOOKING_ELSEWHERE = ("gather", *WINDOWS)
"""What reads an operand at another point than that of its result."""


def read_elsewhere(op: Op) -> tuple[Value, ...]:
    """The operands of which an operation reads other elements than those at the point of its result."""
    return op.operands[:1] if op.name == "gather" else op.operands if op.name in WINDOWS else ()


def read_here(op: Op) -> tuple[Value, ...]:
    """The operands that an operation reads at the point of its result."""
    return op.operands[1:] if op.name == "gather" else () if op.name in WINDOWS else op.operands


FREE = ("constant", "iota", "size")
"""What costs nothing to compute again wherever it is needed, and reads nothing."""
