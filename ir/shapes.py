"""Binding dimension names: from the declared types of the inputs and the shapes of the arrays given for them.

In: (name, type) pairs and concrete shapes by name. Out: the size of every name, or a `LirError` that says
which array contradicts which type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .diagnostics import LirError
from .types import Dim, Type, dim_value


def bind_dimensions(
    inputs: Iterable[tuple[str, Type]],
    shapes: Mapping[str, tuple[int, ...]],
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Sizes of the dimension names, with those known before. Inputs without a shape are passed over."""
    given = [(name, type_, shapes[name]) for name, type_ in inputs if name in shapes]
    bound = dict(sizes or {})
    for name, type_, found in given:
        if len(found) != type_.rank:
            raise LirError(f"input `{name}` has type {type_}, found an array of shape {list(found)}")
        for dim, size in zip(type_.shape, found):
            if isinstance(dim, Dim) and dim.factor == 1 and len(dim.names) == 1:
                bound.setdefault(dim.names[0], size)
    for name, type_, found in given:
        for dim, size in zip(type_.shape, found):
            try:
                expected = dim_value(dim, bound)
            except KeyError as error:
                raise LirError(f"the size of {error} in {type_} is not given by any input",
                               f"bind it: --bind {error.args[0]}=32") from None  # fmt: skip
            if expected != size:
                raise LirError(
                    f"input `{name}` has type {type_}, found an array of shape {list(found)}"
                    + (f" where {dim} is {expected}" if isinstance(dim, Dim) else "")
                )
    return bound
