"""Every pass keeps the meaning of random functions, is idempotent, and is what the names of files promise."""

from __future__ import annotations

import inspect
import math
import re
import warnings

import numpy as np
import pytest
from functions import PLAIN, build, calls_of, evaluate, module_of, op, passes, type_of
from hypothesis import HealthCheck, given, settings
from random_functions import functions, inputs

from lossc.compiler.gradient import request_gradients
from lossc.compiler.numbers import round_to
from lossc.compiler.passes import canonicalize as canonicalize_module
from lossc.compiler.pipeline import PIPELINES, UntilStable, find_pass, help_of, pass_names, run_passes
from lossc.compiler.rewrite import Log, rewrite
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.function import Function, Module
from lossc.ir.printer import equal_modules
from lossc.ir.signature import make_call
from lossc.ir.tensor import Tensor

# Passes whose rules are all exact: they keep NaN, infinities and zeros where they are.
EXACT = ("canonicalize", "cse", "dce", "drop-markers", "propagate-conditions", "expand", "inline", "autodiff")
ROUNDING = ("reassociate", "lower-activations", "share-divisors", "split-rows")
EXTENDING = ("stabilize", "fuse-nll", "simplify", "prepare")

thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_every_pass_is_tried():
    assert {*EXACT, *ROUNDING, *EXTENDING} >= set(pass_names())


@pytest.mark.parametrize("name", EXACT)
@thorough
@given(function=functions(), arrays=inputs(special=True))
def test_exact_passes_keep_every_value(name, function, arrays):
    compare(evaluate(function, arrays), evaluate(passes(function, [name]), arrays), rtol=1e-12)


@pytest.mark.parametrize("name", [*ROUNDING, *EXTENDING])
@thorough
@given(function=functions(), arrays=inputs())
def test_other_passes_keep_finite_values(name, function, arrays):
    before, after = evaluate(function, arrays), evaluate(passes(function, [name]), arrays)
    for one, other in zip(before, after):
        finite = np.isfinite(one) & (np.abs(one) < 1e12)
        np.testing.assert_allclose(np.where(finite, other, 0), np.where(finite, one, 0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*EXACT, *ROUNDING, "stabilize", "fuse-nll", "simplify", "fuse-primitives", "finish"])
@thorough
@given(function=functions())
def test_twice_is_once(name, function):
    once = run_passes(module_of(function), [name])
    assert equal_modules(once, run_passes(once, [name]))


@thorough
@given(function=functions(smooth=True), arrays=inputs())
def test_prepared_gradients_are_the_plain_ones(function, arrays):
    asked = request_gradients(function, ["x", "y", "r", "c"], of=-1)
    compare(evaluate(passes(asked, PLAIN), arrays), evaluate(passes(asked, ("prepare",)), arrays), rtol=1e-6)


@settings(thorough, max_examples=60)
@given(function=functions(smooth=True), arrays=inputs())
def test_gradients_are_those_of_finite_differences(function, arrays):
    asked = request_gradients(function, ["x", "r"], of=-1)
    *_, by_x, by_r = evaluate(passes(asked, ("prepare",)), arrays)
    if any(op.name == "stop_gradient" for op in function.ops):
        return
    random = np.random.default_rng(3)
    for name, gradient in (("x", by_x), ("r", by_r)):
        direction = random.standard_normal(arrays[name].shape)
        step = 1e-5
        above, below = (
            evaluate(function, {**arrays, name: arrays[name] + sign * step * direction})[-1].sum() for sign in (1, -1)
        )
        np.testing.assert_allclose((gradient * direction).sum(), (above - below) / (2 * step), rtol=1e-4, atol=1e-5)


def compare(before: list[np.ndarray], after: list[np.ndarray], rtol: float) -> None:
    for one, other in zip(before, after):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=rtol, atol=1e-300 if rtol < 1e-9 else 1e-9)


@thorough
@given(function=functions())
def test_outputs_keep_their_names(function):
    for name in pass_names():
        assert passes(function, [name]).names_of_outputs == function.names_of_outputs


# --- names, help, pipelines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pass_names())
def test_a_pass_is_its_file(name):
    function = find_pass(name)
    module = inspect.getmodule(function)
    assert module is not None
    assert function.__name__ == name.replace("-", "_") == module.__name__.rpartition(".")[2]
    assert len(help_of(name)) > 10
    assert "Before:" in (module.__doc__ or "")
    assert "After:" in (module.__doc__ or "")


def test_pipelines_name_passes_and_pipelines():
    for steps in PIPELINES.values():
        for step in steps:
            for name in step.passes if isinstance(step, UntilStable) else (step,):
                assert name in PIPELINES or name in pass_names()


def test_an_unknown_pass_is_refused_before_anything_runs():
    seen: list[str] = []
    with pytest.raises(LirError, match="did you mean `canonicalize`"):
        run_passes(module_of(SIMPLE), ["cse", "canonicalise"], hook=lambda name, *_: seen.append(name))
    assert seen == []


SIMPLE = build({"x": "f32[4]"}, lambda x: (x + 0) * 1 - x)


def test_the_hook_sees_every_pass():
    seen: list[tuple[str, bool]] = []
    run_passes(module_of(SIMPLE), ["canonicalize", "dce", "cse"], lambda n, b, a, s: seen.append((n, a is not b)))
    assert seen == [("canonicalize", True), ("dce", False), ("cse", False)]


def test_a_pass_that_breaks_the_module_is_named(monkeypatch):
    def broken(op, build):
        return op.operands[0]

    def add_nothing(module, log=None):
        function = module.entry
        return module.with_function(function.with_(ops=function.ops[1:]))

    monkeypatch.setattr(canonicalize_module, "canonicalize", add_nothing)
    with pytest.raises(CompilerBug, match="the pass canonicalize broke the module") as error:
        run_passes(module_of(SIMPLE), ["canonicalize"])
    assert "func @main" in str(error.value)


