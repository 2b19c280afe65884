"""The bench harness: what counts as right, how floors and means are computed, and that README shows the saved run."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import report, store
from bench.cases import CASES, LOSSES, REASONS, Case, case_of
from bench.data import Data, fewest_bytes
from bench.linear import LINEAR
from bench.losses import prepare
from bench.measure import errors, interleaved, peak_memory
from bench.rates import arithmetic_seconds, floor_seconds
from bench.summary import geometric_mean, losing_rows, low_rows, summary
from bench.systems import Absent, Setting, left_uncompiled
from lossc.ir.composites import COMPOSITES

BENCH = Path(__file__).parents[1] / "bench"
SETTING = Setting(None, 1)


def data_of(gradient: np.ndarray) -> Data:
    return Data(({"x": gradient},), 2.0, {"x": gradient}, {"x": 1e-35}, 0)


def softmax_like() -> np.ndarray:
    """Gradients of very different sizes, as a softmax has them."""
    return np.exp(np.random.default_rng(0).standard_normal((64, 256)) * 4).astype(np.float32)


def test_the_right_answer_has_no_fault() -> None:
    gradient = softmax_like()
    assert errors(data_of(gradient), (np.float32(2), {"x": gradient * np.float32(1 + 1e-7)})).fault is None


def test_a_kernel_that_skips_small_entries_is_incorrect() -> None:
    gradient = softmax_like()
    skipped = np.where(gradient < 1e-8 * gradient.max(), 0, gradient)
    found = errors(data_of(gradient), (np.float32(2), {"x": skipped}))
    assert found.gradient < 1e-6  # the norm alone does not show it
    assert found.fault is not None
    assert "single elements" in found.fault


@pytest.mark.parametrize(("loss", "gradient"), [(2.00001, 1.0), (np.nan, 1.0), (2.0, 1.00001), (2.0, np.nan)])
def test_a_loss_or_a_gradient_that_is_off_is_incorrect(loss: float, gradient: float) -> None:
    right = softmax_like()
    assert errors(data_of(right), (np.float32(loss), {"x": right * np.float32(gradient)})).fault is not None


def test_others_may_be_less_exact_but_not_wrong() -> None:
    right = softmax_like()
    assert errors(data_of(right), (np.float32(2.00001), {"x": right}), tolerance=100).fault is None
    assert errors(data_of(right), (np.float32(2.001), {"x": right}), tolerance=100).fault is not None


def test_wrong_failing_and_absent_systems_leave_the_others() -> None:
    gradient = softmax_like()

    def absent(*_: Any) -> Any:
        raise Absent

    def failing(*_: Any) -> Any:
        raise RuntimeError("no such kernel\nand more")

    def missing(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    systems = {
        "lossc": lambda *_: lambda number: (2.0, {"x": gradient}),
        "wrong": lambda *_: lambda number: (3.0, {"x": gradient}),
        "failing": failing, "absent": absent, "missing": missing,
    }  # fmt: skip
    calls, figures = prepare(CASES[0], data_of(gradient), systems, SETTING)
    assert list(calls) == ["lossc"]
    assert figures["lossc"]["error"] == 0
    assert figures["wrong"]["fault"].startswith("incorrect: loss 3.0")
    assert figures["failing"]["fault"] == "failed: RuntimeError: no such kernel"
    assert figures["missing"]["fault"] == "not installed: other"
    assert "absent" not in figures


def test_what_torch_compile_leaves_out_is_said() -> None:
    assert left_uncompiled({"stats": {"unique_graphs": 1}}) is None
    assert left_uncompiled({"stats": {"unique_graphs": 2}, "graph_break": {"a call\nof print": 1}}) == (
        "2 graphs compiled; breaks: a call"
    )
    assert left_uncompiled({}) == "0 graphs compiled; breaks: none"


def test_a_system_that_takes_too_long_takes_part_in_fewer_turns() -> None:
    turns: dict[str, list[int]] = {"quick": [], "slow": []}
    calls = {name: turns[name].append for name in turns}
    interleaved({"quick": calls["quick"]}, 3, 4, lambda: 0.0, limit=1e9, warmup=2, pause=0)
    assert turns["quick"] == [0, 1, 0, 1, 2, 0]
    interleaved({"slow": calls["slow"]}, 3, 9, lambda: 0.0, limit=0, warmup=1, fewest=3, pause=0)
    assert len(turns["slow"]) == 1 + 3


def test_after_a_pause_the_second_call_is_timed() -> None:
    taken: list[int] = []
    interleaved({"call": taken.append}, 3, 2, lambda: 0.0, warmup=0, pause=1e-4)
    assert taken == [0, 1]  # how long it takes is not known without a warm-up: not called twice
    taken.clear()
    found = interleaved({"call": taken.append}, 3, 2, lambda: float(len(taken)), limit=1e9, warmup=1, pause=1e-4)
    assert taken == [0, *(1, 0), *(2, 1)]
    assert found["call"].median == 1


def test_the_fewest_bytes_are_inputs_and_gradients_once() -> None:
    shape = (8, 32)
    x, t = np.zeros(shape, np.float32), np.zeros(8, np.int32)
    assert fewest_bytes(case_of("cross_entropy", shape), {"x": x, "t": t}) == 2 * x.nbytes + t.nbytes
    assert fewest_bytes(case_of("mse, by both", (256,)), {"x": x, "t": x}) == 4 * x.nbytes
    # Of log-probabilities nll reads a cache line a label.
    assert fewest_bytes(case_of("nll", shape), {"x": x, "t": t}) == 8 * 64 + x.nbytes + t.nbytes


def test_the_floor_is_the_longer_of_bytes_and_arithmetic() -> None:
    rates = {"exp": 10.0, "log": 5.0}
    assert arithmetic_seconds((4, 25), {"exp": 2, "log": 1}, rates) == pytest.approx(100 * (2 / 10 + 1 / 5))
    assert arithmetic_seconds((4, 25), {}, rates) == 0
    assert floor_seconds(3.0, 2.0) == 3
    assert floor_seconds(3.0, 4.0) == 4


def test_peak_memory_counts_what_a_call_needs_and_keeps() -> None:
    kept: list[np.ndarray] = []

    def call(_: int) -> tuple[Any, dict[str, np.ndarray]]:
        if not kept:
            # So large that no allocator takes them from memory that it has kept.
            kept.append(np.ones(1 << 25, np.float32))
        return 0, {"x": np.ones(1 << 24, np.float32)}

    call(0)
    calls = {"one": lambda number, keep=kept: call(number)}
    found = peak_memory(calls, "one")
    assert found is None or 56 << 20 < found < 96 << 20
    assert not calls or found is None


def row(name: str, floor: float, **times: float) -> dict[str, Any]:
    return {"name": name, "floor_ms": floor, "copy_ms": floor, "arithmetic_ms": 0, "rates": {"exp": 1e9},
            "systems": {system.replace("_", " "): {"ms": time} for system, time in times.items()}}  # fmt: skip


ROWS = [
    row("first", 0.9, lossc=1, lossc_fresh=2, torch_eager=4),
    row("second", 0.5, lossc=1, lossc_fresh=1, torch_eager=0.5),
    row("third", 0.6, lossc=1, lossc_fresh=1, torch_eager=8),
    {**row("fourth", 1, torch_eager=8), "systems": {"lossc fresh": {"fault": "incorrect"}, "torch eager": {"ms": 8}}},
]


def test_means_and_worst_rows_are_those_of_the_calls_that_users_make() -> None:
    assert geometric_mean([2, 0.5, 8]) == pytest.approx(2)
    assert next(summary(ROWS, {})) == (
        "torch eager takes 2.00 times as long as lossc, by the geometric mean over 3 rows; "
        "at least 0.50 times (second)."
    )
    assert list(losing_rows(ROWS)) == ["Rows lost: second (torch eager 0.50x)."]


def test_low_rows_stand_with_their_reasons_and_reasons_of_others_are_dropped() -> None:
    assert list(low_rows(ROWS, {"first": "not low", "second": "waits for a count."})) == [
        "Rows without a time of lossc: fourth.",
        "1 of 3 rows are at 0.85 of their floor or above, before rounding.",
        "- second, 0.50: waits for a count.",
        "- third, 0.60: no reason known.",
    ]


@pytest.mark.parametrize(("arithmetic", "reason"), [
    (0.5, "a copy (0.60 ms) and the arithmetic (0.50 ms) overlap only in part."), (0.3, "no reason known."),
])  # fmt: skip
def test_the_sum_of_bytes_and_arithmetic_is_a_reason(arithmetic: float, reason: str) -> None:
    found = list(low_rows([{**ROWS[2], "arithmetic_ms": arithmetic}], {}))
    assert found[-1] == f"- third, 0.60: {reason}"


def test_every_loss_is_measured_and_names_are_those_of_rows() -> None:
    measured = {loss.lossc for loss in LOSSES} | {LINEAR.lossc}
    assert {composite.name for composite in COMPOSITES.values() if composite.kind == "loss"} <= measured
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(REASONS) <= set(names)
    assert set(report.SHOWN) <= set(names)


def test_the_losses_written_for_jax_are_rows() -> None:
    tree = ast.parse((BENCH / "jax_losses.py").read_text())
    (table,) = (node.value for node in tree.body if isinstance(node, ast.AnnAssign))
    assert isinstance(table, ast.Dict)
    names = {key.value for key in table.keys if isinstance(key, ast.Constant)}
    assert len(names) > 30
    assert names <= {loss.name for loss in LOSSES}


def test_inputs_are_drawn_for_every_loss() -> None:
    random = np.random.default_rng(0)
    for loss in LOSSES:
        case = Case(loss, tuple(min(size, 32) for size in loss.shapes[0]))
        arrays = {name: draw(random, case.shape) for name, draw in loss.inputs.items()}
        assert set(loss.by) <= set(arrays)
        assert arrays["x"].shape == case.shape
        assert all(array.dtype in (np.float32, np.int32) for array in arrays.values()), case.name


def test_a_row_that_lossc_gets_wrong_stands_there() -> None:
    wrong = {"lossc fresh": {"fault": "incorrect: loss"}, "lossc": {"fault": "incorrect: loss"}, "jax.jit": {"ms": 2.0}}
    linear = {"name": "linear", "systems": {"lossc": {"fault": "incorrect: loss"}, "jax.jit": {"ms": 3.0}}}
    rows = [*ROWS, {**row(report.SHOWN[0], 1), "systems": wrong}]
    lines = "\n".join(report.block({"sections": {"losses": rows, "linear": [linear]}}))
    assert f"| {report.SHOWN[0]} | incorrect |  |  |  |  | 2.00 ms |" in lines
    assert "| linear, loss + both gradients | incorrect |  |  | 3 ms |" in lines


def test_an_abort_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    store.begin(path, ["losses", "startup"])
    store.add(path, "losses", ROWS[0])
    store.add(path, "startup", {"name": "import lossc", "systems": {"lossc": {"ms": 120.0}}})
    store.begin(path, ["losses"])  # measured anew; the other section stays
    found = json.loads(path.read_text())
    assert found["sections"]["losses"] == []
    assert found["sections"]["startup"][0]["name"] == "import lossc"
    assert "| import lossc | 120 |" in store.text(path)


def test_readme_page_and_picture_are_those_of_the_saved_run() -> None:
    found = store.read(report.RESULTS)
    readme = report.README.read_text(encoding="utf-8")
    assert readme == report.replaced(readme, found), "python -m bench.report"
    assert report.PAGE.read_text(encoding="utf-8") == report.page(report.RESULTS), "python -m bench.report"
    assert report.digest(report.RESULTS) in report.PICTURE.read_text(encoding="utf-8"), "python -m bench.report"
