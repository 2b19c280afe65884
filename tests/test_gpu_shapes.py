"""Kernels for a GPU, without one: which shapes are chosen, where rows live, how neighbours read memory, how often
groups meet; and the values that the same kernels give on CPUs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agreement.agree import Problem
from agreement.cases import Case, parse_case
from agreement.selection import is_differentiable, operations
from agreement.signatures import plain_operands
from coalescing import Traffic, observed, traffic_of

from lossc.compiler import Compiled, compile_module
from lossc.compiler.rows.stages import stages_of
from lossc.compiler.strategies import row_parts
from lossc.ir.diagnostics import LosscError
from lossc.ir.integers import evaluate_integer
from lossc.ir.kernel import (
    Barrier,
    Kernel,
    Load,
    PrivateArray,
    Store,
    expressions_of,
    walk_expressions,
    walk_statements,
)
from lossc.ir.parser import parse
from lossc.ir.program import Variant
from lossc.ir.target import H200, KIB, DeviceInfo
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import Counts, simulate

FOR_GPUS = {"row-group", "row-parts", "element-group", "pixel-item", "row-split", "matmul-group"}


def cross_entropy(columns: int | str, rows: int | str = "N", dtype: str = "f32") -> str:
    x = f"{dtype}[{rows}, {columns}]"
    return f"""func @f(%x: {x}, %t: i32[{rows}]) -> (%loss: f32[1], %g: {x}) {{
      %loss = cross_entropy_loss %x, %t {{label_smoothing = 0.1}}
      %g = grad %loss, %x
      return %loss, %g
    }}"""


PIXELS = """func @f(%x: f32[N, {c}, H, W], %t: u8[N, H, W]) -> (%loss: f32[1], %g: f32[N, {c}, H, W]) {{
  %loss = cross_entropy_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}}"""

BCE = """func @f(%x: {d}[N, {c}], %t: {d}[N, {c}]) -> (%loss: f32[1], %g: {d}[N, {c}]) {{
  %wide = cast %x {{dtype = f32}}
  %target = cast %t {{dtype = f32}}
  %loss = bce_with_logits_loss %wide, %target
  %g = grad %loss, %x
  return %loss, %g
}}"""


def arrays_for(compiled: Compiled, rows: int, columns: int, classes: int = 0, pixels: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([rows, columns])
    found = {}
    for name, type_ in compiled.program.inputs:
        sizes = {"N": rows, "C": columns, "H": pixels, "W": pixels}
        shape = tuple(dim if isinstance(dim, int) else sizes[str(dim)] for dim in type_.shape)
        if type_.dtype in ("i32", "u8"):
            found[name] = generator.integers(0, classes or columns, shape).astype(
                {"u8": np.uint8}.get(type_.dtype, np.int32)
            )
        else:
            found[name] = (3 * generator.normal(size=shape)).astype(np.float16 if type_.dtype == "f16" else np.float32)
    return found


def main_kernels(compiled: Compiled) -> list[Kernel]:
    """The first launch of each variant of the last step."""
    return [variant.launches[0].kernel for variant in compiled.program.steps[-1].variants]


def expected_of(columns: int, x: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient of `cross_entropy` in float64."""
    x = x.astype(np.float64)
    largest = x.max(1, keepdims=True)
    e = np.exp(x - largest)
    q = np.full(x.shape, 0.1 / columns)
    q[np.arange(len(t)), t] += 0.9
    sums = e.sum(1, keepdims=True)
    loss = (np.log(sums)[:, 0] + largest[:, 0] - (q * x).sum(1)).mean()
    return loss, (e / sums - q) / len(t)


