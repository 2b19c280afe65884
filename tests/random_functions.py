"""Random functions for property tests: pointwise work, broadcasts, reductions, gathers and selects over few shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lossc.ir.builder import Builder, Tensor
from lossc.ir.function import Function
from lossc.ir.types import Type, named

ROWS, COLUMNS = 3, 4
_UNARY = ("neg", "abs", "exp", "log1p", "tanh", "sigmoid", "softplus", "sign", "stop_gradient", "sqrt", "log", "expm1")
_BINARY = ("add", "sub", "mul", "div", "max", "min")
_COMPARE = ("lt", "le", "gt", "ge", "eq", "ne")
_NUMBERS = (0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -0.25)


@st.composite
def functions(draw: st.DrawFn, smooth: bool = False, steps: int = 14) -> Function:
    """A function of x, y: [rows, columns], r: [rows], c: [columns], labels t: [rows], truth p: [rows].

    With `smooth` all values stay finite and moderate, so that gradients can be compared with differences.
    """
    rows = named("N") if draw(st.booleans()) else ROWS
    builder = Builder()
    shapes = {"x": (rows, COLUMNS), "y": (rows, COLUMNS), "r": (rows,), "c": (COLUMNS,)}
    floats = [builder.tensor(builder.input(name, Type("f64", shape))) for name, shape in shapes.items()]
    labels = builder.tensor(builder.input("t", Type(draw(st.sampled_from(("i32", "i64", "u8"))), (rows,))))
    truths = [builder.tensor(builder.input("p", Type("bool", (rows,))))]
    if draw(st.booleans()):
        ((labels >= 0) & (labels < COLUMNS)).check(labels, code="label", message="a label must lie in [0, 4)")
    for _ in range(draw(st.integers(2, steps))):
        _step(draw, floats, truths, labels, smooth)
    count = draw(st.integers(1, 3))
    return builder.function("main", [value.value for value in floats[-count:]])


def _step(draw: st.DrawFn, floats: list[Tensor], truths: list[Tensor], labels: Tensor, smooth: bool) -> None:
    recent = st.sampled_from(floats[-6:] + floats[:4])
    x = draw(recent)
    kind = draw(st.sampled_from(
        ("unary", "binary", "binary", "number", "broadcast", "reduce", "gather", "one_hot", "select", "compare",
         "view", "softmax")))  # fmt: skip
    match kind:
        case "unary":
            name = draw(st.sampled_from(_UNARY))
            if smooth and name in ("exp", "expm1", "log", "log1p", "sqrt", "sign", "abs", "stop_gradient"):
                name = "tanh"
            floats.append(x._emit(name))
        case "binary":
            y = draw(st.sampled_from([y for y in floats if _broadcast(x, y)]))
            name = draw(st.sampled_from(_BINARY))
            if smooth and name in ("div", "max", "min"):
                name = "mul"
            result = x.binary(name, _never_zero(y) if name == "div" else y)
            floats.append(result.tanh() if smooth else result)
        case "number":
            name = draw(st.sampled_from(_BINARY[:3] if smooth else _BINARY))
            swapped = draw(st.booleans())
            x = _never_zero(x) if name == "div" and swapped else x
            floats.append(x.binary(name, draw(st.sampled_from(_NUMBERS)), swapped))
        case "broadcast":
            shape = floats[0].shape
            if x.rank == 1 and x.shape == floats[2].shape:
                floats.append(x.insert_axis(1, COLUMNS))
            elif x.rank < 2:
                floats.append(x.broadcast_to(shape))
        case "reduce":
            if x.rank:
                names = ("reduce_sum",) if smooth else ("reduce_sum", "reduce_max", "reduce_min")
                axes = draw(st.sampled_from([(a,) for a in range(x.rank)] + [tuple(range(x.rank))]))
                keep = draw(st.booleans())
                floats.append(x._reduce(draw(st.sampled_from(names)), axes, keep) * (0.3 if smooth else 1.0))
        case "gather" if x.shape == floats[0].shape:
            floats.append(x.gather(labels, 1))
        case "one_hot" if x.shape == floats[0].shape:
            hit = x.iota(1, labels.dtype) == labels.insert_axis(1, COLUMNS)
            floats.append(draw(st.sampled_from((hit.select(x, 0), hit.cast("f64") * x))).sum(1))
        case "select":
            fitting = [(p, y) for p in truths for y in floats if p.shape == x.shape and y.shape == x.shape]
            rowwise = [p for p in truths if p.rank == 1 and x.rank == 2 and x.shape[:1] == p.shape]
            if fitting and draw(st.booleans()):
                p, y = draw(st.sampled_from(fitting))
                # An arm that has the same condition inside is what propagate-conditions looks for.
                inner = draw(st.sampled_from((x, p.select(x, 0) * 2, -p.select(x, y), (~p).select(x, y) + y)))
                floats.append(p.select(inner, draw(st.sampled_from((y, y * 0, inner * 0 + 1)))))
            elif fitting:
                floats.append(fitting[0][0].select(x, 0))
            elif rowwise:
                floats.append(draw(st.sampled_from(rowwise)).insert_axis(1, x.shape[1]).select(x, 0))
        case "compare" if not smooth:
            y = draw(st.sampled_from([y for y in floats if y.shape == x.shape]))
            truth = x.binary(draw(st.sampled_from(_COMPARE)), y)
            same = [p for p in truths if p.shape == truth.shape]
            combine = draw(st.sampled_from(("alone", "and", "or", "not", "row")))
            if combine in ("and", "or") and same:
                truth = truth.binary(combine, same[-1])
            elif combine == "not":
                truth = ~truth
            elif combine == "row" and x.rank == 2 and truths[0].shape == x.shape[:1]:
                truth = truth & truths[0].insert_axis(1, x.shape[1])
            truths.append(truth)
        case "view":
            if x.rank == 2:
                floats.append(draw(st.sampled_from((x.transpose().transpose(), x.reshape((*x.shape, 1)).sum(2)))))
            else:
                floats.append(x.reshape((1, *x.shape)).reshape(x.shape) * 2)
        case "softmax" if x.rank == 2:
            bounded = x.tanh()
            e = bounded.exp()
            total = e.sum(1).insert_axis(1, x.shape[1])
            floats.append(draw(st.sampled_from((e / total, (e / total).log(), bounded - total.log()))))


def _never_zero(x: Tensor) -> Tensor:
    """A divisor: exact passes may change the sign of a zero, and 1 / 0 would show it."""
    return x.abs() + 0.5


def _broadcast(x: Tensor, y: Tensor) -> bool:
    pairs = zip(x.shape[::-1], y.shape[::-1])
    return all(a == b or 1 in (a, b) for a, b in pairs)


@st.composite
def inputs(draw: st.DrawFn, special: bool = False) -> dict[str, np.ndarray]:
    """Arrays for such a function; with `special`, NaN, infinities, zeros and labels out of range among them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = {"x": (ROWS, COLUMNS), "y": (ROWS, COLUMNS), "r": (ROWS,), "c": (COLUMNS,)}
    arrays = {name: random.uniform(-2, 2, shape) for name, shape in shapes.items()}
    if special:
        for array in arrays.values():
            spots = random.random(array.shape) < 0.2
            array[spots] = random.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e300], spots.sum())
    labels = random.integers(0, COLUMNS, ROWS)
    return {**arrays, "t": labels, "p": random.integers(0, 2, ROWS).astype(bool)}
