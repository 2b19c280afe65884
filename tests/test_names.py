"""Names of dimensions, inputs and outputs mean nothing, not even those that the compiler and OpenCL C use."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

import lossc
from lossc.compiler import compile_module
from lossc.compiler.pipeline import run_passes
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate

NAMES = (
    "local_id", "global_id", "group_id", "get_global_id", "status", "check", "first_row", "rows_of_piece", "start",
    "item", "f_0", "f_0_partials0", "f_0_panels", "f_0_parts0", "graph_0_panels", "graph_0_partials0", "N0", "row",
    "column", "float", "double", "main",
)  # fmt: skip
ROWS, COLUMNS, CLASSES = 40, 20, 10

AS_WRITTEN = ("inline", "expand", "autodiff", "inline", "expand", "drop-markers")


def text(dim: str, x: str, t: str, w: str, function: str = "f") -> str:
    """Rows, sums over everything, panels, pieces and checks in one program."""
    return f"""func @{function}(%{x}: f32[{dim}, {COLUMNS}], %{w}: f32[{CLASSES}, {COLUMNS}], %{t}: i32[{dim}])
        -> (%a: f32[{dim}], %b: f32[1], %c: f32[1], %g: f32[{CLASSES}, {COLUMNS}], %s: f32[{COLUMNS}]) {{
      %a = cross_entropy_loss %{x}, %{t} {{reduction = "none"}}
      %b = l2_loss %{x}
      %c = linear_cross_entropy_loss %{x}, %{w}, %{t} {{memory_budget = 700}}
      %g = grad %c, %{w}
      %s = reduce_sum %{x} {{axes = [0]}}
      return %a, %b, %c, %g, %s
    }}"""


def arrays(x: str, t: str, w: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {x: random.normal(size=(ROWS, COLUMNS)).astype("f4"), w: random.normal(size=(CLASSES, COLUMNS)).astype("f4"),
            t: random.integers(0, CLASSES, ROWS).astype("i4")}  # fmt: skip


@lru_cache(maxsize=1)
def expected() -> list[np.ndarray]:
    return interpret(run_passes(parse(text("B", "x", "t", "w")), AS_WRITTEN).entry, arrays("x", "t", "w"))


def check(found: list[np.ndarray]) -> None:
    for array, right in zip(found, expected(), strict=True):
        np.testing.assert_allclose(array, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dimensions(name: str) -> None:
    for target, strategy in ((CPU_AVX512, None), (CPU_AVX512, "row-group"), (GPU_GENERIC, None)):
        program = compile_module(parse(text(name, "x", "t", "w")), target, strategy).program
        check(simulate(program, arrays("x", "t", "w")))


@pytest.mark.parametrize("name", NAMES)
def test_inputs(name: str) -> None:
    of_rows, of_matrix = (name, "t", "w"), ("x", "t", name)
    for names, target, strategy in (
        (of_rows, CPU_AVX512, None), (of_rows, CPU_AVX512, "row-split"), (of_rows, GPU_GENERIC, None),
        (of_matrix, CPU_AVX512, None),
    ):  # fmt: skip
        program = compile_module(parse(text("B", *names)), target, strategy).program
        check(simulate(program, arrays(*names)))


@pytest.mark.parametrize("strategy", [None, "row-group"])
@pytest.mark.parametrize(
    "names",
    [("local_id", "f_0_partials0", "first_row", "f_0_panels"), ("status", "local_id", "rows_of_piece", "status_2")],
    ids=" ".join,
)  # fmt: skip
def test_on_devices(names: tuple[str, str, str, str], strategy: str | None, device: Device) -> None:
    fn = lossc.parse(text(*names)).compile(device=device, strategy=strategy)
    check(fn(**arrays(*names[1:])))


@pytest.mark.parametrize("name", ["w", "graph_0_panels", "graph_0_partials0", "share", "scale", "gradient", "status"])
def test_parameters(name: str) -> None:
    def trained(name: str) -> tuple[np.ndarray, np.ndarray]:
        g = lossc.Graph()
        x, t = g.input("x", (None, 6)), g.input("t", (None,), "i32")
        w = g.param(name, np.ones((3, 6), "f4"))
        g.set_outputs([g.cross_entropy_loss(g.linear(x, w), t)])
        step = g.compile_step(lossc.optim.SGD(0.1))
        return step(x=np.ones((4, 6), "f4"), t=[0, 1, 2, 0]), g.parameters[name]

    for found, right in zip(trained(name), trained("anything")):
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("name", ["status", "x", "local_id", "f_0", "float"])
def test_outputs(name: str) -> None:
    g = lossc.Graph()
    g.set_outputs({name: g.relu(g.input("x", (None, 6)))})
    (found,) = g.compile()(x=np.ones((2, 6), "f4"))
    np.testing.assert_array_equal(found, np.ones((2, 6), "f4"))
