"""Rows that take one pass go past the cache wherever they start in a line: the line that two share is stored once."""

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
SUMMED = """func @f(%x: f32[N, {C}], %t: i32[N], %w: f32[N], %v: f32[{C}]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
  %r = broadcast %w {{dims = [0], shape = [N, {C}]}}
  %c = broadcast %v {{dims = [1], shape = [N, {C}]}}
  %d = sub %x, %c
  %s = mul %d, %d
  %y = mul %s, %r
  %total = reduce_sum %y {{axes = [0, 1]}}
  %loss = reshape %total {{shape = [1]}}
  %g = grad %loss, %x
  return %loss, %g
}}"""
TURNED = """func @f(%x: f32[{C}, N], %r: f32[N]) -> (%y: f32[N, {C}]) {{
  %z = transpose %x {{permutation = [1, 0]}}
  %b = broadcast %r {{dims = [0], shape = [N, {C}]}}
  %y = mul %z, %b
  return %y
}}"""


def arrays_for(text: str, columns: int, *rows: int) -> dict[str, np.ndarray]:
    """Arrays for the inputs of a text."""
    random = np.random.default_rng(sum(rows) + columns)
    arrays = {
        "x": random.standard_normal((*rows, columns)).astype(np.float32),
        "t": random.integers(0, columns, rows).astype(np.int32),
        "w": random.random(rows[0] if len(rows) == 1 else columns).astype(np.float32),
        "v": random.random(columns).astype(np.float32),
    }
    return {name: array for name, array in arrays.items() if f"%{name}: " in text}


def past_cache(runner: Runner) -> bool:
    """Whether the kernel of rows has stores past the cache."""
    kernels = [kernel for kernel in runner.compiled.program.kernels if "_row_item" in kernel.name]
    return any(isinstance(each, Store) and each.nontemporal
               for kernel in kernels for each in walk_statements(kernel.body))  # fmt: skip


@pytest.mark.parametrize("columns", [33, 40, 47, 100])
@pytest.mark.parametrize("text", [ROWS, WEIGHTED, SUMMED])
def test_rows_that_share_lines(text: str, columns: int, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    text = text.format(C=columns)
    simulated = Runner(text, None, "row-item")
    assert past_cache(simulated)
    one_axis = "M" not in text
    sizes = [(1,), (2,), (15,), (16,), (50,)] if one_axis else [(1, 1), (3, 17)]
    agree(simulated, text, (arrays_for(text, columns, *size) for size in sizes), rtol=1e-5)
    more = [(0,), (300,), (1027,)] if one_axis else [(0, 2), (20, 33)]
    agree(
        Runner(text, device, "row-item"), text, (arrays_for(text, columns, *size) for size in sizes + more), rtol=1e-5
    )


def test_every_element_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the last vector of all, which overlaps the one before."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    text, counts = ROWS.format(C=40), Counts()
    simulate(Runner(text, None, "row-item").compiled.program, arrays_for(text, 40, 21), counts=counts)
    assert 21 * 40 <= counts.stored["g"] <= 21 * 40 + 16


def test_not_where_something_lies_across_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "STREAM_BYTES", 0)
    assert not past_cache(Runner(TURNED.format(C=40), None, "row-item"))


PICKED = {
    "elements of lines": """func @f(%x: f32[N, 7, {C}], %i: i32[N, {C}], %w: f32[N]) -> (%y: f32[N, {C}]) {{
  %p = gather %x, %i {{axis = 1}}
  %r = broadcast %w {{dims = [0], shape = [N, {C}]}}
  %y = mul %p, %r
  return %y
}}""",
    "rows of a table": """func @f(%x: f32[7, {C}], %t: i32[N], %z: f32[N, {C}]) -> (%y: f32[N, {C}]) {{
  %b = broadcast %x {{dims = [1, 2], shape = [N, 7, {C}]}}
  %j = broadcast %t {{dims = [0], shape = [N, {C}]}}
  %p = gather %b, %j {{axis = 1}}
  %y = mul %p, %z
  return %y
}}""",
    "rows of a table beside a softmax": """func @f(%x: f32[7, {C}], %t: i32[N], %z: f32[N, {C}]) -> (%y: f32[N, {C}]) {{
  %b = broadcast %x {{dims = [1, 2], shape = [N, 7, {C}]}}
  %j = broadcast %t {{dims = [0], shape = [N, {C}]}}
  %p = gather %b, %j {{axis = 1}}
  %s = softmax %z {{axis = 1}}
  %y = mul %p, %s
  return %y
}}""",
    "a row": """func @f(%z: f32[N, {C}], %i: i32[{C}], %w: f32[N]) -> (%y: f32[N, {C}]) {{
  %p = gather %z, %i {{axis = 0}}
  %c = broadcast %p {{dims = [1], shape = [N, {C}]}}
  %r = broadcast %w {{dims = [0], shape = [N, {C}]}}
  %m = mul %c, %r
  %y = add %m, %z
  return %y
}}""",
}


@pytest.mark.parametrize("rows", [1, 5, 19])
@pytest.mark.parametrize("name", PICKED)
def test_what_is_picked_lies_within(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that two rows share has lanes of neither: nothing is picked there."""
    monkeypatch.setattr(vectors, "STREAM_BYTES", 4)
    text, random = PICKED[name].format(C=133), np.random.default_rng(rows)
    lines = (rows, 7, 133) if "[N, 7" in text.split("->")[0] else (7, 133)
    arrays = {
        "x": random.normal(size=lines).astype(np.float32),
        "z": random.normal(size=(rows, 133)).astype(np.float32),
        "w": random.normal(size=rows).astype(np.float32),
        "t": np.resize(np.array([0, 6, 0, 3], np.int32), rows),
        "i": np.zeros(133, np.int32) if name == "a row" else random.integers(0, 7, (rows, 133)).astype(np.int32),
    }
    given = {key: array for key, array in arrays.items() if f"%{key}: " in text}
    for strategy in ("row-item", "row-pipeline"):
        agree(Runner(text, None, strategy), text, [given], rtol=1e-5)


def test_a_gather_alone() -> None:
    text = """func @f(%x: f32[N, 7, 1000], %i: i32[N, 1000]) -> (%y: f32[N, 1000]) {
      %y = gather %x, %i {axis = 1}
      return %y
    }"""
    random = np.random.default_rng(0)
    x, i = random.normal(size=(3, 7, 1000)).astype(np.float32), random.integers(0, 7, (3, 1000)).astype(np.int32)
    agree(Runner(text, None), text, [{"x": x, "i": i}], rtol=0)
