"""Printing is the exact inverse of reading, also for modules that no text made."""

from __future__ import annotations

import re

import lirtest
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossc.ir.builder import Builder
from lossc.ir.composites import make_op
from lossc.ir.function import Function, Module, Op, Value
from lossc.ir.parser import parse
from lossc.ir.printer import equal_modules, names_of_values, print_function, print_module
from lossc.ir.types import Type, multiply_dims, named

X = Type("f32", (named("B"), 10))


def module_of(function: Function) -> Module:
    return Module({function.name: function})


def test_values_keep_their_names_and_get_numbers_where_they_are_taken() -> None:
    build = Builder()
    x = build.input("x", X)
    for hint in ("x", "x", "x_1", "exp", "exp", "", "1st", "a b", "*/", "é"):
        build.append(make_op("exp", [x], {}, [hint]))
    function = build.function("f", [op.result for op in build.ops])
    assert list(names_of_values(function).values()) == [
        "x", "x_2", "x_3", "x_1", "exp", "exp_1", "exp_2", "v1st", "a_b", "__", "_",
    ]  # fmt: skip
    lirtest.check_round_trip(module_of(function.with_(output_names=tuple("abcdefghij"))))


def test_names_too_long_to_read_back_are_cut() -> None:
    build = Builder()
    x = build.input("x", X)
    for hint in ("n" * 256, "n" * 256, "n" * 10_000):
        build.append(make_op("exp", [x], {}, [hint]))
    names = list(names_of_values(build.function("f", [])).values())
    assert names[1] == "n" * 256
    assert max(map(len, names)) == 256
    lirtest.check_round_trip(module_of(build.function("f", [build.ops[-1].result])))


def test_names_of_results_survive_even_where_values_are_renamed() -> None:
    build = Builder()
    x = build.input("x", X)
    twins = [build.append(make_op("exp", [x], {}, ["loss"]))[0] for _ in range(2)]
    function = build.function("f", [*twins, x])
    again = parse(print_module(module_of(function))).entry
    assert function.names_of_outputs == again.names_of_outputs == ("loss", "loss_1", "x")
    named_function = function.with_(output_names=("fc1.loss", "x", "loss"))
    again = parse(print_module(module_of(named_function))).entry
    assert again.names_of_outputs == ("fc1.loss", "x", "loss")


def test_names_of_results_are_distinct() -> None:
    values = [Value(name, X) for name in ("a", "a_2", "a")]
    function = Function("f", tuple(values), (), tuple(values))
    assert len(set(function.names_of_outputs)) == 3


def test_modules_are_equal_up_to_the_names_inside() -> None:
    text = "func @f(%x: f32[B]) -> (%y: f32[B]) {{\n  %{0} = exp %x\n  %{1} = log %{0}\n  return %{1}\n}}"
    left = parse(text.format("a", "b"))
    assert equal_modules(left, parse(text.format("b", "a")))
    for other in (
        text.format("a", "b").replace("exp", "log"), text.format("a", "b").replace("%x", "%z"),
        text.format("a", "b").replace("%y", "%z"), text.format("a", "b").replace("f32", "f64"),
        text.format("a", "b").replace("log %a", "log %x"), text.format("a", "b").replace("func", "kernel"),
        text.format("a", "b").replace("%x:", "param %x:"), text.format("a", "b").replace("@f", "@g"),
    ):  # fmt: skip
        assert not equal_modules(left, parse(other)), other


def test_keyword_operands_are_printed_in_the_order_of_the_definition() -> None:
    build = Builder()
    x, t, p = (build.input(name, X) for name in "xtp")
    op = make_op("bce_with_logits_loss", [p, t, x], {"operands": ("pos_weight", "target", "logits")})
    build.append(op)
    module = module_of(build.function("f", op.results))
    assert "bce_with_logits_loss %x, %t, pos_weight = %p :" in lirtest.check_round_trip(module)


def test_a_broken_module_prints_too() -> None:
    stray = Value("stray", X)
    op = Op("no_such_op", (stray,), {"axis": 1}, (Value("y", X),))
    text = print_function(Function("f", (), (op,), (stray,)))
    assert "%y = no_such_op %stray (undefined) {axis = 1} : f32[B, 10]" in text


def test_printing_is_deterministic() -> None:
    text = (lirtest.ROOT / "syntax" / "attributes.lir").read_text(encoding="utf-8")
    assert print_module(parse(text)) == print_module(parse(text))


DIMS = st.one_of(
    st.integers(0, 5), st.sampled_from([named("B"), named("T"), multiply_dims([3, named("B"), named("T")])])
)
SHAPES = st.lists(DIMS, max_size=3).map(tuple)
NAMES = st.text(max_size=6)


@st.composite
def functions(draw: st.DrawFn) -> Function:
    """A function of pointwise operations, constants and checks with names of all kinds."""
    build = Builder()
    shape = draw(SHAPES)
    values = [build.input(f"in{n}", Type("f32", shape), draw(st.booleans())) for n in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 12))):
        hint = draw(NAMES)
        match draw(st.integers(0, 4)):
            case 0:
                value = draw(st.floats())
                values.append(build.emit("constant", hint=hint, value=value, dtype="f32", shape=shape))
            case 1:
                ok = build.emit("le", draw(st.sampled_from(values)), draw(st.sampled_from(values)))
                build.emit_many("check", [ok], {"code": draw(NAMES), "message": draw(st.text())})
            case 2:
                operands = [draw(st.sampled_from(values)) for _ in range(2)]
                op = make_op("mse_loss", operands, {"reduction": draw(st.sampled_from(["none", "mean"]))}, [hint])
                build.append(op)
                values += [op.result] if op.result.type.shape == shape else []
            case kind:
                name = ("add", "select")[kind - 3]
                operands = [draw(st.sampled_from(values)) for _ in range(2)]
                condition = [build.emit("ne", *operands)] if name == "select" else []
                values.append(build.emit(name, *condition, *operands, hint=hint))
    outputs = draw(st.lists(st.sampled_from(values), max_size=4))
    names = draw(st.sampled_from([(), tuple(f"out.{n}" for n in range(len(outputs)))]))
    return build.function("f", outputs, names).with_(kind=draw(st.sampled_from(["func", "kernel"])))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(functions())
def test_whatever_is_built_prints_and_reads_back(function: Function) -> None:
    text = lirtest.check_round_trip(module_of(function))
    again = parse(text).functions["f"]
    if all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) for name in function.names_of_outputs):
        assert again.names_of_outputs == function.names_of_outputs
    assert {value.name for value in again.params} == {value.name for value in function.params}


@pytest.mark.parametrize("name", ["_", "a.b", "x_1"])
def test_inputs_never_change_their_names(name: str) -> None:
    build = Builder()
    x = build.input("x", X)
    build.append(make_op("exp", [x], {}, [name]))
    build.input(name, X)
    assert [*names_of_values(build.function("f", [])).values()][:2] == ["x", name]
