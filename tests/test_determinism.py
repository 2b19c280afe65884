"""The same answer every time: the same bits from the same program, the same program from the same text."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from device_runs import Runner

from lossc.compiler import compile_module
from lossc.compiler.strategies import strategies
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512, PRESETS
from lossc.runtime.device import Device

RUNS = 12

# Programs with every kind of reduction: rows, columns (the weights' gradients), whole sums over many work-items,
# products, checks.
PROGRAMS = {
    "cross entropy": """func @f(%x: f32[N, 1000], %t: i32[N], %w: f32[1000])
        -> (%loss: f32[1], %gx: f32[N, 1000], %gw: f32[1000]) {
      %loss = cross_entropy_loss %x, %t, %w {ignore_index = 3, label_smoothing = 0.1}
      %gx, %gw = grad %loss, %x, %w
      return %loss, %gx, %gw
    }""",
    "pixels": """func @f(%x: f32[N, 21, 13, 11], %t: i32[N, 13, 11]) -> (%loss: f32[1], %g: f32[N, 21, 13, 11]) {
      %loss = cross_entropy_loss %x, %t {ignore_index = 3}
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "bce": """func @f(%x: f32[N, 1000], %t: f32[N, 1000], %w: f32[1000])
        -> (%loss: f32[1], %gx: f32[N, 1000], %gw: f32[1000]) {
      %loss = bce_with_logits_loss %x, %t, %w
      %gx, %gw = grad %loss, %x, %w
      return %loss, %gx, %gw
    }""",
    "short rows": """func @f(%x: f32[N, 10], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, 10]) {
      %loss = cross_entropy_loss %x, %t
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "short rows of three": """func @f(%x: f32[N, 10], %y: f32[N, 10], %z: f32[N, 10])
        -> (%loss: f32[1], %gx: f32[N, 10], %gy: f32[N, 10], %gz: f32[N, 10]) {
      %loss = triplet_loss %x, %y, %z
      %gx, %gy, %gz = grad %loss, %x, %y, %z
      return %loss, %gx, %gy, %gz
    }""",
    "long rows": """func @f(%x: f32[1, 70000], %t: i32[1]) -> (%loss: f32[1], %g: f32[1, 70000]) {
      %loss = cross_entropy_loss %x, %t
      %g = grad %loss, %x
      return %loss, %g
    }""",
    "layers": """func @f(%x: f32[N, 30], %t: i32[N], %w: f32[21, 30], %b: f32[21])
        -> (%loss: f32[1], %gw: f32[21, 30], %gb: f32[21]) {
      %y = linear %x, %w, %b
      %loss = cross_entropy_loss %y, %t
      %gw, %gb = grad %loss, %w, %b
      return %loss, %gw, %gb
    }""",
}


OTHER = """func @f(%x: f32[N, C]) -> (f32[1]) {
  %loss = l2_loss %x {reduction = "sum"}
  return %loss
}"""


def arrays_for(runner: Runner, rows: int = 97) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    found = {}
    for name, type_ in runner.compiled.program.inputs:
        shape = tuple(size if isinstance(size, int) else rows for size in type_.shape)
        labels = type_.dtype == "i32"
        values = generator.integers(0, 10, shape) if labels else generator.uniform(0.1, 2, shape)
        found[name] = values.astype(np.int32 if labels else np.float32)
    return found


def digest(results: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in results.values())).hexdigest()


def taken(name: str) -> list[str]:
    """The strategies that some kernel of a program can be lowered with."""
    compiled = compile_module(parse(PROGRAMS[name]), CPU_AVX512)
    choices = compiled.lowered.choices.values()
    priced = {s for choice in choices for s, reason in choice.against.items() if reason.startswith("costs")}
    return sorted({choice.strategy for choice in choices} | priced)


CASES = [(name, None) for name in PROGRAMS] + [
    (name, s) for name in ("cross entropy", "short rows", "long rows", "layers") for s in taken(name)
]


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_the_same_bits_every_time(name: str, strategy: str | None, device: Device) -> None:
    """Of one compiled program on one device, whatever else ran before: itself, itself with fewer rows, another program,
    calls that leave other memory free."""
    runner, other = Runner(PROGRAMS[name], device, strategy), Runner(OTHER, device)
    if strategy is not None:
        assert strategy in {choice.strategy for choice in runner.compiled.lowered.choices.values()}
    arrays, few = arrays_for(runner), arrays_for(runner, 3)
    found = {digest(runner(**arrays)) for _ in range(RUNS)}
    held = []
    for number in range(RUNS):
        runner(**few)
        held.append(other(x=np.full((number + 1, 7 * number + 1), 1.5, np.float32)))
        found.add(digest(runner(**arrays)))
    assert len(found) == 1


def test_every_strategy_is_met() -> None:
    assert {strategy for _, strategy in CASES} == {None, *strategies()}


@pytest.mark.parametrize("name", ["cross entropy", "layers"])
def test_the_same_bits_from_several_threads(name: str, device: Device) -> None:
    """And from a program compiled anew."""
    runner = Runner(PROGRAMS[name], device)
    arrays = arrays_for(runner)
    found = {digest(Runner(PROGRAMS[name], device)(**arrays))}

    def work() -> None:
        for _ in range(RUNS):
            found.add(digest(runner(**arrays)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


PRINT_SOURCES = """
import hashlib
from lossc.compiler import compile_module
from lossc.ir.kernel_printer import print_kernel
from lossc.ir.parser import parse
from lossc.ir.printer import print_module
from lossc.ir.target import PRESETS
import test_determinism
for text in test_determinism.PROGRAMS.values():
    for device in PRESETS.values():
        compiled = compile_module(parse(text), device)
        levels = [print_module(compiled.prepared), print_module(compiled.outlined.module)]
        levels += [print_kernel(kernel) for kernel in compiled.program.kernels]
        levels += compiled.sources().values()
        print(hashlib.sha256("".join(levels).encode()).hexdigest())
"""


def test_the_same_source_in_every_process() -> None:
    """Whatever the hash seed: else a cache on disk would be useless and no dump comparable."""
    here = os.path.dirname(__file__)
    found = []
    for seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": here}
        done = subprocess.run([sys.executable, "-c", PRINT_SOURCES], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert len(found[0].split()) == len(PRESETS) * len(PROGRAMS)
    assert found[0] == found[1] == found[2]


def test_the_order_of_rows_does_not_matter(device: Device) -> None:
    """What a row gives depends on that row alone, wherever it stands and however many there are."""
    source = """func @f(%x: f32[N, 100], %t: i32[N]) -> (%loss: f32[N], %g: f32[N, 100]) {
      %loss = cross_entropy_loss %x, %t {reduction = "none"}
      %g = grad %loss, %x
      return %loss, %g
    }"""
    runner = Runner(source, device)
    arrays = arrays_for(runner, 64)
    order = np.random.default_rng(1).permutation(64)
    there = runner(**arrays)
    back = runner(**{name: np.ascontiguousarray(array[order]) for name, array in arrays.items()})
    few = runner(**{name: np.ascontiguousarray(array[:3]) for name, array in arrays.items()})
    for name, array in there.items():
        np.testing.assert_array_equal(array[order], back[name])
        np.testing.assert_array_equal(array[:3], few[name])
