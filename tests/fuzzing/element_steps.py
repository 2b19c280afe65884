"""Steps that compute element by element, choose, and look at elements in another shape.

In: a sample. Out: the sample with a few more parts; a step that has nothing to work on adds none.
"""

from __future__ import annotations

import math

from lossc.ir.tensor import Tensor

from .sample import Part, Sample

NUMBERS = (0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -0.25, 0.1, 1 / 3, 1e-3, 41.0, 49.0, 100.0, 1e4)
DIVISORS = (3.0, 41.0, 49.0, 0.1)
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


def tamed(sample: Sample, x: Tensor) -> Tensor:
    """What an exponential takes, most often."""
    return sample.one_of((lambda: x * 0.25, lambda: x.tanh(), lambda: x.sigmoid(), lambda: x))()


def apply_unary(sample: Sample) -> None:
    part = sample.pick()
    x = part.tensor
    result = sample.one_of((
        lambda: -x, lambda: x.abs(), lambda: x.tanh(), lambda: x.sigmoid(), lambda: x.softplus(), lambda: x * x,
        lambda: tamed(sample, x).exp(), lambda: tamed(sample, x).expm1(), lambda: x.exp(), lambda: x.log(),
        lambda: (x.abs() + 0.5).log(), lambda: (x * x).log1p(), lambda: (x * x + 1).sqrt(), lambda: x.abs().sqrt(),
        lambda: x.sign(), lambda: x.erf(), lambda: x.floor(), lambda: (x / sample.one_of(DIVISORS)).floor(),
        lambda: x.maximum(0), lambda: x.maximum(-1).minimum(1), lambda: 1 / x, lambda: x.softplus() - x,
        lambda: x.sigmoid().log(), lambda: x.stop_gradient(),
    ))()  # fmt: skip
    sample.add(result, part.axes)


def apply_binary(sample: Sample) -> None:
    (a, b), axes = sample.together(sample.pick(), sample.pick())
    name = sample.one_of(("add", "sub", "sub", "mul", "mul", "div", "max", "min"))
    if name == "div" and sample.chance(0.8):
        b = b.abs() + 0.5
    sample.add(a.binary(name, b), axes)


def apply_numbers(sample: Sample) -> None:
    """One constant or two: they are folded into each other."""
    part = sample.pick()
    x = part.tensor
    for _ in range(sample.random.randint(1, 2)):
        name = sample.one_of(("add", "sub", "mul", "mul", "mul", "div", "max", "min"))
        number, swapped = sample.one_of(NUMBERS), sample.chance(0.3)
        if name == "div" and (swapped or not number):
            x, swapped = x.abs() + 0.5, True
        x = x.binary(name, number, swapped)
    sample.add(x, part.axes)


def compare(sample: Sample) -> None:
    a = sample.pick()
    number = Part(a.tensor.constant(sample.one_of((0.0, 0.0, 1.0, -0.5))), a.axes)
    (x, y), axes = sample.together(a, sample.pick() if sample.chance(0.7) else number)
    truth = x.isnan() if sample.chance(0.05) else x.binary(sample.one_of(COMPARISONS), y)
    if sample.truths and sample.chance(0.3):
        (p, q), axes = sample.together(Part(truth, axes), sample.one_of(sample.truths))
        truth = sample.one_of((lambda: p & q, lambda: p | q, lambda: p & ~q))()
    sample.truths.append(Part(~truth if sample.chance(0.2) else truth, axes))


def select(sample: Sample) -> None:
    """An arm may have the same condition inside, which is settled there, or where it is another element's not."""
    if not sample.truths or sample.chance(0.3):
        compare(sample)
    (p, a, b), axes = sample.together(sample.one_of(sample.truths[-3:]), sample.pick(), sample.pick())
    inner = sample.one_of((
        lambda: a, lambda: a, lambda: p.select(a, 0) * 2, lambda: -p.select(a, b), lambda: (~p).select(a, b) + b,
        lambda: p.select(a, 0).tanh(), lambda: p.select(a, 0) * p.select(b, 0), lambda: a - b,
    ))()  # fmt: skip
    other = sample.one_of((lambda: b, lambda: 0, lambda: inner * 0.5, lambda: b * 0.1))()
    sample.add(p.select(inner, other), axes)


def view(sample: Sample) -> None:
    """Turned and turned back, as one line, or with two axes joined, with work between."""
    part = sample.pick()
    x, shape = part.tensor, part.tensor.shape
    turn = sample.random.sample(range(part.rank), part.rank)
    back = [turn.index(place) for place in range(part.rank)]
    result = sample.one_of((
        lambda: x.transpose(turn).transpose(back), lambda: (x.transpose(turn) * 2).transpose(back),
        lambda: x.transpose(turn).tanh().transpose(back), lambda: x.reshape((*shape, 1)).sum(part.rank),
        lambda: _joined(sample, x, part.rank), lambda: _joined(sample, x, 2),
    ))()  # fmt: skip
    sample.add(result, part.axes)


def _joined(sample: Sample, x: Tensor, axes: int) -> Tensor:
    """Work on x with its first axes as one."""
    sizes = [size for size in x.shape[:axes] if isinstance(size, int)]
    if len(sizes) < axes or x.rank < axes:
        return x * 1.5
    line = x.reshape((math.prod(sizes), *x.shape[axes:]))
    shifted = sample.one_of((lambda: line, lambda: line.tanh(), lambda: line * 2, lambda: line - _largest(line)))()
    return shifted.reshape(x.shape)


def _largest(x: Tensor) -> Tensor:
    return x.amax(0, keepdims=True).broadcast_to(x.shape)


def rename_axes(sample: Sample) -> None:
    """A part along other axes of the same sizes, as it is or transposed."""
    part = sample.pick()
    for _ in range(4):
        axes = tuple(sample.random.sample(sample.axes, part.rank))
        if axes != part.axes and sample.shape(axes) == sample.shape(part.axes):
            order = sorted(range(part.rank), key=axes.__getitem__)
            in_order = order == list(range(part.rank))
            sample.add(part.tensor if in_order else part.tensor.transpose(order), tuple(sorted(axes)))
            return


def differentiate(sample: Sample) -> None:
    """A gradient by an input, which is a value like others."""
    inputs = [part for part in sample.floats if part.tensor.value in sample.builder.inputs]
    if not inputs:
        return
    by = sample.one_of(inputs)
    operands = (sample.pick().tensor.value, by.tensor.value)
    (gradient,) = sample.builder.emit_many("grad", operands, {"upstream": False}, ("inner",))
    sample.add(Tensor(gradient, sample.builder), by.axes)
