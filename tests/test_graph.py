"""Graphs in Python: what is built, what it prints as, and how mistakes are told."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_examples import SAMPLES, classifier, value_of

import lossc
from lossc.calls import operation_names
from lossc.ir.composites import COMPOSITES, composite_of
from lossc.ir.tensor import Tensor
from lossc.ir.types import Dim, named

# --- inputs and names ---------------------------------------------------------------------------------------


def test_free_dimensions_are_names_by_their_place() -> None:
    g = lossc.Graph()
    assert g.input("x", (None, 4)).shape == (named("B"), 4)
    assert g.input("y", (None, None)).shape == (named("B"), named("D1"))
    assert g.input("z", ("T", "4*B*T", "7")).shape == (named("T"), Dim(4, ("B", "T")), 7)
    assert g.input("scalar").shape == ()
    assert g.input("vector", 5).shape == (5,)


def test_sizes_with_names_are_multiplied_and_reckoned_with_like_numbers() -> None:
    g = lossc.Graph()
    x, labels = g.input("x", (None, 4)), g.input("labels", (None,), dtype="i32")
    rows, columns = x.shape
    assert (rows * columns, 4 * rows, rows * rows) == (Dim(4, ("B",)), Dim(4, ("B",)), Dim(1, ("B", "B")))
    mean = x.reshape(rows * columns).sum() / (rows * columns)
    g.set_outputs([mean, rows - x.sum(1), labels.sum() + rows])
    found, differences, count = g.compile()(x=np.full((5, 4), 0.5, "f4"), labels=np.arange(5))
    assert found == 0.5
    assert differences.tolist() == [3.0] * 5
    assert count == 15
    half: Any = 0.5
    with pytest.raises(TypeError):
        _ = rows * half


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
        (((2, 2), np.ones((2, 2))), r"found ndarray\n.*g\.param\(name, array\)"),
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


def test_an_unknown_parameter_is_a_key_error_that_helps() -> None:
    g = lossc.Graph()
    g.param("fc.weight", (2, 2), "zeros")
    with pytest.raises(KeyError) as caught:
        g.parameters["fc.wieght"]
    assert isinstance(caught.value, lossc.LirError)
    assert "did you mean `fc.weight`?" in str(caught.value)
    assert "there are: fc.weight" in str(caught.value)
    assert g.parameters.get("zz") is None


def test_what_is_probably_not_meant_is_warned_about() -> None:
    for grad in (False, True):
        # Each graph says it once.
        g = lossc.Graph()
        x, labels = g.input("x", (None, 5)), g.input("labels", (None,), dtype="i32")
        g.set_outputs([g.cross_entropy_loss(g.softmax(x), labels)])
        with pytest.warns(lossc.LossWarning, match="takes logits") as caught:
            g.compile(grad=grad)
        assert [Path(warning.filename) for warning in caught] == [Path(__file__)]


def test_what_is_no_value_name_or_function_is_refused() -> None:
    g = lossc.Graph()
    x = g.input("x", (2,))
    for call in (lambda: g.compile(outputs=3), lambda: g.call(None, x), lambda: g.compile([x.sum()], strategy=3)):  # type: ignore[arg-type]
        with pytest.raises(lossc.LirError):
            call()
    with pytest.raises(lossc.LirError, match=r"Tensor\(%y: f32\[B\]\) has no number of rows while a graph is built"):
        len(g.input("y", (None,)))
