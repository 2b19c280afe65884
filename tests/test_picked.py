"""Single elements that rows pick are fetched some rows ahead, where nothing else reads the row."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner, agree

from lossc.compiler.rows import picked
from lossc.compiler.rows.picked import AHEAD
from lossc.ir.diagnostics import CheckFailed
from lossc.ir.kernel import Expr, Let, Load, Var, walk_statements
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate
from lossc.runtime.simulated_memory import Counts

LABELS = """func @f(%x: f32[N, {C}], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, {C}]) {{
  %loss = {name} %x, %t
  %g = grad %loss, %x
  return %loss, %g
}}"""
BLOCKS = """func @f(%x: f32[N, M, {C}], %t: i32[N, M]) -> (%loss: f32[1], %g: f32[N, M, {C}]) {{
  %loss = nll_loss %x, %t {{axis = -1}}
  %g = grad %loss, %x
  return %loss, %g
}}"""


def arrays_for(columns: int, *rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(sum(rows))
    x = random.standard_normal((*rows, columns)).astype(np.float32)
    return {"x": x, "t": random.integers(0, columns, rows).astype(np.int32)}


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be fetched ahead is loaded, so that the simulator counts it and looks at its bounds."""
    monkeypatch.setattr(picked, "Prefetch", load)


def load(buffer: str, index: Expr, level: int) -> Let:
    return Let(Var("fetched", "f32"), Load(buffer, index, "f32"))


def counts_of(text: str, **arrays: np.ndarray) -> Counts:
    counts = Counts()
    simulate(Runner(text, None, "row-item").compiled.program, arrays, counts=counts)
    return counts


@pytest.mark.parametrize(("text", "rows"), [(LABELS, (90,)), (LABELS, (3,)), (BLOCKS, (5, 7))])
@pytest.mark.parametrize("columns", [64, 70])
def test_what_rows_pick_is_fetched(text: str, columns: int, rows: tuple[int, ...], loading: None) -> None:
    """Every row fetches one element, and each of them is one that some row picks."""
    counts = counts_of(text.format(C=columns, name="nll_loss"), **arrays_for(columns, *rows))
    assert counts.loaded["x"] == 2 * np.prod(rows)
    assert counts.bytes_read["x"] == 4 * np.prod(rows)


@pytest.mark.parametrize("name", ["cross_entropy_loss", "multi_margin_loss"])
def test_a_row_that_is_read_anyway_is_not(name: str, loading: None) -> None:
    program = Runner(LABELS.format(C=64, name=name), None, "row-item").compiled.program
    assert not any(isinstance(each, Let) and each.var.name == "fetched"
                   for kernel in program.kernels for each in walk_statements(kernel.body))  # fmt: skip


@pytest.mark.parametrize("columns", [64, 70])
def test_results_are_the_same(columns: int, device: Device) -> None:
    for text, sizes in ((LABELS, ((0,), (1,), (AHEAD,), (300,))), (BLOCKS, ((5, 7), (1, 1)))):
        text = text.format(C=columns, name="nll_loss")
        agree(Runner(text, device, "row-item"), text, (arrays_for(columns, *size) for size in sizes), rtol=1e-5)


def test_a_label_far_out_of_range_is_refused(device: Device) -> None:
    text = LABELS.format(C=64, name="nll_loss")
    arrays = arrays_for(64, 40)
    arrays["t"][33] = 2**31 - 1
    with pytest.raises(CheckFailed, match="row 33"):
        Runner(text, device, "row-item")(**arrays)


JOINED = """func @f(%x: f32[2, 7], %y: f32[1, 7], %t: i64[2]) -> (%loss: f32[2]) {
  %first = slice %x {axis = 0, start = 1, stop = 2}
  %joined = concat %first, %y {axis = 0}
  %loss = cross_entropy_loss %joined, %t {reduction = "none", label_smoothing = 0.1}
  return %loss
}"""


def test_what_lies_at_another_row_is_not_fetched(device: Device) -> None:
    arrays = arrays_for(7, 2)
    given = {"x": arrays["x"], "y": arrays["x"][:1], "t": arrays["t"].astype(np.int64)}
    for where in (None, device):
        agree(Runner(JOINED, where), JOINED, [given], rtol=1e-5)
