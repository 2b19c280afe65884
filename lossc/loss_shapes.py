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
from dataclasses import dataclass
from typing import Any

from lossc.ir.diagnostics import LirError
from lossc.ir.types import DimLike, Shape, Type, is_float, is_integer, named
from lossc.loss_errors import NothingThere, RefusedArgument, Unsupported, warn

Sizes = tuple[int, ...]
Types = Mapping[str, Type]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
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


def _shown(shape: Sequence[int]) -> str:
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
                listed = ", ".join(f"{name} {_shown(s)}" for name, s in shapes.items())
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
        raise LirError(f"the target must have the input's shape {_shown(given['input'])}, "
                       f"found {_shown(given['target'])}", code="LIR0030")  # fmt: skip
    if broadcast(given) != given["input"]:
        wider = next(name for name, shape in given.items() if broadcast({"": shape, " ": given["input"]}) !=
                     given["input"])  # fmt: skip
        raise RefusedArgument(f"{wider} {_shown(given[wider])} does not broadcast to the input's shape "
                              f"{_shown(given['input'])}", code="LIR0030")  # fmt: skip
    return _joined(given)


def warned(types: Types, settings: Settings) -> Layout:
    """Input and target that broadcast, with a warning; a weight of the input's shape."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if "weight" in given and given["weight"] != given["input"]:
        raise LirError(f"weight and input must have the same shape, found {_shown(given['weight'])} and "
                       f"{_shown(given['input'])}", code="LIR0030")  # fmt: skip
    if settings.get("delta", 1.0) <= 0:
        raise RefusedArgument(f"delta must be positive, found {settings['delta']}")
    if settings.get("beta", 1.0) < 0:
        raise RefusedArgument(f"beta must not be negative, found {settings['beta']}")
    found = _joined(given)
    if given["input"] == given["target"]:
        return found
    return Layout(found.types, found.views, found.result, f"the target's shape {_shown(given['target'])} differs from "
                  f"the input's, {_shown(given['input'])}: they are broadcast, which is rarely meant")  # fmt: skip


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
        raise LirError(f"var {_shown(var)} does not fit the input {_shown(x)}",
                       "it has the input's shape, or that without the last axis, or with one axis of size 1",
                       code="LIR0030")  # fmt: skip
    if settings["eps"] <= 0:
        raise RefusedArgument(f"eps must be positive, found {settings['eps']}")
    return _joined(given)


def ranked(types: Types, settings: Settings) -> Layout:
    """Two inputs and a target of one rank, which broadcast."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if len({len(shape) for shape in given.values()}) > 1:
        listed = ", ".join(f"{name} {_shown(shape)}" for name, shape in given.items())
        raise RefusedArgument(f"inputs and target must have equally many axes, found {listed}", code="LIR0030")
    return _joined(given)


def same_logits(types: Types, settings: Settings) -> Layout:
    """Elementwise, of exactly one shape."""
    given = {name: sizes(type_) for name, type_ in types.items()}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {_shown(shape)}" for name, shape in given.items())
        raise LirError(f"shapes differ: {listed}", code="LIR0030")
    return _joined(given)


# --- over classes -------------------------------------------------------------------------------------------

_N, _D = named("N"), named("D")


def classes(types: Types, settings: Settings) -> Layout:
    """Logits [C], [N, C] or [N, C, d...]; labels without the class axis, or a distribution like the logits; weight[C].

    The first tensor has the classes, the second is the target.
    """
    (x_name, x_type), (t_name, t_type) = list(types.items())[:2]
    x, t = sizes(x_type), sizes(t_type)
    smoothing = settings.get("label_smoothing", 0.0)
    if not 0.0 <= smoothing <= 1.0:
        raise RefusedArgument(f"label_smoothing must lie in [0, 1], found {smoothing}")
    if not x:
        raise RefusedArgument(f"{x_name} needs a class axis, found a scalar", code="LIR0030")
    axis = min(1, len(x) - 1)
    expected = x[:axis] + x[axis + 1 :]
    distribution = is_float(t_type.dtype)
    if distribution and t != x:
        raise RefusedArgument(f"a distribution has the shape of {x_name}, {_shown(x)}, found {_shown(t)}",
                              "class labels are integers: cast the target", code="LIR0030")  # fmt: skip
    if distribution and settings.get("ignore_index", -100) not in (None, -100) and settings["ignore_index"] >= 0:
        raise RefusedArgument("ignore_index needs class labels, the target is a distribution")
    if not distribution and not is_integer(t_type.dtype):
        raise RefusedArgument(f"a target is integer labels or a float distribution, found {t_type}", code="LIR0031")
    if not distribution and t != expected and not (len(x) == 1 and t == (1,)):
        _refuse_labels(x_name, x, t_type, expected)
    count = x[axis]
    if count == 0 and math.prod(expected):
        raise NothingThere(f"{x_name} {_shown(x)} has no classes", code="LIR0030")
    if "weight" in types and sizes(types["weight"]) != (count,):
        raise RefusedArgument(f"weight must have one element a class, [{count}], found "
                              f"{_shown(sizes(types['weight']))}", code="LIR0030")  # fmt: skip
    inner: tuple[int, ...] = (math.prod(x[2:]),) if len(x) > 2 else ()
    outer = x[0] if len(x) > 1 else 1
    inner_dims: Shape = (_D,) if inner else ()
    of_class: Shape = (_N, count, *inner_dims)
    of_row: Shape = (_N, *inner_dims)
    dims: dict[str, Shape] = {x_name: of_class, t_name: of_class if distribution else of_row}
    views = {x_name: (outer, count, *inner), t_name: (outer, count, *inner) if distribution else (outer, *inner)}
    if "weight" in types:
        dims["weight"], views["weight"] = (count,), (count,)
    return Layout(dims, views, expected)


