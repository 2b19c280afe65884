"""Functions of random steps, with random outputs and gradients: the same for the same seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lossc.compiler.gradient import request_gradients
from lossc.ir.function import Function, Module
from lossc.ir.types import dim_names, is_float

from . import element_steps as element
from . import row_steps as row
from . import typed_steps as typed
from . import window_steps as window
from .sample import MOST_ELEMENTS, NAMES, Choice, Sample

STEPS = {
    element.apply_unary: 5, element.apply_binary: 8, element.apply_numbers: 5, element.compare: 2, element.select: 4,
    element.view: 3, element.rename_axes: 3, element.differentiate: 0.5, row.reduce: 8, row.sum_samples: 2,
    row.normalize: 3, row.mix_reductions: 2, row.use_extremes: 3, row.take_softmax_apart: 6, row.pick_by_label: 4,
    row.ignore_labels: 2, row.multiply_matrices: 2, row.call_composite: 4,
    window.look_elsewhere: 3, typed.round_off: 2, typed.raise_to_power: 1.5, typed.count: 1.5,
    typed.calculate_with_integers: 2, typed.pick_elsewhere: 2,
}  # fmt: skip
"""Each with how often it is taken, beside the others."""
LENGTHS = {2: 1, 4: 3, 6: 4, 9: 3, 13: 1}
OUTPUTS = {1: 5, 2: 4, 3: 2, 4: 1}
OTHER_SIZES = (0, 1, 2, 3, 8, 16, 31, 64, 100, 1000, 4097)
GRADIENTS = {"none": 5, "all": 4, "some": 3, "upstream": 2, "second": 2}


@dataclass(frozen=True)
class Example:
    """A function, sizes for the names of its dimensions, and how many classes its labels tell apart."""

    seed: int
    function: Function
    sizes: Mapping[str, int]
    classes: int

    @property
    def module(self) -> Module:
        return Module({self.function.name: self.function})

    def resized(self, choose: random.Random) -> Example | None:
        """The same with other sizes for what has a name; None where nothing has."""
        named = {name for value in self.function.inputs for dim in value.type.shape for name in dim_names(dim)}
        if not named:
            return None
        sizes = {name: choose.choice(OTHER_SIZES) if name in named else size for name, size in self.sizes.items()}
        if math.prod(sizes.values()) > MOST_ELEMENTS:
            return None
        return replace(self, sizes=sizes, classes=max(1, min(self.classes, *(sizes[name] for name in named))))


def make_example(seed: int) -> Example:
    sample = Sample(seed)
    for _ in range(_drawn(sample, LENGTHS)):
        _drawn(sample, STEPS)(sample)
    classes = 1 if sample.labels is None else sample.sizes[sample.labels.axis]
    return Example(seed, _with_gradients(sample, _function(sample)), dict(zip(NAMES, sample.sizes)), classes)


def _drawn(sample: Sample, weights: Mapping[Choice, float]) -> Choice:
    return sample.random.choices(list(weights), list(weights.values()))[0]


def _function(sample: Sample) -> Function:
    """Some of what came last; now and then an input as it is, or a condition."""
    inputs = sample.builder.inputs
    made = [part for part in sample.floats if part.tensor.value not in inputs] or sample.floats
    count = _drawn(sample, OUTPUTS)
    outputs = sample.random.sample(made[-10:], min(len(made), count, 10))
    outputs += [sample.one_of(each) for each in (sample.floats, sample.truths) if each and sample.chance(0.05)]
    names = tuple(f"out{number}" for number in range(len(outputs)))
    return sample.builder.function("f", [part.tensor.value for part in outputs], names)


def _with_gradients(sample: Sample, function: Function) -> Function:
    floats = [value.name for value in function.inputs if is_float(value.type.dtype)]
    kind = _drawn(sample, GRADIENTS)
    if kind == "none" or not floats:
        return function
    some = floats if kind == "all" else sample.random.sample(floats, sample.random.randint(1, len(floats)))
    first = request_gradients(function, some, of=0, upstream=kind == "upstream")
    if kind != "second":
        return first
    names = tuple(f"first{number}" for number in range(len(first.outputs)))
    gradient = sample.random.randrange(len(function.outputs), len(first.outputs))
    return request_gradients(first.with_(output_names=names), [sample.one_of(floats)], of=gradient)
