"""Steps that reduce: what compilers take for rows, near misses of it, labels, matrix products, whole losses.

In: a sample. Out: the sample with a few more parts; a step that has nothing to work on adds none.
"""

from __future__ import annotations

from typing import Any

from lossc.ir.composites import make_op
from lossc.ir.tensor import Tensor

from .sample import Axes, Part, Sample

BUDGETS = (None, None, 1000)
"""Bytes for a product and what hangs on it: so few that it is computed for some rows at a time."""


def reduce(sample: Sample) -> None:
    part = sample.pick() if sample.chance(0.8) else sample.pick_wide()
    if part.rank:
        name = sample.one_of(("reduce_sum", "reduce_sum", "reduce_sum", "reduce_max", "reduce_min"))
        places = sample.some_places(part)
        result = sample.reduce(name, part, places)
        is_mean = name == "reduce_sum" and sample.chance(0.4)
        sample.add(result.tensor / part.tensor.count(places) if is_mean else result.tensor, result.axes)


def sum_samples(sample: Sample) -> None:
    """The sum of all, or of all that belongs to one of the first axis, with what it is a sum of."""
    part = sample.pick_wide()
    everything = tuple(range(part.rank))
    total = sample.reduce("reduce_sum", part, everything[1:] if part.rank > 1 and sample.chance(0.6) else everything)
    sample.floats.append(total)
    if sample.chance(0.5):
        sample.add(part.tensor * sample.spread(total, part.axes) * 0.01, part.axes)


def normalize(sample: Sample) -> None:
    """By the mean, the variance, the norm or the sum along some axes."""
    part = sample.pick()
    if not part.rank:
        return
    x, places = part.tensor, sample.some_places(part)

    def along(tensor: Tensor) -> Part:
        return sample.reduce("reduce_sum", Part(tensor, part.axes), places)

    def spread(values: Tensor, like: Part) -> Tensor:
        return sample.spread(Part(values, like.axes), part.axes)

    match sample.random.randrange(4):
        case 0 | 1 as with_variance:
            mean = along(x)
            centered = x - spread(mean.tensor / x.count(places), mean)
            sample.add(centered, part.axes)
            if with_variance:
                squares = along(centered * centered)
                sample.add(centered / spread((squares.tensor / x.count(places) + 1e-3).sqrt(), squares), part.axes)
        case 2:
            squares = along(x * x)
            sample.add(x / spread((squares.tensor + 0.1).sqrt(), squares), part.axes)
        case 3:
            total = along(x.abs() + 0.1)
            sample.add(x / sample.spread(total, part.axes), part.axes)


def mix_reductions(sample: Sample) -> None:
    """Reductions of one tensor along two sets of axes, and the tensor."""
    part = sample.pick()
    if part.rank:
        first = sample.reduced(sample.one_of(("reduce_sum", "reduce_max")), part)
        second = sample.reduced(sample.one_of(("reduce_sum", "reduce_min")), part)
        (a, b, c), axes = sample.together(part, first, second)
        sample.add(a * 0.5 - b * 0.1 + c * 0.25, axes)


def use_extremes(sample: Sample) -> None:
    """What hangs on a maximum: x - max, x == max, max - min, along one set of axes or two."""
    part = sample.pick_wide()
    x = part.tensor
    largest = sample.reduced("reduce_max", part)
    other = sample.reduced(sample.one_of(("reduce_min", "reduce_max")), part)
    match sample.random.randrange(5):
        case 0:
            sample.add(x - sample.spread(largest, part.axes), part.axes)
        case 1:
            sample.truths.append(Part(x == sample.spread(largest, part.axes), part.axes))
        case 2:
            (a, b), axes = sample.together(largest, other)
            sample.add(a - b, axes)
        case 3:
            moved = x - sample.spread(other, part.axes)
            sample.add(moved / (sample.spread(largest, part.axes).abs() + 0.5), part.axes)
        case 4:
            sample.floats += [largest, other]