def _refuse_labels(x_name: str, x: Sizes, target: Type, expected: Sizes) -> None:
    t = sizes(target)
    message = f"labels for {x_name} {_shown(x)} have the shape {_shown(expected)}, found {target}"
    if t == x:
        raise RefusedArgument(message, "is it one-hot? cast it to float", code="LIR0030")
    if len(x) == 2 and len(t) == 1:
        raise LirError(message, code="LIR0030")
    raise RefusedArgument(message, code="LIR0030")


def logits_pair(types: Types, settings: Settings) -> Layout:
    """Two tensors of logits, [C], [N, C] or [N, C, d...], of one shape."""
    return classes(types, {})


def few_classes(types: Types, settings: Settings) -> Layout:
    """Scores [N, C] or [C], and one label a row."""
    if settings["p"] not in (1, 2):
        raise LirError(f"p must be 1 or 2, found {settings['p']}")
    if "weight" in types and types["weight"].rank != 1:
        raise LirError(f"weight has one axis, found {types['weight']}", code="LIR0030")
    x, t = sizes(types["input"]), sizes(types["target"])
    if len(x) > 2 or (x and x[-1] == 0):
        raise RefusedArgument(f"expected scores [N, C] or [C] of at least one class, found {_shown(x)}", code="LIR0030")
    if len(x) < 2 and math.prod(t) == 1 and len(t) <= 1:
        count = x[0] if x else 1
        inner = classes({**types, "input": types["input"].with_shape((1, count)),
                         "target": types["target"].with_shape((1,))}, {})  # fmt: skip
        return Layout(inner.types, inner.views, t)
    if t != x[:1] or len(x) < 2:
        raise RefusedArgument(f"expected labels {_shown(x[:1])} for scores {_shown(x)}, found {_shown(t)}",
                              code="LIR0030")  # fmt: skip
    return classes(types, {})


def label_lists(types: Types, settings: Settings) -> Layout:
    """Scores [N, C] or [C], and lists of labels in the same shape."""
    x, t = sizes(types["input"]), sizes(types["target"])
    if not is_integer(types["target"].dtype):
        raise RefusedArgument(f"the target lists class labels, integers; found {types['target']}", code="LIR0031")
    if len(x) > 2 or (x and x[-1] == 0):
        raise RefusedArgument(f"expected scores [N, C] or [C] of at least one class, found {_shown(x)}", code="LIR0030")
    if x != t and not (math.prod(x) == math.prod(t) == 1):
        raise RefusedArgument(f"the target must have the scores' shape {_shown(x)}, found {_shown(t)}", code="LIR0030")
    count = x[-1] if x else 1
    rows = x[0] if len(x) == 2 else 1
    dims: Shape = (_N, count)
    return Layout({"input": dims, "target": dims}, dict.fromkeys(("input", "target"), (rows, count)), x[:-1])


def regions(types: Types, settings: Settings) -> Layout:
    """Probabilities [N, C, d...], a target like them or labels [N, d...]; the unreduced loss is [N, C]."""
    (x_name, x_type), (t_name, t_type) = types.items()
    x, t = sizes(x_type), sizes(t_type)
    if len(x) < 2:
        raise RefusedArgument(f"expected {x_name} [N, C, d...], found {_shown(x)}", code="LIR0030")
    labels = is_integer(t_type.dtype)
    expected = x[:1] + x[2:] if labels else x
    if t != expected:
        raise RefusedArgument(f"{t_name} of type {t_type.dtype} for {x_name} {_shown(x)} has the shape "
                              f"{_shown(expected)}, found {_shown(t)}",
                              *(("is it one-hot? cast it to float",) if t == x else ()), code="LIR0030")  # fmt: skip
    inner: tuple[int, ...] = (math.prod(x[2:]),) if len(x) > 2 else ()
    dims: Shape = (_D,) if inner else ()
    of_class: Shape = (_N, x[1], *dims)
    return Layout({x_name: of_class, t_name: (_N, *dims) if labels else of_class},
                  {x_name: (*x[:2], *inner), t_name: (x[0], *inner) if labels else (*x[:2], *inner)}, x[:2])  # fmt: skip


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
        listed = ", ".join(f"{name} {_shown(sizes(type_))}" for name, type_ in types.items())
        raise RefusedArgument(f"anchor, positive and negative must have equally many axes, found {listed}",
                              code="LIR0030")  # fmt: skip
    return vectors(types, settings)


