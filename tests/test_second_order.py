"""Gradients of gradients: what `grad` makes is differentiated again, against differences of the first gradient.

For every loss and layer, with the operands and attributes of the agreement matrix (a new one joins by itself), and for
every primitive: v^T J w, where J holds the derivatives of the first gradients, once as `grad` of <gradient, v>, taken
along w, once as the difference of <gradient, v> along w. The interpreter computes both in float64, on the graph as
written and on the rewritten one. Devices compute a handful.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from agreement.agree import Problem, in_float64
from agreement.cases import Case
from test_autodiff import MIDDLES
from test_gradients import LABELS, OPERATIONS, small_cases

import lossc
from lossc.compiler.passes.autodiff import VJP
from lossc.compiler.pipeline import run_passes
from lossc.ir.builder import Builder
from lossc.ir.function import Function, Module, Value
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, is_float
from lossc.runtime.device import Device

Arrays = Mapping[str, np.ndarray]

PIPELINES = {
    "as written": ("inline", "expand", "autodiff", "inline", "expand", "drop-markers"),
    "rewritten": ("prepare",),
}


def twice_differentiated(function: Function, fixed: tuple[str, ...] = ()) -> Function:
    """(gradients, then the derivatives of <gradient, v>) of <result, u>, by every float input that is not `fixed`.
    u and the v are further inputs."""
    build = Builder()
    build.inputs, build.ops = list(function.inputs), list(function.ops)
    wanted = [value for value in function.inputs if is_float(value.type.dtype) and value.name not in fixed]
    upstream = build.input("u", function.outputs[0].type)
    directions = [build.input(f"v_{value.name}", value.type) for value in wanted]
    names = [value.name for value in wanted]
    first = build.emit_many("grad", (function.outputs[0], upstream, *wanted), {"upstream": True}, names)
    product = _inner_product(build, first, directions)
    second = build.emit_many("grad", (product.value, *wanted), {}, names)
    outputs = (*first, *second)
    return build.function("twice", outputs, tuple(f"{n}_{order}" for order in ("first", "second") for n in names))


def _inner_product(build: Builder, left: tuple[Value, ...], right: list[Value]) -> Tensor:
    terms = [(Tensor(a, build) * Tensor(b, build)).sum() for a, b in zip(left, right)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def assert_second_order(
    module: Module, arrays: Arrays, fixed: tuple[str, ...] = (), what: str = "", h: float = 1e-6
) -> None:
    """Both pipelines agree with differences along random directions. `module`: its entry has no `grad` yet."""
    entry = module.entry
    twice = twice_differentiated(entry, fixed)
    generator = np.random.default_rng(5)
    given = dict(arrays)
    wide = [value for value in entry.inputs if is_float(value.type.dtype)]
    given.update({value.name: np.asarray(arrays[value.name], np.float64) for value in wide})
    moving = [value.name for value in wide if value.name not in fixed]
    given.update({f"v_{name}": generator.normal(size=given[name].shape) for name in moving})
    w = {name: generator.normal(size=given[name].shape) for name in moving}
    given["u"] = generator.normal(size=_result_shape(module, arrays))
    for pipeline, passes in PIPELINES.items():
        prepared = run_passes(module.with_functions([*_others(module), twice]), passes).entry

        def at(step: float, prepared: Function = prepared) -> dict[str, np.ndarray]:
            moved = {name: given[name] + step * w[name] for name in moving}
            return dict(zip(prepared.names_of_outputs, interpret(prepared, {**given, **moved})))

        def product(results: dict[str, np.ndarray]) -> float:
            return sum(float((given[f"v_{name}"] * results[f"{name}_first"]).sum()) for name in moving)

        here = at(0)
        # Of fourth order: where a target is 1e-4, h is not small.
        near, far = (product(at(step)) - product(at(-step)) for step in (h, 2 * h))
        difference = (8 * near - far) / (12 * h)
        seconds = {name: w[name] * here[f"{name}_second"] for name in moving}
        found = sum(float(each.sum()) for each in seconds.values())
        scale = sum(float(np.abs(each).sum()) for each in seconds.values())
        size = sum(float(np.abs(given[f"v_{name}"] * here[f"{name}_first"]).sum()) for name in moving)
        assert abs(found - difference) <= 2e-6 * scale + 2e-8 * size + 2e-9, f"{what} {pipeline}: {found} {difference}"


def _others(module: Module) -> list[Function]:
    return [function for function in module.functions.values() if function.name != module.entry.name]


def _result_shape(module: Module, arrays: Arrays) -> tuple[int, ...]:
    plain = run_passes(module, ("inline", "expand", "drop-markers")).entry
    return interpret(plain, arrays)[0].shape


# --- losses and layers ----------------------------------------------------------------------------------------

MOST_CASES = 8


@lru_cache(maxsize=1)
def cases() -> dict[str, list[Case]]:
    """A few cases for each operation: every choice of attributes and of which operands there are, as far as they go."""
    found: dict[str, list[Case]] = {}
    for op, small in small_cases().items():
        distinct = {(case.attributes, tuple(name for name, choice in case.operands if choice != "-")): case
                    for case in reversed(small) if case.layout in ("last", "row")}  # fmt: skip
        every = list(distinct.values())
        found[op] = every[:: max(1, len(every) // MOST_CASES)]
    return found


@pytest.mark.parametrize("op", OPERATIONS)
def test_losses_and_layers(op: str) -> None:
    assert cases()[op]
    for case in cases()[op]:
        problem = Problem(replace(case, gradient="none", dtype="f64"))
        # In f64 throughout: a cast to f32 on the way would drown the difference.
        entry = in_float64(run_passes(problem.module, ("inline", "expand")).entry)
        if not is_float(entry.outputs[0].type.dtype):
            continue
        arrays = problem.arrays[problem.case.sizings[-1]]
        assert_second_order(Module({entry.name: entry}), arrays, LABELS.get(op, ()), str(case))


# --- primitives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MIDDLES))
def test_primitives(name: str) -> None:
    """In the middle of a graph: what goes in is a product, what comes out is squared."""
    types, body, low, high = MIDDLES[name]
    build = Builder()
    generator = np.random.default_rng(3)
    inputs, arrays = [], {}
    for index, text in enumerate(types):
        value = build.input(f"x{index}", _type_of(text))
        shape = tuple(dim for dim in value.type.shape if isinstance(dim, int))
        if is_float(value.type.dtype):
            arrays[value.name] = generator.uniform(low, high, shape) + 1e-3
        else:
            arrays[value.name] = generator.integers(0, 3, shape)
        inputs.append(Tensor(value, build))
    result = body(*inputs)
    scaled = result * result.exp() if high <= 3 else result * result
    entry = build.function("main", [scaled.value])
    assert_second_order(Module({"main": entry}), arrays, what=name)


def _type_of(text: str) -> Type:
    return parse(f"func @f(%x: {text}) -> ({text}) {{\n  return %x\n}}").entry.inputs[0].type


def test_every_primitive_with_a_derivative_is_there() -> None:
    differentiable = {name for name, row in VJP.items() if any(row) and name != "with_gradient"}
    used = set()
    for types, body, _, _ in MIDDLES.values():
        build = Builder()
        body(*(Tensor(build.input(f"x{i}", _type_of(text)), build) for i, text in enumerate(types)))
        used |= {op.name for op in build.ops}
    # A cast is linear, but rounds: no difference can be taken through it.
    assert differentiable - {"cast"} <= used


# --- gradients that somebody wrote ----------------------------------------------------------------------------

OWN_GRADIENT = """
func @main(%x: f64[3, 4], %t: f64[3, 4], %w: f64[3, 4]) -> (f64[3, 4]) {
  %e = exp %x
  %y = call @clipped(%e, %t)
  %p = mul %y, %w
  return %p
}
func @clipped(%x: f64[N, C], %t: f64[N, C]) -> (f64[N, C]) gradient @clipped_vjp {
  %d = sub %x, %t
  %y = mul %d, %d
  return %y
}
// Not the derivative of what is computed, but differentiable.
func @clipped_vjp(%x: f64[N, C], %t: f64[N, C], %g: f64[N, C]) -> (f64[N, C], f64[N, C]) {
  %d = sub %x, %t
  %s = tanh %d
  %by_x = mul %s, %g
  %by_t = neg %by_x
  return %by_x, %by_t
}
"""


def test_a_function_that_names_its_gradient() -> None:
    """The second derivative is that of the gradient that is named."""
    generator = np.random.default_rng(0)
    arrays = {name: generator.normal(size=(3, 4)) for name in ("x", "t", "w")}
    # The weights stay: by them the first gradient is the value, whose own derivative is not the one that is named.
    assert_second_order(parse(OWN_GRADIENT), arrays, fixed=("w",), what="@clipped")


def test_a_declared_derivative() -> None:
    """`with_gradient`: the derivative that was declared is differentiated, not that of the value."""
    text = """func @main(%x: f64[6], %t: f64[6]) -> (f64[6]) {
      %d = sub %x, %t
      %clipped = min %d, 0.5
      %by = tanh %d
      %against = neg %by
      %y = with_gradient %clipped, %x, %by, %t, %against
      %z = mul %y, 3.0
      return %z
    }"""
    generator = np.random.default_rng(1)
    assert_second_order(parse(text), {"x": generator.normal(size=6), "t": generator.normal(size=6)}, what="declared")


@pytest.mark.parametrize("name", ["softplus", "sigmoid", "tanh"])
def test_far_out_and_at_zero(name: str) -> None:
    """The second derivatives of what has a stable form: finite everywhere, and exact at 0."""
    text = f"""func @main(%x: f64[5]) -> (f64[5], f64[5]) {{
      %y = {name} %x
      %g = grad %y, %x
      %h = grad %g, %x
      return %g, %h
    }}"""
    x = np.array([-1e4, -30.0, 0.0, 30.0, 1e4])
    s = 0.5 * (1 + np.tanh(x / 2))
    expected = {
        "softplus": s * (1 - s),
        "sigmoid": s * (1 - s) * (1 - 2 * s),
        "tanh": -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
    }[name]
    for passes in PIPELINES.values():
        _, second = interpret(run_passes(parse(text), passes).entry, {"x": x})
        assert np.isfinite(second).all()
        np.testing.assert_allclose(second, expected, rtol=1e-9, atol=1e-13)


def test_at_probabilities_0_and_1() -> None:
    """The clamped logarithms of bce_loss and what is divided by: everything stays finite, in both orders."""
    entry = parse("""func @main(%x: f64[4], %t: f64[4]) -> (f64[1]) {
      %l = bce_loss %x, %t {reduction = "sum"}
      return %l
    }""").entry
    arrays = {"x": np.array([0.0, 1.0, 0.0, 1.0]), "t": np.array([0.0, 1.0, 0.5, 0.5]), "u": np.ones(1)}
    arrays |= {"v_x": np.ones(4), "v_t": np.ones(4)}
    for passes in PIPELINES.values():
        prepared = run_passes(Module({"twice": twice_differentiated(entry)}), passes).entry
        found = dict(zip(prepared.names_of_outputs, interpret(prepared, arrays)))
        assert all(np.isfinite(each).all() for each in found.values())
        # d/dx (x - t) / max(x (1 - x), 1e-12), and the mixed derivative -1/max(x, 1e-12) - 1/max(1 - x, 1e-12).
        np.testing.assert_allclose(found["x_second"], 1e12 - (1e12 + 1), rtol=0, atol=10)


def test_a_clamped_variance() -> None:
    """gaussian_nll_loss clamps the variance and passes the gradient: derivatives of the formula at what is clamped."""
    entry = parse("""func @main(%x: f64[3], %t: f64[3], %var: f64[3]) -> (f64[1]) {
      %l = gaussian_nll_loss %x, %t, %var {reduction = "sum"}
      return %l
    }""").entry
    d, var, v = np.array([1e-3, 2e-3, 0.5]), np.array([0.0, 1e-7, 2.0]), np.array([1.0, -2.0, 0.5])
    arrays = {"x": d, "t": np.zeros(3), "var": var, "u": np.ones(1)}
    arrays |= {"v_x": np.zeros(3), "v_t": np.zeros(3), "v_var": v}
    s = np.maximum(var, 1e-6)
    for passes in PIPELINES.values():
        prepared = run_passes(Module({"twice": twice_differentiated(entry)}), passes).entry
        found = dict(zip(prepared.names_of_outputs, interpret(prepared, arrays)))
        np.testing.assert_allclose(found["var_first"], (1 / s - d**2 / s**2) / 2, rtol=1e-9)
        np.testing.assert_allclose(found["var_second"], v * (-1 / s**2 + 2 * d**2 / s**3) / 2, rtol=1e-9)
        np.testing.assert_allclose(found["x_second"], -v * d / s**2, rtol=1e-9)


def test_a_third_time() -> None:
    text = """func @main(%x: f64[5]) -> (f64[5]) {
      %y = softplus %x
      %g = grad %y, %x
      %h = grad %g, %x
      %k = grad %h, %x
      return %k
    }"""
    x = np.linspace(-3, 3, 5)
    s = 1 / (1 + np.exp(-x))
    (third,) = interpret(run_passes(parse(text), ("prepare",)).entry, {"x": x})
    np.testing.assert_allclose(third, s * (1 - s) * (1 - 2 * s), rtol=1e-12, atol=1e-15)


# --- on a device ----------------------------------------------------------------------------------------------

COMPILED = {
    "cross_entropy_loss": ("i32", "%loss = cross_entropy_loss %x, %t {label_smoothing = 0.1}"),
    "cross_entropy_distribution": ("f32", "%loss = cross_entropy_loss %x, %t"),
    "bce_with_logits_loss": ("f32", "%loss = bce_with_logits_loss %x, %t"),
    "bce_loss": ("f32", "%p = sigmoid %x\n%q = mul %p, 0.9\n%loss = bce_loss %q, %t"),
    "mse_of_softmax": ("f32", "%p = softmax %x\n%loss = mse_loss %p, %t"),
    "log_cosh_by_hand": ("f32", "%d = sub %x, %t\n%s = softplus %d\n%w = mul %s, %d\n"
                         "%a = reduce_sum %w {axes = [0, 1]}\n%loss = reshape %a {shape = [1]}"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name: str, device: Device) -> None:
    """A Hessian-vector product by LIR `grad` operations, through `Graph.compile`."""
    target, body = COMPILED[name]
    label = "i32[B]" if target == "i32" else "f32[B, 9]"
    text = f"""func @main(%x: f32[B, 9], %t: {label}, %v: f32[B, 9]) -> (%loss: f32[1], %g: f32[B, 9], %h: f32[B, 9]) {{
      {body}
      %g = grad %loss, %x
      %gv = mul %g, %v
      %along = reduce_sum %gv {{axes = [0, 1]}}
      %h = grad %along, %x
      return %loss, %g, %h
    }}"""
    generator = np.random.default_rng(11)
    x, v = (generator.normal(size=(6, 9)).astype(np.float32) for _ in range(2))
    t = generator.integers(0, 9, 6).astype(np.int32) if target == "i32" else generator.random((6, 9)).astype(np.float32)
    found = lossc.parse(text).compile(device=device)(x=x, t=t, v=v)
    entry = in_float64(run_passes(parse(text), PIPELINES["as written"]).entry)
    wide = {"x": x.astype(np.float64), "v": v.astype(np.float64), "t": t}
    for output, expected, actual in zip(("loss", "g", "h"), interpret(entry, wide), found):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * scale, err_msg=output)


def test_the_graph_api(device: Device) -> None:
    """A Python function over values: its gradient, and the gradient of that, as values of the graph."""
    g = lossc.Graph()
    x, v = g.input("x", (None, 5)), g.input("v", (None, 5))
    loss = (x.tanh() * x).sum()
    builder = loss.builder
    (first,) = builder.emit_many("grad", (loss.value, x.value), {})
    along = (Tensor(first, builder) * v).sum()
    (second,) = builder.emit_many("grad", (along.value, x.value), {})
    g.set_outputs([Tensor(second, builder)])
    generator = np.random.default_rng(4)
    given, direction = (generator.normal(size=(7, 5)).astype(np.float32) for _ in range(2))
    (found,) = g.compile(device=device)(x=given, v=direction)
    wide = given.astype(np.float64)
    slope = 1 - np.tanh(wide) ** 2
    np.testing.assert_allclose(found, direction * (2 * slope - 2 * wide * np.tanh(wide) * slope), rtol=2e-5, atol=2e-6)
