"""How the functions of torch read the shapes of their tensors, and which programs lossc needs for them.

In: the types of the tensors, with the sizes of this call, and the settings. Out: a `Layout`: the types that the program
is compiled for, where sizes that may differ from call to call are names; the shapes that the arrays are viewed in;
the shape of the unreduced loss. What does not fit is refused as torch refuses it.

Batch axes are joined wherever that is possible: an elementwise loss of equal shapes is one program for all ranks. Class
axes and vectors keep their size, so that kernels know it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossc.errors import NothingThere, RefusedArgument, Unsupported
from lossc.ir.diagnostics import LirError
from lossc.ir.frozen import frozen
from lossc.ir.types import DimLike, Shape, Type, is_float, named
from lossc.warnings import warn

Sizes = tuple[int, ...]
Types = Mapping[str, Type]
Settings = Mapping[str, Any]


@frozen
class Layout:
    """`types`: by operand, what the program takes. `views`: by operand, its array's shape there. `result`: the shape
    of the unreduced loss. `warning` is what torch warns of."""

    types: Mapping[str, Shape]
    views: Mapping[str, Sizes]
    result: Sizes
    warning: str = ""


Layouter = Callable[[Types, Settings], Layout]


def sizes(type_: Type) -> Sizes:
    """A shape without names in it."""
    return tuple(dim for dim in type_.shape if isinstance(dim, int))


def shown(shape: Sequence[int]) -> str:
    """A shape as messages show it."""
    return f"[{', '.join(map(str, shape))}]"


def broadcast(shapes: Mapping[str, Sizes]) -> Sizes:
    """The common shape by NumPy's rule. Raises RefusedArgument."""
    rank = max(map(len, shapes.values()), default=0)
    common = [1] * rank
    for shape in shapes.values():
        for axis, size in zip(range(rank - len(shape), rank), shape):
            if common[axis] == 1:
                common[axis] = size
            elif size not in (1, common[axis]):
                listed = ", ".join(f"{name} {shown(s)}" for name, s in shapes.items())
                raise RefusedArgument(f"shapes do not broadcast: {listed}", code="LIR0030")
    return tuple(common)


# --- elementwise --------------------------------------------------------------------------------------------


def elements(types: Types, settings: Settings) -> Layout:
    """Tensors that broadcast against each other."""
    return _joined({name: sizes(type_) for name, type_ in types.items()})


def _joined(shapes: Mapping[str, Sizes], apart: Sequence[int] = (), fixed_last: bool = False) -> Layout:
    """Neighbouring axes become one where every tensor has both or is repeated along both.

    `apart` are positions between axes that stay apart. With `fixed_last` the last axis stays apart and keeps its size,
    and there is at least one axis before it.
    """
    full = broadcast(shapes)
    padded = {name: (1,) * (len(full) - len(shape)) + shape for name, shape in shapes.items()}
    groups: list[tuple[list[int], tuple[bool, ...]]] = []
    joined = len(full) - fixed_last
    for axis in range(joined):
        present = tuple(shape[axis] == full[axis] for shape in padded.values())
        if groups and groups[-1][1] == present and axis not in apart:
            groups[-1][0].append(axis)
        else:
            groups.append(([axis], present))
    if not groups:
        groups = [([], (True,) * len(padded))]
    types: dict[str, Shape] = {}
    views: dict[str, Sizes] = {}
    for place, (name, shape) in enumerate(padded.items()):
        dims: list[DimLike] = [named(f"D{i}") if present[place] else 1 for i, (_, present) in enumerate(groups)]
        view = [math.prod(shape[axis] for axis in axes) for axes, _ in groups]
        if fixed_last:
            dims.append(shape[-1])
            view.append(shape[-1])
        types[name], views[name] = tuple(dims), tuple(view)
    return Layout(types, views, full)


def alike(types: Types, settings: Settings) -> Layout:
    """Input and target of one shape; weights broadcast to that."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if given["input"] != given["target"]:
        raise LirError(f"the target must have the input's shape {shown(given['input'])}, "
                       f"found {shown(given['target'])}", code="LIR0030")  # fmt: skip
    if broadcast(given) != given["input"]:
        wider = next(name for name, shape in given.items() if broadcast({"": shape, " ": given["input"]}) !=
                     given["input"])  # fmt: skip
        raise RefusedArgument(f"{wider} {shown(given[wider])} does not broadcast to the input's shape "
                              f"{shown(given['input'])}", code="LIR0030")  # fmt: skip
    return _joined(given)


def warned(types: Types, settings: Settings) -> Layout:
    """Input and target that broadcast, with a warning; a weight of the input's shape."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if "weight" in given and given["weight"] != given["input"]:
        raise LirError(f"weight and input must have the same shape, found {shown(given['weight'])} and "
                       f"{shown(given['input'])}", code="LIR0030")  # fmt: skip
    found = _joined(given)
    if given["input"] == given["target"]:
        return found
    return Layout(found.types, found.views, found.result, f"the target's shape {shown(given['target'])} differs from "
                  f"the input's, {shown(given['input'])}: they are broadcast, which is rarely meant")  # fmt: skip


