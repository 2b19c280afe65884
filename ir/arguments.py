"""What stands in the parentheses of the methods of a value: numbers of NumPy, shapes, axes, and words of torch.

In: arguments as a user wrote them. Out: Python's numbers, shapes and axes, or a refusal that says what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .diagnostics import LirError
from .other_words import renamed_keywords
from .types import DimLike, Shape, Type, quotient_of_dims

Axes = int | Iterable[int] | None


def as_python(value: Any) -> Any:
    """A number of NumPy as Python's; anything else as it is."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 else value


def name_of_type(value: Any) -> str:
    """The class of a value with the package that it comes from: there are tensors of several."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package in ("builtins", "numpy") else f"{package}.{kind.__name__}"


def broadcast_shapes(left: Shape, right: Shape) -> Shape:
    """NumPy's broadcasting rule on shapes with names in them. Raises LirError."""
    rank = max(len(left), len(right))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (left, right)]
    result: list[DimLike] = []
    for a, b in zip(*padded):
        if a != b and 1 not in (a, b):
            small, large = sorted((left, right), key=len)
            first = small == large[: len(small)] and len(small) < len(large)
            more = ", ".join(["None"] * (len(large) - len(small)))
            raise LirError(f"shapes [{', '.join(map(str, left))}] and [{', '.join(map(str, right))}] do not broadcast: "
                           f"{a} against {b}", *([f"axes line up from the last: y[..., {more}] has as many"] * first),
                           code="LIR0030")  # fmt: skip
        result.append(b if a == 1 else a)
    return tuple(result)


def one_or_several(items: Sequence[Any]) -> Sequence[Any]:
    """The arguments, or those in the one that is a sequence itself."""
    return items[0] if len(items) == 1 and isinstance(items[0], (list, tuple)) else items


def shape_of(type_: Type, sizes: Sequence[DimLike]) -> Shape:
    """The shape that is meant for the elements of `type_`: -1 stands for the size that the others leave."""
    word = next((size for size in sizes if isinstance(size, str)), None)
    if word is not None:
        raise LirError(f"a size with a name is that of an axis, found {word!r}", "x.shape[0] is the first of x",
                       code="LIR0034")  # fmt: skip
    if -1 not in sizes:
        return tuple(sizes)
    others = [size for size in sizes if size != -1]
    left = quotient_of_dims(type_.count, others) if len(others) == len(sizes) - 1 else None
    if left is None:
        raise LirError(f"{type_} has no shape [{', '.join(map(str, sizes))}]",
                       "-1 stands once, for a size that the others leave over", code="LIR0030")  # fmt: skip
    return tuple(left if size == -1 else size for size in sizes)


def refuse_words(name: str, words: dict[str, Any], known: str) -> None:
    """Raise TypeError for arguments that a method does not have."""
    if words:
        raise TypeError(f"`{name}` has no argument `{next(iter(words))}`: it takes {known}")


def refuse_pair(name: str, words: Mapping[str, Any]) -> None:
    """Raise LirError for `max` and `min` over torch's `dim`, where torch gives values and indices."""
    if "dim" in words:
        raise LirError(f"x.{name}(dim=...) is two tensors in torch, of values and of indices",
                       f"the values are x.a{name}(dim=...)")  # fmt: skip


def refuse_item_of_pair(name: str, axis: int, item: Any) -> None:
    """Raise LirError for `x.max(1)[0]`, which is torch's pair or NumPy's first row."""
    if type(item) is int and -2 <= item <= 1:
        indices = f"x.argmax({axis})" if name == "max" else f"(-x).argmax({axis})"
        in_torch = f"x.a{name}({axis})" if item in (0, -2) else indices
        raise LirError(f"x.{name}({axis})[{item}] is one of the values and indices in torch, and a row in NumPy",
                       f"write {in_torch} for torch's, x.{name}(axis={axis})[{item}] for the row")  # fmt: skip


def words_of_reduction(name: str, axis: Any, keepdims: bool, words: dict[str, Any]) -> tuple[list[int] | None, bool]:
    """Over which axes to reduce and whether these stay, where torch's words stand beside ours. Raises LirError."""
    words = renamed_keywords(words, ("axis", "keepdims"))
    axis, keepdims = words.pop("axis", axis), words.pop("keepdims", keepdims)
    refuse_words(name, words, "axis and keepdims")
    is_value = isinstance(getattr(axis, "type", None), Type)
    if is_value or isinstance(axis, str) or not (axis is None or isinstance(axis, (int, np.integer, Iterable))):
        of_two = ("the larger of two values is x.maximum(y), the smaller x.minimum(y)",) if is_value else ()
        raise LirError(f"`{name}` is over axes, which are whole numbers, found {type(axis).__name__}", *of_two)
    axes = axis if axis is None else [int(a) for a in ([axis] if isinstance(axis, (int, np.integer)) else axis)]
    return axes, keepdims
