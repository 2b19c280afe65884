"""Element types, dimensions and tensor types, with their text form.

A dimension is an integer, or a `Dim`: an integer times a product of names, `4*B*T`. Names are bound at run
time. `Type` is an element type and a shape; `f32[B, 10]` is its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np

from .frozen import frozen

FLOAT_DTYPES = ("f16", "bf16", "f32", "f64")
INTEGER_DTYPES = ("i8", "u8", "i16", "i32", "i64")
DTYPES = (*FLOAT_DTYPES, *INTEGER_DTYPES, "bool")

ITEM_SIZE = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "i8": 1, "u8": 1, "i16": 2, "i32": 4, "i64": 8, "bool": 1}

_NUMPY = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64,
    "i8": np.int8, "u8": np.uint8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "bool": np.bool_,
}  # fmt: skip


def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy dtype that holds `dtype`; bf16 comes from ml_dtypes."""
    if dtype == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(_NUMPY[dtype])


@lru_cache(maxsize=256)
def dtype_of(array_dtype: np.dtype) -> str | None:
    """The LIR dtype of a NumPy dtype, or None where LIR has none (uint32, complex, ...)."""
    if array_dtype.name == "bfloat16":
        return "bf16"
    return next((name for name, kind in _NUMPY.items() if np.dtype(kind) == array_dtype), None)


def is_float(dtype: str) -> bool:
    return dtype in FLOAT_DTYPES


def is_short(dtype: str) -> bool:
    """Whether a float has 16 bits: those are for storage, arithmetic is in f32."""
    return dtype in ("f16", "bf16")


def is_integer(dtype: str) -> bool:
    return dtype in INTEGER_DTYPES


@frozen
class Dim:
    """A dimension with names in it: `factor` times the product of `names` (sorted, at least one)."""

    factor: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "*".join([str(self.factor)] * (self.factor != 1) + list(self.names))

    def __repr__(self) -> str:
        return f"Dim({self})"

    def __mul__(self, other: DimLike) -> DimLike:
        return multiply_dims([self, other]) if isinstance(other, (int, Dim)) else NotImplemented

    __rmul__ = __mul__


DimLike = int | Dim
Shape = tuple[DimLike, ...]


def named(name: str) -> Dim:
    return Dim(1, (name,))


def multiply_dims(dims: Iterable[DimLike]) -> DimLike:
    """The product of dimensions, an int where no name is left."""
    factor, names = 1, []
    for dim in dims:
        factor *= dim if isinstance(dim, int) else dim.factor
        names += [] if isinstance(dim, int) else dim.names
    return Dim(factor, tuple(sorted(names))) if names and factor else factor


def add_dims(a: DimLike, b: DimLike) -> DimLike | None:
    """The sum of two dimensions; None where that is no product of names, as N + M and N + 1 are none."""
    if a == 0 or b == 0:
        return b if a == 0 else a
    (factor, names), (other, same) = _parts(a), _parts(b)
    return multiply_dims([factor + other, *map(named, names)]) if names == same else None


def subtract_dims(a: DimLike, b: DimLike) -> DimLike | None:
    """a - b, where that is known to be a dimension: 2*N - N is, N - 1 and N - 2*N are not."""
    if b == 0:
        return a
    (factor, names), (other, same) = _parts(a), _parts(b)
    return multiply_dims([factor - other, *map(named, names)]) if names == same and factor >= other else None


def quotient_of_dims(dim: DimLike, divisors: Iterable[DimLike]) -> DimLike | None:
    """`dim` divided by the product of the others; None where that is no dimension, or any is (0 / 0)."""
    (factor, names), (other, others) = _parts(dim), _parts(multiply_dims(divisors))
    left = list(names)
    for name in others:
        if name not in left:
            return None
        left.remove(name)
    if other == 0 or factor % other:
        return None
    return multiply_dims([factor // other, *map(named, left)])


def is_at_most(low: DimLike, high: DimLike) -> bool:
    """Whether it is known that one size is no larger than another: 0 of any, N of 2*N; of N and M it is not."""
    return subtract_dims(high, low) is not None


def _parts(dim: DimLike) -> tuple[int, tuple[str, ...]]:
    return (dim, ()) if isinstance(dim, int) else (dim.factor, dim.names)


def dim_names(dim: DimLike) -> tuple[str, ...]:
    return () if isinstance(dim, int) else dim.names


def bind_dim(dim: DimLike, sizes: Mapping[str, DimLike]) -> DimLike:
    """`dim` with every name that `sizes` has replaced by its size."""
    if isinstance(dim, int):
        return dim
    return multiply_dims([dim.factor, *(sizes.get(name, named(name)) for name in dim.names)])


def dim_value(dim: DimLike, sizes: Mapping[str, int]) -> int:
    """The number a dimension stands for once every name is bound."""
    bound = bind_dim(dim, sizes)
    if not isinstance(bound, int):
        raise KeyError(bound.names[0])
    return bound


@frozen
class Type:
    """A tensor type. Rank 0 is `f32[]`."""

    dtype: str
    shape: Shape = ()

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def count(self) -> DimLike:
        """The number of elements."""
        return multiply_dims(self.shape)

    def with_dtype(self, dtype: str) -> Type:
        return Type(dtype, self.shape)

    def with_shape(self, shape: Iterable[DimLike]) -> Type:
        return Type(self.dtype, tuple(shape))
