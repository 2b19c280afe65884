"""The ranges of values hold for whatever they come to, and are as narrow as the compiler counts on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from functions import build, evaluate
from hypothesis import HealthCheck, given, settings
from random_functions import functions, inputs

from lossc.compiler.intervals import ANY, Range
from lossc.compiler.ranges import bounds_of, is_never, ranges_of
from lossc.ir.tensor import Tensor
from lossc.ir.types import is_float


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(function=functions(), arrays=inputs(special=True))
def test_every_value_lies_in_its_range(function, arrays):
    values = [v for op in function.ops for v in op.results if is_float(v.type.dtype)]
    ranges = bounds_of(function)
    for value, found in zip(values, evaluate(function.with_(outputs=tuple(values)), arrays)):
        expected = ranges[value]
        slack = 1e-12 * max(abs(b) for b in (expected.low, expected.high, 0.0) if math.isfinite(b))
        inside = np.isnan(found) | ((found >= expected.low - slack) & (found <= expected.high + slack))
        assert inside.all(), (value, expected, found)


def checked(x: Tensor, condition: Tensor) -> Tensor:
    condition.check(code="test", message="never")
    return x


UNIT = Range(0, 1)
EXAMPLES: dict[str, tuple[Callable[..., Tensor], Range]] = {
    "nothing is known": (lambda x, **_: x * 2, ANY),
    "magnitude": (lambda x, **_: -x.abs(), Range(high=0)),
    "exponential of a magnitude": (lambda x, **_: (-x.abs()).exp(), UNIT),
    "square": (lambda x, **_: x * x, Range(0)),
    "beside its maximum": (lambda x, **_: x - x.amax(1, keepdims=True).broadcast_to(x.shape), Range(high=0)),
    "beside the maximum of other rows": (lambda q, **_: q - q.amax(1).insert_axis(0, 4), ANY),
    "beside its maximum, turned twice": (
        lambda q, **_: q - q.amax(0).insert_axis(1, 4).transpose((1, 0)), Range(high=0)),
    "chosen by its sign": (lambda q, **_: (q < 0).select(q, 0), Range(high=0)),
    "chosen by the sign of another": (lambda q, **_: (q.transpose((1, 0)) < 0).select(q, 0), ANY),
    "an integer quotient": (lambda u, **_: u.maximum(1).binary("div", 3), Range(0, 255)),
    "times its sign": (lambda x, **_: (x < 0).select(x.constant(-1), 1) * x, Range(0)),
    "clamped below": (lambda x, **_: (x < 0.5).select(0.5, x), Range(0.5)),
    "clamped by a maximum": (lambda x, **_: x.maximum(0.25).minimum(4), Range(0.25, 4)),
    "a checked probability": (lambda x, **_: checked(x, (x >= 0) & (x <= 1)) + 0, UNIT),
    "the rest of one": (lambda x, **_: 1 - checked(x, (x >= 0) & (x <= 1)), UNIT),
    "checked the other way round": (lambda x, **_: checked(x, ~((x < 0) | (x.constant(1) < x))) * 2, Range(0, 2)),
    "a truth value": (lambda p, **_: p.cast("f32"), UNIT),
    "an integer": (lambda u, **_: u.cast("f32"), Range(0, 255)),
    "integers that wrap around": (lambda u, **_: (u + u).cast("f32"), Range(0, 255)),
    "beyond the largest f32": (lambda x, **_: (x.maximum(0).minimum(1e30) * 1e30), Range(0)),
    "a quotient": (lambda x, **_: 1 / ((-x.abs()).exp() + 1), Range(0.5, 1)),
    "a quotient by what may be 0": (lambda x, **_: 1 / x.abs(), ANY),
    "a sum of exponentials": (lambda x, **_: (x - x.amax(1, keepdims=True).broadcast_to(x.shape)).exp().sum(1),
                              Range(1, 2.0**63)),
    "nor by less": (lambda x, **_: ((x - x.amax(1, keepdims=True).broadcast_to(x.shape)) * 0.25).exp().sum(1),
                    Range(1, 2.0**63)),
    "by infinity it is no number": (
        lambda x, **_: ((x - x.amax(1, keepdims=True).broadcast_to(x.shape)) * 1e39).exp().sum(1), Range(0, 2.0**63)),
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_range(example):
    body, expected = EXAMPLES[example]
    types = {"x": "f32[N, 4]", "p": "bool[N, 4]", "u": "u8[N, 4]", "q": "f32[4, 4]"}
    function = build(types, lambda *values: body(**dict(zip(types, values))))
    assert bounds_of(function)[function.outputs[0]] == expected


# Beside the one that never holds those that hold somewhere, if only because something is rounded.
COMPARISONS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "a bounded number is not infinite": (lambda x: x.tanh() == math.inf, True),
    "nor above infinity, as nothing is": (lambda x: x.constant(math.inf) <= x.tanh(), True),
    "nor below minus infinity": (lambda x: x.abs() <= -math.inf, True),
    "any number may be infinite": (lambda x: x == math.inf, False),
    "0.1 as f32 is above 0.1 as f64": (lambda x: x.minimum(0.1).cast("f64") > 0.1, False),
    "3 * 0.7 is 2.1 as f32": (lambda x: x.maximum(0).minimum(3) * 0.7 >= 2.1, False),
    "the difference may be anything": (lambda x: x.maximum(0).minimum(3) * 0.7 - 2.1 >= 0, False),
    "finite numbers are below infinity": (lambda x: x < math.inf, False),
}


@pytest.mark.parametrize("example", COMPARISONS)
def test_a_comparison_that_never_holds(example):
    body, expected = COMPARISONS[example]
    function = build({"x": "f32[N, 4]"}, body)
    (comparison,) = (op for op in function.ops if op.result is function.outputs[0])
    assert is_never(comparison, bounds_of(function)) is expected


def test_an_operand_where_its_result_is_chosen():
    function = build({"x": "f32[N]"}, lambda x: ((x > 1).select(x.log() * 2, 0), (x > 1).select(x.log1p(), x)))
    ranges = ranges_of(function)
    (log,) = (op for op in function.ops if op.name == "log")
    (log1p,) = (op for op in function.ops if op.name == "log1p")
    assert ranges.operand(log) == ranges.operand(log1p) == Range(1)
    assert ranges.of[function.inputs[0]] == ANY


def test_a_result_that_is_read_elsewhere_too_is_needed_everywhere():
    def body(x: Tensor) -> tuple[Tensor, ...]:
        logarithm = x.log()
        return (x > 1).select(logarithm, 0), logarithm + 1

    function = build({"x": "f32[N]"}, body)
    (log,) = (op for op in function.ops if op.name == "log")
    assert ranges_of(function).operand(log) == ANY