def pairs(types: Types, settings: Settings) -> Layout:
    """Two tensors of vectors [N, D] with one target each, or two vectors [D] with a scalar."""
    one, two, t = (sizes(types[name]) for name in ("input1", "input2", "target"))
    if len(t) > 1:
        raise RefusedArgument(f"expected a target [N] or [], found {_shown(t)}", code="LIR0030")
    if len(one) != len(t) + 1 or len(two) != len(t) + 1:
        raise RefusedArgument(f"a target {_shown(t)} goes with inputs of {len(t) + 1} axes, found {_shown(one)} and "
                              f"{_shown(two)}", code="LIR0030")  # fmt: skip
    layout = _joined({"input1": one, "input2": two, "target": (*t, 1)}, fixed_last=True)
    # The target has no axis along the vectors.
    dims = {**layout.types, "target": layout.types["target"][:-1]}
    return Layout(dims, {**layout.views, "target": layout.views["target"][:-1]}, layout.result[:-1])


def queries(types: Types, settings: Settings) -> Layout:
    """Two matrices [N, D]."""
    (_, first), (_, second) = types.items()
    if first.rank != 2 or sizes(first) != sizes(second):
        raise LirError(f"queries and keys are [N, D] of one shape, found {first} and {second}", code="LIR0030")
    count, width = sizes(first)
    dims: Shape = (_N, width)
    return Layout(dict.fromkeys(types, dims), dict.fromkeys(types, (count, width)), (count,))


# --- others -------------------------------------------------------------------------------------------------


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


def layer_and_classes(types: Types, settings: Settings) -> Layout:
    """Hidden [N, H] or [H], linear_weight [C, H] or [C, d..., H], linear_bias [C] or [C, d...]."""
    hidden, weight = sizes(types["input"]), sizes(types["linear_weight"])
    if len(hidden) not in (1, 2) or len(weight) < 2 or weight[-1] != hidden[-1]:
        raise RefusedArgument(f"expected an input [N, H] or [H] and a linear_weight [C, H], found {_shown(hidden)} and "
                              f"{_shown(weight)}", code="LIR0030")  # fmt: skip
    if "linear_bias" in types and sizes(types["linear_bias"]) != weight[:-1]:
        raise RefusedArgument(f"linear_bias must have the shape {_shown(weight[:-1])}, found "
                              f"{_shown(sizes(types['linear_bias']))}", code="LIR0030")  # fmt: skip
    if len(weight) > 2 and len(hidden) == 1:
        raise RefusedArgument(f"a linear_weight {_shown(weight)} needs an input [N, H], found {_shown(hidden)}",
                              code="LIR0030")  # fmt: skip
    inside = math.prod(weight[1:-1])
    logits = (*hidden[:-1], weight[0], *weight[1:-1])
    of_logits = {"input": Type("f32", logits), "target": types["target"]}
    if "weight" in types:
        of_logits["weight"] = types["weight"]
    given = settings.get("ignore_index")
    if given is not None and is_float(types["target"].dtype):
        raise RefusedArgument("ignore_index needs class labels, the target is a distribution")
    inner = classes(of_logits, {key: value for key, value in settings.items() if key != "ignore_index"})
    dims: dict[str, Shape] = {name: shape for name, shape in inner.types.items() if name != "input"}
    views = {name: shape for name, shape in inner.views.items() if name != "input"}
    rows = hidden[0] if len(hidden) == 2 else 1
    places: Sizes = (inside,) if len(weight) > 2 else ()
    # The size of d... stays known, as that of C: both are sizes of the layer.
    dims["input"], views["input"] = (_N, hidden[-1]), (rows, hidden[-1])
    dims["linear_weight"] = views["linear_weight"] = (weight[0], *places, weight[-1])
    if places:
        dims["target"] = (*[_fixed(dim, inside) for dim in dims["target"]],)
    if "linear_bias" in types:
        dims["linear_bias"] = views["linear_bias"] = (weight[0], *places)
    return Layout(dims, views, inner.result)


def _fixed(dim: DimLike, size: int) -> DimLike:
    return size if dim == _D else dim
