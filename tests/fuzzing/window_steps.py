"""Steps that look at elements along an axis from elsewhere: slices, joined tensors, margins.

In: a sample. Out: the sample with one more part, of the shape that it began with or summed along the axis.
"""

from __future__ import annotations

from lossc.ir.tensor import Tensor
from lossc.ir.types import DimLike, add_dims

from .sample import Part, Sample

BESIDE = (0.0, 0.0, 1.0, -2.0)


def look_elsewhere(sample: Sample) -> None:
    """A part rolled, shifted, widened and cut, joined with another, or summed over a slice."""
    part = sample.pick()
    if not part.rank:
        return
    place = sample.random.randrange(part.rank)
    size = part.tensor.shape[place]
    if isinstance(size, int):
        _with_known_size(sample, part, place, size)
    else:
        _with_name(sample, part, place, size)


def _with_known_size(sample: Sample, part: Part, place: int, size: int) -> None:
    x, draw = part.tensor, sample.random.randint
    start = draw(0, size)
    stop = draw(start, size)
    before = draw(0, size - (stop - start))
    cut, after = _cut(x, place, start, stop), size - (stop - start) - before
    value = sample.one_of(BESIDE)
    other = sample.one_of([p.tensor for p in sample.floats if p.tensor.shape == x.shape])
    margin = draw(0, 20)
    result = sample.one_of((
        lambda: cut.pad(place, before, after, value),
        lambda: cut.tanh().pad(place, before, after, value),
        lambda: _cut(x, place, start, size).concat(_cut(x, place, 0, start), axis=place),
        lambda: _cut(x.concat(other, axis=place), place, start, start + size),
        lambda: _cut(x.pad(place, margin, start, value), place, start + margin, start + margin + size),
        lambda: _cut(x.pad(place, margin, start, value).tanh(), place, start, start + size),
        lambda: x.concat(other, axis=place).sum(place, keepdims=True).broadcast_to(x.shape),
        lambda: cut.sum(place, keepdims=True).broadcast_to(x.shape),
        lambda: cut.sum(place, keepdims=True).pad(place, before, size - before - 1, value) if before < size else x,
    ))()  # fmt: skip
    sample.add(result, part.axes)


def _with_name(sample: Sample, part: Part, place: int, size: DimLike) -> None:
    x = part.tensor
    other = sample.one_of([p.tensor for p in sample.floats if p.tensor.shape == x.shape])
    twice = add_dims(size, size)
    assert twice is not None
    joined = x.concat(other, axis=place)
    result = sample.one_of((
        lambda: _cut(joined, place, size, twice),
        lambda: _cut(joined.tanh(), place, 0, size) - _cut(joined, place, size, twice),
        lambda: joined.sum(place, keepdims=True).broadcast_to(x.shape),
        lambda: _cut(x.pad(place, size, 0, sample.one_of(BESIDE)).sigmoid(), place, size, twice),
    ))()  # fmt: skip
    sample.add(result, part.axes)


def _cut(x: Tensor, place: int, start: DimLike, stop: DimLike) -> Tensor:
    return x.apply("slice", axis=place, start=start, stop=stop)