def assert_right(found: list[np.ndarray], given: dict[str, np.ndarray]) -> None:
    loss, gradient = expected_of(given["x"].shape[1], given["x"], given["t"])
    np.testing.assert_allclose(found[0], [loss], rtol=2e-6)
    np.testing.assert_allclose(found[1].astype(np.float64), gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


# --- where a row lives ----------------------------------------------------------------------------------------

# Columns of f32, items of a row, rows of a group, where the row waits between the passes.
TIERS = [
    (7, 8, 32, "registers"),
    (10, 8, 32, "registers"),
    (256, 32, 8, "registers"),
    (1000, 32, 8, "registers"),
    (1024, 32, 8, "registers"),
    (2048, 64, 4, "registers"),
    (8192, 256, 1, "registers"),
    (16384, 256, 1, "registers"),
    (32768, 512, 1, "registers"),
    (40960, 1024, 1, "registers"),
    (49152, 1024, 1, "registers and local memory"),
]


@pytest.mark.parametrize(("columns", "lanes", "rows", "tier"), TIERS)
def test_tiers(columns: int, lanes: int, rows: int, tier: str) -> None:
    """A row that fits is read once from global memory."""
    compiled = compile_module(parse(cross_entropy(columns)), H200, "row-group")
    (kernel,) = main_kernels(compiled)
    share = f"{rows} rows" if rows > 1 else "one row"
    assert kernel.comment[0].startswith(f"{share} a work-group, {lanes} items a row, ")
    assert kernel.comment[0].endswith(f"; kept in {tier} between the passes")
    assert bool(held_locally(kernel)) == ("local" in tier)
    given = arrays_for(compiled, 3, columns)
    counts = Counts()
    assert_right(simulate(compiled.program, given, counts=counts), given)
    assert counts.loaded["x"] <= given["x"].size + 2 * len(given["x"])


def held_locally(kernel: Kernel) -> list[str]:
    return [array.name for array in kernel.local_arrays if array.holds]


def test_a_row_that_does_not_fit_is_read_again() -> None:
    compiled = compile_module(parse(cross_entropy(50176)), H200, "row-group")
    (kernel,) = main_kernels(compiled)
    assert kernel.comment[0].endswith("; read again in every pass; maxima and the sums below them in one pass")
    given = arrays_for(compiled, 2, 50176)
    counts = Counts()
    assert_right(simulate(compiled.program, given, counts=counts), given)
    assert 2 * given["x"].size <= counts.loaded["x"] <= 2.01 * given["x"].size
    assert counts.exponentials < 2.3 * given["x"].size


def test_less_on_the_chip() -> None:
    """The same row on devices with fewer registers and less local memory: the limits are the device's."""
    tiers = {}
    for registers, local in ((256, 48), (128, 48), (24, 48), (24, 8)):
        device = replace(H200, register_file=registers * KIB, local_memory=local * KIB)
        (kernel,) = main_kernels(compile_module(parse(cross_entropy(8192)), device, "row-group"))
        tiers[registers, local] = kernel.comment[0].split("; ")[1]
        used = sum(array.size * 4 for array in kernel.local_arrays)
        assert used <= local * KIB
    assert tiers == {
        (256, 48): "kept in registers between the passes",
        (128, 48): "kept in registers between the passes",
        (24, 48): "kept in local memory between the passes",
        (24, 8): "read again in every pass",
    }


def test_registers_are_indexed_by_constants() -> None:
    """Only then do compilers keep private arrays in registers."""
    for text in (cross_entropy(16384), cross_entropy("C"), PIXELS.format(c=21)):
        kernels = main_kernels(compile_module(parse(text), H200))
        assert any(kernel.private_arrays for kernel in kernels)
        for kernel in kernels:
            private = {array.name for array in kernel.private_arrays}
            for statement in walk_statements(kernel.body):
                places = [statement.index] if isinstance(statement, Store) and statement.buffer in private else []
                for expression in expressions_of(statement):
                    places += [
                        e.index for e in walk_expressions(expression) if isinstance(e, Load) and e.buffer in private
                    ]
                assert all(type(place).__name__ == "Const" for place in places)


def test_a_length_with_a_name() -> None:
    """Variants for rows in parts, rows that are kept and rows that are not: of whole vectors, and of any length."""
    compiled = compile_module(parse(cross_entropy("C")), H200)
    strategies = [variant.strategy for variant in compiled.program.steps[-1].variants]
    assert strategies == ["row-parts", "row-parts", *["row-group"] * 6]
    kept = [sum(array.size for array in kernel.private_arrays) for kernel in main_kernels(compiled)]
    # The logit and its exponential; a tile of logits.
    assert kept == [32, 32, 2 * 16, 2 * 64, 32, 2 * 16, 2 * 64, 8]
    readings = {5: 1, 12: 1, 4096: 1, 4099: 1, 16383: 1, 16384: 1, 16385: 2, 20000: 2, 33000: 2, 50257: 2}
    for columns, times in readings.items():
        given = arrays_for(compiled, 2, columns)
        counts = Counts()
        assert_right(simulate(compiled.program, given, counts=counts), given)
        assert times * given["x"].size <= counts.loaded["x"] <= 1.01 * times * given["x"].size + 4, columns


def test_parts_of_rows_that_vectors_do_not_divide() -> None:
    """Several work-groups a row, neighbours reading neighbours, whether the length is known or has a name."""
    for text in (cross_entropy(50257, 3), cross_entropy("C", 3)):
        compiled = compile_module(parse(text), H200)
        given = arrays_for(compiled, 3, 50257)
        traffic, counts = Traffic(), Counts()
        with observed(traffic):
            found = simulate(compiled.program, given, counts=counts)
        assert_right(found, given)
        assert counts.loaded["x"] <= 2.01 * given["x"].size
        assert traffic.waste("x") < 1.35
        assert traffic.waste("g") < 1.35
        variant = next(v for v in compiled.program.steps[-1].variants if _is_taken(v, C=50257))
        assert variant.strategy == "row-parts"
        assert all("vectors of 1;" in launch.kernel.comment[0] for launch in variant.launches[:2])


def _is_taken(variant: Variant, **sizes: int) -> bool:
    return variant.guard is None or bool(evaluate_integer(variant.guard, sizes))


# --- what is chosen -------------------------------------------------------------------------------------------

PAIRS = {"multilabel_margin_loss"}
"""Losses over pairs of columns, of which a few neighbours read another than the rest: from the caches."""

CATALOGUE = [(op, layout) for op in operations() for layout in ("last", "middle")]


def plain_case(op: str, layout: str) -> Case | None:
    rank, axis = Case(op, layout=layout).x.rank, Case(op, layout=layout).axis
    operands = plain_operands(op, rank, axis)
    if operands is None:
        return None
    gradient = "all" if is_differentiable(op, layout) else "none"
    columns = 1000 if layout == "last" else 21
    return Case(op, layout, columns, 5, gradient=gradient, operands=tuple(operands.items()))


@pytest.mark.parametrize(("op", "layout"), CATALOGUE, ids=[f"{op}-{layout}" for op, layout in CATALOGUE])
def test_the_catalogue(op: str, layout: str) -> None:
    """Every loss and layer gets kernels for GPUs: no strided reading, one barrier pair a pass, no more local memory
    than there is."""
    case = plain_case(op, layout)
    if case is None:
        return
    try:
        problem = Problem(case)
        compiled = problem.compiled(H200)
    except LosscError as error:
        pytest.fail(f"{case}: {error}")
    for step in compiled.program.steps:
        schedule = compiled.outlined.schedules[step.name]
        choice = compiled.lowered.choices[step.name].strategy
        assert choice in FOR_GPUS or (choice == "pointwise" and not schedule.looped), (step.name, choice)
        stages = len(stages_of(schedule))
        for variant in step.variants:
            for launch in variant.launches:
                kernel = launch.kernel
                assert sum(array.size * 8 for array in kernel.local_arrays) <= 2 * H200.local_memory
                barriers = sum(isinstance(s, Barrier) for s in walk_statements(kernel.body))
                # A pair for each pass over the row, one for the sums at the end.
                assert barriers <= 2 * stages + 2 or variant.strategy == "matmul-group", kernel.name
    if op in PAIRS or any(schedule.matmul is not None for schedule in compiled.outlined.schedules.values()):
        return
    # Planes of 21 pixels end in the middle of a sector, and losses pick elements of some; rows of 1000 elements do not.
    most = 1.1 if layout == "last" else 2.0
    for arrays in problem.arrays.values():
        traffic = traffic_of(compiled.program, arrays)
        wanted = sum(traffic.wanted.values())
        for name in traffic.wanted:
            if traffic.wanted[name] > 0.1 * wanted:
                assert traffic.waste(name) <= most, (name, traffic.waste(name))


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        (cross_entropy(1000), "row-group"),
        (cross_entropy(10), "row-group"),
        (cross_entropy(128256), "row-parts"),
        (cross_entropy(262144, 8), "row-parts"),
        (cross_entropy(262144, 4096), "row-group"),
        (PIXELS.format(c=21), "pixel-item"),
        (PIXELS.format(c=150), "pixel-item"),
        (BCE.format(c=1000, d="f32"), "element-group"),
        ("func @f(%x: f32[N, 1000]) -> (f32[1000]) { %y = reduce_sum %x {axes = [0]}\n return %y }", "row-split"),
        (
            "func @f(%x: f32[N, 64], %w: f32[100, 64]) -> (f32[N, 100]) { %y = linear %x, %w\n return %y }",
            "matmul-group",
        ),
    ],
    ids=lambda value: value if "func" not in value else "",
)
def test_what_is_chosen(text: str, strategy: str) -> None:
    compiled = compile_module(parse(text), H200)
    assert strategy in {choice.strategy for choice in compiled.lowered.choices.values()}


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_vectors_of_16_bytes(dtype: str) -> None:
    """Neighbours take 16 bytes each of what has the widest elements, at aligned addresses."""
    for text in (cross_entropy(4096, dtype=dtype), BCE.format(c=4096, d=dtype)):
        for kernel in main_kernels(compile_module(parse(text), H200)):
            wide = [s for s in walk_statements(kernel.body) if isinstance(s, Store) and s.buffer == "g"]
            assert wide
            assert all(s.value.width * {"f32": 4}.get(dtype, 2) == 16 and s.aligned for s in wide if s.value.width > 1)
            assert any(s.value.width > 1 for s in wide)