def test_a_rule_that_changes_a_type_is_a_bug():
    function = build({"x": "f32[4]"}, lambda x: x.sum())

    def wrong(op, build):
        """sum(x) = x  exact"""
        return op.operands[0]

    with pytest.raises(CompilerBug, match="the rule wrong makes"):
        rewrite(function, {"reduce_sum": (wrong,)})


# --- the log ---------------------------------------------------------------------------------------------------


def test_the_log_says_what_fired_and_what_did_not():
    def body(x: Tensor, t: Tensor) -> Tensor:
        return op("nll_loss", op("log_softmax", x, axis=0), t)

    log = Log()
    run_passes(module_of(build({"x": "f32[4, 3]", "t": "i32[4]"}, body)), ["prepare"], log=log)
    assert [event.reason for event in log.missed if event.rule == "nll of log softmax"] == [
        "log_softmax runs along axis 0, the classes along 1"
    ]
    log = Log()
    good = build({"x": "f32[4, 3]", "t": "i32[4]"}, lambda x, t: op("nll_loss", op("log_softmax", x), t))
    run_passes(module_of(good), ["prepare"], log=log)
    assert "nll of log softmax" in {event.rule for event in log.fired}
    assert "nll of log softmax" not in {event.rule for event in log.missed}


STATUS = r"  (exact|rounding|extends)( \(.*\))?$"


def test_every_rewrite_states_its_equation_and_status():
    """Each rule of a pass that has a table of them, else the pass itself."""
    for name in pass_names():
        run = find_pass(name)
        rules = getattr(inspect.getmodule(run), "RULES", None)
        for rule in {rule for row in rules.values() for rule in row} if rules else ():
            equation = (inspect.getdoc(rule) or "").split("\n")[0]
            assert re.search(STATUS, equation), f"{rule.__name__}: {equation}"
        if not rules:
            assert re.search(STATUS, inspect.getdoc(run) or "", re.MULTILINE), name


# --- constants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "number", "expected"),
    [
        ("f32", 1 / 3, 0.33333334),
        ("f32", 0.1, 0.1),
        ("f32", 2.0**-13, 2.0**-13),
        ("f32", 1e39, math.inf),
        ("f16", 1 / 3, 0.3333),
        ("bf16", 1 / 3, 0.333984375),
        ("bf16", 1.00390625, 1.0),  # half way: to even
        ("bf16", 1e39, math.inf),
        ("f64", 1 / 3, 1 / 3),
    ],
)
def test_constants_are_rounded_to_their_type(dtype, number, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert round_to(number, dtype) == expected


def constant_after(body) -> object:
    function = passes(build({"x": "f32[4]"}, body), ["simplify"])
    (constant,) = [op.attributes["value"] for op in function.ops if op.name == "constant"]
    return constant


def test_folding_follows_the_type():
    assert constant_after(lambda x: x.constant(100, "i8") + x.constant(100, "i8")) == -56
    assert constant_after(lambda x: x.constant(7, "i32").binary("div", x.constant(-2, "i32"))) == -3
    assert constant_after(lambda x: x.constant(0.1) * 3) == 0.3
    assert constant_after(lambda x: x.constant(70000.0).cast("f16").cast("f32")) == math.inf
    assert math.isnan(constant_after(lambda x: x.constant(0.0) / 0))  # type: ignore[arg-type]
    assert str(constant_after(lambda x: -x.constant(0.0))) == "-0.0"
    assert constant_after(lambda x: x.constant(1) < x.constant(2)) is True


def test_a_cast_out_of_range_is_left_to_the_device():
    function = passes(build({"x": "f32[]"}, lambda x: x.constant(1e10).cast("i32")), ["simplify"])
    assert [op.name for op in function.ops] == ["constant", "cast"]


# --- calls -------------------------------------------------------------------------------------------------------


def nested(depth: int, calls: int) -> Module:
    """@f0 doubles, @f1 calls @f0, @f2 calls @f1, ..., each `calls` times."""
    functions = [build({"x": "f32[N]"}, lambda x: x + x, "f0")]
    for level in range(1, depth + 1):
        builder = Builder()
        value = builder.input("x", type_of("f32[N]"))
        for _ in range(calls):
            (value,) = builder.append(make_call("call", functions[-1], [value]))
        functions.append(builder.function(f"f{level}", [value]))
    return module_of(*functions)


def test_calls_of_calls_are_inlined_without_recursion():
    after = find_pass("inline")(nested(3000, 1))
    assert [op.name for op in after.entry.ops] == ["add"]
    assert list(after.functions) == ["f3000"]


def test_calls_that_multiply_are_refused():
    with pytest.raises(LirError, match="more than 1,000,000 operations"):
        find_pass("inline")(nested(40, 2))


# --- size ------------------------------------------------------------------------------------------------------


def long_chain(length: int) -> Function:
    def body(x: Tensor) -> Tensor:
        for index in range(length):
            x = -x if index % 2 else x.tanh()
        return x.sum()

    return build({"x": "f32[4]"}, body)


@pytest.mark.parametrize("name", pass_names())
def test_passes_do_not_recurse(name):
    passes(long_chain(20_000), [name])


@pytest.mark.parametrize("name", pass_names())
def test_twice_the_function_is_twice_the_work(name):
    short, long = long_chain(1000), long_chain(2000)
    passes(short, [name])
    assert calls_of(lambda: passes(long, [name])) < 3 * calls_of(lambda: passes(short, [name]))
