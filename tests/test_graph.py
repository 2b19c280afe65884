"""Graphs in Python: what is built, what it prints as, and how mistakes are told."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossc
from lossc.calls import operation_names
from lossc.ir.builder import Tensor
from lossc.ir.composites import COMPOSITES, composite_of
from lossc.ir.interp import interpret
from lossc.ir.types import Dim, Type, named

SAMPLES = Path(__file__).parents[1] / "samples"


def classifier() -> lossc.Graph:
    g = lossc.Graph("classifier")
    x, labels = g.input("x", (None, 4)), g.input("labels", (None,), dtype="i32")
    weight, bias = g.param("fc.weight", (3, 4), "kaiming_uniform"), g.param("fc.bias", (3,), "zeros")
    logits = g.linear(x, weight, bias)
    g.set_outputs({"loss": g.cross_entropy_loss(logits, labels, label_smoothing=0.1), "logits": logits})
    return g


def value_of(tensor: Tensor, g: lossc.Graph, **arrays: object) -> np.ndarray:
    """What a value is, by the float64 interpreter."""
    g.set_outputs([tensor])
    inputs = {name: np.asarray(array) for name, array in arrays.items()}
    return interpret(g.to_module().entry, {**inputs, **g.parameters})[0]


# --- text ---------------------------------------------------------------------------------------------------


def test_a_graph_prints_as_lir_that_reads_back_as_the_same_text() -> None:
    text = str(classifier())
    assert "param %fc.weight: f32[3, 4]" in text
    assert "cross_entropy_loss %linear, %labels {label_smoothing = 0.1}" in text
    assert lossc.parse(text).to_lir() == text


def test_an_optional_operand_that_is_left_out_between_others_prints_by_name() -> None:
    g = lossc.Graph()
    x, t, p = g.input("x", (3,)), g.input("t", (3,)), g.input("p", (3,))
    g.set_outputs([g.bce_with_logits_loss(x, t, pos_weight=p)])
    text = str(g)
    assert "pos_weight = %p" in text
    assert lossc.parse(text).to_lir() == text


def test_an_unfinished_graph_prints_too() -> None:
    g = lossc.Graph()
    g.input("x", (2,))
    assert "func @graph(%x: f32[2])" in str(g)


def test_saving_writes_the_text(tmp_path: Path) -> None:
    path = tmp_path / "f.lir"
    g = classifier()
    g.save(path)
    assert lossc.load(path).to_lir() == str(g)
    with pytest.raises(lossc.LirError, match="cannot write"):
        g.save(tmp_path / "missing" / "f.lir")


def test_load_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(lossc.LirError):
        lossc.load(tmp_path / "missing.lir")
    (tmp_path / "bad.lir").write_text("func @f(%x: f32[2]) -> f32[2] {\n  %y = expp %x\n  return %y\n}\n")
    with pytest.raises(lossc.LirError, match=r"bad.lir:2:8") as caught:
        lossc.load(tmp_path / "bad.lir")
    assert "did you mean `exp`?" in str(caught.value)


def test_load_takes_the_function_that_is_named() -> None:
    text = "func @a(%x: f32[2]) -> f32[2] {\n  return %x\n}\nfunc @b(%y: f32[3]) -> f32[3] {\n  return %y\n}\n"
    with pytest.raises(lossc.LirError, match="one function that nobody calls"):
        lossc.parse(text)
    assert lossc.parse(text, function="b").inputs == {"y": Type("f32", (3,))}


# --- inputs and names ---------------------------------------------------------------------------------------


def test_free_dimensions_are_names_by_their_place() -> None:
    g = lossc.Graph()
    assert g.input("x", (None, 4)).shape == (named("B"), 4)
    assert g.input("y", (None, None)).shape == (named("B"), named("D1"))
    assert g.input("z", ("T", "4*B*T", "7")).shape == (named("T"), Dim(4, ("B", "T")), 7)
    assert g.input("scalar").shape == ()
    assert g.input("vector", 5).shape == (5,)


@pytest.mark.parametrize("dtype", ["f32", "float32", np.float32, np.dtype("f4")])
def test_an_element_type_is_named_as_in_lir_or_in_numpy(dtype: object) -> None:
    assert lossc.Graph().input("x", (1,), dtype).dtype == "f32"


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((-1,), "f32", "not a dimension"),
        (("a b",), "f32", "not a dimension"),
        ((1.5,), "f32", "not a dimension"),
        ((2,), "f31", "unknown element type 'f31'"),
        ((2,), "complex64", "unknown element type"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_refused(shape: tuple, dtype: str, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        lossc.Graph().input("x", shape, dtype)


@pytest.mark.parametrize("name", ["", "1x", "a b", "é", "x-y", None, 3])
def test_a_wrong_name_is_refused(name: object) -> None:
    with pytest.raises(lossc.LirError, match="is not a name"):
        lossc.Graph().input(name, (2,))  # type: ignore[arg-type]


def test_a_name_is_taken_once() -> None:
    g = lossc.Graph()
    g.input("x", (2,))
    with pytest.raises(lossc.LirError, match="there is an input `x` already"):
        g.param("x", (2,))
    assert list(g.parameters) == []


@pytest.mark.parametrize("name", ["status", "float", "kernel", "B", "a.b", "a_b_2"])
def test_names_that_mean_something_elsewhere_are_free(name: str) -> None:
    g = lossc.Graph()
    x, other = g.input(name, (None,)), g.input("a_b", (None,))
    g.set_outputs({"result": x * other})
    fn = g.compile(grad=[name], of="result")
    (result,), gradients = fn.run({name: [2, 3], "a_b": [5, 7]})
    assert result.tolist() == [10, 21]
    assert gradients[name].tolist() == [5, 7]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [([1, 2], None, "f32"), ([1.5], None, "f32"), (np.ones(2), None, "f32"), (np.ones(2), "f64", "f64"),
     (np.ones(2, np.float16), None, "f16"), (3.0, None, "f32")],
)  # fmt: skip
def test_a_parameter_is_f32_unless_said_otherwise(value: object, dtype: str | None, expected: str) -> None:
    g = lossc.Graph()
    assert g.param("p", value, dtype=dtype).dtype == expected
    assert np.array_equal(g.parameters["p"], np.asarray(value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(2, np.int32),), "parameters are floats"),
        ((np.ones((2, 2)), "zeros"), "init fills a shape"),
        (((2, 3), "zeroes"), "did you mean `zeros`"),
        ((["a"],), "found an array of|no array|unknown"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused(arguments: tuple, message: str) -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match=message):
        g.param("p", *arguments)
    assert "%p" not in str(g)
    assert list(g.parameters) == []
    with pytest.raises(lossc.LirError, match="checkpoints use that"):
        lossc.Graph().param("optimizer.m", (2,))


def test_values_are_found_by_name() -> None:
    g = lossc.load(SAMPLES / "digits.lir")
    assert g.value("hidden").shape == (named("B"), 128)
    with pytest.raises(lossc.LirError, match="did you mean `hidden`"):
        g.value("hiden")


def test_values_of_another_graph_are_refused() -> None:
    g, other = lossc.Graph(), lossc.Graph()
    x = other.input("x", (2,))
    for use in (lambda: g.relu(x), lambda: g.set_outputs([x]), lambda: g.input("y", (2,)) + x):
        with pytest.raises(lossc.LirError, match="graph"):
            use()


# --- operations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_every_layer_and_loss_is_a_method_with_its_docstring(name: str) -> None:
    g = lossc.Graph()
    method = getattr(g, name)
    assert method.__name__ == name
    assert name in dir(g)
    own = inspect.getdoc(COMPOSITES[name].function)
    assert own
    assert own in method.__doc__


def test_a_new_loss_is_a_method_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def cube_loss(x: Tensor, t: Tensor, *, reduction: str = "mean") -> Tensor:
        """(x - t)^3."""
        from lossc.ir.losses._reduction import reduce_loss

        return reduce_loss((x - t) ** 3, reduction)

    monkeypatch.setitem(COMPOSITES, "cube_loss", composite_of(cube_loss, "loss"))  # type: ignore[arg-type]
    g = lossc.Graph()
    loss = g.cube_loss(g.input("x", (2,)), 1.0, reduction="sum")
    assert value_of(loss, g, x=[3.0, 0.0]) == pytest.approx([7.0])
    assert "cube_loss" in dir(g)


def test_an_unknown_operation_is_an_attribute_error_with_the_nearest_name() -> None:
    with pytest.raises(AttributeError, match="did you mean `cross_entropy_loss`"):
        getattr(lossc.Graph(), "cross_entropy_los")  # noqa: B009 (an attribute is what is asked for)
    assert not hasattr(lossc.Graph(), "_anything")


def test_primitives_are_methods_too() -> None:
    g = lossc.Graph()
    x = g.input("x", (3,))
    assert value_of(g.sigmoid(x) + g.tanh(x), g, x=[0.0, 1.0, -1.0])[0] == 0.5
    assert {"matmul", "sigmoid", "select"} <= set(operation_names())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, x: g.relu(), "`relu` needs its operand `x`"),
        (lambda g, x: g.relu(x, x), "takes the operands"),
        (lambda g, x: g.relu(x, x=x), "operand `x` twice"),
        (lambda g, x: g.mse_loss(x, x, reducton="sum"), "did you mean `reduction`"),
        (lambda g, x: g.mse_loss(x, x, reduction="avg"), "unknown reduction 'avg'"),
        (lambda g, x: g.mse_loss(x, [1.0, 2.0]), "must be a value of the graph or a number"),
        (lambda g, x: g.mse_loss(x, np.ones(2)), "g.input"),
        (lambda g, x: g.cross_entropy_loss(x, g.input("y", (), "i32"), label_smoothing="much"), "takes a number"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wrong_and_leaves_nothing_behind(call, message: str) -> None:
    g = lossc.Graph()
    x = g.input("x", (2,))
    with pytest.raises(lossc.LirError, match=message):
        call(g, x)
    assert "=" not in str(g).replace("->", "").partition("{")[2]


def test_losses_broadcast_as_numpy_does_and_the_ir_says_so() -> None:
    g = lossc.Graph()
    x, t = g.input("x", (None, 3)), g.input("t", (3,))
    loss = g.mse_loss(x, t)
    assert "broadcast %t" in str(g)
    found = value_of(loss, g, x=[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], t=[1.0, 1.0, 1.0])
    assert found == pytest.approx([(0 + 1 + 4 + 3) / 6])


def test_what_is_no_loss_does_not_broadcast() -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match=r"linear takes x\[..., in\] and weight\[out, in\]"):
        g.linear(g.input("x", (4, 3)), g.input("w", (3,)))


def test_shapes_that_do_not_broadcast_keep_their_own_message() -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match=r"found f32\[B, 3\] and f32\[B, 4\]"):
        g.mse_loss(g.input("x", (None, 3)), g.input("t", (None, 4)))


def test_operators_and_a_python_function_are_a_custom_loss() -> None:
    def charbonnier(x: Tensor, t: Tensor, epsilon: float) -> Tensor:
        return ((x - t) ** 2 + epsilon**2).sqrt().mean()

    g = lossc.Graph()
    loss = charbonnier(g.input("x", (2,)), g.input("t", (2,)), 0.5)
    assert value_of(loss, g, x=[1.0, 2.0], t=[1.0, 0.0]) == pytest.approx((0.5 + 4.25**0.5) / 2)


def test_constants_are_numbers() -> None:
    g = lossc.Graph()
    assert value_of(g.constant(2.5, shape=(2,)) * 2, g) == pytest.approx([5.0, 5.0])
    with pytest.raises(lossc.LirError, match="a constant is one number"):
        g.constant([1.0, 2.0])  # type: ignore[arg-type]


# --- weights of samples -------------------------------------------------------------------------------------


def test_sample_weights_average_by_their_sum() -> None:
    g = lossc.Graph()
    x, t, w = g.input("x", (3, 2)), g.input("t", (3, 2)), g.input("w", (3,))
    arrays = {"x": np.arange(6.0).reshape(3, 2), "t": np.ones((3, 2)), "w": [1.0, 0.0, 3.0]}
    squares = (arrays["x"] - arrays["t"]) ** 2 * np.array([[1.0], [0.0], [3.0]])
    assert value_of(g.mse_loss(x, t, sample_weight=w), g, **arrays) == pytest.approx([squares.sum() / 8])
    assert value_of(g.mse_loss(x, t, sample_weight=w, reduction="sum"), g, **arrays) == pytest.approx([squares.sum()])
    assert value_of(g.mse_loss(x, t, sample_weight=w, reduction="none"), g, **arrays) == pytest.approx(squares)


def test_sample_weights_of_ignored_rows_do_not_count() -> None:
    g = lossc.Graph()
    x, y, w = g.input("x", (3, 2)), g.input("y", (3,), "i32"), g.input("w", (3,))
    logits = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    loss = g.cross_entropy_loss(x, y, sample_weight=w, ignore_index=-1)
    rows = np.log(np.exp(logits).sum(1)) - logits[[0, 1, 2], [1, 0, 0]]
    expected = (2 * rows[0] + 5 * rows[2]) / 7
    assert value_of(loss, g, x=logits, y=[1, -1, 0], w=[2.0, 3.0, 5.0]) == pytest.approx([expected])


def test_sample_weights_that_do_not_fit_are_refused() -> None:
    g = lossc.Graph()
    x, t = g.input("x", (None, 2)), g.input("t", (None, 2))
    with pytest.raises(lossc.LirError, match="does not fit its unreduced loss"):
        g.mse_loss(x, t, sample_weight=g.input("w", (2,)))
    with pytest.raises(lossc.LirError, match="no operand or attribute `sample_weight`"):
        g.relu(x, sample_weight=x)


# --- outputs ------------------------------------------------------------------------------------------------


def test_outputs_have_distinct_names() -> None:
    g = lossc.Graph()
    x = g.input("x", (2,))
    g.set_outputs([g.relu(x), g.relu(-x), x])
    assert list(g.outputs) == ["relu", "relu_1", "x"]
    g.set_outputs({"first": x})
    assert list(g.outputs) == ["first"]
    g.set_outputs(x)
    assert list(g.outputs) == ["x"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [([], "at least one output"), (["nothing"], "no value is called `nothing`"), ([3], "expected a value"),
     ({"a b": None}, "is not a name")],
)  # fmt: skip
def test_wrong_outputs_are_refused(outputs: object, message: str) -> None:
    with pytest.raises(lossc.LirError, match=message):
        classifier().set_outputs(outputs)  # type: ignore[arg-type]


# --- functions ----------------------------------------------------------------------------------------------

HALF = """
func @half_squares(%x: f32[N]) -> f32[N] {
  %square = mul %x, %x
  %half = mul %square, 0.5
  return %half
}
func @main(%x: f32[4], %y: f32[B]) -> (%a: f32[4], %b: f32[B]) {
  %a = call @half_squares(%x)
  %b = call @half_squares(%y)
  return %a, %b
}
"""


def test_a_loaded_module_keeps_its_functions() -> None:
    g = lossc.parse(HALF)
    assert g.name == "main"
    assert lossc.parse(str(g)).to_lir() == str(g)
    extra = g.call("half_squares", g.value("y"))
    assert extra.shape == (named("B"),)  # type: ignore[union-attr]
    with pytest.raises(lossc.LirError, match="did you mean `half_squares`"):
        g.call("half_square", g.value("y"))


def test_a_graph_is_a_function_of_another() -> None:
    inner = lossc.Graph("scaled")
    inner.set_outputs({"twice": inner.input("v", ("N",)) * 2})
    g = lossc.Graph()
    first, second = g.input("x", (3,)), g.input("y", (5,))
    g.set_outputs([g.call(inner, first), g.call(inner, second)])  # type: ignore[list-item]
    text = str(g)
    assert text.count("func @scaled") == 1
    fn = g.compile()
    found = fn(x=np.ones(3, "f4"), y=np.ones(5, "f4"))
    assert [array.tolist() for array in found] == [[2.0] * 3, [2.0] * 5]


def test_two_functions_of_one_name_are_refused() -> None:
    inner, other, g = lossc.Graph("same"), lossc.Graph("same"), lossc.Graph()
    inner.set_outputs([inner.input("v", ("N",)) * 2])
    other.set_outputs([other.input("v", ("N",)) * 3])
    x = g.input("x", (3,))
    g.call(inner, x)
    with pytest.raises(lossc.LirError, match="there is a function @same already"):
        g.call(other, x)


def test_an_unknown_parameter_is_a_key_error_that_helps() -> None:
    g = lossc.Graph()
    g.param("fc.weight", (2, 2), "zeros")
    with pytest.raises(KeyError) as caught:
        g.parameters["fc.wieght"]
    assert isinstance(caught.value, lossc.LirError)
    assert "did you mean `fc.weight`?" in str(caught.value)
    assert "there are: fc.weight" in str(caught.value)
    assert g.parameters.get("zz") is None


@pytest.mark.parametrize("other", ["func @f() {}", lossc.Graph(), None])
def test_a_graph_is_made_from_modules_alone(other: Any) -> None:
    with pytest.raises(lossc.LirError, match=r"expected a Module, found \w+\n.*lossc.parse\(text\)"):
        lossc.Graph.from_module(other)


def test_what_is_probably_not_meant_is_warned_about() -> None:
    for grad in (False, True):
        # Each graph says it once.
        g = lossc.Graph()
        x, labels = g.input("x", (None, 5)), g.input("labels", (None,), dtype="i32")
        g.set_outputs([g.cross_entropy_loss(g.softmax(x), labels)])
        with pytest.warns(lossc.LossWarning, match="takes logits") as caught:
            g.compile(grad=grad)
        assert [Path(warning.filename) for warning in caught] == [Path(__file__)]
