"""Sums along the pixels of what waits for a reduction along the classes: one kernel for both on CPUs, small quotients
computed once, and what is known of a maximum that another kernel has stored."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner
from functions import PLAIN, evaluate, passes

from lossc.compiler import Compiled, compile_module
from lossc.compiler.fusion.across import LONGEST_LINE, MOST_COLUMNS
from lossc.ir.kernel import Apply, expressions_in
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.runtime.device import Device

DICE = """func @f(%x: f32[N, {C}, {P}], %t: i32[N, {P}]) -> (%loss: f32[1], %g: f32[N, {C}, {P}]) {{
  %loss = dice_loss %x, %t {{from_logits = true}}
  %g = grad %loss, %x
  return %loss, %g
}}"""


def dice(classes: int, pixels: str) -> str:
    return DICE.format(C=classes, P=pixels)


def across(compiled: Compiled) -> list[int]:
    """How many sums across its rows each kernel takes."""
    return [len(schedule.across) for schedule in compiled.outlined.schedules.values()]


def agree(text: str, shape: tuple[int, ...], device: Device | None) -> None:
    runner = Runner(text, device)
    assert sum(across(runner.compiled)) == 2
    random = np.random.default_rng(shape[-1])
    x = random.standard_normal(shape).astype(np.float32) * 4
    t = random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    found = runner(x=x, t=t)
    reference = evaluate(passes(parse(text).entry, PLAIN), {"x": x, "t": t})
    for (output, _), wanted in zip(runner.compiled.program.outputs, reference):
        np.testing.assert_allclose(found[output], wanted, rtol=2e-5, atol=2e-7, err_msg=output)


# Whole blocks; a line shorter than a block; blocks that overlap, whose pixels count once.
LINES = [(3, 64), (2, 32), (1, 33), (2, 100)]


@pytest.mark.parametrize(("height", "width"), LINES)
def test_in_the_simulator(height: int, width: int) -> None:
    agree(dice(5, f"{height}, {width}"), (2, 5, height, width), None)


def test_one_line_an_image_in_the_simulator() -> None:
    agree(dice(3, "48"), (3, 3, 48), None)


@pytest.mark.parametrize(("height", "width"), [*LINES, (64, 256)])
def test_on_devices(height: int, width: int, device: Device) -> None:
    agree(dice(21, f"{height}, {width}"), (3, 21, height, width), device)


ONE_AXIS = """func @f(%x: f32[N, 5, 64], %y: f32[N, 5, 64]) -> (f32[N, 5], f32[N, 5]) {
  %p = softmax %x {axis = 1}
  %a = reduce_sum %p {axes = [2]}
  %q = mul %x, %y
  %b = reduce_sum %q {axes = [2]}
  return %a, %b
}"""
TWO_AXES = """func @f(%x: f32[N, 5, 3, 64], %y: f32[N, 5, 3, 64]) -> (f32[N, 5], f32[N, 5]) {
  %p = softmax %x {axis = 1}
  %a = reduce_sum %p {axes = [2, 3]}
  %m = reduce_max %x {axes = [1]}
  %mb = broadcast %m {shape = [N, 5, 3, 64], dims = [0, 2, 3]}
  %d = sub %x, %mb
  %q = mul %d, %y
  %b = reduce_sum %q {axes = [2, 3]}
  return %a, %b
}"""


def sums_of_two_passes(text: str, shape: tuple[int, ...], device: Device | None) -> None:
    """Passes are on different lines when one of them ends its own."""
    runner = Runner(text, device)
    assert max(across(runner.compiled)) == 2
    random = np.random.default_rng(0)
    given = {name: random.standard_normal(shape).astype(np.float32) for name in "xy"}
    found = runner(**given)
    reference = evaluate(passes(parse(text).entry, PLAIN), given)
    for (output, _), wanted in zip(runner.compiled.program.outputs, reference):
        np.testing.assert_allclose(found[output], wanted, rtol=2e-5, atol=2e-5, err_msg=output)


TWO_PASSES = pytest.mark.parametrize(("text", "shape"), [(ONE_AXIS, (7, 5, 64)), (TWO_AXES, (2, 5, 3, 64))],
                                     ids=["one axis", "two axes"])  # fmt: skip


@TWO_PASSES
def test_sums_that_end_in_different_passes_in_the_simulator(text: str, shape: tuple[int, ...]) -> None:
    sums_of_two_passes(text, shape, None)


@TWO_PASSES
def test_sums_that_end_in_different_passes_on_devices(text: str, shape: tuple[int, ...], device: Device) -> None:
    sums_of_two_passes(text, shape, device)


SIX_SOFTMAXES = """func @f(%x: f32[N, 128, 64]) -> (f32[N, 128]) {
  %a = softmax %x {axis = 1}
  %b = softmax %a {axis = 1}
  %c = softmax %b {axis = 1}
  %d = softmax %c {axis = 1}
  %e = softmax %d {axis = 1}
  %p = softmax %e {axis = 1}
  %r = reduce_sum %p {axes = [2]}
  return %r
}"""


def test_a_kernel_whose_waiting_rows_are_large_is_still_built() -> None:
    compiled = compile_module(parse(SIX_SOFTMAXES), CPU_AVX512)
    assert across(compiled) == [1]


def test_softmax_and_its_sums_are_one_kernel() -> None:
    """Two kernels go by the logits, one of them by lines' sums, in place of three that go by the logits."""
    compiled = compile_module(parse(dice(21, "64, 64")), CPU_AVX512)
    reading = [sum(value.type.rank == 4 for value in schedule.function.inputs)
               for schedule in compiled.outlined.schedules.values()]  # fmt: skip
    assert reading == [1, 0, 1]
    assert across(compiled) == [2, 0, 0]


