"""`Tensor`: a value under construction, with operators, for the Python graph API, the losses and the passes.

The IR itself neither broadcasts nor promotes; the operators insert explicit `broadcast`s where NumPy's rules allow
them, and turn Python numbers into constants of the other operand's type. Where NumPy or torch have another word for
what there is, it is taken where it can mean one thing only; others are refused with what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .arguments import (
    Axes,
    as_python,
    broadcast_shapes,
    name_of_type,
    one_or_several,
    refuse_item_of_pair,
    refuse_pair,
    refuse_words,
    shape_of,
    words_of_reduction,
)
from .builder import Builder
from .diagnostics import LirError
from .function import Value
from .indexing import part_of
from .other_functions import (
    OTHER_OPERATORS,
    function_of_values,
    refuse,
    refused_operator,
    torch_function_of_values,
    ufunc_of_values,
)
from .other_words import NO_ELEMENTS, renamed_keywords
from .types import DTYPES, Dim, DimLike, Shape, Type, dtype_of, is_float, is_integer, is_short


class Tensor:
    """A value under construction, with NumPy's operators. `x == y` compares elements: use `is` for identity."""

    __hash__ = object.__hash__

    def __init__(self, value: Value, builder: Builder):
        self.value, self.builder = value, builder
        self._pair: tuple[str, int] | None = None  # `x.max(1)`, which is two tensors in torch

    def __repr__(self) -> str:
        return f"Tensor(%{self.value.name}: {self.type})"

    @property
    def type(self) -> Type:
        return self.value.type

    @property
    def shape(self) -> Shape:
        return self.value.type.shape

    @property
    def dtype(self) -> str:
        return self.value.type.dtype

    @property
    def rank(self) -> int:
        return self.value.type.rank

    ndim = rank

    def _wrap(self, value: Value) -> Tensor:
        return Tensor(value, self.builder)

    def apply(self, name: str, *others: Tensor, **attributes: Any) -> Tensor:
        """The result of any primitive that has one, of this and `others`."""
        return self._wrap(self.builder.emit(name, self.value, *(other.value for other in others), **attributes))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name in ("value", "builder"):
            raise AttributeError(name)
        return self.builder.method(self, name)

    def __array_function__(self, function: Any, types: Any, operands: Any, keywords: Any) -> Any:
        """NumPy's functions are methods of their names: `np.sum(x, axis=1)` is `x.sum(axis=1)`."""
        if not (operands and operands[0] is self):
            refuse(f"np.{function.__name__}")
        return function_of_values(self, function.__name__, operands, keywords)

    def __array_ufunc__(self, function: Any, way: str, *operands: Any, **keywords: Any) -> Any:
        """`np.exp(x)` and NumPy's numbers and arrays on the left, where NumPy would take a tensor for a number."""
        return ufunc_of_values(self, function.__name__, way, operands, keywords)

    def __array__(self, *_: Any, **__: Any) -> Any:
        """`np.asarray(x)` would be an array of one object. Raises LirError."""
        raise LirError(f"%{self.value.name} has no elements while a graph is built", NO_ELEMENTS)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, operands: Any = (), keywords: Any = None) -> Any:
        """`torch.exp(x)`, and torch's tensors on the left."""
        return torch_function_of_values(function.__name__, operands, keywords or {}, cls)

    def _tensor(self, other: Any) -> Tensor:
        """An operand that is no number."""
        if not isinstance(other, Tensor) and isinstance(as_python(other), (int, float)):
            raise LirError("`@` multiplies matrices, found a number", "x * number")
        return self._lift(other)

    def _lift(self, other: Any, dtype: str | None = None) -> Tensor:
        """A Python number or a size in this tensor's shape; a tensor of the same builder as it is."""
        if isinstance(other, Tensor):
            if other.builder is not self.builder:
                raise LirError(f"%{other.value.name} and %{self.value.name} belong to different graphs")
            return other
        if isinstance(other, Dim):
            return self._wrap(self.builder.emit("size", of=(other,))).cast(dtype or self.dtype).broadcast_to(self.shape)
        other = as_python(other)
        if not isinstance(other, (int, float, bool)):
            raise LirError(f"expected a value of the graph or a number, found {name_of_type(other)}",
                           "bring arrays in with g.input(...) or g.buffer(...), or as arguments")  # fmt: skip
        return self._wrap(self.builder.constant(other, dtype or self.dtype, self.shape))

    def binary(self, name: str, other: Any, swapped: bool = False) -> Tensor:
        """Apply a two-operand primitive, broadcasting both sides."""
        left, right = (self._lift(other), self) if swapped else (self, self._lift(other))
        shape = broadcast_shapes(left.shape, right.shape)
        return self._wrap(self.builder.emit(name, left.broadcast_to(shape).value, right.broadcast_to(shape).value))

    def __add__(self, other: Any) -> Tensor:
        return self.binary("add", other)

    def __radd__(self, other: Any) -> Tensor:
        return self.binary("add", other, True)

    def __sub__(self, other: Any) -> Tensor:
        return self.binary("sub", other)

    def __rsub__(self, other: Any) -> Tensor:
        return self.binary("sub", other, True)

    def __mul__(self, other: Any) -> Tensor:
        return self.binary("mul", other)

    def __rmul__(self, other: Any) -> Tensor:
        return self.binary("mul", other, True)

    def __truediv__(self, other: Any) -> Tensor:
        return self._divided(other, False)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._divided(other, True)

    def _divided(self, other: Any, swapped: bool) -> Tensor:
        if is_integer(self.dtype):
            raise LirError(f"`/` of whole numbers, {self.type}, is a float in NumPy and torch, and in LIR a whole one",
                           'x.cast("f32") / 2 is the float, of two values with both cast; x.div(y) rounds towards 0',
                           code="LIR0031")  # fmt: skip
        return self.binary("div", other, swapped)

    def __lt__(self, other: Any) -> Tensor:
        return self.binary("lt", other)

    def __le__(self, other: Any) -> Tensor:
        return self.binary("le", other)

    def __gt__(self, other: Any) -> Tensor:
        return self.binary("gt", other)

    def __ge__(self, other: Any) -> Tensor:
        return self.binary("ge", other)

    def __eq__(self, other: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.binary("eq", other)

    def __ne__(self, other: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.binary("ne", other)

    def __and__(self, other: Any) -> Tensor:
        return self._joined("and", "&", other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Tensor:
        return self._joined("or", "|", other)

    __ror__ = __or__

    def _joined(self, name: str, symbol: str, other: Any) -> Tensor:
        if self.dtype != "bool":
            raise LirError(f"`{symbol}` joins truth values, found {self.type}",
                           f"comparisons beside it stand in parentheses: (x > 0) {symbol} (y > 0)",
                           code="LIR0031")  # fmt: skip
        return self.binary(name, other)

    def __invert__(self) -> Tensor:
        return self.apply("not")

    def __neg__(self) -> Tensor:
        return self.apply("neg")

    def __abs__(self) -> Tensor:
        return self.apply("abs")

    def __matmul__(self, other: Any) -> Tensor:
        return self.apply("matmul", self._tensor(other))

    def __rmatmul__(self, other: Any) -> Tensor:
        return self._tensor(other).apply("matmul", self)

    def __rpow__(self, base: Any) -> Tensor:
        return self.binary("pow", base, True)

    def __pow__(self, exponent: Any) -> Tensor:
        # Small whole powers are products: exact, and their gradient at 0 is right.
        if isinstance(exponent, (int, float)) and exponent in (1, 2, 3):
            result = self
            for _ in range(int(exponent) - 1):
                result = result * self
            return result
        return self.binary("pow", exponent)

    def __len__(self) -> int:
        """The first size. Raises LirError where that is known at run time."""
        if not self.shape or not isinstance(self.shape[0], int):
            raise LirError(f"{self!r} has no number of rows while a graph is built",
                           "x.size(0) is the first size as a value, x.shape[0] what it is called")  # fmt: skip
        return self.shape[0]

    def __float__(self) -> float:
        raise LirError(f"%{self.value.name} is no number while a graph is built",
                       "functions of values are methods: x.exp() in place of math.exp(x)", NO_ELEMENTS)  # fmt: skip

    __int__ = __float__
    __round__ = refused_operator("round", "(x + 0.5).floor() rounds halves up")

    def __setitem__(self, items: Any, value: Any) -> None:
        raise LirError(f"%{self.value.name} never changes", "condition.select(a, b) is a where it holds, b elsewhere")

    def __bool__(self) -> bool:
        raise LirError(f"%{self.value.name} has no truth value while a graph is built",
                       "condition.select(a, b) is a where it holds, b elsewhere",
                       "`and`, `or` and `not` are &, | and ~, in parentheses: (0 < x) & (x < 1)")  # fmt: skip

    def exp(self) -> Tensor:
        return self.apply("exp")

    def expm1(self) -> Tensor:
        return self.apply("expm1")

    def log(self) -> Tensor:
        return self.apply("log")

    def log1p(self) -> Tensor:
        return self.apply("log1p")

    def sqrt(self) -> Tensor:
        return self.apply("sqrt")

    def abs(self) -> Tensor:
        return self.apply("abs")

    def sign(self) -> Tensor:
        return self.apply("sign")

    def erf(self) -> Tensor:
        return self.apply("erf")

    def floor(self) -> Tensor:
        return self.apply("floor")

    def tanh(self) -> Tensor:
        return self.apply("tanh")

    def sigmoid(self) -> Tensor:
        return self.apply("sigmoid")

    def softplus(self) -> Tensor:
        return self.apply("softplus")

    def isnan(self) -> Tensor:
        return self.apply("isnan")

    def stop_gradient(self) -> Tensor:
        return self.apply("stop_gradient")

    detach = stop_gradient

    def maximum(self, other: Any) -> Tensor:
        return self.binary("max", other)

    def minimum(self, other: Any) -> Tensor:
        return self.binary("min", other)

    def clip(self, low: Any = None, high: Any = None, **words: Any) -> Tensor:
        """Between two bounds, either of which may be None."""
        words = renamed_keywords(words, ())
        low, high = words.pop("min", low), words.pop("max", high)
        refuse_words("clip", words, "low and high")
        bounded = self if low is None else self.maximum(low)
        return bounded if high is None else bounded.minimum(high)

    clamp = clip

    def cast(self, dtype: str) -> Tensor:
        """The same values as `dtype`; nothing is emitted where they have it already."""
        return self if self.dtype == dtype else self.apply("cast", dtype=dtype)

    def astype(self, dtype: Any) -> Tensor:
        """As `cast`, of what NumPy takes for an element type, too."""
        if isinstance(dtype, str) and dtype in DTYPES:
            return self.cast(dtype)
        try:
            found = dtype_of(np.dtype(dtype))
        except TypeError:
            found = None
        if found is None:
            raise LirError(f"unknown element type {dtype!r}", f"expected one of {', '.join(DTYPES)}", code="LIR0034")
        return self.cast(found)

    def widen(self) -> Tensor:
        """Of a 16-bit float the f32: those are storage, arithmetic is in f32."""
        return self.cast("f32") if is_short(self.dtype) else self

    def select(self, a: Any, b: Any) -> Tensor:
        """`a` where this condition holds, else `b`; at least one of the two is a tensor."""
        pattern = a if isinstance(a, Tensor) else b
        if not isinstance(pattern, Tensor):
            raise LirError("select needs at least one tensor to choose from")
        shape = broadcast_shapes(self.shape, pattern.shape)
        pattern = pattern.broadcast_to(shape)
        chosen = [pattern._lift(side).broadcast_to(shape).value for side in (a, b)]
        return self._wrap(self.builder.emit("select", self.broadcast_to(shape).value, *chosen))

    def broadcast_to(self, shape: Shape | int) -> Tensor:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return self._wrap(self.builder.broadcast_to(self.value, shape))

    def insert_axis(self, axis: int, size: DimLike) -> Tensor:
        """Repeat along a new axis that becomes axis `axis`: the inverse of reducing over it."""
        dims = tuple(a + (a >= axis) for a in range(self.rank))
        shape = (*self.shape[:axis], size, *self.shape[axis:])
        return self.apply("broadcast", dims=dims, shape=shape)

    def reshape(self, *shape: DimLike | Sequence[DimLike]) -> Tensor:
        """The elements in another shape, given as one sequence or size by size. One size may be -1: what is left."""
        sizes = shape_of(self.type, one_or_several(shape))
        return self if sizes == self.shape else self.apply("reshape", shape=sizes)

    def transpose(self, *permutation: int | Sequence[int] | None) -> Tensor:
        """The axes in another order, given as one sequence or axis by axis; the other way round by default."""
        order = tuple(axis for axis in one_or_several(permutation) if axis is not None)
        if permutation == (0, 1):
            raise LirError("transpose(0, 1) changes nothing in NumPy, and swaps the axes in torch",
                           "write x.T, or x itself")  # fmt: skip
        return self.apply("transpose", permutation=order or tuple(range(self.rank)[::-1]))

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        if self.rank != 2:
            raise LirError(f"`.T` is of a matrix, found {self.type}", "x.transpose([...]) takes the order of the axes",
                           code="LIR0030")  # fmt: skip
        return self.transpose()

    def gather(self, indices: Tensor, axis: int) -> Tensor:
        """One element a position along `axis`; 0 where the index is out of range."""
        if not isinstance(indices, Tensor):
            raise LirError(f"gather takes indices of the graph, found {type(indices).__name__}",
                           "x.gather(indices, axis)")  # fmt: skip
        return self.apply("gather", indices, axis=axis)

    def __iter__(self) -> Iterator[Tensor]:
        """Python would ask for x[0], x[1], ... until one is refused. Raises TypeError."""
        name, axis = self._pair or ("max", 1)
        way = f"x.a{name}({axis}) are torch's values" if self._pair else "x[0], x[1], ... are its rows"
        raise TypeError(f"{self!r} is one value, and is not iterated over; {way}")

    def __getitem__(self, items: Any) -> Tensor:
        """A part, as in NumPy: `x[:, 2:5]`, `x[..., -1]`, `x[:, None]`; slices take neighbours, in their order."""
        if self._pair:
            refuse_item_of_pair(*self._pair, items)
        part = part_of(self.type, items if isinstance(items, tuple) else (items,))
        x = self
        for axis, start, stop in part.slices:
            x = x.apply("slice", axis=axis, start=start, stop=stop)
        return x.reshape([1 if axis is None else x.shape[axis] for axis in part.axes])

    def concat(self, *others: Tensor, axis: int) -> Tensor:
        """This tensor and others, one after the other along `axis`."""
        return self.apply("concat", *map(self._lift, others), axis=axis)

    def pad(self, axis: int, before: DimLike = 0, after: DimLike = 0, value: float | int | bool = 0.0) -> Tensor:
        """`before` and `after` more elements along `axis`, each `value`."""
        return self.apply("pad", axis=axis, before=before, after=after, value=value)

    def size(self, axis: int) -> Tensor:
        """The size of an axis as a float scalar of this tensor's element type."""
        dtype = self.dtype if is_float(self.dtype) else "f32"
        return self.apply("dim", axis=axis).cast(dtype)

    def iota(self, axis: int, dtype: str) -> Tensor:
        """0, 1, 2, ... along `axis`, in this tensor's shape."""
        return self._wrap(self.builder.emit("iota", axis=axis % self.rank, dtype=dtype, shape=self.shape))

    def constant(self, value: float | int | bool, dtype: str | None = None) -> Tensor:
        """One value in this tensor's shape."""
        return self._lift(value, dtype)

    def check(self, value: Tensor | None = None, *, code: str, message: str) -> None:
        """Refuse the whole run where this condition is false; the error names the position and `value` there."""
        operands = [self.value] + ([] if value is None else [value.value])
        self.builder.emit_many("check", operands, {"code": code, "message": message})

    def with_gradient(self, *pairs: tuple[Tensor, Tensor]) -> Tensor:
        """This value, whose derivative by each `x` is declared to be `derivative` (both of this shape)."""
        return self.apply("with_gradient", *(tensor for pair in pairs for tensor in pair))

    def _reduce(self, name: str, axis: Axes, keepdims: bool, words: dict[str, Any]) -> Tensor:
        return self._reduced(name, *words_of_reduction(name, axis, keepdims, words))

    def _reduced(self, name: str, over: Sequence[int] | None, keepdims: bool) -> Tensor:
        wanted = range(self.rank) if over is None else over
        axes = sorted({a % self.rank if -self.rank <= a < self.rank else a for a in wanted})
        if not axes:
            return self
        reduced = self.apply(name, axes=tuple(axes))
        if not keepdims:
            return reduced
        return reduced.reshape([1 if a in axes else dim for a, dim in enumerate(self.shape)])

    def sum(self, axis: Axes = None, keepdims: bool = False, **words: Any) -> Tensor:
        return self._reduce("reduce_sum", axis, keepdims, words)

    def amax(self, axis: Axes = None, keepdims: bool = False, **words: Any) -> Tensor:
        return self._reduce("reduce_max", axis, keepdims, words)

    def amin(self, axis: Axes = None, keepdims: bool = False, **words: Any) -> Tensor:
        return self._reduce("reduce_min", axis, keepdims, words)

    def max(self, axis: Axes = None, /, keepdims: bool = False, **words: Any) -> Tensor:
        """As `amax`. In torch `max(dim=1)` and `max(1)` are pairs: the first is refused, the second followed by `[0]`;
        `max(axis=1)[0]` is the first row."""
        refuse_pair("max", words)
        return self._reduce("reduce_max", axis, keepdims, words)._perhaps_pair("max", axis)

    def min(self, axis: Axes = None, /, keepdims: bool = False, **words: Any) -> Tensor:
        """As `amin`, and as `max` for what are pairs in torch."""
        refuse_pair("min", words)
        return self._reduce("reduce_min", axis, keepdims, words)._perhaps_pair("min", axis)

    def _perhaps_pair(self, name: str, axis: Any) -> Tensor:
        if type(axis) is int:
            self._pair = (name, axis)
        return self

    def mean(self, axis: Axes = None, keepdims: bool = False, **words: Any) -> Tensor:
        if not is_float(self.dtype):
            raise LirError(f"a mean is of floats, found {self.type}", 'x.cast("f32").mean()', code="LIR0031")
        axes, keepdims = words_of_reduction("mean", axis, keepdims, words)
        return self._reduced("reduce_sum", axes, keepdims) / self.count(axes)

    def count(self, axes: Iterable[int] | None = None) -> Tensor | float:
        """The number of elements over `axes` (all by default): a Python float where the sizes are known."""
        known, result = 1.0, None
        for axis in range(self.rank) if axes is None else axes:
            dim = self.shape[axis]
            if isinstance(dim, int):
                known *= dim
            else:
                size = self.size(axis)
                result = size if result is None else result * size
        if result is None:
            return known
        return result * known if known != 1.0 else result


for _name, (_symbol, _way) in OTHER_OPERATORS.items():
    for _side in ("", "r"):
        setattr(Tensor, f"__{_side}{_name}__", refused_operator(_symbol, _way))
