"""Every rewrite rule on one example of its equation: it fires, and the value stays."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
from functions import build, evaluate, module_of, op

from lossc.compiler.pipeline import find_pass, run_passes
from lossc.compiler.rewrite import Log
from lossc.ir.tensor import Tensor

PASSES = ("canonicalize", "stabilize", "fuse-nll", "reassociate", "lower-activations", "drop-markers", "expand")


def rules_of(name: str) -> dict[str, str]:
    """The rules of a pass, each with the first line of its docstring."""
    module = inspect.getmodule(find_pass(name))
    table = module.RULES  # type: ignore[union-attr]
    return {rule.__name__: (inspect.getdoc(rule) or "").split("\n")[0] for rules in table.values() for rule in rules}


def emit(name: str, *operands: Tensor, **attributes) -> Tensor:
    return operands[0].apply(name, *operands[1:], **attributes)


def full(x: Tensor, number: float) -> Tensor:
    return x.constant(number)


def rows(r: Tensor, x: Tensor) -> Tensor:
    return r.insert_axis(1, x.shape[1])


def shifted(x: Tensor) -> Tensor:
    return x - rows(x.amax(1), x)


def hit(x: Tensor, t: Tensor) -> Tensor:
    return x.iota(1, "i32") == rows(t, x)


def checked(x: Tensor, condition: Tensor) -> Tensor:
    condition.check(code="test", message="never")
    return x


# rule -> what it is tried on: x, y: f64[N, 4], r: f64[N], c: f64[4], t: i32[N], p: bool[N], u: u8[N], m: f64[3, 4]
Example = Callable[..., "Tensor | tuple[Tensor, ...]"]
EXAMPLES: dict[str, Example] = {
    # canonicalize: single operations
    "fold_constants": lambda x, **_: x * (full(x, 0.1) / full(x, 3)).exp(),
    "constant_to_the_right": lambda x, **_: full(x, 3) + x,
    "add_zero": lambda x, **_: (x + 0, x - 0),
    "add_negative": lambda x, y, **_: (x + -y, -x + y, x - -y),
    "add_negative_row": lambda x, r, **_: (x + rows(-r, x), x - rows(-r, x)),
    "add_same": lambda x, **_: x + x,
    "zero_minus": lambda x, **_: 0 - x,
    "minus_constant": lambda x, **_: x - 3,
    "times_one": lambda x, **_: (x * 1, x / 1, emit("pow", x, full(x, 1))),
    "times_minus_one": lambda x, **_: (x * -1, x / -1),
    "times_zero": lambda t, **_: t * 0,
    "times_negative": lambda x, y, **_: (-x * y, -x / y, -x * -y, -x * full(x, 3)),
    "divide_by_power_of_two": lambda x, **_: (x / 4, x / -0.5),
    "negate": lambda x, y, **_: (emit("neg", -x), -(x - y), -(x * 3), -(x / 3)),
    "absolute_value": lambda x, **_: ((-x).abs(), x.abs().abs()),
    "square": lambda x, **_: emit("pow", x, full(x, 2)),
    "small_power": lambda x, **_: tuple(emit("pow", x, full(x, number)) for number in (3, 4, -1)),
    "same_operands": lambda x, p, **_: (x.maximum(x), x.minimum(x), (p & p).cast("f64")),
    "neutral_truth": lambda x, p, **_: tuple(
        emit(name, p, p.constant(truth)).cast("f64") for name in ("and", "or") for truth in (True, False)
    ),
    "negate_truth": lambda x, y, p, t, **_: tuple(
        truth.cast("f64") for truth in (~~p, ~(x == y), ~(x != y), ~(t < 1), ~(t >= 1), ~(x < y))
    ),
    "choose_constant": lambda x, y, **_: (
        full(x, True).cast("bool").select(x, y),
        (x < y).select(x, x),
        (~(x < y)).select(x, y),
    ),
    "choose_truth": lambda x, y, **_: (
        (x < y).select((x < y).constant(True), (x < y).constant(False)).cast("f64"),
        (x < y).select((x < y).constant(False), (x < y).constant(True)).cast("f64"),
    ),
    "convert_twice": lambda x, t, **_: (emit("cast", x, dtype="f64"), t.cast("i64").cast("f64")),
    "compare_in_own_type": lambda t, **_: tuple(
        emit(name, t.cast("i64"), t.cast("i64").constant(number)).cast("f64")
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        for number in (1, 2**40, -(2**40))
    ),
    "always_in_range": lambda u, **_: ((u >= 0).cast("f64"), (u <= 255).cast("f64"), (u < 0).cast("f64")),
    "truth_as_number": lambda p, **_: tuple(
        emit(name, p.cast("f32"), p.cast("f32").constant(number)).cast("f64")
        for name in ("eq", "ne")
        for number in (0, 1)
    ),
    "check_of_true": lambda x, **_: checked(x, (x == x).constant(True)),
    # canonicalize: across axes
    "compute_before_repeating": lambda x, r, c, **_: (
        x + (rows(r, x).exp() * 3),
        x + rows(r, x) * x.iota(1, "i32").cast("f64").constant(2.0),
        x * x.iota(1, "i32").cast("f64"),
        c.broadcast_to(x.shape) + 1 + x,
    ),
    "constant_in_another_shape": lambda x, r, **_: x + rows(full(r, 2), x),
    "same_shape": lambda x, **_: (
        emit("broadcast", x, dims=(0, 1), shape=x.shape),
        emit("reshape", x, shape=x.shape),
        x.transpose((0, 1)),
        emit("slice", x, axis=1, start=0, stop=4),
        x.pad(1),
    ),
    "repeat_only_ones": lambda r, **_: emit("broadcast", r, dims=(0,), shape=(*r.shape, 1)),
    "drop_stretched_axes": lambda x, **_: x - x.amax(1, keepdims=True),
    "repeat_a_view": lambda r, x, **_: rows(r, x).insert_axis(2, 5),
    "repeat_counting": lambda t, x, **_: rows(t.iota(0, "i32"), x).cast("f64") * x,
    "reshape_twice": lambda m, r, **_: (m.reshape((12,)).reshape((4, 3)), r.sum().reshape((1,)).reshape((1, 1))),
    "reshape_of_broadcast": lambda r, x, **_: rows(r, x).reshape((*x.shape, 1)) + 1,
    "transpose_twice": lambda x, **_: x.transpose().transpose(),
    "transpose_of_broadcast": lambda m, r, x, **_: (rows(r, x).transpose(), m.insert_axis(1, 2).transpose((2, 1, 0))),
    "reduce_ones": lambda r, **_: r.reshape((*r.shape, 1)).amax(1),
    "reduce_twice": lambda x, **_: (x.sum(1).sum(), x.amax(0).amax(), x.amin(1).amin()),
    "reduce_whole_reshape": lambda m, **_: (m.reshape((12,)).sum(), m.transpose().amax()),
    "reduce_before_repeating": lambda x, c, **_: (
        c.broadcast_to(x.shape).sum(1),
        c.broadcast_to(x.shape).amax(1),
        c.broadcast_to(x.shape).amin(1),
    ),
    "sum_of_repeated": lambda x, r, c, **_: (
        rows(r, x).sum(1),
        rows(r, x).sum(),
        c.broadcast_to(x.shape).sum(0),
        full(x, 3).sum(),
    ),
    "sum_of_negative": lambda x, **_: (-x).sum(1),
    "largest_of_repeated": lambda x, r, **_: (rows(r, x).amax(1), rows(r, x).amin(1)),
    "slice_twice": lambda x, **_: x[:, 1:][:, 1:],
    "slice_of_pad": lambda x, **_: (
        x.pad(1, 2, 3, 5)[:, 3:7],
        x.pad(1, 2, 3, 5)[:, 1:9],
        x.pad(1, 2, 3, 5)[:, :1],
        x.pad(0, x.shape[0])[x.shape[0] :],
        x.pad(0, x.shape[0], 0, 2)[: x.shape[0]],
    ),
    "slice_of_concat": lambda x, y, m, **_: (
        x.concat(y, y, axis=1)[:, 3:9],
        x.concat(y, axis=1)[:, 5:7],
        x.concat(y, axis=0)[x.shape[0] :],
        m.concat(m * 2, axis=0)[2:3],
    ),
    "slice_of_repeated": lambda x, r, c, **_: (x[:, 1:] + rows(r, x)[:, 1:], x[:, :2] * c.broadcast_to(x.shape)[:, 2:]),
    "slice_before_computing": lambda x, y, r, **_: (
        (x.concat(y, axis=1).exp() * rows(r, x.concat(y, axis=1)))[:, :4],
        (x.pad(1, 3).exp() + x.pad(1, 3))[:, 1:6],
    ),
    "pad_twice": lambda x, **_: x.pad(1, 2, 0, 3).pad(1, 1, 1, 3),
    "pad_with_its_own": lambda x, **_: full(x, 2).pad(1, 2, 3, 2) * x.pad(1, 2, 3),
    "pad_of_empty": lambda x, m, **_: m[:, 2:2].pad(1, 2, 2, 7) + m,
    "join_once": lambda x, y, **_: (
        x.concat(x.concat(y, axis=1), y, axis=1),
        x[:, :0].concat(y, x, axis=1),
        x[:, :2].concat(x[:, 2:], axis=1),
        emit("concat", x, axis=1),
    ),
    "product_of_transposed": lambda x, y, **_: (
        emit("matmul", x.transpose(), y),
        emit("matmul", x, y.transpose()),
        emit("matmul", x.transpose(), y.transpose(), transpose_left=True),
    ),
    "size_of_an_axis": lambda x, m, **_: (x.exp().size(0) + 0, x.exp().size(1), m.size(0)),
    "known_size": lambda x, **_: Tensor(x.builder.emit("size", of=(3, 4)), x.builder).cast("f64"),
    # stabilize
    "log_of_softmax": lambda x, **_: op("softmax", x).log(),
    "log_of_sigmoid": lambda x, **_: x.sigmoid().log(),
    "log_of_rest": lambda x, **_: (1 - x.sigmoid()).log(),
    "log_of_one_plus": lambda x, **_: (x * x + 1).log(),
    "log_of_exp": lambda x, **_: x.exp().log(),
    "log_of_quotient": lambda x, r, **_: (
        (x.exp() / rows(r * r, x)).log(),
        (x.exp() * rows(r * r, x)).log(),
        (1 / (r * r)).log(),
    ),
    "log_of_choice": lambda x, y, **_: ((x < y).select(x.exp() * y.exp(), 0.5)).log(),
    "log_of_sum_of_exp": lambda x, **_: (x.exp().sum(1).log(), x.exp().sum().log()),
    "log1p_of_sigmoid": lambda x, **_: ((-x.sigmoid()).log1p(), x.exp().log1p()),
    "bce_of_sigmoid": lambda x, y, **_: op("bce_loss", x.sigmoid(), y.sigmoid()),
    "sigmoid_spelled_out": lambda x, **_: 1 / ((-x).exp() + 1),
    "softmax_spelled_out": lambda x, **_: (
        x.exp() / rows(x.exp().sum(1), x),
        x.exp() * rows(1 / x.exp().sum(1), x),
    ),
    "shift_of_softmax": lambda x, **_: shifted(x).exp() / rows(shifted(x).exp().sum(1), x),
    "exp_minus_one": lambda x, **_: (x.exp() - 1, x.exp() + -1),
    "shift_of_logsumexp": lambda x, **_: shifted(x).exp().sum(1).log() + x.amax(1),
    "log_softmax_spelled_out": lambda x, **_: (
        x - rows((x - rows(m := x.amax(1).stop_gradient(), x)).exp().sum(1).log() + m, x)
    ),
    "shift_of_log_softmax": lambda x, **_: shifted(x) - rows(shifted(x).exp().sum(1).log(), x),
    # fuse-nll
    "nll_of_log_softmax": lambda x, t, c, **_: (
        op("nll_loss", op("log_softmax", x), t),
        op("nll_loss", op("log_softmax", x, axis=1), t, c, ignore_index=1, reduction="none"),
        op("nll_loss", op("log_softmax", x), x.exp()),
    ),
    "cross_entropy_of_log_softmax": lambda x, t, **_: op("cross_entropy_loss", op("log_softmax", x), t),
    "pick_before_computing": lambda x, r, t, p, **_: (
        (x - rows(r, x)).gather(t, 1),
        rows(p, x).select(x, 0).gather(t, 1),
        (x.exp() / rows(r, x)).gather(t - 1, 1),
        x.iota(1, "i32").gather(t - 1, 1).cast("f64"),
        rows(r, x).gather(t - 1, 1),
    ),
    "sum_of_one_hot": lambda x, t, **_: (hit(x, t).select(x, 0).sum(1), hit(x, t).select(x, 0).sum()),
    "sum_with_one_hot": lambda x, y, t, **_: ((x + hit(x, t).select(y, 0)).sum(1), (hit(x, t).select(y, 0) - x).sum(1)),
    "times_one_hot": lambda x, y, t, **_: (hit(x, t).cast("f64") * x, y * hit(x, t).select(x, 0)),
    # reassociate
    "condition_of_factor": lambda x, y, m, **_: (
        emit("matmul", (x <= 0).select(0, x), m, transpose_right=True),
        (x <= 0).select(0, y),
    ),
    "condition_out_of_sum": lambda x, y, p, **_: (
        (rows(p, x) & (x < y)).select(x, 0).sum(1),
        ((x < y) & rows(p, x)).select(x, 0).sum(1),
    ),
    "small_factors_together": lambda x, y, r, **_: (
        (x * rows(r, x)) * y * 3,
        (3 * x) * rows(r, x),
        ((x * 1e9) * y) * 1e9 * 0.5,
    ),
    "choice_of_small": lambda x, y, r, **_: tuple(
        x * emit(name, (x < y).select(rows(r, x), number), full(x, 5))
        for number, name in enumerate(("add", "sub", "mul"))
    ),
    "divide_rows": lambda x, y, **_: y / rows(shifted(x).exp().sum(1), x),
    "common_factor": lambda x, y, r, **_: (
        x * rows(r, x) - y * rows(r, x),
        x * 3 + y * -3.0,
        x * rows(-r, x) + y * rows(r, x),
        x * rows(-r, x) - y * rows(r, x),
        x * y + y * y.exp(),
    ),
    "negative_choice": lambda x, y, r, **_: -((x < y).select(rows(r, x), 2)),
    "negative_row": lambda x, r, **_: -(x * rows(r, x)),
    "extreme_of_negative": lambda x, **_: ((-x).maximum(full(x, 0.5)), (-x).minimum(full(x, 0))),
    "compare_negative": lambda x, y, **_: ((-x < 0.5).select(x, y), (-x >= 0).select(x, y)),
    "small_factor_into_sum": lambda x, y, r, **_: (x * rows(r, x) + y * 3) * 0.5,
    "divide_small_factor": lambda x, r, **_: ((x * rows(r, x)) / 3, (x * 5) / 3),
    "divide_by_constant": lambda x, **_: x / 3,
    "choice_of_sign": lambda x, y, **_: ((x < y).select(full(x, -1), 1) * x, (x < 0).select(full(x, -1), 1) * x),
    "small_factor_out_of_sum": lambda x, r, **_: (
        (x * 3).sum(1),
        (shifted(x).exp() * rows(1 / shifted(x).exp().sum(1), x)).sum(1),
        (x * 3).sum(),
    ),
    "factor_out_of_extreme": lambda x, y, **_: ((x * 3).amax(1), emit("reduce_min", y * 3, axes=(0,))),
    "factor_out_of_shift": lambda x, y, **_: (
        shifted(x * 3).exp(),
        shifted(y * 0.3).exp(),
        shifted(x * 0.3).exp(),
        shifted(x * 0.3) == -math.inf,
    ),
    "factor_out_of_difference": lambda x, y, **_: ((x * 3).exp(), (y * 3).exp(), x * 3 - y * 3),
    "factor_out_of_choice": lambda x, y, r, **_: (
        rows(r > 0, x).select(0, x * 3),
        rows(r > 0, x).select(y * 3, 0),
    ),
    "factor_out_of_comparison": lambda x, **_: (x * 0.5 == math.inf, x.amax(1) * 3 == -math.inf),
    "factor_out_of_sum": lambda x, y, **_: ((y * (x * 3)).sum(1), (x * 3).exp()),
    "softmax_factor_out_of_sum": lambda x, y, r, **_: (
        (shifted(x).exp() * rows(0.5 / shifted(x).exp().sum(1), x) * y).sum(1),
        shifted(x).exp() * rows(0.5 / shifted(x).exp().sum(1), x),
    ),
    # the others
    "softplus": lambda x, **_: x.softplus(),
    "sigmoid": lambda x, **_: x.sigmoid(),
    "marked_value": lambda x, y, **_: (x.stop_gradient(), (x * y).with_gradient((x, y))),
    "expansion": lambda x, t, **_: op("cross_entropy_loss", x, t),
}

TYPES = {
    "x": "f64[N, 4]", "y": "f64[N, 4]", "r": "f64[N]", "c": "f64[4]", "t": "i32[N]", "p": "bool[N]", "u": "u8[N]",
    "m": "f64[3, 4]",
}  # fmt: skip


def arrays(kind: str) -> dict[str, np.ndarray]:
    """Numbers that are `ordinary`; some at the `edges`, 0 and what underflows in a product; some `special` ones."""
    random = np.random.default_rng(11)
    floats = {"x": (5, 4), "y": (5, 4), "r": (5,), "c": (4,), "m": (3, 4)}
    found = {name: random.uniform(0.2, 2, shape) * random.choice([-1, 1], shape) for name, shape in floats.items()}
    if kind != "ordinary":
        numbers = [0, -0.0, 1e-200] if kind == "edges" else [math.nan, math.inf, -math.inf]
        for array in found.values():
            array.reshape(-1)[:3] = numbers
        found["y"][1] = found["x"][1]
        found["x"][2:] = [[numbers[0]] * 4, [numbers[1], 1, 2, 3], [numbers[2]] * 4]
    labels = np.array([0, 1, 2, 3, 1])
    return {**found, "t": labels, "p": labels == 1, "u": labels}


def test_every_rule_has_an_example():
    assert {rule for name in PASSES for rule in rules_of(name)} == set(EXAMPLES)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_rule(rule):
    pass_name, equation = next((name, rules_of(name)[rule]) for name in PASSES if rule in rules_of(name))

    def body(*tensors: Tensor):
        return EXAMPLES[rule](**dict(zip(TYPES, tensors)))

    # Rules compare values by identity: equal ones are shared first, as in the pipelines.
    module = run_passes(module_of(build(TYPES, body)), ["cse"])
    log = Log()
    changed = run_passes(module, [pass_name], log=log)
    if pass_name != "expand":
        assert rule.replace("_", " ") in {event.rule for event in log.fired}
    assert changed is not module
    status = equation.rpartition("  ")[2].split()[0] if pass_name != "expand" else "exact"
    assert status in ("exact", "rounding", "extends")
    for kind in ("ordinary", "edges", "special")[: 2 if status == "extends" else 3]:
        rtol = 1e-9 if status != "exact" or kind == "ordinary" else 1e-12
        for before, after in zip(evaluate(module.entry, arrays(kind)), evaluate(changed.entry, arrays(kind))):
            np.testing.assert_allclose(after, before, rtol, atol=1e-12)
