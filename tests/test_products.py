"""Matrix products on a CPU, however their operands lie and however few rows or columns they have: values on the device
and in the simulator, with what is computed from them in the same kernel."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pytest

import lossc
from lossc.compiler.compiled import compile_module
from lossc.compiler.decisions import Decision
from lossc.compiler.pipeline import run_passes
from lossc.compiler.product import LARGEST_TURNED
from lossc.compiler.strategies import candidates, matmul
from lossc.ir.kernel import PrivateArray
from lossc.ir.parser import parse
from lossc.ir.target import PRESETS
from lossc.runtime.device import Device, select
from lossc.runtime.simulate import simulate
from lossc.tuning.search import MOST_CANDIDATES

FORMS = [(False, False), (False, True), (True, False), (True, True)]
FEW = [(1, 1, 1), (1, 40, 37), (37, 40, 1), (1, 5, 3), (2, 33, 50), (50, 33, 2), (3, 17, 4), (41, 7, 3), (4, 64, 64),
       (64, 48, 4), (5, 20, 40), (10, 24, 70), (24, 20, 33), (30, 9, 5), (20, 1, 19), (19, 4, 33)]  # fmt: skip
NONE = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 0, 20), (20, 0, 1), (0, 5, 1), (1, 5, 0)]


def text(rows: int, depth: int, columns: int, form: tuple[bool, bool], named: bool = False) -> str:
    """relu(left @ right + bias) * scale."""
    first = "N" if named else str(rows)
    left = f"{depth}, {first}" if form[0] else f"{first}, {depth}"
    right = f"{columns}, {depth}" if form[1] else f"{depth}, {columns}"
    result = f"{first}, {columns}"
    flags = ", ".join(f"transpose_{side} = {str(on).lower()}" for side, on in zip(("left", "right"), form))
    return f"""func @f(%left: f32[{left}], %right: f32[{right}], %bias: f32[{columns}], %scale: f32[{result}])
        -> (f32[{result}]) {{
      %z = matmul %left, %right {{{flags}}}
      %b = broadcast %bias {{dims = [1], shape = [{result}]}}
      %sum = add %z, %b
      %y = relu %sum
      %found = mul %y, %scale
      return %found
    }}"""


def arrays(rows: int, depth: int, columns: int, form: tuple[bool, bool]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows + depth + columns)
    shapes = {"left": (rows, depth)[:: -1 if form[0] else 1], "right": (depth, columns)[:: -1 if form[1] else 1],
              "bias": (columns,), "scale": (rows, columns)}  # fmt: skip
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def expected(given: Mapping[str, np.ndarray], form: tuple[bool, bool]) -> np.ndarray:
    left, right = (given[name].astype(np.float64) for name in ("left", "right"))
    product = (left.T if form[0] else left) @ (right.T if form[1] else right)
    return np.maximum(product + given["bias"], 0) * given["scale"]


@pytest.mark.parametrize("shape", FEW)
def test_few_rows_and_columns(shape: tuple[int, int, int]) -> None:
    for form in FORMS:
        compare(shape, form, select())


@pytest.mark.parametrize("shape", [*FEW[1::4], *NONE])
def test_where_the_number_of_rows_has_a_name_or_there_is_nothing(shape: tuple[int, int, int]) -> None:
    compare(shape, (False, False), select(), named=True)
    compare(shape, (False, True), select(), named=True)


@pytest.mark.parametrize(("shape", "form"), [*zip(FEW, cycle(FORMS)), *zip(FEW[2:6], FORMS)])
def test_on_every_device(shape: tuple[int, int, int], form: tuple[bool, bool], device: Device) -> None:
    compare(shape, form, device)


def compare(shape: tuple[int, int, int], form: tuple[bool, bool], device: Device, named: bool = False) -> None:
    fn, given = lossc.parse(text(*shape, form, named)).compile(device=device), arrays(*shape, form)
    np.testing.assert_allclose(fn(**given)[0], expected(given, form), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [*FEW, *NONE])
@pytest.mark.parametrize("form", FORMS)
def test_simulated(shape: tuple[int, int, int], form: tuple[bool, bool]) -> None:
    for named in (False, True):
        compiled = compile_module(parse(text(*shape, form, named)), PRESETS["cpu_avx512"])
        given = arrays(*shape, form)
        np.testing.assert_allclose(simulate(compiled.program, given)[0], expected(given, form), rtol=1e-5, atol=1e-5)


def private_arrays(shape: tuple[int, int, int], form: tuple[bool, bool]) -> dict[str, PrivateArray]:
    kernels = compile_module(parse(text(*shape, form)), PRESETS["cpu_avx512"]).program.kernels
    return {array.name: array for kernel in kernels for array in kernel.private_arrays}


def test_a_matrix_that_is_read_once_is_not_copied() -> None:
    for shape in ((1, 300, 400), (4, 300, 400), (400, 300, 1), (400, 300, 4)):
        for form in FORMS:
            few_turned = form == (True, True) if shape[0] == 4 else False
            assert ("matmul.packed" in private_arrays(shape, form)) == few_turned, (shape, form)
    assert "matmul.packed" in private_arrays((400, 300, 400), (False, False))


def test_what_comes_from_memory_takes_few_streams(device: Device) -> None:
    # 16 MiB and more: eight rows at a time, and their sums wait in a first-level cache.
    sums = private_arrays((1, 4096, 4096), (False, False))["matmul.sums"]
    assert 1000 < sums.size <= 4096
    given = arrays(2, 1100, 2500, (False, False))
    found = lossc.parse(text(2, 1100, 2500, (False, False))).compile(device=device)(**given)[0]
    np.testing.assert_allclose(found, expected(given, (False, False)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 3), (2, 16), (16, 1), (13, 17)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depth", [1_000_001, "K"])
def test_a_deep_product_of_equal_numbers(sizes: tuple[int, int], form: tuple[bool, bool], depth: int | str) -> None:
    """A third of a third each time: every sum rounds to the same side, the worst that there is for one accumulator."""
    (rows, columns), count, third = sizes, 1_000_001, np.float32(1 / 3)
    g = lossc.Graph()
    left = g.input("left", (depth, rows) if form[0] else (rows, depth))
    right = g.input("right", (columns, depth) if form[1] else (depth, columns))
    g.set_outputs([g.matmul(left, right, transpose_left=form[0], transpose_right=form[1])])
    (found,) = g.compile()(
        left=np.full((count, rows) if form[0] else (rows, count), third),
        right=np.full((columns, count) if form[1] else (count, columns), third),
    )
    np.testing.assert_allclose(found, count * float(third) ** 2, rtol=3e-5)


def test_few_columns_are_turned_up_to_a_size() -> None:
    assert "matmul.turned" in private_arrays((400, LARGEST_TURNED // 4, 4), (False, False))
    assert "matmul.turned" not in private_arrays((400, LARGEST_TURNED // 4 + 1, 4), (False, False))


@pytest.mark.parametrize(("form", "named"), [((True, True), False), ((False, True), True)])
def test_whatever_the_tuner_tries_gives_the_same(form: tuple[bool, bool], named: bool) -> None:
    shape = (13, 520, 150)
    compiled = compile_module(parse(text(*shape, form, named)), PRESETS["cpu_avx512"])
    ((name, fused),) = compiled.lowered.fused.items()
    given, sources = arrays(*shape, form), [dict(compiled.sources())]
    tried = candidates(fused, compiled.device)
    # The search comes to the last of them.
    assert len(tried) <= MOST_CANDIDATES
    settings = [dict(candidate.settings) for candidate in tried]
    assert all(own in settings for own in matmul.candidates(fused, compiled.device))
    for candidate in tried[1:]:
        other = compiled.decided({name: Decision(candidate, "a trial")})
        if dict(other.sources()) in sources:
            continue
        sources.append(dict(other.sources()))
        found = simulate(other.program, given)[0]
        np.testing.assert_allclose(found, expected(given, form), rtol=1e-4, atol=1e-4)
    assert len(sources) > 4


@pytest.mark.parametrize("named", [False, True])
def test_tiles_of_six_rows_are_packed(named: bool) -> None:
    compiled = compile_module(parse(text(520, 512, 256, (False, False), named)), PRESETS["cpu_avx512"])
    ((name, fused),) = compiled.lowered.fused.items()
    (six,) = [each for each in candidates(fused, compiled.device) if dict(each.settings) == {"tile_rows": 6}]
    kernels = compiled.decided({name: Decision(six, "a trial")}).program.kernels
    (large,) = [kernel for kernel in kernels if "_6x2x16" in kernel.name]
    assert "matmul.packed" in {array.name for array in large.private_arrays}


def test_sixteen_bits_by_a_vector(device: Device) -> None:
    source = """func @f(%x: f16[37, 40], %w: f16[1, 40]) -> (f16[37, 1]) {
      %z = matmul %x, %w {transpose_right = true}
      return %z
    }"""
    random = np.random.default_rng(0)
    x, w = random.normal(size=(37, 40)).astype(np.float16), random.normal(size=(1, 40)).astype(np.float16)
    found = lossc.parse(source).compile(device=device)(x=x, w=w)[0]
    np.testing.assert_allclose(found, x.astype("f8") @ w.astype("f8").T, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_two_transposes_in_front_of_a_product_undo_each_other(side: str) -> None:
    """Where the operand is square no type tells that one of them is left."""
    operands = "%twice, %x" if side == "left" else "%x, %twice"
    module = parse(f"""func @f(%x: f32[3, 3]) -> (f32[3, 3]) {{
      %turned = transpose %x {{permutation = [1, 0]}}
      %twice = transpose %turned {{permutation = [1, 0]}}
      %z = matmul {operands}
      return %z
    }}""")
    (product,) = run_passes(module, ("simplify",)).entry.ops
    assert (product.attributes["transpose_left"], product.attributes["transpose_right"]) == (False, False)


def test_no_rows_by_an_inner_size_with_a_name(device: Device) -> None:
    source = """func @f(%x: f32[0, N], %w: f32[N, 33]) -> (f32[0, 33]) {
      %z = matmul %x, %w
      return %z
    }"""
    given = {"x": np.zeros((0, 40), np.float32), "w": np.ones((40, 33), np.float32)}
    assert lossc.parse(source).compile(device=device)(**given)[0].shape == (0, 33)
