"""How the losses over classes read the shapes of their tensors: logits with labels, distributions, lists and regions.

In and out as in `shapes`. Batch and inner axes are joined to one each; the number of classes stays a number.
"""

from __future__ import annotations

import math

from lossc.errors import NothingThere, RefusedArgument, RefusedElementType
from lossc.ir.diagnostics import LirError
from lossc.ir.types import DimLike, Shape, Type, is_float, is_integer, named
from lossc.losses.shapes import Layout, Settings, Sizes, Types, shown, sizes

_N, _D = named("N"), named("D")


def classes(types: Types, settings: Settings) -> Layout:
    """Logits [C], [N, C] or [N, C, d...]; labels without the class axis, or a distribution like the logits; weight[C].

    The first tensor has the classes, the second is the target. `axis` says where the classes are, if elsewhere.
    """
    (x_name, x_type), (t_name, t_type) = list(types.items())[:2]
    x, t = sizes(x_type), sizes(t_type)
    if not x:
        raise RefusedArgument(f"{x_name} needs a class axis, found a scalar", code="LIR0030")
    if is_float(t_type.dtype) and not is_float(x_type.dtype):
        raise RefusedElementType(f"{x_name} must be floats, found {x_type}",
                                 f"{t_name} is {t_type}: are the two swapped?", code="LIR0031")  # fmt: skip
    axis = _class_axis(x_name, len(x), settings.get("axis"))
    expected = x[:axis] + x[axis + 1 :]
    distribution = is_float(t_type.dtype)
    if distribution and t != x:
        raise RefusedArgument(f"a distribution has the shape of {x_name}, {shown(x)}, found {shown(t)}",
                              "class labels are integers: cast the target", code="LIR0030")  # fmt: skip
    if distribution and settings.get("ignore_index", -100) not in (None, -100) and settings["ignore_index"] >= 0:
        raise RefusedArgument("ignore_index needs class labels, the target is a distribution")
    if not distribution and not is_integer(t_type.dtype):
        raise RefusedArgument(f"a target is integer labels or a float distribution, found {t_type}",
                              *(("is it one-hot? cast it to float",) if t_type.dtype == "bool" else ()),
                              code="LIR0031")  # fmt: skip
    if not distribution and t != expected and not (len(x) == 1 and t == (1,)):
        _refuse_labels(x_name, x, t_type, expected)
    count = x[axis]
    if count == 0 and math.prod(expected):
        raise NothingThere(f"{x_name} {shown(x)} has no classes", code="LIR0030")
    if "weight" in types and sizes(types["weight"]) != (count,):
        raise RefusedArgument(f"weight must have one element a class, [{count}], found "
                              f"{shown(sizes(types['weight']))}", code="LIR0030")  # fmt: skip
    inner: tuple[int, ...] = (math.prod(x[axis + 1 :]),) if axis + 1 < len(x) else ()
    outer = math.prod(x[:axis])
    inner_dims: Shape = (_D,) if inner else ()
    of_class: Shape = (_N, count, *inner_dims)
    of_row: Shape = (_N, *inner_dims)
    dims: dict[str, Shape] = {x_name: of_class, t_name: of_class if distribution else of_row}
    views = {x_name: (outer, count, *inner), t_name: (outer, count, *inner) if distribution else (outer, *inner)}
    if "weight" in types:
        dims["weight"], views["weight"] = (count,), (count,)
    return Layout(dims, views, expected)


def _class_axis(name: str, rank: int, axis: int | None) -> int:
    """`axis`, by default the second or the only one, counted from the front."""
    if axis is None:
        return min(1, rank - 1)
    if not -rank <= axis < rank:
        raise NothingThere(f"axis {axis} is out of range for the {rank} axes of {name}: [{-rank}, {rank - 1}]",
                           code="LIR0033")  # fmt: skip
    return axis % rank


def _refuse_labels(x_name: str, x: Sizes, target: Type, expected: Sizes) -> None:
    t = sizes(target)
    message = f"labels for {x_name} {shown(x)} have the shape {shown(expected)}, found {target}"
    if t == x:
        raise RefusedArgument(message, "is it one-hot? cast it to float", code="LIR0030")
    if len(x) == 2 and len(t) == 1:
        raise LirError(message, code="LIR0030")
    raise RefusedArgument(message, code="LIR0030")


def logits_pair(types: Types, settings: Settings) -> Layout:
    """Two tensors of logits, [C], [N, C] or [N, C, d...], of one shape."""
    return classes(types, settings)