def take_softmax_apart(sample: Sample) -> None:
    """Pieces of log-softmax. Its shift may be along another axis than its sum, be no maximum, or not be there."""
    part = sample.pick_wide() if sample.chance(0.8) else sample.pick()
    if not part.rank:
        return
    place = 1 if part.rank > 1 and sample.chance(0.6) else sample.random.randrange(part.rank)
    if sample.chance(0.3):
        x = part.tensor
        scaled = sample.one_of((lambda: x * 2, lambda: x / 3, lambda: (x / 30).tanh() * 30, lambda: x * -1.5))()
        part = Part(scaled, part.axes)
    shift = _shift(sample, part, place)
    moved = part.tensor if shift is None else part.tensor - sample.spread(shift, part.axes)
    powers = moved.exp()
    total = sample.reduce("reduce_sum", Part(powers, part.axes), (place,))

    def spread(tensor: Tensor) -> Tensor:
        return sample.spread(Part(tensor, total.axes), part.axes)

    for piece in sample.random.sample(range(9), sample.random.randint(1, 4)):
        match piece:
            case 0:
                sample.add(powers / spread(total.tensor), part.axes)
            case 1:
                sample.add(powers * spread(1 / total.tensor), part.axes)
            case 2:
                sample.add((powers / spread(total.tensor)).log(), part.axes)
            case 3:
                sample.add(moved - spread(total.tensor.log()), part.axes)
            case 4:
                sample.add(moved, part.axes)
            case 5:
                sample.floats.append(total)
            case 6 if shift is None:
                sample.add(total.tensor.log(), total.axes)
            case 6 if shift is not None:
                (logarithm, largest), axes = sample.together(Part(total.tensor.log(), total.axes), shift)
                sample.add(logarithm + largest, axes)
            case 7 | 8 as as_mean if (other := sample.pick_wide()).axes == part.axes:
                weighted = sample.reduce("reduce_sum", Part(powers * other.tensor, part.axes), (place,))
                sample.add(weighted.tensor / total.tensor if as_mean == 8 else weighted.tensor, total.axes)


def _shift(sample: Sample, part: Part, place: int) -> Part | None:
    along = place if sample.chance(0.75) else sample.random.randrange(part.rank)
    kinds = ("largest", "none", "smallest", "another", "kept still", "half")
    kind = sample.random.choices(kinds, (8, 1.5, 0.7, 1, 1, 1))[0]
    if kind == "none":
        return None
    extreme = sample.reduce("reduce_min" if kind == "smallest" else "reduce_max", part, (along,))
    sample.floats.append(extreme)
    match kind:
        case "kept still":
            return Part(extreme.tensor.stop_gradient(), extreme.axes)
        case "half":
            return Part(extreme.tensor * 0.5, extreme.axes)
        case "another":
            return sample.one_of([p for p in sample.floats if p.rank < part.rank and {*p.axes} <= {*part.axes}])
    return extreme


def pick_by_label(sample: Sample) -> None:
    """Elements at the labels, by a gather or by comparing with all indices; also those below a label."""
    if sample.labels is None:
        return
    labels, axis = sample.labels.part, sample.labels.axis
    x = sample.pick_wide().tensor
    spread = sample.spread(labels, sample.axes)
    hit = x.iota(axis, spread.dtype).binary(sample.one_of(("eq", "eq", "eq", "lt", "ge")), spread)
    match sample.random.randrange(7):
        case 0 | 1:
            sample.add(x.gather(labels.tensor, axis), labels.axes)
        case 2:
            sample.floats.append(sample.reduce("reduce_sum", Part(hit.select(x, 0), sample.axes), (axis,)))
        case 3:
            sample.add(hit.cast("f32") * x, sample.axes)
        case 4:
            sample.add(hit.select(x * 2, x), sample.axes)
        case 5:
            sample.add(x - hit.cast("f32"), sample.axes)
        case 6:
            sample.add(hit.select(0.9, 0.1 * x), sample.axes)
    if sample.chance(0.3):
        sample.truths.append(Part(hit, sample.axes))


