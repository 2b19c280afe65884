"""Steps in other element types: values rounded on their way, counts, sums and comparisons of integers, powers.

In: a sample. Out: the sample with a few more parts; a step that has nothing to work on adds none.
"""

from __future__ import annotations

from .sample import Part, Sample

ROUNDED = ("f16", "bf16", "f64")
EXPONENTS = (2.0, 3.0, 0.5, -1.0, -2.0, 1.5, 0.0, 1.0, -0.5, 4.0)


def round_off(sample: Sample) -> None:
    """A part in another float type, with work there, and back."""
    part = sample.pick()
    x = part.tensor.tanh().cast(sample.one_of(ROUNDED))
    worked = sample.one_of((
        lambda: x, lambda: x * 1.5, lambda: x.maximum(0), lambda: -x, lambda: x + x,
        lambda: (x > 0).select(x, x * 0.25),
    ))()  # fmt: skip
    sample.add(worked.cast("f32"), part.axes)


def raise_to_power(sample: Sample) -> None:
    part = sample.pick()
    x = part.tensor
    base = sample.one_of((lambda: x.abs() + 0.5, lambda: x.tanh(), lambda: x.abs(), lambda: x))()
    if sample.chance(0.7):
        sample.add(base ** sample.one_of(EXPONENTS), part.axes)
    else:
        (a, b), axes = sample.together(Part(base, part.axes), sample.pick())
        sample.add(a.abs() ** b.tanh(), axes)


def count(sample: Sample) -> None:
    """Truths counted or looked for along some axes, in an integer type that holds as many."""
    if not sample.truths:
        return
    part = sample.one_of(sample.truths)
    if part.rank:
        whole = Part(part.tensor.cast(sample.one_of(("i32", "i64", "i16"))), part.axes)
        found = sample.reduced(sample.one_of(("reduce_sum", "reduce_sum", "reduce_max", "reduce_min")), whole)
        sample.integers.append(found)
        sample.add(found.tensor.cast("f32"), found.axes)


def calculate_with_integers(sample: Sample) -> None:
    """Labels, indices and counts: shifted, scaled, divided, compared, picked with."""
    known = list(sample.integers)
    if sample.labels is not None:
        known.append(sample.labels.part)
    axis = sample.one_of(sample.axes)
    known.append(Part(sample.floats[0].tensor.iota(axis, sample.one_of(("i32", "i64"))), sample.axes))
    part = sample.one_of(known)
    x = part.tensor
    small = sample.one_of((2, 3, 5, -1)) if x.dtype != "u8" else 3
    made = sample.one_of((
        lambda: x + 1, lambda: x * 2, lambda: x.binary("div", small), lambda: x - x.binary("div", 3) * 3,
        lambda: x.maximum(small), lambda: x.minimum(2), lambda: x.binary("sub", 5, True), lambda: (x > 1).select(x, 0),
        lambda: x.abs(), lambda: (x.cast("f32") * 0.5).floor().cast(x.dtype), lambda: x.sign(), lambda: x * x,
    ))()  # fmt: skip
    match sample.random.randrange(4):
        case 0:
            sample.add(made.cast("f32"), part.axes)
        case 1:
            sample.truths.append(Part(made.binary(sample.one_of(("lt", "le", "eq", "ne")), x), part.axes))
        case 2 if part.rank:
            sample.integers.append(sample.reduced(sample.one_of(("reduce_sum", "reduce_max")), Part(made, part.axes)))
        case 3 if sample.labels is not None and part.axes == sample.labels.part.axes:
            picked = sample.pick_wide().tensor
            sample.add(picked.gather(made, sample.labels.axis), part.axes)
        case _:
            sample.integers.append(Part(made, part.axes))


def pick_elsewhere(sample: Sample) -> None:
    """One element of each line along an axis: at an index that is computed, out of range here and there."""
    part = sample.pick_wide()
    axis = sample.one_of(sample.axes)
    rest = tuple(each for each in sample.axes if each != axis)
    along = sample.one_of([p for p in sample.floats if {*p.axes} <= {*rest}] or [part])
    if not {*along.axes} <= {*rest}:
        along = sample.reduce("reduce_sum", part, (part.axes.index(axis),))
    index = (sample.spread(along, rest).tanh() * 3 + 2).floor().cast(sample.one_of(("i32", "i64", "i8")))
    sample.add(part.tensor.gather(index, axis), rest)
