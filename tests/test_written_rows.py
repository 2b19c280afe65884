"""Rows that are only written, but for an element that each picks, go past the cache wherever they start in a line."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner, agree

from lossc.compiler.emission import vectors
from lossc.ir.kernel import Store, walk_statements
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate
from lossc.runtime.simulated_memory import Counts

ROWS = """func @f(%x: f32[N, {C}], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
  %loss = nll_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}}"""
WEIGHTED = """func @f(%x: f32[N, M, {C}], %t: i32[N, M], %w: f32[{C}]) -> (%loss: f32[N, M], %g: f32[N, M, {C}]) {{
  %loss = nll_loss %x, %t, %w {{axis = -1, reduction = "none"}}
  %g = grad %loss, %x
  return %loss, %g
}}"""
READ = """func @f(%x: f32[N, {C}], %r: f32[N]) -> (%y: f32[N, {C}]) {{
  %b = broadcast %r {{dims = [0], shape = [N, {C}]}}
  %y = mul %x, %b
  return %y
}}"""


def arrays_for(columns: int, *rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(sum(rows) + columns)
    arrays = {
        "x": random.standard_normal((*rows, columns)).astype(np.float32),
        "t": random.integers(0, columns, rows).astype(np.int32),
    }
    return arrays if len(rows) == 1 else {**arrays, "w": random.random(columns).astype(np.float32)}


def past_cache(runner: Runner) -> bool:
    """Whether the kernel of rows has stores past the cache."""
    kernels = [kernel for kernel in runner.compiled.program.kernels if "_row_item" in kernel.name]
    return any(isinstance(each, Store) and each.nontemporal
               for kernel in kernels for each in walk_statements(kernel.body))  # fmt: skip


@pytest.mark.parametrize("columns", [33, 40, 47, 100])
@pytest.mark.parametrize("text", [ROWS, WEIGHTED])
def test_rows_that_share_lines(text: str, columns: int, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    text = text.format(C=columns)
    simulated = Runner(text, None, "row-item")
    assert past_cache(simulated)
    one_axis = "%w" not in text
    sizes = [(1,), (2,), (15,), (16,), (50,)] if one_axis else [(1, 1), (3, 17)]
    agree(simulated, text, (arrays_for(columns, *size) for size in sizes), rtol=1e-5)
    more = [(0,), (300,), (1027,)] if one_axis else [(0, 2), (20, 33)]
    agree(Runner(text, device, "row-item"), text, (arrays_for(columns, *size) for size in sizes + more), rtol=1e-5)


def test_every_element_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the last vector of all, which overlaps the one before."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    counts = Counts()
    simulate(Runner(ROWS.format(C=40), None, "row-item").compiled.program, arrays_for(40, 21), counts=counts)
    assert 21 * 40 <= counts.stored["g"] <= 21 * 40 + 16


def test_rows_that_are_read_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result in its operand's place would be stored over what the next row has yet to read."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    assert not past_cache(Runner(READ.format(C=40), None, "row-item"))
    assert past_cache(Runner(READ.format(C=48), None, "row-item"))