def few_classes(types: Types, settings: Settings) -> Layout:
    """Scores [N, C] or [C], and one label a row; with `axis` whatever `classes` takes."""
    if settings["axis"] is not None:
        return classes(types, settings)
    if "weight" in types and types["weight"].rank != 1:
        raise LirError(f"weight has one axis, found {types['weight']}", code="LIR0030")
    x, t = sizes(types["input"]), sizes(types["target"])
    if len(x) > 2 or (x and x[-1] == 0):
        raise RefusedArgument(f"expected scores [N, C] or [C] of at least one class, found {shown(x)}", code="LIR0030")
    if len(x) < 2 and math.prod(t) == 1 and len(t) <= 1:
        count = x[0] if x else 1
        inner = classes({**types, "input": types["input"].with_shape((1, count)),
                         "target": types["target"].with_shape((1,))}, {})  # fmt: skip
        return Layout(inner.types, inner.views, t)
    if t != x[:1] or len(x) < 2:
        raise RefusedArgument(f"expected labels {shown(x[:1])} for scores {shown(x)}, found {shown(t)}",
                              code="LIR0030")  # fmt: skip
    return classes(types, {})


def label_lists(types: Types, settings: Settings) -> Layout:
    """Scores [N, C] or [C], and lists of labels in the same shape."""
    x, t = sizes(types["input"]), sizes(types["target"])
    if not is_integer(types["target"].dtype):
        raise RefusedArgument(f"the target lists class labels, integers; found {types['target']}", code="LIR0031")
    if len(x) > 2 or (x and x[-1] == 0):
        raise RefusedArgument(f"expected scores [N, C] or [C] of at least one class, found {shown(x)}", code="LIR0030")
    if x != t and not (math.prod(x) == math.prod(t) == 1):
        raise RefusedArgument(f"the target must have the scores' shape {shown(x)}, found {shown(t)}", code="LIR0030")
    count = x[-1] if x else 1
    rows = x[0] if len(x) == 2 else 1
    dims: Shape = (_N, count)
    return Layout({"input": dims, "target": dims}, dict.fromkeys(("input", "target"), (rows, count)), x[:-1])


def regions(types: Types, settings: Settings) -> Layout:
    """Probabilities [N, C, d...], a target like them or labels [N, d...]; the unreduced loss is [N, C]."""
    (x_name, x_type), (t_name, t_type) = types.items()
    x, t = sizes(x_type), sizes(t_type)
    if len(x) < 2:
        raise RefusedArgument(f"expected {x_name} [N, C, d...], found {shown(x)}", code="LIR0030")
    labels = is_integer(t_type.dtype)
    expected = x[:1] + x[2:] if labels else x
    if t != expected:
        raise RefusedArgument(f"{t_name} of type {t_type.dtype} for {x_name} {shown(x)} has the shape "
                              f"{shown(expected)}, found {shown(t)}",
                              *(("is it one-hot? cast it to float",) if t == x else ()), code="LIR0030")  # fmt: skip
    inner: tuple[int, ...] = (math.prod(x[2:]),) if len(x) > 2 else ()
    dims: Shape = (_D,) if inner else ()
    of_class: Shape = (_N, x[1], *dims)
    view = (*x[:2], *inner)
    target_dims: Shape = (_N, *dims) if labels else of_class
    return Layout({x_name: of_class, t_name: target_dims}, {x_name: view, t_name: (x[0], *inner) if labels else view},
                  x[:2])  # fmt: skip


def layer_and_classes(types: Types, settings: Settings) -> Layout:
    """Hidden [N, H] or [H], linear_weight [C, H] or [C, d..., H], linear_bias [C] or [C, d...]."""
    hidden, weight = sizes(types["input"]), sizes(types["linear_weight"])
    if len(hidden) not in (1, 2) or len(weight) < 2 or weight[-1] != hidden[-1]:
        raise RefusedArgument(f"expected an input [N, H] or [H] and a linear_weight [C, H], found {shown(hidden)} and "
                              f"{shown(weight)}", code="LIR0030")  # fmt: skip
    if "linear_bias" in types and sizes(types["linear_bias"]) != weight[:-1]:
        raise RefusedArgument(f"linear_bias must have the shape {shown(weight[:-1])}, found "
                              f"{shown(sizes(types['linear_bias']))}", code="LIR0030")  # fmt: skip
    if len(weight) > 2 and len(hidden) == 1:
        raise RefusedArgument(f"a linear_weight {shown(weight)} needs an input [N, H], found {shown(hidden)}",
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
