"""All steps of a program for one block of rows after the other: pairs of what a row has, reduced along either axis, in
one launch; and sums along rows that stop where a mask says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from device_runs import Runner
from functions import PLAIN, evaluate, passes

from lossc.compiler import Compiled, compile_module
from lossc.ir.kernel import Kernel, Let, Load, expressions_in, walk_statements
from lossc.ir.parser import parse
from lossc.ir.program import Program
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import simulate

LISTS = """func @f(%x: f32[N, {C}], %t: i32[N, {C}]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
  %loss = multilabel_margin_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}}"""
# What each class has over all others of its row, and what that is of the most that one has: two axes, three kernels.
PAIRS = """func @f(%x: f32[N, {C}], %w: f32[{C}]) -> (%sums: f32[N], %y: f32[N, {C}]) {{
  %a = broadcast %x {{shape = [N, {C}, {C}], dims = [0, 1]}}
  %b = broadcast %x {{shape = [N, {C}, {C}], dims = [0, 2]}}
  %d = sub %a, %b
  %over = relu %d
  %mine = reduce_sum %over {{axes = [2]}}
  %e = exp %mine
  %repeated = broadcast %mine {{shape = [N, {C}, {C}], dims = [0, 2]}}
  %weights = broadcast %w {{shape = [N, {C}, {C}], dims = [1]}}
  %p = mul %repeated, %a
  %q = mul %p, %weights
  %y = reduce_max %q {{axes = [2]}}
  %sums = reduce_sum %y {{axes = [1]}}
  return %sums, %y
}}"""


def only_blocks(program: Program) -> Program:
    (variant,) = [variant for variant in program.together if variant.strategy == "block-by-block"]
    return replace(program, together=(variant,))


def agree(text: str, device: Device | None, **given: np.ndarray) -> None:
    compiled = compile_module(parse(text), CPU_AVX512 if device is None else device.info)
    program = only_blocks(compiled.program)
    if device is None:
        found = simulate(program, given)
    else:
        found = Executable(program, device, compiled.sources(), compiled.build_options)(given)
    reference = evaluate(passes(parse(text).entry, PLAIN), given)
    for (output, _), mine, wanted in zip(program.outputs, found, reference, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=2e-5, atol=2e-6, err_msg=output)


def lists(rows: int, classes: int) -> dict[str, np.ndarray]:
    """Empty lists, full ones, and what stands behind their ends."""
    random = np.random.default_rng(rows)
    t = np.argsort(random.random((rows, classes)), 1).astype(np.int32)
    ends = random.integers(0, classes + 1, rows)
    t[np.arange(rows)[ends < classes], ends[ends < classes]] = -1
    return {"x": random.standard_normal((rows, classes)).astype(np.float32), "t": t}


def pairs(rows: int, classes: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {"x": random.standard_normal((rows, classes)).astype(np.float32),
            "w": random.standard_normal(classes).astype(np.float32)}  # fmt: skip


# Whole blocks; one that overlaps the one before; rows shorter than a vector, and as long, and longer.
SHAPES = [(16, 16), (17, 3), (40, 21), (33, 5)]


@pytest.mark.parametrize(("rows", "classes"), SHAPES)
def test_lists_in_the_simulator(rows: int, classes: int) -> None:
    agree(LISTS.format(C=classes), None, **lists(rows, classes))


@pytest.mark.parametrize(("rows", "classes"), [*SHAPES, (1500, 16), (1000, 21)])
def test_lists_on_devices(rows: int, classes: int, device: Device) -> None:
    agree(LISTS.format(C=classes), device, **lists(rows, classes))


@pytest.mark.parametrize(("rows", "classes"), SHAPES)
def test_pairs_in_the_simulator(rows: int, classes: int) -> None:
    agree(PAIRS.format(C=classes), None, **pairs(rows, classes))


@pytest.mark.parametrize(("rows", "classes"), [*SHAPES, (1500, 16)])
def test_pairs_on_devices(rows: int, classes: int, device: Device) -> None:
    agree(PAIRS.format(C=classes), device, **pairs(rows, classes))


SMALL = """func @f(%x: f32[6, 5], %t: i32[6, 5]) -> (%each: f32[6], %sum: f32[1], %g: f32[6, 5]) {
  %each = multilabel_margin_loss %x, %t {reduction = "none"}
  %sum = multilabel_margin_loss %x, %t {reduction = "sum"}
  %g = grad %each, %x
  return %each, %sum, %g
}"""


def test_a_program_of_which_no_step_leaves_partial_sums(device: Device) -> None:
    """Its rows are so few that one work-item does each step; all of them together leave some."""
    agree(SMALL, device, **lists(6, 5))


# The second kernel reads the first `n` of what the first has for a row; the caller gets all of it.
RETURNED = """func @f(%x: f32[N, 8], %n: i32[N]) -> (%mine: f32[N, 8], %y: f32[N, 8]) {
  %a = broadcast %x {shape = [N, 8, 8], dims = [0, 1]}
  %b = broadcast %x {shape = [N, 8, 8], dims = [0, 2]}
  %d = sub %a, %b
  %over = relu %d
  %mine = reduce_sum %over {axes = [2]}
  %repeated = broadcast %mine {shape = [N, 8, 8], dims = [0, 2]}
  %i = iota {axis = 2, dtype = i32, shape = [N, 8, 8]}
  %ends = broadcast %n {shape = [N, 8, 8], dims = [0]}
  %counts = lt %i, %ends
  %zero = constant {value = 0.0, dtype = f32, shape = [N, 8, 8]}
  %kept = select %counts, %repeated, %zero
  %products = mul %kept, %a
  %y = reduce_sum %products {axes = [2]}
  return %mine, %y
}"""


def returned(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {"x": random.standard_normal((rows, 8)).astype(np.float32),
            "n": random.integers(0, 3, rows).astype(np.int32)}  # fmt: skip


def test_what_is_read_in_part_and_returned_is_written_in_full_in_the_simulator() -> None:
    agree(RETURNED, None, **returned(33))


def test_what_is_read_in_part_and_returned_is_written_in_full_on_devices(device: Device) -> None:
    agree(RETURNED, device, **returned(1000))


def blocks(compiled: Compiled) -> list[Kernel]:
    return [variant.launches[0].kernel for variant in compiled.program.together
            if variant.strategy == "block-by-block"]  # fmt: skip


def test_nothing_is_handed_on_in_memory() -> None:
    (kernel,) = blocks(compile_module(parse(LISTS.format(C=16)), CPU_AVX512))
    assert {buffer.name.partition(".")[0] for buffer in kernel.buffers} == {"x", "t", "g", "f_1", "check"}


def lookups(kernel: Kernel) -> int:
    """Loads of which every lane has a place of its own."""
    return sum(isinstance(each, Load) and each.index.width > 1 for each in expressions_in(kernel.body))


def test_what_labels_pick_is_looked_up_once_for_all_kernels() -> None:
    (kernel,) = blocks(compile_module(parse(LISTS.format(C=16)), CPU_AVX512))
    assert lookups(kernel) == 1


# The first kernel looks up as many labels as count in any row, the second all of them.
PICKED = """func @f(%x: f32[N, 8], %t: i32[N, 8], %n: i32[N]) -> (%mine: f32[N, 8], %y: f32[N, 8]) {
  %b = broadcast %x {shape = [N, 8, 8], dims = [0, 2]}
  %g = gather %b, %t {axis = 2}
  %a = broadcast %g {shape = [N, 8, 8], dims = [0, 1]}
  %d = sub %a, %b
  %over = relu %d
  %i = iota {axis = 1, dtype = i32, shape = [N, 8, 8]}
  %ends = broadcast %n {shape = [N, 8, 8], dims = [0]}
  %counts = lt %i, %ends
  %zero = constant {value = 0.0, dtype = f32, shape = [N, 8, 8]}
  %kept = select %counts, %over, %zero
  %mine = reduce_sum %kept {axes = [1]}
  %repeated = broadcast %mine {shape = [N, 8, 8], dims = [0, 2]}
  %products = mul %over, %repeated
  %y = reduce_sum %products {axes = [2]}
  return %mine, %y
}"""


def picked(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {**returned(rows), "t": random.integers(0, 8, (rows, 8)).astype(np.int32)}


def test_what_was_looked_up_in_part_is_looked_up_again() -> None:
    (kernel,) = blocks(compile_module(parse(PICKED), CPU_AVX512))
    assert lookups(kernel) > 1
    agree(PICKED, None, **picked(33))


def test_what_was_looked_up_in_part_is_looked_up_again_on_devices(device: Device) -> None:
    agree(PICKED, device, **picked(1000))


ALL_ROWS = """func @f(%x: f32[N, 16]) -> (f32[N, 16]) {
  %a = broadcast %x {shape = [N, 16, 16], dims = [0, 1]}
  %b = broadcast %x {shape = [N, 16, 16], dims = [0, 2]}
  %d = sub %a, %b
  %o = relu %d
  %m = reduce_sum %o {axes = [2]}
  %t = reduce_sum %m {axes = [0]}
  %u = broadcast %t {shape = [N, 16, 16], dims = [2]}
  %v = mul %u, %o
  %y = reduce_max %v {axes = [1]}
  return %y
}"""


@pytest.mark.parametrize(
    "text",
    [LISTS.format(C=400), LISTS.format(C="C"), ALL_ROWS],
    ids=["rows too long for private arrays", "rows of unknown length", "a sum over all rows between"],
)
def test_what_is_done_step_by_step(text: str) -> None:
    assert not blocks(compile_module(parse(text), CPU_AVX512))


def test_gpus_go_step_by_step() -> None:
    assert not blocks(compile_module(parse(LISTS.format(C=16)), GPU_GENERIC))


# --- sums that stop -----------------------------------------------------------------------------------------

# Pixels of a length that each sequence has of its own.
MASKED = """func @f(%x: f32[B, 40, 32], %n: {T}[B, 32]) -> (f32[B, 32]) {{
  %i = iota {{axis = 1, dtype = {T}, shape = [B, 40, 32]}}
  %ends = broadcast %n {{shape = [B, 40, 32], dims = [0, 2]}}
  %counts = {MASK}
  %zero = constant {{value = {REST}, dtype = f32, shape = [B, 40, 32]}}
  %y = mul %x, %x
  %kept = select %counts, %y, %zero
  %s = {REDUCE} %kept {{axes = [1]}}
  return %s
}}"""
BELOW = "lt %i, %ends"


def masked(dtype: str = "i32", mask: str = BELOW, rest: str = "0.0", reduce: str = "reduce_sum") -> str:
    return MASKED.format(T=dtype, MASK=mask, REST=rest, REDUCE=reduce)


def stops(compiled: Compiled) -> bool:
    return any(isinstance(statement, Let) and statement.var.name.startswith("end_of_columns")
               for kernel in compiled.program.kernels for statement in walk_statements(kernel.body))  # fmt: skip


SEQUENCES = [("i32", BELOW), ("i64", BELOW), ("i32", "gt %ends, %i")]


def _masked_agrees(text: str, dtype: str, device: Device | None) -> None:
    runner = Runner(text, device, "row-lanes")
    assert stops(runner.compiled)
    random = np.random.default_rng(0)
    # Lengths below none and beyond all, too.
    ends = random.integers(-3, 45, (3, 32)).astype({"i32": np.int32, "i64": np.int64}[dtype])
    x = random.standard_normal((3, 40, 32)).astype(np.float32)
    (found,) = runner(x=x, n=ends).values()
    wanted = np.where(np.arange(40)[:, None] < ends[:, None, :], x.astype(float) ** 2, 0).sum(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "mask"), SEQUENCES)
def test_sums_stop_in_the_simulator(dtype: str, mask: str) -> None:
    _masked_agrees(masked(dtype, mask), dtype, None)


@pytest.mark.parametrize(("dtype", "mask"), SEQUENCES)
def test_sums_stop_on_devices(dtype: str, mask: str, device: Device) -> None:
    _masked_agrees(masked(dtype, mask), dtype, device)


@pytest.mark.parametrize(
    "text",
    [masked(rest="1.0"), masked(reduce="reduce_max"), masked(mask="lt %ends, %i"), masked(mask="le %i, %ends")],
    ids=["the rest counts", "a maximum that may be below 0", "the end counts", "one further"],
)
def test_sums_that_go_to_the_end(text: str) -> None:
    assert not stops(compile_module(parse(text), CPU_AVX512, "row-lanes"))


ANY_LARGE = """func @f(%x: f32[B, {C}, 32], %n: i32[B, 32]) -> (i32[B, 32]) {{
  %i = iota {{axis = 1, dtype = i32, shape = [B, {C}, 32]}}
  %ends = broadcast %n {{shape = [B, {C}, 32], dims = [0, 2]}}
  %counts = lt %i, %ends
  %zero = constant {{value = 0.0, dtype = f32, shape = [B, {C}, 32]}}
  %large = gt %x, %zero
  %both = and %counts, %large
  %number = cast %both {{dtype = i32}}
  %any = reduce_max %number {{axes = [1]}}
  return %any
}}"""


@pytest.mark.parametrize("columns", ["40", "C"])
def test_a_maximum_of_conditions_that_stops_is_no_less_than_0(columns: str) -> None:
    runner = Runner(ANY_LARGE.format(C=columns), None, "row-lanes")
    assert stops(runner.compiled)
    (found,) = runner(x=np.ones((1, 40, 32), np.float32), n=np.arange(-16, 16, dtype=np.int32)[None]).values()
    np.testing.assert_array_equal(found, (np.arange(-16, 16) > 0)[None])


def test_the_maximum_of_no_conditions_is_the_least_number(device: Device) -> None:
    for where in (None, device):
        runner = Runner(ANY_LARGE.format(C="C"), where, "row-lanes")
        assert stops(runner.compiled)
        (found,) = runner(x=np.ones((1, 0, 32), np.float32), n=np.zeros((1, 32), np.int32)).values()
        np.testing.assert_array_equal(found, np.full((1, 32), np.iinfo(np.int32).min))