def ignore_labels(sample: Sample) -> None:
    """What an ignored label belongs to counts for nothing, in the mean neither."""
    if sample.labels is None:
        return
    labels = sample.labels.part
    counts = Part(labels.tensor != sample.labels.ignored, labels.axes)
    sample.truths.append(counts)
    (counted, value), axes = sample.together(counts, sample.pick())
    kept = counted.select(value, 0)
    sample.add(kept, axes)
    if sample.chance(0.5):
        sample.add(kept.sum() / counted.cast("f32").sum(), ())


def multiply_matrices(sample: Sample) -> None:
    if sample.matrix is None:
        return
    x, w = sample.pick_wide().tensor, sample.matrix
    z = x.apply("matmul", w, transpose_right=True, memory_budget=sample.one_of(BUDGETS))
    match sample.random.randrange(3):
        case 0:
            activated = sample.one_of((lambda: z, lambda: z.tanh(), lambda: z.maximum(0)))()
            sample.add(activated.apply("matmul", w) * 0.1, sample.axes)
        case 1:
            powers = (z - z.amax(1, keepdims=True).broadcast_to(z.shape)).exp()
            row = sample.one_of((lambda: z.amax(1), lambda: z.sum(1), lambda: powers.sum(1).log()))()
            sample.add(row, (0,))
        case 2:
            gram = x.apply("matmul", sample.pick_wide().tensor, transpose_left=True)
            sample.add((gram * 0.1).sum(0), (1,))


def call_composite(sample: Sample) -> None:
    """A layer or a loss as a user writes it, in the middle of everything else."""
    x, axes = sample.pick_wide().tensor, sample.axes
    axis = sample.class_axis(0.7)
    rest = tuple(each for each in axes if each != axis)
    target = sample.pick_wide().tensor
    reduction = sample.one_of(("mean", "sum", "none"))
    names = ("softmax", "log_softmax", "logsumexp", "relu", "gelu", "silu", "mse_loss", "bce_with_logits_loss",
             "kl_div_loss", "distribution", "labels", "labels")  # fmt: skip
    match name := sample.one_of(names):
        case "softmax" | "log_softmax":
            sample.add(_op(name, x, axis=axis), axes)
        case "logsumexp":
            sample.add(_op(name, x, axis=axis).reshape(sample.shape(rest)), rest)
        case "relu" | "gelu" | "silu":
            sample.add(_op(name, x), axes)
        case "mse_loss" | "bce_with_logits_loss" | "kl_div_loss":
            _add_loss(sample, _op(name, x, target.sigmoid(), reduction=reduction), axes)
        case "distribution":
            probabilities = _op("softmax", target, axis=axis)
            _add_loss(sample, _op("cross_entropy_loss", x, probabilities, axis=axis, reduction=reduction), rest)
        case "labels" if sample.labels is not None:
            labels = sample.labels
            loss = _op("cross_entropy_loss", x, labels.part.tensor, axis=labels.axis, reduction=reduction,
                       ignore_index=labels.ignored, label_smoothing=sample.one_of((0.0, 0.1)))  # fmt: skip
            _add_loss(sample, loss, labels.part.axes)


def _add_loss(sample: Sample, loss: Tensor, axes: Axes) -> None:
    is_reduced = loss.shape == (1,) != sample.shape(axes)
    sample.add(loss.reshape(() if is_reduced else sample.shape(axes)), () if is_reduced else axes)


def _op(name: str, *operands: Tensor, **attributes: Any) -> Tensor:
    builder = operands[0].builder
    return Tensor(builder.append(make_op(name, [operand.value for operand in operands], attributes))[0], builder)
