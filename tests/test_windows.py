"""Slices, joined tensors and margins: types and text, Python's brackets, kernels on every executor, traffic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from device_runs import Runner, agree
from functions import PLAIN, build, evaluate, module_of, passes

import lossc
from lossc.compiler import compile_module
from lossc.compiler.gradient import request_gradients
from lossc.compiler.reports.traffic import traffic
from lossc.compiler.strategies import strategies
from lossc.ir.diagnostics import Limitation, LirError
from lossc.ir.function import Function
from lossc.ir.kernel import Apply, Const, If, walk_expressions, walk_statements
from lossc.ir.parser import parse
from lossc.ir.printer import print_module
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.ir.tensor import Tensor
from lossc.ir.types import dim_value, is_float, numpy_dtype
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate

# --- types and text -----------------------------------------------------------------------------------------

TEXT = """func @f(%x: f32[B, 10], %y: f32[B, 3], %z: f32[2*N], %n: f32[N], %i: u8[4]) -> (f32[B, 3], f32[B, 13]) {
  %a = slice %x {axis = 1, start = 2, stop = 5}
  %b = concat %x, %y {axis = -1}
  %c = slice %z {axis = 0, start = N, stop = 2*N} : f32[N]
  %d = concat %n, %c, %n {axis = 0} : f32[3*N]
  %e = pad %c {axis = 0, before = 2*N, value = -1.5} : f32[3*N]
  %f = slice %x {axis = -1, start = -3} : f32[B, 3]
  %g = pad %i {axis = 0, after = 2, value = 7} : u8[6]
  %h = slice %x {axis = 0} : f32[B, 10]
  return %a, %b
}
"""


def test_text_reads_back_and_counts_from_the_front():
    printed = print_module(parse(TEXT))
    assert "%c = slice %z {axis = 0, start = N, stop = 2*N} : f32[N]" in printed
    assert "%f = slice %x {axis = 1, start = 7, stop = 10} : f32[B, 3]" in printed
    assert "%h = slice %x {axis = 0, stop = B} : f32[B, 10]" in printed
    assert print_module(parse(printed)) == printed


REFUSED = {
    "slice %x {axis = 1, start = 2, stop = 12}": "a slice from 2 to 12 of axis 1 of f32[B, 10], which has size 10",
    "slice %x {axis = 1, start = 5, stop = 2}": "a slice from 5 to 2 of axis 1",
    "slice %x {axis = 2}": "axis 2 is out of range for rank 2",
    "slice %x {axis = 0, stop = 4}": "whether 4 is at most B is known only at run time",
    "slice %x {axis = 0, start = -1}": "-1 counts from the end of an axis of size B",
    "slice %x {axis = 1, stop = 2.5}": "takes an integer or a dimension, 2*B, found 2.5",
    "concat %x, %n {axis = 0}": "have one shape but for that axis, found f32[B, 10] and f32[N]",
    "concat %x, %t {axis = 1}": "operands have different element types",
    "concat %n, %m {axis = 0}": "an axis of size N + M: a dimension is a size, a name or a product of them",
    "pad %n {axis = 0, after = 1}": "an axis of size N + 1",
    "pad %x {axis = 1, before = -1}": "`pad` adds before = -1 elements",
    "pad %t {axis = 1, value = 0.5}": "constant 0.5 does not fit i32",
    "pad %x {axis = 1, value = true}": "the value true beside elements of f32[B, 10]",
}


@pytest.mark.parametrize("operation", REFUSED)
def test_what_cannot_be_is_refused(operation: str):
    with pytest.raises((LirError, Limitation)) as refused:
        parse(f"func @f(%x: f32[B, 10], %t: i32[B, 2], %n: f32[N], %m: f32[M]) -> f32[N] {{\n  %a = {operation}\n"
              "  return %n\n}\n")  # fmt: skip
    assert REFUSED[operation] in str(refused.value)


def test_names_are_bound_where_a_function_is_called():
    module = parse("""
        func @half(%z: f32[2*N], %n: f32[N]) -> f32[N] {
          %c = slice %z {axis = 0, start = N, stop = 2*N}
          %s = add %c, %n
          return %s
        }
        func @main(%z: f32[6], %n: f32[3]) -> f32[3] {
          %s = call @half(%z, %n)
          return %s
        }""")
    compiled = compile_module(module, CPU_AVX512)
    (found,) = simulate(compiled.program, {"z": np.arange(6, dtype="f4"), "n": np.ones(3, "f4")})
    np.testing.assert_array_equal(found, [4, 5, 6])


# --- in Python ----------------------------------------------------------------------------------------------

BRACKETS: dict[str, Any] = {
    "[:, 2:5]": np.s_[:, 2:5], "[1]": np.s_[1], "[-1, :, 3]": np.s_[-1, :, 3], "[..., -1]": np.s_[..., -1],
    "[:, None]": np.s_[:, None], "[None, 1:, ..., :-2]": np.s_[None, 1:, ..., :-2], "[:, -100:100]": np.s_[:, -100:100],
    "[2:1]": np.s_[2:1], "[...]": np.s_[...], "[1, 2, 3]": np.s_[1, 2, 3], "[np.int64(1)]": np.s_[np.int64(1)],
}  # fmt: skip


@pytest.mark.parametrize("name", BRACKETS)
def test_brackets_are_those_of_numpy(name: str):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    function = build({"x": "f64[3, 4, 5]"}, lambda x: x[BRACKETS[name]])
    (found,) = evaluate(function, {"x": x})
    np.testing.assert_array_equal(found, x[BRACKETS[name]])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (np.s_[::2], "found a step of 2"), (np.s_[::-1], "found a step of -1"), (np.s_[7], "out of range for axis 0"),
        (np.s_[::True], "found a step of True"), (np.s_[:: np.array([1, 2])], "found a step of"),
        (np.s_[0, 0, 0], "3 indices for f32[4, N]"), (np.s_[..., ...], "once"), (np.s_[:, 1], "only at run time"),
        (np.s_[:, :-1], "counts from the end"), ([0, 1], "expected a whole number or a slice in the brackets"),
        (np.array([0, 1]), "expected a whole number or a slice"), (np.array([1.5]), "expected a whole number"),
        (np.s_[:, "a":], "expected a whole number or a slice"), (True, "expected a whole number or a slice"),
    ],
)  # fmt: skip
def test_brackets_that_are_refused(items: Any, message: str):
    graph = lossc.Graph()
    x = graph.input("x", (4, "N"))
    with pytest.raises((LirError, Limitation), match=message.replace("[", r"\[")):
        x[items]


def test_tensors_are_not_iterated_over():
    with pytest.raises(TypeError, match="not iterated over"):
        list(lossc.Graph().input("x", (4,)))  # type: ignore[call-overload]


def test_a_graph_has_methods():
    graph = lossc.Graph()
    a, b = graph.input("a", ("B", 3)), graph.input("b", ("B", 2))
    joined, wide = graph.concat(a, b, a, axis=1), graph.pad(a, axis=1, before=1)
    assert [str(value.type) for value in (joined, wide, b[:, 1:])] == ["f32[B, 8]", "f32[B, 4]", "f32[B, 1]"]


# --- kernels ------------------------------------------------------------------------------------------------

Body = Any
CASES: dict[str, tuple[dict[str, str], Body]] = {
    "slice of a row": ({"x": "f32[N, 37]"}, lambda x: (x[:, 3:36] * 2, x[:, 3:36].sum(1))),
    "slice of rows": ({"x": "f32[21, 33]"}, lambda x: (x[2:19].exp(), x[2:19].sum())),
    "slice along the middle": ({"x": "f32[N, 7, 19]"}, lambda x: (x[:, 2:5].sum((0, 2)), x[:, 2:5] * 3)),
    "one element": ({"x": "f32[N, 37]"}, lambda x: (x[:, 5], x[:, -1:].tanh())),
    "differences": ({"x": "f32[N, 40]"}, lambda x: ((x[:, 1:] - x[:, :-1]) ** 2).sum(1)),
    "concat of columns": ({"x": "f32[N, 20]", "y": "f32[N, 31]"}, lambda x, y: (x.concat(y, axis=1).exp(),)),
    "concat of rows": ({"x": "f32[N, 17]", "y": "f32[N, 17]"}, lambda x, y: x.concat(y, x, axis=0) + 1),
    "concat of lines": ({"x": "f32[1000]", "y": "f32[77]"}, lambda x, y: x.concat(y, axis=0)),
    "sum of joined lines": ({"x": "f32[1000]", "y": "f32[77]"}, lambda x, y: (x.concat(y, axis=0) ** 2).sum()),
    "concat, then softmax": ({"x": "f32[N, 20]", "y": "f32[N, 80]"}, lambda x, y: _softmax(x.concat(y, axis=1))),
    "softmax of a slice": ({"x": "f32[N, 100]"}, lambda x: _softmax(x[:, 10:97])),
    "softmax of a long slice": ({"x": "f32[2, 66000]"}, lambda x: _softmax(x[:, 7:])),
    "softmax beside a slice": ({"x": "f32[N, 12]", "t": "f32[N, 14]"}, lambda x, t: _softmax(x) * t[:, 1:13]),
    "slice of softmax": ({"x": "f32[N, 100]"}, lambda x: _softmax(x)[:, 10:97]),
    "margin of softmax": ({"x": "f32[N, 20]"}, lambda x: _softmax(x).pad(1, 3, 9, -1.0)),
    "margin in front": ({"x": "f32[N, 20]"}, lambda x: x.pad(1, 40, 0, 1.5).exp()),
    "margin of lines": ({"x": "f32[1000]"}, lambda x: x.pad(0, 17, 100, 0.25)),
    "margin of rows": ({"x": "f32[5, 33]"}, lambda x: x.pad(0, 1, 2) * 2),
    "beside itself": ({"x": "f32[1000]"}, lambda x: x * x[:-1].pad(0, 1)),
    "rows beside themselves": ({"x": "f32[12, 40]"}, lambda x: _softmax(x) * _softmax(x)[:-1].pad(0, 1)),
    "columns beside themselves": ({"x": "f32[N, 40]"}, lambda x: (x + x[:, 1:].pad(1, 0, 1)).amax(1)),
    "sums beside themselves": ({"x": "f32[12, 40]"}, lambda x: x.sum(1) + x.sum(1)[1:].pad(0, 0, 1)),
    "a product beside itself": (
        {"x": "f32[20, 6]", "w": "f32[6, 33]"},
        lambda x, w: (x.apply("matmul", w) + x.apply("matmul", w)[:, 1:].pad(1, 0, 1), x.apply("matmul", w)[:, :9]),
    ),
    "a product of slices": ({"x": "f32[20, 6]", "w": "f32[9, 33]"}, lambda x, w: x.apply("matmul", w[2:8]).tanh()),
    "short floats": ({"x": "f16[N, 20]", "y": "bf16[N, 20]"}, lambda x, y: (x[:, 1:], y.pad(1, 1, 3))),
    "doubles": ({"x": "f64[N, 20]"}, lambda x: x[:, 1:].concat(x, axis=1).pad(1, 1, 1, 0.1)),
    "truths": ({"x": "f32[N, 20]"}, lambda x: (x > 0).pad(1, 2, 1, True) & (x < 1).concat((x < 0)[:, :3], axis=1)),
    "labels": ({"x": "f32[N, 20]", "t": "i64[N, 3]"}, lambda x, t: x.gather(t[:, 1], 1) * 2),
    "integers": ({"t": "i64[N, 3]"}, lambda t: t.concat(t, axis=1).pad(1, 1, 1, -7)),
    "halves of halves": ({"x": "f32[64]"}, lambda x: x[32:].concat(x[:32].tanh(), axis=0).pad(0, 9, 9)[5:77]),
    "nothing": ({"x": "f32[N, 20]"}, lambda x: (x[:, 3:3].sum(1), x[:, 3:3].concat(x, axis=1).exp())),
}  # fmt: skip


def _softmax(x: Tensor) -> Tensor:
    e = (x - x.amax(1, keepdims=True)).exp()
    return e / e.sum(1, keepdims=True)


WITHOUT_GRADIENT = ("softmax beside a slice", "truths", "integers", "short floats", "nothing")
SHORTER = {"softmax of a long slice": {"x": "f32[2, 2000]"}}
"""Long enough for every strategy but that for few long rows: simulated, the length is what takes the time."""


def _text(name: str, gradients: bool = False, types: dict[str, str] | None = None) -> str:
    given, body = CASES[name]
    function: Function = build(types or given, body)
    if gradients:
        floats = [value.name for value in function.inputs if is_float(value.type.dtype)]
        function = request_gradients(function, floats, of=0, upstream=True)
    return print_module(module_of(function))


def _bound(name: str) -> float:
    return 1e-2 if name == "short floats" else 5e-5


def _given(text: str) -> list[dict[str, np.ndarray]]:
    random, inputs = np.random.default_rng(3), parse(text).entry.inputs
    sizes = (1, 5, 33) if any("N" in str(value.type) for value in inputs) else (1,)
    found = []
    for size in sizes:
        arrays = {}
        for value in inputs:
            shape = tuple(dim_value(dim, {"N": size}) for dim in value.type.shape)
            draw = random.integers(0, 20, shape) if value.type.dtype == "i64" else random.normal(size=shape)
            arrays[value.name] = draw.astype(numpy_dtype(value.type.dtype))
        found.append(arrays)
    return found


@pytest.mark.parametrize("name", CASES)
def test_kernels_agree_with_the_interpreter(name: str, device: Device):
    text = _text(name)
    agree(Runner(text, device), text, _given(text), _bound(name))


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITHOUT_GRADIENT])
def test_gradients_agree_with_the_interpreter(name: str, device: Device):
    text = _text(name, gradients=True)
    agree(Runner(text, device), text, _given(text), _bound(name))


@pytest.mark.parametrize("strategy", strategies())
def test_simulated_kernels_of_every_strategy(strategy: str):
    ran = 0
    for name in CASES:
        for info in (CPU_AVX512,) if name == "doubles" else (CPU_AVX512, GPU_GENERIC):
            types = None if strategy == "row-parts" else SHORTER.get(name)
            text = _text(name, name not in WITHOUT_GRADIENT, types)
            compiled = compile_module(parse(text), info, strategy)
            if strategy in {choice.strategy for choice in compiled.lowered.choices.values()}:
                ran += 1
                arrays = _given(text)[-1]
                found = simulate(compiled.program, arrays)
                reference = passes(parse(text).entry, PLAIN)
                for array, wanted in zip(found, evaluate(reference, arrays)):
                    np.testing.assert_allclose(
                        array, wanted, rtol=_bound(name), atol=2e-6, err_msg=f"{name} {info.kind}"
                    )
    assert ran


@pytest.mark.parametrize("name", ["margin in front", "concat of columns", "halves of halves", "truths", "nothing"])
def test_no_condition_is_known_before_the_run(name: str):
    """PoCL warns of such, on the user's terminal."""
    program = compile_module(parse(_text(name)), CPU_AVX512).program
    bodies = [launch.kernel.body for step in program.steps for v in step.variants for launch in v.launches]
    for statement in (statement for body in bodies for statement in walk_statements(body)):
        assert not (isinstance(statement, If) and isinstance(statement.condition, Const))
        for found in walk_expressions(*statement.expressions):
            if isinstance(found, Apply) and found.dtype == "bool" and found.width == 1:
                known = [isinstance(operand, Const) for operand in found.operands]
                assert not (any(known) if found.op in ("and", "or", "not") else all(known))