def test_rows_that_vectors_do_not_divide_are_still_side_by_side() -> None:
    compiled = compile_module(parse(cross_entropy(1003)), H200)
    given = arrays_for(compiled, 16, 1003)
    traffic = traffic_of(compiled.program, given)
    assert traffic.waste("x") < 1.35
    assert traffic.waste("g") < 1.35


# --- few long rows --------------------------------------------------------------------------------------------


def small_parts(device: DeviceInfo) -> DeviceInfo:
    """With parts of 128 columns instead of thousands (32 items with a vector each)."""
    return replace(device, max_work_group_size=32)


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(row_parts.PART, "gpu", 128)


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize(
    ("strategy", "columns"),
    [*(("row-parts", n) for n in (512, 1000, 1003, 2048)), *(("row-group", n) for n in (4096, 4100, 5001))],
)
def test_parts_that_are_all_minus_infinity(strategy: str, columns: int) -> None:
    """A masked part adds nothing; a masked row is NaN, as it is elsewhere; so is a row with a NaN or +inf. In parts,
    and tile by tile."""
    device = replace(small_parts(H200), local_memory=2 * KIB)
    compiled = compile_module(parse(cross_entropy(columns).replace("0.1", "0.0")), device, strategy)
    assert compiled.lowered.choices["f_0"].strategy == strategy
    (kernel,) = main_kernels(compiled) if strategy == "row-group" else (None,)
    assert kernel is None or kernel.comment[0].endswith("maxima and the sums below them in one pass")
    given = arrays_for(compiled, 6, columns)
    x, t = given["x"], given["t"]
    t[:] = columns - 1
    x[0, : columns // 2] = -np.inf
    x[1, columns // 2 : -1] = -np.inf
    x[1, -1] = -200
    x[2] = -np.inf
    x[3, 7] = np.nan
    x[4, 5] = np.inf
    _, found = simulate(compiled.program, given)
    with np.errstate(invalid="ignore"):
        _, gradient = expected_of(columns, x, t)
        gradient += 0.1 * (0.0 - np.eye(columns)[t] + 1.0 / columns) / 6
    np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-7)
    assert np.isnan(found[2:5]).any(1).all()
    assert np.isfinite(found[[0, 1, 5]]).all()


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize(
    ("case", "launches"),
    [
        # Sums of exponentials are rescaled to the maximum of the row: what reads the row are two launches.
        ("cross_entropy_loss columns=1000 rows=3 target=i32:rows label_smoothing=0.1", 2),
        ("logsumexp columns=1000 rows=3", 2),
        ("distillation_loss columns=1000 rows=3 teacher=x:same", 3),
        # Nothing to rescale: as many as there are passes.
        ("cosine_embedding_loss columns=1000 rows=3 x2=x:same t=i32:rows", 2),
        ("js_div_loss columns=1000 rows=3 q_logits=x:same", 3),
    ],
)
def test_passes_that_share_a_launch(case: str, launches: int) -> None:
    problem = Problem(parse_case(f"{case} strategy=row-parts"))
    compiled = problem.compiled(small_parts(replace(H200, has_f64=False)))
    (variant,) = (v for step in compiled.program.steps for v in step.variants if v.strategy == "row-parts")
    assert len([launch for launch in variant.launches if "_finish" not in launch.kernel.name]) == launches
    (sizing,) = problem.arrays
    found = simulate(compiled.program, problem.arrays[sizing])
    assert not list(problem.against_reference("row-parts", sizing, found, compiled.program))


def test_a_part_that_waits_in_registers_is_read_once_a_launch() -> None:
    compiled = compile_module(parse(cross_entropy(65536, 2)), H200)
    given = arrays_for(compiled, 2, 65536)
    counts = Counts()
    assert_right(simulate(compiled.program, given, counts=counts), given)
    assert 2 * given["x"].size <= counts.loaded["x"] <= 2.01 * given["x"].size


# --- the same kernels on CPUs ---------------------------------------------------------------------------------

ON_DEVICES = [
    (cross_entropy(10), "row-group", 77, 10),
    (cross_entropy(1000), "row-group", 19, 1000),
    (cross_entropy(1003), "row-group", 19, 1003),
    (cross_entropy(8192), "row-group", 3, 8192),
    (cross_entropy(49152), "row-group", 2, 49152),
    (cross_entropy(50176), "row-group", 2, 50176),
    (cross_entropy("C"), None, 3, 16385),
    (cross_entropy("C"), None, 3, 4099),
    (cross_entropy("C"), None, 2, 50257),
    (cross_entropy(50257, 2), None, 2, 50257),
    (cross_entropy(65536, 2), "row-parts", 2, 65536),
]


@pytest.mark.parametrize(("text", "strategy", "rows", "columns"), ON_DEVICES)
def test_rows_on_devices(text: str, strategy: str | None, rows: int, columns: int, device: Device) -> None:
    compiled = compile_module(parse(text), H200, strategy)
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    given = arrays_for(compiled, rows, columns)
    first = run(given)
    assert_right(first, given)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, run(given)))


