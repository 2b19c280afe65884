"""What is chosen for a GPU, over the catalogue: strategies, vectors, how neighbours read memory and meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agreement.agree import Problem
from agreement.cases import Case
from agreement.selection import is_differentiable, operations
from agreement.signatures import plain_operands
from coalescing import traffic_of
from gpu_examples import BCE, PIXELS, arrays_for, cross_entropy, main_kernels

from lossc.compiler import compile_module
from lossc.compiler.rows.stages import stages_of
from lossc.ir.diagnostics import Limitation, LosscError
from lossc.ir.kernel import (
    Barrier,
    Store,
    walk_statements,
)
from lossc.ir.parser import parse
from lossc.ir.target import H200
from lossc.ir.types import ITEM_SIZE

FOR_GPUS = {"row-group", "row-parts", "element-group", "pixel-item", "row-split", "matmul-group"}

# --- what is chosen -------------------------------------------------------------------------------------------

PAIRS = {"multilabel_margin_loss"}
"""Losses over pairs of columns, of which a few neighbours read another than the rest: from the caches."""


def plain_case(op: str, layout: str) -> Case | None:
    """None where an operation takes more than operands can be made for."""
    rank, axis = Case(op, layout=layout).x.rank, Case(op, layout=layout).axis
    operands = plain_operands(op, rank, axis)
    if operands is None:
        return None
    gradient = "all" if is_differentiable(op, layout) else "none"
    columns = 1000 if layout == "last" else 21
    return Case(op, layout, columns, 5, gradient=gradient, operands=tuple(operands.items()))


CATALOGUE = {
    f"{op}-{layout}": case
    for op in operations()
    for layout in ("last", "middle")
    if (case := plain_case(op, layout)) is not None
}


@pytest.mark.parametrize("case", CATALOGUE.values(), ids=CATALOGUE)
def test_the_catalogue(case: Case) -> None:
    """Every loss and layer gets kernels for GPUs: no strided reading, one barrier pair a pass, no more local memory
    than there is."""
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
                assert sum(array.size * ITEM_SIZE[array.dtype] for array in kernel.local_arrays) <= H200.local_memory
                barriers = sum(isinstance(s, Barrier) for s in walk_statements(kernel.body))
                # A pair for each pass over the row, one for the sums at the end.
                assert barriers <= 2 * stages + 2 or variant.strategy == "matmul-group", kernel.name
    if case.op in PAIRS or any(schedule.matmul is not None for schedule in compiled.outlined.schedules.values()):
        return
    # Planes of 21 pixels end in the middle of a sector, and losses pick elements of some; rows of 1000 elements do not.
    most = 1.1 if case.layout == "last" else 2.0
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


def test_products_read_neighbours() -> None:
    text = "func @f(%x: f32[N, 256], %w: f32[256, 256]) -> (%y: f32[N, 256]) { %y = linear %x, %w\n return %y }"
    compiled = compile_module(parse(text), replace(H200, compute_units=4))
    given = arrays_for(compiled, 256, 256)
    traffic = traffic_of(compiled.program, given)
    assert {kernel.name for kernel in compiled.program.kernels} >= {"f_0_matmul_group128x4"}
    assert all(traffic.waste(name) == 1.0 for name in ("x", "w", "y"))


def test_a_device_too_small_for_products() -> None:
    text = "func @f(%x: f32[N, 256], %w: f32[256, 256]) -> (%y: f32[N, 256]) { %y = linear %x, %w\n return %y }"
    with pytest.raises(Limitation, match="matmul-group: a tile takes 256 work-items") as refused:
        compile_module(parse(text), replace(H200, max_work_group_size=128))
    assert "--device cpu" in str(refused.value)
