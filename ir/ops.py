"""The primitive operations: one row each, with its operands, attributes, type rule and meaning.

`infer` computes the result types or raises `LirError`; `evaluate` is the meaning, in NumPy (floats arrive as
float64). What the compiler does with an operation (its gradient, its C spelling) is not here: each of those
is one table in the compiler, and a test crosses them with this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .diagnostics import LirError
from .random_bits import random_bits
from .types import DTYPES, DimLike, Type, is_float, is_integer, numpy_dtype

Attributes = Mapping[str, Any]
REQUIRED = object()


@dataclass(frozen=True)
class Attribute:
    """`kind` is one of int, float, bool, str, ints, dims, dtype, number. It may be none where it is `optional` or its
    default is None."""

    kind: str
    default: Any = REQUIRED
    optional: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What an `evaluate` may ask beside its operands: attributes, and the concrete result type."""

    attributes: Attributes
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OpDef:
    """One primitive. `operands` ending in `...` take any number; a trailing `?` marks an optional one."""

    name: str
    kind: str  # constant | pointwise | shape | reduce | index | matmul | effect | meta
    operands: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    infer: Callable[[tuple[Type, ...], Attributes], tuple[Type, ...]]
    evaluate: Callable[..., np.ndarray] | None
    help: str


# --- type rules ---------------------------------------------------------------------------------------------


def _fail(message: str, *notes: str, code: str = "LIR0030") -> LirError:
    return LirError(message, *notes, code=code)


def _same_shape(types: tuple[Type, ...]) -> tuple[DimLike, ...]:
    first = types[0]
    for other in types[1:]:
        if other.shape != first.shape:
            raise _fail(
                f"operands have different shapes: {first} and {other}",
                "shapes must match exactly; write `broadcast` where one is meant to repeat",
            )
    return first.shape


def _same_dtype(types: tuple[Type, ...]) -> str:
    first = types[0]
    for other in types[1:]:
        if other.dtype != first.dtype:
            raise _fail(
                f"operands have different element types: {first} and {other}",
                f"convert one of them: cast %x {{dtype = {first.dtype}}}",
                code="LIR0031",
            )
    return first.dtype


_A = {"float": "a float", "number": "a number as", "bool": "a bool", "integer": "an integer"}


def _want(types: tuple[Type, ...], accepted: str) -> None:
    tests = {"float": is_float, "number": lambda d: d != "bool", "bool": lambda d: d == "bool", "integer": is_integer}
    for type_ in types:
        if not tests[accepted](type_.dtype):
            raise _fail(f"expected {_A[accepted]} operand, found {type_}", code="LIR0031")