@pytest.mark.parametrize(
    "text",
    [dice(21, f"2, {2 * LONGEST_LINE}"), dice(MOST_COLUMNS + 1, "64, 64"), dice(21, "4, 16"), dice(21, "H, W")],
    ids=["long lines", "many classes", "short lines", "lines of unknown length"],
)
def test_sums_that_no_accumulators_fit_stay_apart(text: str) -> None:
    assert sum(across(compile_module(parse(text), CPU_AVX512))) == 0


def test_gpus_have_no_such_kernel() -> None:
    assert sum(across(compile_module(parse(dice(21, "64, 64")), GPU_GENERIC))) == 0


def _of_gradient(compiled: Compiled) -> list[Apply]:
    """The operations of the kernel that stores the gradient."""
    (kernel, *_) = [kernel for kernel in compiled.program.kernels
                    if any(buffer.name == "g" and buffer.access == "write" for buffer in kernel.buffers)]  # fmt: skip
    return [each for each in expressions_in(kernel.body) if isinstance(each, Apply)]


def test_a_quotient_for_each_class_is_not_computed_at_each_pixel() -> None:
    divisions = [op for op in _of_gradient(compile_module(parse(dice(21, "64, 64")), CPU_AVX512))
                 if op.op == "div" and op.dtype == "f32"]  # fmt: skip
    assert divisions
    assert all(op.width > 1 for op in divisions)


def test_a_stored_maximum_is_still_known_to_be_one() -> None:
    """exp(x - max) takes the cheap exponential of what is not positive, not the driver's."""
    assert not [op for op in _of_gradient(compile_module(parse(dice(21, "64, 64")), CPU_AVX512)) if op.op == "exp"]


MAXIMA = """func @f(%x: f32[N, 5, 64], %y: f32[N, 5, 64]) -> (f32[N, 5], f32[N, 64]) {
  %m = reduce_max %x {axes = [1]}
  %mb = broadcast %m {shape = [N, 5, 64], dims = [0, 2]}
  %d = sub %x, %mb
  %q = mul %d, %y
  %b = reduce_sum %q {axes = [2]}
  %e = exp %d
  %s = reduce_sum %e {axes = [1]}
  return %b, %s
}"""


@pytest.mark.parametrize(("text", "names"), [(MAXIMA, "xy"), (dice(5, "3, 64"), "x")], ids=["one kernel", "two"])
def test_no_sum_across_loses_a_nan(text: str, names: str, device: Device) -> None:
    """A maximum that misses it is one from which the NaN comes back in every sum."""
    random = np.random.default_rng(0)
    shape = (3, 5, 64) if names == "xy" else (3, 5, 3, 64)
    given: dict[str, np.ndarray] = {name: random.standard_normal(shape).astype(np.float32) for name in names}
    given["x"].reshape(3, 5, -1)[1, 2, 7] = np.nan
    if names == "x":
        given["t"] = random.integers(0, 5, (3, 3, 64)).astype(np.int32)
    reference = evaluate(passes(parse(text).entry, PLAIN), given)
    for where in (None, device):
        runner = Runner(text, where)
        found = runner(**given)
        for (output, _), wanted in zip(runner.compiled.program.outputs, reference):
            np.testing.assert_array_equal(np.isnan(found[output]), np.isnan(wanted), err_msg=output)


ROWS_AND_COLUMNS = """func @f(%x: f32[16, 16]) -> (f32[16, 16]) {{
  %m = reduce_max %x {{axes = [1]}}
  %mb = broadcast %m {{shape = [16, 16], dims = [0]}}
  %d = sub %x, %mb
  %e = exp %d
  %s = reduce_sum %e {{axes = [1]}}
  %over_rows = reduce_sum %d {{axes = [0]}}
  %a = broadcast %{A} {{shape = [16, 16], dims = [{ROW_OF_A}]}}
  %b = broadcast %{B} {{shape = [16, 16], dims = [{ROW_OF_B}]}}
  %y = sub %a, %b
  return %y
}}"""


@pytest.mark.parametrize(
    ("a", "row_of_a", "b", "row_of_b"),
    [("m", 0, "s", 1), ("m", 1, "s", 0), ("over_rows", 0, "s", 0)],
    ids=["the sum lies across", "the maximum lies across", "a sum of all rows"],
)
def test_no_nan_is_lost_where_rows_meet_other_rows(a: str, row_of_a: int, b: str, row_of_b: int) -> None:
    """A NaN of one place does not stand for that of another."""
    text = ROWS_AND_COLUMNS.format(A=a, ROW_OF_A=row_of_a, B=b, ROW_OF_B=row_of_b)
    x = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    x[3, 5] = np.nan
    (wanted,) = evaluate(passes(parse(text).entry, PLAIN), {"x": x})
    (found,) = Runner(text, None)(x=x).values()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))


def test_a_maximum_that_is_stored_may_miss_a_nan_where_that_comes_back() -> None:
    compiled = compile_module(parse(dice(21, "64, 64")), CPU_AVX512)
    assert [len(schedule.missing) for schedule in compiled.outlined.schedules.values()] == [1, 0, 0]


def test_sums_of_tensors_with_nothing_in_common_are_one_loop() -> None:
    text = """func @f(%x: f32[N, 40], %y: f32[N, 40]) -> (f32[N]) {
      %a = reduce_sum %x {axes = [1]}
      %b = reduce_sum %y {axes = [1]}
      %c = mul %a, %b
      return %c
    }"""
    runner = Runner(text, None)
    assert len(runner.compiled.outlined.schedules) == 1
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((20, 40)).astype(np.float32) for _ in range(2))
    (found,) = runner(x=x, y=y).values()
    np.testing.assert_allclose(found, x.sum(1) * y.sum(1), rtol=1e-4, atol=1e-5)