@pytest.mark.parametrize("classes", [2, 21, 150])
def test_pixels_on_devices(classes: int, device: Device) -> None:
    compiled = compile_module(parse(PIXELS.format(c=classes)), H200)
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    given = arrays_for(compiled, 2, classes, classes, 19)
    _, gradient = run(given)
    x = given["x"].astype(np.float64)
    e = np.exp(x - x.max(1, keepdims=True))
    expected = e / e.sum(1, keepdims=True) - (np.arange(classes)[:, None, None] == given["t"][:, None])
    np.testing.assert_allclose(gradient, expected / given["t"].size, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "units"), [((1, 1, 1), 1), ((37, 30, 20), 132), ((130, 33, 129), 1), ((256, 100, 512), 20)],
    ids=lambda s: "x".join(map(str, s)) if isinstance(s, tuple) else "",
)  # fmt: skip
def test_products_on_devices(sizes: tuple[int, int, int], units: int, device: Device) -> None:
    """Ragged and whole tiles, every way an operand may lie, a bias and an activation after it; large tiles and
    small."""
    rows, depth, columns = sizes
    text = f"""func @f(%x: f32[N, {depth}], %w: f32[{columns}, {depth}], %b: f32[{columns}], %g: f32[N, {columns}])
        -> (%y: f32[N, {columns}], %gx: f32[N, {depth}], %gw: f32[{columns}, {depth}]) {{
      %h = linear %x, %w, %b
      %y = relu %h
      %gx = matmul %g, %w {{transpose_left = false, transpose_right = false}}
      %gw = matmul %g, %x {{transpose_left = true, transpose_right = false}}
      return %y, %gx, %gw
    }}"""
    compiled = compile_module(parse(text), replace(H200, compute_units=units))
    assert "matmul-group" in {choice.strategy for choice in compiled.lowered.choices.values()}
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    generator = np.random.default_rng(sizes)
    shapes = {"x": (rows, depth), "w": (columns, depth), "b": (columns,), "g": (rows, columns)}
    given = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    x, w, b, g = (given[name].astype(np.float64) for name in "xwbg")
    expected = (np.maximum(x @ w.T + b, 0), g @ w, g.T @ x)
    for found, right in zip(run(given), expected):
        np.testing.assert_allclose(
            found, right, rtol=1e-5, atol=2e-6 * np.sqrt(max(sizes)) * max(1.0, np.abs(right).max())
        )


def test_products_read_neighbours() -> None:
    text = "func @f(%x: f32[N, 256], %w: f32[256, 256]) -> (%y: f32[N, 256]) { %y = linear %x, %w\n return %y }"
    compiled = compile_module(parse(text), replace(H200, compute_units=4))
    given = arrays_for(compiled, 256, 256)
    traffic = traffic_of(compiled.program, given)
    assert {kernel.name for kernel in compiled.program.kernels} >= {"f_0_matmul_group128x4"}
    assert all(traffic.waste(name) == 1.0 for name in ("x", "w", "y"))


def test_private_arrays_are_small() -> None:
    """No item keeps more words than it has registers for."""
    for columns in (1000, 8192, 16384, 32768, 40960):
        (kernel,) = main_kernels(compile_module(parse(cross_entropy(columns)), H200, "row-group"))
        limit = H200.register_file // 4 // max(256, kernel.local_size)
        assert all(isinstance(array, PrivateArray) and array.size <= min(64, limit) for array in kernel.private_arrays)