def _pointwise(accepted: str, result: str | None = None):
    def infer(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
        if accepted != "any":
            _want(types, accepted)
        return (Type(result or _same_dtype(types), _same_shape(types)),)

    def infer_checked(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
        _same_dtype(types)
        return infer(types, attributes)

    return infer_checked


def _select(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types[:1], "bool")
    return (Type(_same_dtype(types[1:]), _same_shape(types)),)


def _random_bits(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    for type_ in types:
        if type_.dtype != "i64":
            raise _fail(f"random bits are made from an i64 key and an i64 counter, found {type_}", code="LIR0031")
    return (Type("i32", _same_shape(types)),)


def check_axis(axis: int, rank: int) -> int:
    """A possibly negative axis as 0..rank-1."""
    if not -rank <= axis < rank:
        raise _fail(f"axis {axis} is out of range for rank {rank}", code="LIR0033")
    return axis % rank


def class_axis(rank: int, axis: int | None) -> int:
    """The axis of the classes among those of logits: `axis`, by default the second, or the only one."""
    if rank == 0:
        raise _fail("logits need a class axis, found a scalar")
    return min(1, rank - 1) if axis is None else check_axis(axis, rank)


def _check_axes(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    checked = tuple(check_axis(axis, rank) for axis in axes)
    if len(set(checked)) != len(checked):
        raise _fail(f"an axis is named twice in {list(axes)}", code="LIR0033")
    return checked


def _reduce(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (operand,) = types
    _want(types, "number")
    axes = _check_axes(attributes["axes"], operand.rank)
    return (operand.with_shape(dim for axis, dim in enumerate(operand.shape) if axis not in axes),)


def _constant(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    value, dtype = attributes["value"], attributes["dtype"]
    if is_integer(dtype) or dtype == "bool":
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(numpy_dtype(dtype)).min, np.iinfo(numpy_dtype(dtype)).max)
        if not (float(value).is_integer() and low <= value <= high):
            raise _fail(f"constant {value} does not fit {dtype}", code="LIR0035")
    return (Type(dtype, tuple(attributes["shape"])),)


def _iota(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    shape = tuple(attributes["shape"])
    check_axis(attributes["axis"], len(shape))
    if not is_integer(attributes["dtype"]):
        raise _fail(f"iota counts in integers, found dtype {attributes['dtype']}", code="LIR0031")
    return (Type(attributes["dtype"], shape),)


def _cast(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    if attributes["dtype"] not in DTYPES:
        raise _fail(f"unknown element type {attributes['dtype']}", code="LIR0034")
    return (types[0].with_dtype(attributes["dtype"]),)


def _dim(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    check_axis(attributes["axis"], types[0].rank)
    return (Type("i64"),)


def _broadcast(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (operand,) = types
    shape, dims = tuple(attributes["shape"]), tuple(attributes["dims"])
    if len(dims) != operand.rank or list(dims) != sorted(set(dims)):
        raise _fail(f"dims = {list(dims)} must name one ascending result axis for each of the {operand.rank} axes of "
                    f"{operand}")  # fmt: skip
    for axis, target in enumerate(dims):
        check_axis(target, len(shape))
        if operand.shape[axis] not in (1, shape[target]):
            raise _fail(f"axis {axis} of {operand} has size {operand.shape[axis]}; it cannot become size "
                        f"{shape[target]} (axis {target} of the result)")  # fmt: skip
    return (operand.with_shape(shape),)


def _reshape(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    result = types[0].with_shape(attributes["shape"])
    if result.count != types[0].count:
        raise _fail(f"cannot reshape {types[0]} ({types[0].count} elements) to {result} ({result.count} elements)")
    return (result,)


def _transpose(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    (operand,) = types
    permutation = tuple(attributes["permutation"])
    if sorted(permutation) != list(range(operand.rank)):
        raise _fail(f"permutation {list(permutation)} must name each of the {operand.rank} axes of {operand} once")
    return (operand.with_shape(operand.shape[axis] for axis in permutation),)


def _gather(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    operand, indices = types
    _want((indices,), "integer")
    axis = check_axis(attributes["axis"], operand.rank)
    kept = operand.shape[:axis] + operand.shape[axis + 1 :]
    if indices.shape != kept:
        raise _fail(f"gather along axis {axis} of {operand} takes one index for each remaining position: expected "
                    f"indices of shape {Type(indices.dtype, kept)}, found {indices}")  # fmt: skip
    return (operand.with_shape(kept),)


def _matmul(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types, "float")
    dtype = _same_dtype(types)
    left, right = types
    if left.rank != 2 or right.rank != 2:
        raise _fail(f"matmul takes two matrices, found {left} and {right}")
    rows, inner = left.shape[::-1] if attributes["transpose_left"] else left.shape
    inner_right, columns = right.shape[::-1] if attributes["transpose_right"] else right.shape
    if inner != inner_right:
        raise _fail(f"inner dimensions differ: {inner} (of {left}) and {inner_right} (of {right})",
                    "weights are [out, in]: multiply with {transpose_right = true}, or use `linear`")  # fmt: skip
    return (Type(dtype, (rows, columns)),)


def _check(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types[:1], "bool")
    _same_shape(types)
    return ()


def _grad(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    skip = 2 if attributes["upstream"] else 1
    if len(types) <= skip:
        raise _fail("grad names a value and at least one value to differentiate with respect to", code="LIR0025")
    if attributes["upstream"] and types[0] != types[1]:
        raise _fail(f"the upstream gradient has type {types[1]}, expected that of the differentiated value {types[0]}")
    _want(types, "float")
    return types[skip:]


def _with_gradient(types: tuple[Type, ...], attributes: Attributes) -> tuple[Type, ...]:
    _want(types, "float")
    _same_shape(types)
    _same_dtype(types)
    if len(types) % 2 == 0:
        raise _fail("with_gradient takes a value and then pairs: a value to differentiate by, and the derivative",
                    code="LIR0025")  # fmt: skip
    return types[:1]


# --- meanings -----------------------------------------------------------------------------------------------


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _divide(context: Evaluation, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Integer division truncates toward zero, as in C; division by zero gives 0.
    if a.dtype.kind == "f":
        return a / b
    return np.where(b == 0, 0, np.trunc(a / np.where(b == 0, 1, b))).astype(a.dtype)


def _gather_values(context: Evaluation, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis = context.attributes["axis"] % x.ndim
    inside = (indices >= 0) & (indices < x.shape[axis])
    if x.shape[axis] == 0:
        return np.zeros(context.shape, x.dtype)
    safe = np.where(inside, indices, 0).astype(np.int64)
    picked = np.take_along_axis(x, np.expand_dims(safe, axis), axis).squeeze(axis)
    return np.where(inside, picked, np.zeros((), x.dtype))


def _broadcast_values(context: Evaluation, x: np.ndarray) -> np.ndarray:
    shape = [1] * len(context.shape)
    for axis, target in enumerate(context.attributes["dims"]):
        shape[target] = x.shape[axis]
    return np.broadcast_to(x.reshape(shape), context.shape)


def _reduction(function: Callable[..., np.ndarray], identity: float):
    def evaluate(context: Evaluation, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f":
            info = np.iinfo(x.dtype)
            initial = {0.0: 0, -math.inf: info.min, math.inf: info.max}[identity]
            return function(x, axis=tuple(context.attributes["axes"]), initial=initial).astype(x.dtype)
        return function(x, axis=tuple(context.attributes["axes"]), initial=identity)

    return evaluate


def _constant_values(context: Evaluation) -> np.ndarray:
    dtype = np.float64 if is_float(context.dtype) else numpy_dtype(context.dtype)
    return np.full(context.shape, context.attributes["value"], dtype)


def _iota_values(context: Evaluation) -> np.ndarray:
    axis = context.attributes["axis"] % len(context.shape)
    shape = [1] * len(context.shape)
    shape[axis] = context.shape[axis]
    counts = np.arange(context.shape[axis], dtype=numpy_dtype(context.dtype))
    return np.broadcast_to(counts.reshape(shape), context.shape)


def _matmul_values(context: Evaluation, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.T if context.attributes["transpose_left"] else a) @ (b.T if context.attributes["transpose_right"] else b)


def _cast_values(context: Evaluation, x: np.ndarray) -> np.ndarray:
    # A cast rounds to its type, and the interpreter goes on in float64.
    rounded = x.astype(numpy_dtype(context.dtype))
    return rounded.astype(np.float64) if is_float(context.dtype) else rounded


def _plain(function: Callable[..., np.ndarray]):
    return lambda context, *operands: function(*operands)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def count_axes_from_front(types: tuple[Type, ...], attributes: Attributes) -> dict[str, Any]:
    """The attributes with axes counted from the front and in order: one spelling for one meaning."""
    rank = types[0].rank if types else len(attributes.get("shape", ()))
    found = dict(attributes)
    if "axis" in found:
        found["axis"] = found["axis"] % rank
    if "axes" in found:
        found["axes"] = tuple(sorted(axis % rank for axis in found["axes"]))
    return found


# --- the table ----------------------------------------------------------------------------------------------

_FLOAT, _NUMBER, _BOOL = _pointwise("float"), _pointwise("number"), _pointwise("bool")
_COMPARE = _pointwise("number", "bool")
_AXES = {"axes": Attribute("ints")}


def _row(name: str, kind: str, operands: str, infer: Any, evaluate: Any, help: str, **attributes: Attribute) -> OpDef:
    return OpDef(name, kind, tuple(operands.split()), attributes, infer, evaluate, help)


def _rows(kind: str, operands: str, infer: Any, functions: Mapping[str, tuple[Callable[..., Any], str]]) -> list[OpDef]:
    return [_row(name, kind, operands, infer, _plain(function), help) for name, (function, help) in functions.items()]


_TABLE: list[OpDef] = [
    _row("constant", "constant", "", _constant, _constant_values,
         "one value in every element",
         value=Attribute("number"), dtype=Attribute("dtype"), shape=Attribute("dims", ())),
    _row("iota", "constant", "", _iota, _iota_values, "0, 1, 2, ... along `axis`",
         axis=Attribute("int"), dtype=Attribute("dtype"), shape=Attribute("dims")),
    _row("dim", "constant", "x", _dim, None, "the size of an axis, as an i64", axis=Attribute("int")),
    _row("size", "constant", "", lambda types, attributes: (Type("i64"),), None,
         "the product of some dimensions, as an i64", of=Attribute("dims")),
    _row("cast", "pointwise", "x", _cast, _cast_values, "convert the element type, rounding",
         dtype=Attribute("dtype")),
    *_rows("pointwise", "x", _NUMBER, {
        "neg": (np.negative, "-x"), "abs": (np.abs, "|x|"), "sign": (np.sign, "-1, 0 or 1"),
    }),
    *_rows("pointwise", "x", _FLOAT, {
        "exp": (np.exp, "e to the x"), "expm1": (np.expm1, "exp(x) - 1, exact near 0"),
        "log": (np.log, "natural logarithm"), "log1p": (np.log1p, "log(1 + x), exact near 0"),
        "sqrt": (np.sqrt, "square root"), "erf": (_erf, "the error function"), "floor": (np.floor, "round down"),
        "tanh": (np.tanh, "hyperbolic tangent"), "sigmoid": (_sigmoid, "1 / (1 + exp(-x))"),
        "softplus": (lambda x: np.logaddexp(0.0, x), "log(1 + exp(x)), without overflow"),
    }),
    _row("isnan", "pointwise", "x", _pointwise("float", "bool"), _plain(np.isnan), "true where x is not a number"),
    *_rows("pointwise", "a b", _NUMBER, {
        "add": (np.add, "a + b"), "sub": (np.subtract, "a - b"), "mul": (np.multiply, "a * b"),
        "max": (np.maximum, "the larger; NaN if either is"), "min": (np.minimum, "the smaller; NaN if either is"),
    }),
    _row("div", "pointwise", "a b", _NUMBER, _divide, "a / b; integers truncate, and a / 0 is 0"),
    _row("pow", "pointwise", "a b", _FLOAT, _plain(np.power), "a to the b"),
    *_rows("pointwise", "a b", _COMPARE, {
        "eq": (np.equal, "a == b"), "ne": (np.not_equal, "a != b"), "lt": (np.less, "a < b"),
        "le": (np.less_equal, "a <= b"), "gt": (np.greater, "a > b"), "ge": (np.greater_equal, "a >= b"),
    }),
    *_rows("pointwise", "a b", _BOOL, {"and": (np.logical_and, "both"), "or": (np.logical_or, "either")}),
    _row("not", "pointwise", "x", _BOOL, _plain(np.logical_not), "logical negation"),
    _row("select", "pointwise", "condition a b", _select, _plain(np.where), "a where the condition holds, else b"),
    _row("random_bits", "pointwise", "key counter", _random_bits, _plain(random_bits),
         "32 random bits for each counter, the same whenever the key is the same"),
    _row("stop_gradient", "pointwise", "x", _pointwise("any"), _plain(lambda x: x), "x, with no gradient through it"),
    _row("broadcast", "shape", "x", _broadcast, _broadcast_values, "repeat: axis i of x becomes axis dims[i]",
         dims=Attribute("ints"), shape=Attribute("dims")),
    _row("reshape", "shape", "x", _reshape, lambda c, x: x.reshape(c.shape), "the same elements in another shape",
         shape=Attribute("dims")),
    _row("transpose", "shape", "x", _transpose, lambda c, x: x.transpose(c.attributes["permutation"]),
         "axis i of the result is axis permutation[i] of x", permutation=Attribute("ints")),
    _row("reduce_sum", "reduce", "x", _reduce, _reduction(np.sum, 0.0), "sum over axes", **_AXES),
    _row("reduce_max", "reduce", "x", _reduce, _reduction(np.max, -math.inf), "the largest; NaN if any is", **_AXES),
    _row("reduce_min", "reduce", "x", _reduce, _reduction(np.min, math.inf), "the smallest; NaN if any is", **_AXES),
    _row("gather", "index", "x indices", _gather, _gather_values,
         "one element a position along `axis`; 0 where the index is out of range", axis=Attribute("int")),
    _row("matmul", "matmul", "left right", _matmul, _matmul_values,
         "matrix product; with memory_budget, all that hangs on it is computed for so few rows at a time that it fits",
         transpose_left=Attribute("bool", False), transpose_right=Attribute("bool", False),
         memory_budget=Attribute("int", None)),
    _row("check", "effect", "ok value?", _check, None,
         "refuse the whole run where ok is false; the message names the first position and `value` there",
         code=Attribute("str"), message=Attribute("str")),
    _row("with_gradient", "meta", "value wrt_and_derivative...", _with_gradient, lambda c, value, *pairs: value,
         "value, declared to have the given elementwise derivative by each operand that precedes one"),
    _row("grad", "meta", "of wrt...", _grad, None,
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

FREE = ("constant", "iota", "size")
"""What costs nothing to compute again wherever it is needed, and reads nothing."""