# --- traffic ------------------------------------------------------------------------------------------------

BYTES: dict[str, tuple[dict[str, str], Any, int]] = {
    "a slice is read where it lies": ({"x": "f32[N, 100]"}, lambda x: x[:, 10:20] * 2, 80),
    "two slices": ({"x": "f32[N, 100]"}, lambda x: x[:, 10:20] * x[:, 30:40], 120),
    "both of what is joined": ({"x": "f32[N, 20]", "y": "f32[N, 30]"}, lambda x, y: x.concat(y, axis=1).exp(), 400),
    "margins are no memory": ({"x": "f32[N, 20]"}, lambda x: x.pad(1, 10, 10).tanh(), 240),
    "rows of a slice": ({"x": "f32[N, 100]"}, lambda x: _softmax(x[:, 10:90]), 640),
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_the_fewest_bytes_are_moved(name: str):
    types, body, expected = BYTES[name]
    compiled = compile_module(module_of(build(types, body)), CPU_AVX512)
    found = traffic(compiled, {"N": 16})
    assert (found.bytes, found.fewest) == (16 * expected, 16 * expected)


# --- windows behind windows ---------------------------------------------------------------------------------


def _differences(depth: int) -> Any:
    def body(x: Tensor) -> Tensor:
        for _ in range(depth):
            x = (x[1:] - x[:-1]).tanh()
        return x * 2

    return body


def _margins(depth: int) -> Any:
    def body(x: Tensor) -> tuple[Tensor, ...]:
        found = [x]
        for _ in range(depth):
            found.append(found[-1].pad(0, 1, 1, 0.5).tanh())
        return tuple(found[1:])

    return body


@pytest.mark.parametrize("body", [_differences, _margins])
def test_windows_behind_windows_are_not_multiplied(body: Callable[[int], Any]):
    """Twice as many take about twice as much code, and give what they are to give."""
    sizes = []
    for depth in (4, 8):
        text = print_module(module_of(build({"x": "f32[100]"}, body(depth))))
        runner = Runner(text, None)
        sizes.append(sum(map(len, runner.compiled.sources().values())))
        agree(runner, text, _given(text), 5e-5)
    assert sizes[1] < 3.5 * sizes[0]


def test_margins_of_whole_numbers_that_no_float_tells_apart(device: Device):
    """Margins of 2^53 + 1 beside 2^53 are two."""
    function = build({"t": "i64[3]"}, lambda t: t.pad(0, 1, 1, 2**53 + 1).pad(0, 1, 1, 2**53))
    text = print_module(module_of(function))
    (found,) = Runner(text, device)(t=np.arange(3)).values()
    assert found.tolist() == [2**53, 2**53 + 1, 0, 1, 2, 2**53 + 1, 2**53]
