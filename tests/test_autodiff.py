"""Gradients: every primitive mid-graph in a random direction, kinks and ties, gradients of gradients, custom ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from functions import PLAIN, arrays_for, assert_gradients, build, calls_of, evaluate, op, passes, with_gradients

from lossc.compiler.gradient import request_gradients, request_module_gradients
from lossc.compiler.passes.autodiff import VJP
from lossc.compiler.pipeline import run_passes
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Function
from lossc.ir.ops import PRIMITIVES
from lossc.ir.parser import parse
from lossc.ir.tensor import Tensor


def test_every_primitive_has_a_row():
    assert set(VJP) | {"grad"} == set(PRIMITIVES)


def test_rows_fit_the_operands():
    for name, row in VJP.items():
        operands = PRIMITIVES[name].operands
        if row and not operands[-1].endswith("..."):
            assert len(row) == len(operands), name


# --- every primitive, in the middle of a graph ---------------------------------------------------------------

X, Y = "f64[3, 4]", "f64[3, 4]"

# name -> (types of the inputs, what is done with them, lowest and highest input)
MIDDLES = {
    "neg": ((X,), lambda x: -x, -2, 2),
    "abs": ((X,), lambda x: x.abs(), -2, 2),
    "exp": ((X,), lambda x: x.exp(), -2, 2),
    "expm1": ((X,), lambda x: x.expm1(), -2, 2),
    "log": ((X,), lambda x: x.log(), 0.1, 3),
    "log1p": ((X,), lambda x: x.log1p(), -0.9, 3),
    "sqrt": ((X,), lambda x: x.sqrt(), 0.1, 3),
    "erf": ((X,), lambda x: x.erf(), -2, 2),
    "tanh": ((X,), lambda x: x.tanh(), -2, 2),
    "sigmoid": ((X,), lambda x: x.sigmoid(), -2, 2),
    "softplus": ((X,), lambda x: x.softplus(), -2, 2),
    "sign": ((X,), lambda x: x.sign() * x, -2, 2),
    "floor": ((X,), lambda x: x.floor() * x, -2, 2),
    "add": ((X, Y), lambda x, y: x + y, -2, 2),
    "sub": ((X, Y), lambda x, y: x - y, -2, 2),
    "mul": ((X, Y), lambda x, y: x * y, -2, 2),
    "mul_same": ((X,), lambda x: x * x, -2, 2),
    "div": ((X, Y), lambda x, y: x / y, 0.5, 2),
    "pow": ((X, Y), lambda x, y: x**y, 0.5, 2),
    "pow_constant": ((X,), lambda x: x**2.5, 0.5, 2),
    "max": ((X, Y), lambda x, y: x.maximum(y), -2, 2),
    "min": ((X, Y), lambda x, y: x.minimum(y), -2, 2),
    "select": ((X, Y), lambda x, y: (x < y).select(x * 2, y * y), -2, 2),
    "cast": ((X,), lambda x: x.cast("f64").cast("f64") * x, -2, 2),
    "broadcast": (("f64[4]",), lambda x: x.broadcast_to((3, 4)), -2, 2),
    "broadcast_stretched": (("f64[3, 1]",), lambda x: x.broadcast_to((2, 3, 4)), -2, 2),
    "broadcast_inner": (("f64[3]",), lambda x: x.insert_axis(1, 4), -2, 2),
    "reshape": ((X,), lambda x: x.reshape((2, 6)) * x.reshape((2, 6)), -2, 2),
    "transpose": (("f64[2, 3, 4]",), lambda x: x.transpose((2, 0, 1)).exp(), -2, 2),
    "reduce_sum": ((X,), lambda x: x.sum(1), -2, 2),
    "reduce_sum_all": ((X,), lambda x: x.sum(), -2, 2),
    "reduce_sum_outer": (("f64[2, 3, 4]",), lambda x: x.sum((0, 2)) ** 3, -2, 2),
    "reduce_max": ((X,), lambda x: x.amax(1), -2, 2),
    "reduce_min": ((X,), lambda x: x.amin((0, 1)), -2, 2),
    "gather": ((X, "i64[3]"), lambda x, t: x.gather(t, 1), -2, 2),
    "gather_outer": ((X, "i32[4]"), lambda x, t: x.gather(t, 0), -2, 2),
    "gather_small": ((X, "u8[3]"), lambda x, t: x.gather(t, 1), -2, 2),
    "slice": ((X,), lambda x: x[:, 1:3] * x[:, 2:], -2, 2),
    "slice_outer": ((X,), lambda x: x[1:] * x[:-1], -2, 2),
    "concat": ((X, "f64[3, 2]"), lambda x, y: x.concat(y, x, axis=1).exp(), -2, 2),
    "concat_outer": ((X, Y), lambda x, y: x.concat(y, axis=0) ** 2, -2, 2),
    "pad": ((X,), lambda x: x.pad(1, 2, 1, 0.5).exp(), -2, 2),
    "pad_outer": ((X,), lambda x: x * x[1:].pad(0, 0, 1), -2, 2),
    "matmul": ((X, "f64[4, 2]"), lambda x, y: x.apply("matmul", y), -2, 2),
    "matmul_left": (("f64[4, 3]", "f64[4, 2]"), lambda x, y: x.apply("matmul", y, transpose_left=True), -2, 2),
    "matmul_right": ((X, "f64[2, 4]"), lambda x, y: x.apply("matmul", y, transpose_right=True), -2, 2),
    "matmul_both": (
        ("f64[4, 3]", "f64[2, 4]"),
        lambda x, y: x.apply("matmul", y, transpose_left=True, transpose_right=True),
        -2,
        2,
    ),
    "with_gradient": ((X, Y), lambda x, y: (x * y).with_gradient((x, y), (y, x)), -2, 2),
}


def test_every_differentiable_primitive_is_tried():
    tried = {name if name in PRIMITIVES else name.rpartition("_")[0] for name in MIDDLES}
    assert {name for name, row in VJP.items() if row} <= tried


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("pipeline", [PLAIN, ("prepare",)], ids=["plain", "prepared"])
def test_gradient_in_the_middle_of_a_graph(name, pipeline):
    types, middle, low, high = MIDDLES[name]

    def body(*operands: Tensor) -> Tensor:
        # Used before, after and twice: a rule that ignores the incoming gradient or a second use is found out.
        floats = [x for x in operands if x.dtype == "f64"]
        result = middle(*operands) * 1.5
        penalty = sum((x * x * 0.25).sum() for x in floats[1:]) + (floats[0].sigmoid() * floats[0]).sum()
        return (result * result.sigmoid()).sum() * 3 + penalty

    function = build({f"i{index}": text for index, text in enumerate(types)}, body)
    arrays = arrays_for(function, {}, low=low, high=high)
    wrt = [value.name for value in function.inputs if value.type.dtype == "f64"]
    assert_gradients(function, arrays, wrt, pipeline)


@pytest.mark.parametrize("name", MIDDLES)
def test_second_derivative(name):
    types, middle, low, high = MIDDLES[name]
    inputs = {f"i{index}": text for index, text in enumerate(types)}
    if name == "with_gradient":
        inputs = dict.fromkeys(inputs, X)
    first = build(inputs, lambda *operands: (middle(*operands).exp() * 0.1).sum())
    wrt = [value.name for value in first.inputs if value.type.dtype == "f64"]
    # d/dx of sum(sin-like weights * dL/dx): one more reverse pass over the first one.
    once = with_gradients(first, wrt)
    builder = Builder()
    builder.inputs, builder.ops = list(once.inputs), list(once.ops)
    weighed = [Tensor(gradient, builder) for gradient in once.outputs[1:]]
    total = sum((gradient * gradient).sum() for gradient in weighed)
    assert isinstance(total, Tensor)
    function = builder.function("main", [total.value])
    arrays = arrays_for(function, {}, low=low, high=high)
    assert_gradients(function, arrays, wrt, rtol=1e-5, atol=1e-6)
    assert_gradients(function, arrays, wrt, ("prepare",), rtol=1e-5, atol=1e-6)


# --- kinks, ties and edges ------------------------------------------------------------------------------------


def gradient_at(body, *points, dtype="f64"):
    """Gradients of the sum of `body` at the given vectors."""
    inputs = {f"x{index}": f"{dtype}[{len(point)}]" for index, point in enumerate(points)}
    function = build(inputs, lambda *operands: body(*operands).sum())
    arrays = {f"x{index}": np.asarray(point, float) for index, point in enumerate(points)}
    plain = evaluate(with_gradients(function), arrays)[1:]
    prepared = evaluate(passes(request_gradients(function), ("prepare",)), arrays)[1:]
    for one, other in zip(plain, prepared):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    return [gradient.tolist() for gradient in plain]


NAN, INF = math.nan, math.inf


def test_absolute_value_at_zero():
    assert gradient_at(lambda x: x.abs(), [-1, 0, 2]) == [[-1, 0, 1]]


def test_relu_at_zero():
    assert gradient_at(lambda x: op("relu", x), [-1, 0, 2]) == [[0, 0, 1]]


def test_ties_of_max_and_min_are_halved():
    assert gradient_at(lambda x, y: x.maximum(y), [1, 2, 3], [2, 2, 2]) == [[0, 0.5, 1], [1, 0.5, 0]]
    assert gradient_at(lambda x, y: x.minimum(y), [1, 2, 3], [2, 2, 2]) == [[1, 0.5, 0], [0, 0.5, 1]]


def test_ties_of_reductions_share_equally():
    assert gradient_at(lambda x: x.amax() * 6, [3, 1, 3, 3]) == [[2, 0, 2, 2]]
    assert gradient_at(lambda x: x.amin() * 6, [1, 1, 3, 3]) == [[3, 3, 0, 0]]


def test_power_at_zero():
    (by_base, by_exponent) = gradient_at(lambda x, y: x**y, [0, 0, 0, 2], [2, 1, 0, 0])
    assert by_base == [0, 1, 0, 0]
    assert by_exponent == [0, 0, 0, math.log(2)]


def test_softplus_and_sigmoid_far_out_and_at_zero():
    ((*gradients,),) = gradient_at(lambda x: x.softplus(), [-1e4, 0, 1e4])
    assert gradients == [0, 0.5, 1]
    assert gradient_at(lambda x: x.sigmoid(), [-1e4, 0, 1e4]) == [[0, 0.25, 0]]


def test_bce_with_logits_where_a_head_starts():
    (by_x, _) = gradient_at(lambda x, t: op("bce_with_logits_loss", x, t, reduction="sum"), [0, 0, 0], [0, 0.25, 1])
    assert by_x == [0.5, 0.25, -0.5]


def test_nan_reaches_the_gradient():
    ((first, second),) = gradient_at(lambda x: x.softplus() * x, [NAN, 1.0])
    assert math.isnan(first)
    assert math.isfinite(second)


def test_gather_out_of_range_has_gradient_zero():
    function = build({"x": "f64[3, 2]", "t": "i64[3]"}, lambda x, t: x.gather(t, 1).sum())
    for pipeline in (PLAIN, ("prepare",)):
        found = evaluate(passes(request_gradients(function, ["x"]), pipeline),
                         {"x": np.ones((3, 2)), "t": np.array([1, 2, -1])})  # fmt: skip
        assert found[0] == 1
        assert found[1].tolist() == [[0, 1], [0, 0], [0, 0]]


def test_wide_indices_do_not_wrap():
    function = build({"x": "f64[3, 2]", "t": "i64[3]"}, lambda x, t: x.gather(t, 1).sum())
    for pipeline in (PLAIN, ("prepare",)):
        arrays = {"x": np.ones((3, 2)), "t": np.array([2**32 + 1, -(2**32) + 1, -(2**63)])}
        assert not evaluate(passes(request_gradients(function, ["x"]), pipeline), arrays)[1].any()


# --- what is asked for, and no more ---------------------------------------------------------------------------


def test_what_is_not_reached_has_gradient_zero():
    function = build({"x": "f32[3]", "y": "f32[2]"}, lambda x, y: (x * x).sum())
    found = evaluate(with_gradients(function, ["y", "x"]), {"x": np.arange(3.0), "y": np.ones(2)})
    assert found[1].tolist() == [0, 0]
    assert found[2].tolist() == [0, 2, 4]


def test_stop_gradient_stops():
    function = build({"x": "f32[3]"}, lambda x: (x * x.stop_gradient()).sum())
    found = evaluate(with_gradients(function, ["x"]), {"x": np.arange(3.0)})
    assert found[1].tolist() == [0, 1, 2]


def test_an_unasked_gradient_costs_nothing():
    function = build({"x": "f32[8, 4]", "w": "f32[4, 4]"}, lambda x, w: x.apply("matmul", w).exp().sum())
    one = passes(request_gradients(function, ["w"]), ("prepare",))
    assert sum(op.name == "matmul" for op in one.ops) == 2
    both = passes(request_gradients(function, ["w", "x"]), ("prepare",))
    assert sum(op.name == "matmul" for op in both.ops) == 3


def test_gradient_by_a_value_in_between():
    builder = Builder()
    x = Tensor(builder.input("x", build({"x": "f64[3]"}, lambda x: x).inputs[0].type), builder)
    middle = x * x
    loss = (middle * middle * x).sum()
    gradients = builder.emit_many("grad", [loss.value, middle.value, x.value], {}, ["by_middle", "by_x"])
    function = passes(builder.function("main", gradients), PLAIN)
    by_middle, by_x = evaluate(function, {"x": np.array([1.0, 2, 3])})
    np.testing.assert_allclose(by_middle, 2 * np.array([1.0, 2, 3]) ** 3)
    np.testing.assert_allclose(by_x, 5 * np.array([1.0, 2, 3]) ** 4)


def test_incoming_gradient():
    function = build({"x": "f64[2, 3]"}, lambda x: x.exp())
    asked = request_gradients(function, ["x"], upstream=True)
    assert [value.name for value in asked.inputs] == ["x", "grad_exp"]
    for pipeline in (PLAIN, ("prepare",)):
        arrays = {"x": np.ones((2, 3)), "grad_exp": np.arange(6.0).reshape(2, 3)}
        found = evaluate(passes(asked, pipeline), arrays)
        np.testing.assert_allclose(found[1], arrays["grad_exp"] * math.e)


def test_gradient_of_16_bit_input_has_its_type():
    function = build({"x": "f16[4, 3]", "t": "i32[4]"}, lambda x, t: op("cross_entropy_loss", x, t))
    prepared = passes(request_gradients(function, ["x"]), ("prepare",))
    assert [str(value.type) for value in prepared.outputs] == ["f32[1]", "f16[4, 3]"]


# --- asking ---------------------------------------------------------------------------------------------------


def two_inputs(x: Tensor, w: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    return (x * w).sum().reshape((1,)), x * w


TWO = build({"x": "f32[3]", "weight": "f32[3]", "t": "i32[3]"}, two_inputs)


def test_default_is_every_float_input_or_the_params():
    assert request_gradients(TWO).names_of_outputs == ("reshape", "mul", "grad_x", "grad_weight")
    with_params = TWO.with_(params=frozenset(TWO.inputs[1:2]))
    assert request_gradients(with_params).names_of_outputs == ("reshape", "mul", "grad_weight")


def test_an_output_by_name_is_summed_up():
    found = evaluate(
        with_gradients(TWO, ["x"], of="mul"), {"x": np.ones(3), "weight": np.arange(3.0), "t": np.zeros(3, int)}
    )
    assert found[-1].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"wrt": ["wieght"]}, "did you mean `weight`"),
        ({"wrt": ["t"]}, "only floats have gradients"),
        ({"wrt": []}, "no input is named"),
        ({"wrt": "x"}, 'a list of names: ["x"]'),
        ({"of": "mull"}, "did you mean `mul`"),
        ({"of": 2}, "2 outputs"),
        ({"wrt": ["x"], "of": None, "first": 1}, "one number"),
    ],
)
def test_wrong_requests(arguments, words):
    arguments = dict(arguments)
    function = TWO.with_(outputs=TWO.outputs[::-1]) if arguments.pop("first", 0) else TWO
    with pytest.raises(LirError) as error:
        request_gradients(function, **arguments)
    assert words in str(error.value)


# --- functions that name their gradient -------------------------------------------------------------------------

STRAIGHT_THROUGH = """
func @main(%x: f64[4], %w: f64[4]) -> (f64[]) {
  %r = call @round(%x)
  %p = mul %r, %w
  %q = mul %p, %p
  %l = reduce_sum %q {axes = [0]}
  return %l
}
func @round(%a: f64[N]) -> (f64[N]) gradient @round_vjp {
  %h = constant {value = 0.5, dtype = f64, shape = [N]}
  %s = add %a, %h
  %f = floor %s
  return %f
}
func @round_vjp(%a: f64[N], %g: f64[N]) -> (f64[N]) {
  %c = mul %g, %a
  return %c
}
"""


def test_a_function_may_name_its_gradient():
    module = request_module_gradients(parse(STRAIGHT_THROUGH), ["x", "w"])
    x, w = np.array([0.2, 0.7, 1.6, -2.2]), np.array([1.0, 2, 3, 4])
    for pipeline in (PLAIN, ("prepare",)):
        after = run_passes(module, pipeline)
        assert list(after.functions) == ["main"]
        loss, by_x, by_w = evaluate(after.entry, {"x": x, "w": w})
        rounded = np.floor(x + 0.5)
        np.testing.assert_allclose(loss, ((rounded * w) ** 2).sum())
        np.testing.assert_allclose(by_x, 2 * rounded * w * w * x)
        np.testing.assert_allclose(by_w, 2 * rounded * rounded * w)


def test_the_gradient_of_an_entry_counts_too():
    text = "func @round" + STRAIGHT_THROUGH.split("func @round", 1)[1]
    module = request_module_gradients(parse(text), ["a"], of=0)
    assert module.entry.name == "round_and_gradients"
    after = run_passes(module, ("prepare",))
    found = evaluate(after.entry, {"a": np.array([0.2, 3.0])})
    np.testing.assert_allclose(found[1], [0.2, 3.0])


def test_a_named_gradient_is_differentiable():
    module = request_module_gradients(parse(STRAIGHT_THROUGH), ["x"])
    entry = module.entry
    builder = Builder()
    builder.inputs, builder.ops = list(entry.inputs), list(entry.ops)
    gradient = Tensor(entry.outputs[1], builder)
    second = builder.emit_many("grad", [(gradient * gradient).sum().value, entry.inputs[0]], {}, ["second"])
    twice = module.with_function(entry.with_(ops=tuple(builder.ops), outputs=second, output_names=()))
    x, w = np.array([0.2, 0.7, 1.6, -2.2]), np.array([1.0, 2, 3, 4])
    (found,) = evaluate(run_passes(twice, ("prepare",)).entry, {"x": x, "w": w})
    # g = 2 r w^2 x, with dr/dx passed on as x: d(g^2)/dx = 2 g (2 w^2 x * x + 2 r w^2)
    r = np.floor(x + 0.5)
    g = 2 * r * w * w * x
    np.testing.assert_allclose(found, 2 * g * (2 * w * w * x * x + 2 * r * w * w))


# --- size -------------------------------------------------------------------------------------------------------


def chain(length: int) -> Function:
    def body(x: Tensor) -> Tensor:
        for _ in range(length):
            x = -x
        return x.sum()

    return build({"x": "f32[4]"}, body)


def test_a_long_chain_is_differentiated():
    function = with_gradients(chain(20_000), ["x"])
    assert evaluate(function, {"x": np.ones(4)})[1].tolist() == [1, 1, 1, 1]


def test_a_doubling_graph_is_linear():
    def differentiated(length: int) -> Function:
        def body(x: Tensor) -> Tensor:
            for _ in range(length):
                x = x * x
            return x.sum()

        return passes(request_gradients(build({"x": "f64[4]"}, body)), ("prepare",))

    assert len(differentiated(2000).ops) < 10 * 2000
    assert calls_of(lambda: differentiated(1000)) < 3 * calls_of(lambda: differentiated(500))
