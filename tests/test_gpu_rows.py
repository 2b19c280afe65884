"""Rows on a GPU, without one: where they wait between passes, how they are cut into parts, how often they are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agreement.agree import Problem
from agreement.cases import parse_case
from coalescing import Traffic, observed
from gpu_examples import PIXELS, arrays_for, assert_right, cross_entropy, expected_of, main_kernels

from lossc.compiler import compile_module
from lossc.compiler.strategies import row_parts
from lossc.ir.kernel import (
    Kernel,
    Load,
    PrivateArray,
    Store,
    walk_expressions,
    walk_statements,
)
from lossc.ir.parser import parse
from lossc.ir.program import Variant, holds
from lossc.ir.target import H200, KIB, DeviceInfo
from lossc.runtime.simulate import Counts, simulate

# Columns of f32, items of a row, rows of a group, where the row waits between the passes.
TIERS = [
    (4, 1, 256, "registers"),
    (7, 8, 32, "registers"),
    (10, 8, 32, "registers"),
    (64, 16, 16, "registers"),
    (68, 32, 8, "registers"),
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
                inside = walk_expressions(*statement.expressions)
                places += [e.index for e in inside if isinstance(e, Load) and e.buffer in private]
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
    return holds(variant.guard, sizes)


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


def test_private_arrays_are_small() -> None:
    """No item keeps more words than it has registers for."""
    for columns in (1000, 8192, 16384, 32768, 40960):
        (kernel,) = main_kernels(compile_module(parse(cross_entropy(columns)), H200, "row-group"))
        limit = H200.register_file // 4 // max(256, kernel.local_size)
        assert all(isinstance(array, PrivateArray) and array.size <= min(64, limit) for array in kernel.private_arrays)
