"""Rows that are stored within longer ones: gradients of losses of some columns, on every executor and strategy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from device_runs import Runner, agree
from functions import PLAIN, evaluate, passes

import lossc
from lossc.compiler import compile_module
from lossc.compiler.emission import vectors
from lossc.compiler.reports.traffic import HANDED, traffic
from lossc.compiler.strategies import strategies
from lossc.ir.diagnostics import CheckFailed
from lossc.ir.kernel import Store, walk_statements
from lossc.ir.parser import parse
from lossc.ir.printer import print_module
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, DeviceInfo
from lossc.ir.types import dim_value, numpy_dtype
from lossc.runtime.device import Device
from lossc.runtime.simulate import Counts, simulate


def loss_of_columns(columns: int | str, start: int | str, stop: int | str, loss: str = "", dtype: str = "f32") -> str:
    """A loss of `x[:, start:stop]`, and its gradient by x."""
    loss = loss or "%loss = cross_entropy_loss %y, %t"
    return f"""func @f(%x: {dtype}[N, {columns}], %t: i32[N]) -> (%loss: f32[1], %g: {dtype}[N, {columns}]) {{
      %y = slice %x {{axis = 1, start = {start}, stop = {stop}}}
      {loss}
      %g = grad %loss, %x
      return %loss, %g
    }}"""


def loss_of_windows(columns: int, windows: list[tuple[int, int]]) -> str:
    """The sum of the losses of some windows, and its gradient by all columns."""
    labels = "".join(f", %t{number}: i32[N]" for number in range(len(windows)))
    lines = [f"%y{n} = slice %x {{axis = 1, start = {a}, stop = {b}}}" for n, (a, b) in enumerate(windows)]
    lines += [f"%l{n} = cross_entropy_loss %y{n}, %t{n}" for n in range(len(windows))]
    lines += [f"%s{n} = add %{'s' if n > 1 else 'l'}{n - 1}, %l{n}" for n in range(1, len(windows))]
    body = "\n      ".join(lines)
    return f"""func @f(%x: f32[N, {columns}]{labels}) -> (%loss: f32[1], %g: f32[N, {columns}]) {{
      {body}
      %g = grad %s{len(windows) - 1}, %x
      return %s{len(windows) - 1}, %g
    }}"""


CASTED = """%wide = cast %y {dtype = f32}
      %loss = cross_entropy_loss %wide, %t"""
SUMS = """%s = softplus %y
      %sum = reduce_sum %s {axes = [0, 1]}
      %loss = reshape %sum {shape = [1]}"""
OF_SOFTMAX = """%s = softmax %y
      %loss = mse_loss %s, %t"""


def by_targets(columns: int | str, *windows: tuple[int | str, int | str, int | str]) -> str:
    """The sum of losses of windows from `start` to `stop`, each with targets of its `size`, and the gradients by all
    columns and by the targets."""
    targets, gradients, lines = "", "", ["%loss0 = constant {value = 0.0, shape = [1], dtype = f32}"]
    for n, (start, stop, size) in enumerate(windows, 1):
        targets += f", %t{n}: f32[N, {size}]"
        gradients += f", %g{n}: f32[N, {size}]"
        lines += [f"%y{n} = slice %x {{axis = 1, start = {start}, stop = {stop}}}", f"%p{n} = softmax %y{n}",
                  f"%l{n} = mse_loss %p{n}, %t{n}", f"%loss{n} = add %loss{n - 1}, %l{n}"]  # fmt: skip
    loss, names = f"%loss{len(windows)}", ["x", *(f"t{n}" for n in range(1, len(windows) + 1))]
    lines += [f"%g{name.strip('tx')} = grad {loss}, %{name}" for name in names]
    results = "".join(f", %g{name.strip('tx')}" for name in names)
    body = "\n      ".join(lines)
    return f"""func @f(%x: f32[N, {columns}]{targets}) -> (%loss: f32[1], %g: f32[N, {columns}]{gradients}) {{
      {body}
      return {loss}{results}
    }}"""


ONE_KERNEL = {
    "in the middle": loss_of_columns(100, 13, 97),
    "in front": loss_of_columns(100, 0, 84),
    "at the end": loss_of_columns(100, 17, 100),
    "of whole vectors": loss_of_columns(160, 32, 128),
    "of whole lines, shifted": loss_of_columns(160, 33, 129),
    "little margins": loss_of_columns(90, 1, 87),
    "little rows": loss_of_columns(30, 20, 23),
    "a vector": loss_of_columns(48, 9, 25),
    "two columns": loss_of_columns(21, 5, 7),
    "large margins": loss_of_columns(3000, 1490, 1507),
    "long rows": loss_of_columns(70000, 21, 69000),
    "doubles": loss_of_columns(70, 3, 68, "%loss = log_cosh_loss %y, %y", "f64").replace("loss: f32", "loss: f64"),
    "halves": loss_of_columns(100, 13, 97, CASTED, "f16"),
    "short floats": loss_of_columns(100, 13, 97, CASTED, "bf16"),
    "no row reductions": loss_of_columns(100, 13, 97, SUMS),
    "more axes": """func @f(%x: f32[N, 3, 50], %t: i32[N, 3]) -> (%loss: f32[1], %g: f32[N, 3, 50]) {
      %y = slice %x {axis = 2, start = 9, stop = 41}
      %loss = cross_entropy_loss %y, %t {axis = 2}
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "one column": loss_of_columns(21, 5, 6, SUMS),
    "pixels": """func @f(%x: f32[N, 9, 4, 6], %t: i32[N, 4, 6]) -> (%loss: f32[1], %g: f32[N, 9, 4, 6]) {
      %y = slice %x {axis = 1, start = 1, stop = 7}
      %loss = cross_entropy_loss %y, %t
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "two windows": loss_of_windows(30, [(0, 10), (10, 30)]),
    "windows of one size": loss_of_windows(64, [(0, 32), (32, 64)]),
    "gaps": loss_of_windows(1000, [(96, 400), (512, 800)]),
    "overlaps": loss_of_windows(100, [(0, 60), (40, 100)]),
    "one within the other": loss_of_windows(100, [(0, 100), (40, 60)]),
    "five windows": loss_of_windows(200, [(0, 40), (40, 90), (90, 120), (120, 170), (170, 200)]),
    "long windows": loss_of_windows(70000, [(0, 30000), (30000, 70000)]),
    "a column and others": """func @f(%x: f32[N, 30], %t: i32[N], %p: f32[N, 1]) -> (%loss: f32[1], %g: f32[N, 30]) {
      %y = slice %x {axis = 1, stop = 29}
      %z = slice %x {axis = 1, start = 29}
      %class = cross_entropy_loss %y, %t
      %there = bce_with_logits_loss %z, %p
      %loss = add %class, %there
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "boxes": """func @f(%x: f32[N, 85], %t: i32[N], %p: f32[N, 1], %box: f32[N, 4]) -> (%loss: f32[1], %g: f32[N, 85]) {
      %a = slice %x {axis = 1, stop = 4}
      %b = slice %x {axis = 1, start = 4, stop = 5}
      %c = slice %x {axis = 1, start = 5}
      %where = smooth_l1_loss %a, %box
      %there = bce_with_logits_loss %b, %p
      %class = cross_entropy_loss %c, %t
      %both = add %where, %there
      %loss = add %both, %class
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "targets of one": by_targets(100, (13, 97, 84)),
    "targets of whole vectors": by_targets(160, (32, 128, 96)),
    "targets of three columns": by_targets(30, (7, 10, 3)),
    "targets of two": by_targets(30, (0, 10, 10), (10, 30, 20)),
    "targets of long ones": by_targets(70000, (0, 30001, 30001), (30001, 70000, 39999)),
    "a third": by_targets("3*C", ("C", "2*C", "C")),
    "thirds": by_targets("3*C", (0, "C", "C"), ("C", "2*C", "C"), ("2*C", "3*C", "C")),
    "as it is and within": """func @f(%x: f32[N, 50]) -> (%s: f32[N, 50], %p: f32[N, 59]) {
      %s = softmax %x
      %p = pad %s {axis = 1, before = 9}
      return %s, %p
    }""",
    "a part as well": """func @f(%x: f16[N, 50]) -> (%s: f32[N, 50], %p: f16[N, 20], %b: bf16[N, 20], %c: bool[N, 20]) {
      %wide = cast %x {dtype = f32}
      %s = softmax %wide
      %y = slice %s {axis = 1, start = 9, stop = 29}
      %p = cast %y {dtype = f16}
      %b = cast %y {dtype = bf16}
      %c = gt %y, 0.02
      return %s, %p, %b, %c
    }""",
    "windows of pixels": """func @f(
      %x: f32[N, 9, 4, 6], %s: i32[N, 4, 6], %t: i32[N, 4, 6]
    ) -> (%loss: f32[1], %g: f32[N, 9, 4, 6]) {
      %y = slice %x {axis = 1, stop = 4}
      %z = slice %x {axis = 1, start = 4}
      %a = cross_entropy_loss %y, %s
      %b = cross_entropy_loss %z, %t
      %loss = add %a, %b
      %g = grad %loss, %x
      return %loss, %g
    }""",
}
"""Functions that become one kernel, with the fewest bytes."""

ELSEWHERE = {
    "along two axes": """func @f(%x: f32[N, 20, 30], %t: f32[N, 8, 4]) -> (%loss: f32[1], %g: f32[N, 20, 30]) {
      %a = slice %x {axis = 1, start = 2, stop = 10}
      %y = slice %a {axis = 2, start = 5, stop = 9}
      %s = softmax %y
      %loss = mse_loss %s, %t
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "a constant beside": """func @f(%x: f32[N, 50], %w: f32[N, 41]) -> (%p: f32[N, 80], %m: f32[N]) {
      %y = slice %x {axis = 1, start = 9}
      %s = softmax %y
      %e = mul %s, %w
      %p = pad %e {axis = 1, before = 7, after = 32, value = -1.5}
      %m = reduce_sum %e {axes = [1]}
      return %p, %m
    }""",
    "what is beside counts": """func @f(%x: f32[N, 30]) -> (%p: f32[N, 30], %m: f32[N]) {
      %y = slice %x {axis = 1, start = 5, stop = 20}
      %s = softmax %y
      %p = pad %s {axis = 1, before = 5, after = 10, value = 1.5}
      %m = reduce_sum %p {axes = [1]}
      return %p, %m
    }""",
    "two results": """func @f(%x: f32[N, 50], %z: f32[N, 50]) -> (%p: f32[N, 53], %q: f32[N, 59]) {
      %s = softmax %x
      %e = mul %s, %z
      %p = pad %s {axis = 1, before = 2, after = 1, value = 2.5}
      %q = pad %e {axis = 1, before = 9}
      return %p, %q
    }""",
    "margins of rows": """func @f(%x: f32[12, 40]) -> (%loss: f32[1], %g: f32[12, 40]) {
      %y = slice %x {axis = 0, start = 2, stop = 9}
      %m = logsumexp %y {axis = 1}
      %sum = reduce_sum %m {axes = [0]}
      %loss = reshape %sum {shape = [1]}
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "padded classes": """func @f(
      %x: f32[N, 100], %w: f32[C], %t: i32[N]
    ) -> (%loss: f32[1], %g: f32[N, 100], %h: f32[C]) {
      %class = iota {axis = 1, dtype = i32, shape = [N, 100]}
      %wide = size {of = [C]}
      %size = cast %wide {dtype = i32}
      %count = broadcast %size {dims = [], shape = [N, 100]}
      %is_one = lt %class, %count
      %y = select %is_one, %x, -100.0
      %loss = cross_entropy_loss %y, %t
      %g = grad %loss, %x
      %h = exp %w
      return %loss, %g, %h
    }""",
    "read as well": """func @f(%x: f32[N, 50], %z: f32[N, 59]) -> (%q: f32[N, 59], %p: f32[N, 59]) {
      %s = softmax %x
      %p = pad %s {axis = 1, before = 9}
      %q = mul %p, %z
      return %q, %p
    }""",
}
"""Functions that store what is beside a window in other ways, or look at more than they need."""

CASES = {**ONE_KERNEL, **ELSEWHERE}

DEVICES = (CPU_AVX512, replace(GPU_GENERIC, has_f64=True))


def _given(text: str, *sizes: int) -> list[dict[str, np.ndarray]]:
    random, inputs = np.random.default_rng(3), parse(text).entry.inputs
    found = []
    for size in sizes or (1, 5, 33):
        arrays = {}
        for value in inputs:
            shape = tuple(dim_value(dim, {"N": size, "C": 4 * size + 3}) for dim in value.type.shape)
            draw = random.integers(0, 2, shape) if value.type.dtype == "i32" else random.normal(size=shape)
            arrays[value.name] = draw.astype(numpy_dtype(value.type.dtype))
        found.append(arrays)
    return found


def _bound(name: str) -> float:
    return 1e-2 if name in ("halves", "short floats", "a part as well") else 5e-5


def _agrees(runner: Runner, name: str, text: str, given: list[dict[str, np.ndarray]]) -> None:
    """With the interpreter; and everything is stored, whatever lay there."""
    agree(runner, text, given, _bound(name))
    assert runner.executable is not None
    found = runner(**given[-1])
    there = {output: lossc.empty(array.shape, array.dtype) for output, array in found.items()}
    for array in there.values():
        array[:] = 77
    runner.executable(given[-1], out=there)
    for output, array in there.items():
        np.testing.assert_array_equal(array, found[output], err_msg=output)


@pytest.mark.parametrize("name", CASES)
def test_kernels_agree_with_the_interpreter(name: str, device: Device):
    _agrees(Runner(CASES[name], device), name, CASES[name], _given(CASES[name]))


@pytest.mark.parametrize("name", ONE_KERNEL)
@pytest.mark.parametrize("info", DEVICES, ids=["cpu", "gpu"])
def test_one_kernel_moves_the_fewest_bytes(name: str, info: DeviceInfo):
    compiled = compile_module(parse(ONE_KERNEL[name]), info)
    assert len(compiled.program.steps) == 1
    found = traffic(compiled, {"N": 33, "C": 135})
    # Of 33 rows some are still in the cache when their next pass begins, if they are not that long.
    assert "long" in name or found.bytes - found.because(HANDED) == found.fewest


@pytest.mark.parametrize("strategy", strategies())
def test_simulated_kernels_of_every_strategy(strategy: str):
    """In memory that is poisoned before; for CPUs and GPUs in turn, so that each case and each strategy meets both."""
    for number, (name, text) in enumerate(CASES.items(), list(strategies()).index(strategy)):
        if "long" in name:
            continue
        compiled = compile_module(parse(text), DEVICES[number % 2], strategy)
        arrays = _given(text)[1]
        if strategy in {choice.strategy for choice in compiled.lowered.choices.values()}:
            reference = passes(parse(text).entry, PLAIN)
            for array, wanted in zip(simulate(compiled.program, arrays), evaluate(reference, arrays)):
                np.testing.assert_allclose(array, wanted, rtol=_bound(name), atol=2e-6, err_msg=name)


IN_LINES = {
    "in the middle": ONE_KERNEL["in the middle"],
    "anywhere in a line": loss_of_columns(117, 20, 97),
    "a line between": loss_of_columns(107, 9, 100),
    "hardly a line between": loss_of_columns(106, 9, 100),
    "in front of lines": loss_of_columns(128, 0, 100),
    "at the end of lines": loss_of_columns(144, 23, 144),
    "whole lines": loss_of_columns(128, 16, 112),
    "with targets": loss_of_columns(117, 20, 97, OF_SOFTMAX).replace("%t: i32[N]", "%t: f32[N, 77]"),
    "sums beside": loss_of_columns(160, 32, 128, SUMS),
    "padded classes": ELSEWHERE["padded classes"],
    "other columns": """func @f(%x: f32[N, 77], %w: f32[N, 77]) -> (%p: f32[N, 117]) {
      %s = softmax %x
      %e = mul %s, %w
      %p = pad %e {axis = 1, before = 33, after = 7, value = -1.5}
      return %p
    }""",
}


@pytest.mark.parametrize("name", IN_LINES)
def test_margins_past_the_cache(name: str, device: Device, monkeypatch: pytest.MonkeyPatch):
    """However few there are; and in memory that is poisoned."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    text = IN_LINES[name]
    given = _given(text, 1, 5, 20)
    _agrees(Runner(text, device, "row-pipeline"), name, text, given)
    agree(Runner(text, None, "row-pipeline"), text, given[-1:], _bound(name))


@pytest.mark.parametrize("name", ["anywhere in a line", "a line between", "in front of lines", "whole lines"])
def test_whole_lines_go_past_the_cache(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    compiled = compile_module(parse(IN_LINES[name]), CPU_AVX512, "row-pipeline")
    kernels = [launch.kernel for step in compiled.program.steps for v in step.variants for launch in v.launches]
    stores = [s for kernel in kernels for s in walk_statements(kernel.body) if isinstance(s, Store)]
    assert any(store.nontemporal for store in stores if store.buffer == "g")


@pytest.mark.parametrize("strategy", ["row-item", "row-lanes", "row-group", "pixel-item"])
def test_a_check_tells_where_in_its_window_it_fails(strategy: str):
    text = """func @f(%x: f32[N, 40], %t: f32[N, 20], %u: i32[N]) -> (%loss: f32[1], %g: f32[N, 40]) {
      %y = slice %x {axis = 1, start = 7, stop = 27}
      %z = slice %x {axis = 1, start = 20}
      %a = bce_loss %y, %t
      %b = cross_entropy_loss %z, %u
      %loss = add %a, %b
      %g = grad %loss, %x
      return %loss, %g
    }"""
    compiled = compile_module(parse(text), GPU_GENERIC if strategy == "row-group" else CPU_AVX512, strategy)
    assert [choice.strategy for choice in compiled.lowered.choices.values()] == [strategy]
    arrays = {"x": np.full((33, 40), 0.5, "f4"), "t": np.zeros((33, 20), "f4"), "u": np.zeros(33, "i4")}
    arrays["x"][3, 2] = 9  # beside the window
    simulate(compiled.program, arrays)
    arrays["x"][6, 7 + 13] = 9
    with pytest.raises(CheckFailed, match=r"\[6, 13\]"):
        simulate(compiled.program, arrays)


def test_loads_and_stores_are_those_of_the_certificate():
    """A window is read once, a row with its margins stored once."""
    compiled, counts = compile_module(parse(loss_of_columns(160, 32, 128)), CPU_AVX512), Counts()
    arrays = _given(loss_of_columns(160, 32, 128))[-1]
    simulate(compiled.program, arrays, counts=counts)
    assert (counts.bytes_read["x"], counts.bytes_written["g"]) == (33 * 96 * 4, 33 * 160 * 4)
    assert counts.bytes_stored["g"] == counts.bytes_written["g"]


@pytest.mark.parametrize("name", ["in the middle", "two windows"])
def test_a_kernel_under_masks_reads_back(name: str):
    """As text it has its windows: masks are how it is computed."""
    compiled = compile_module(parse(ONE_KERNEL[name]), CPU_AVX512)
    text = print_module(compiled.outlined.module)
    again = compile_module(parse(text), CPU_AVX512)
    assert print_module(again.outlined.module) == text
    assert "slice" in text
    assert "pad" in text