def divergence(types: Types, settings: Settings) -> Layout:
    """As `elements`; the input's first axis stays an axis where the mean is over it."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if not all(is_float(type_.dtype) for type_ in types.values()):
        raise RefusedArgument("kl_div takes floats, found " + ", ".join(map(str, types.values())))
    if settings["reduction"] != "batchmean":
        return _joined(given)
    if broadcast(given) != given["input"]:
        raise Unsupported("kl_div with reduction='batchmean' takes an input that is not repeated along the target",
                          "expand the input, or take reduction='sum' and divide")  # fmt: skip
    return _joined(given, apart=(1,))


def normal(types: Types, settings: Settings) -> Layout:
    """A variance of the input's shape, with the last axis missing, or with one axis of size 1."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    x, var = given["input"], given["var"]
    if var != x and types["var"].rank + 1 == len(x) and x[:-1] == var:
        given["var"] = (*var, 1)
    elif var != x and not (len(var) == len(x) and sum(b for a, b in zip(x, var) if a != b) == 1):
        raise LirError(f"var {shown(var)} does not fit the input {shown(x)}",
                       "it has the input's shape, or that without the last axis, or with one axis of size 1",
                       code="LIR0030")  # fmt: skip
    return _joined(given)


def ranked(types: Types, settings: Settings) -> Layout:
    """Two inputs and a target of one rank, which broadcast."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if len({len(shape) for shape in given.values()}) > 1:
        listed = ", ".join(f"{name} {shown(shape)}" for name, shape in given.items())
        raise RefusedArgument(f"inputs and target must have equally many axes, found {listed}", code="LIR0030")
    return _joined(given)


def same_logits(types: Types, settings: Settings) -> Layout:
    """Elementwise, of exactly one shape."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {shown(shape)}" for name, shape in given.items())
        raise LirError(f"shapes differ: {listed}", code="LIR0030")
    return _joined(given)


# --- of vectors ---------------------------------------------------------------------------------------------


def vectors(types: Types, settings: Settings) -> Layout:
    """Tensors of vectors along the last axis, which broadcast; one value a vector."""
    given = {name: sizes(type_) or (1,) for name, type_ in types.items()}
    layout = _joined(given, fixed_last=True)
    return Layout(layout.types, layout.views, layout.result[:-1])


def labelled_classes(types: Types, settings: Settings) -> Layout:
    """Logits [..., C] and their targets and weights, which broadcast to them."""
    if not types["input"].rank:
        raise NothingThere("the input needs a class axis, found a scalar", code="LIR0030")
    return vectors(types, settings)


def triples(types: Types, settings: Settings) -> Layout:
    """Three tensors of vectors, of equally many axes."""
    if not settings["margin"] > 0:
        raise LirError(f"margin must be positive, found {settings['margin']}")
    if len({type_.rank for type_ in types.values()}) > 1:
        listed = ", ".join(f"{name} {shown(sizes(type_))}" for name, type_ in types.items())
        raise RefusedArgument(f"anchor, positive and negative must have equally many axes, found {listed}",
                              code="LIR0030")  # fmt: skip
    return vectors(types, settings)


def pairs(types: Types, settings: Settings) -> Layout:
    """Two tensors of vectors [N, D] with one target each, or two vectors [D] with a scalar."""
    one, two, t = (sizes(types[name]) for name in ("input1", "input2", "target"))
    if len(t) > 1:
        raise RefusedArgument(f"expected a target [N] or [], found {shown(t)}", code="LIR0030")
    if len(one) != len(t) + 1 or len(two) != len(t) + 1:
        raise RefusedArgument(f"a target {shown(t)} goes with inputs of {len(t) + 1} axes, found {shown(one)} and "
                              f"{shown(two)}", code="LIR0030")  # fmt: skip
    layout = _joined({"input1": one, "input2": two, "target": (*t, 1)}, fixed_last=True)
    # The target has no axis along the vectors.
    dims = {**layout.types, "target": layout.types["target"][:-1]}
    return Layout(dims, {**layout.views, "target": layout.views["target"][:-1]}, layout.result[:-1])


_N, _D = named("N"), named("D")


def queries(types: Types, settings: Settings) -> Layout:
    """Two matrices [N, D]."""
    (_, first), (_, second) = types.items()
    if first.rank != 2 or sizes(first) != sizes(second):
        raise LirError(f"queries and keys are [N, D] of one shape, found {first} and {second}", code="LIR0030")
    count, width = sizes(first)
    dims: Shape = (_N, width)
    return Layout(dict.fromkeys(types, dims), dict.fromkeys(types, (count, width)), (count,))


# --- along an axis ------------------------------------------------------------------------------------------


def one_axis(types: Types, settings: Settings) -> Layout:
    """One tensor, along the axis `dim`."""
    shape = sizes(types["input"])
    rank, dim = max(1, len(shape)), settings["dim"]
    if not -rank <= dim < rank:
        raise NothingThere(f"dim {dim} is out of range for {rank} axes: [{-rank}, {rank - 1}]", code="LIR0033")
    axis = dim % rank
    view = (math.prod(shape[:axis]), shape[axis] if shape else 1, math.prod(shape[axis + 1 :]))
    if view[2] == 1:
        return Layout({"input": (_N, view[1])}, {"input": view[:2]}, shape)
    return Layout({"input": (_N, view[1], _D)}, {"input": view}, shape)


def axis_of_softmax(name: str, dim: int | None, rank: int) -> int:
    """The axis that softmax means without one, with torch's warning: 0 for one or three axes, else 1."""
    if dim is not None:
        return dim
    warn(f"{name} without dim is retired: say which axis is meant")
    return 0 if rank in (0, 1, 3) else 1
