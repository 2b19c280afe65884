"""`--tune` and `lossc bench --strategies`: what is measured, said and remembered. No time is tested."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossc.tuning.search import MOST_CANDIDATES

Command = Callable[..., Any]

WHY = re.compile(r"strategy \S+: measurement: .* candidates?( so far)?$", re.MULTILINE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, built_programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "programs").symlink_to(built_programs)
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LOSSC_CACHE", raising=False)
    monkeypatch.delenv("LOSSC_TUNE", raising=False)
    return tmp_path / "cache" / "tuning"


def finished(command: Command, *words: str) -> Any:
    """What a command says and does once it knows all candidates. Where the machine is so busy that the search does not
    end in its two seconds, the next command goes on, by one candidate at least."""
    told = ""
    for _ in range(MOST_CANDIDATES + 1):
        done = command(*words, "--tune")
        assert done.status == 0, done.err
        told = command("explain", "f.lir", "--grad", "--tune", "--bind", "B=20000").out
        assert WHY.search(told), told
        if " so far" not in told:
            return command(*words, "--tune")
    raise AssertionError(f"the search does not end: {told}")


def test_the_next_process_knows_what_was_measured(process: Command) -> None:
    """The same figures: times would differ if they were measured again."""
    words = ("explain", "f.lir", "--grad", "--bind", "B=20000")
    first = finished(process, *words)
    assert process(*words, "--tune").out == first.out
    # 30000 rows are in the same class of sizes.
    assert WHY.findall(process(*words[:-1], "B=30000", "--tune").out) == WHY.findall(first.out)


def test_without_it_the_cost_model_decides(lossc: Command, cache: Path) -> None:
    done = lossc("explain", "f.lir", "--grad", "--device", "cpu-avx512")
    assert ": cost model\n" in done.out
    forced = lossc("explain", "f.lir", "--grad", "--device", "cpu-avx512", "--strategy", "row-item")
    assert "strategy row-item: asked for\n" in forced.out
    assert not cache.exists()


def test_a_tuned_run_gives_the_same(lossc: Command, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("run", "f.lir", "--random", "1", "--bind", "B=20000", "--grad", "-o")
    assert lossc(*words, "plain.npz").status == 0
    assert not cache.exists()
    assert finished(lossc, *words, "tuned.npz").status == 0
    assert cache.exists()
    monkeypatch.setenv("LOSSC_TUNE", "1")
    assert lossc(*words, "again.npz").status == 0
    with np.load("plain.npz") as plain, np.load("tuned.npz") as tuned, np.load("again.npz") as again:
        for name in plain.files:
            np.testing.assert_allclose(tuned[name], plain[name], rtol=1e-5, atol=1e-9)
            np.testing.assert_array_equal(again[name], tuned[name])


def test_a_tuned_program_is_written(lossc: Command, folder: Path) -> None:
    assert lossc("dump", "f.lir", "--grad", "-o", "out", "--tune", "--bind", "B=20000").status == 0
    assert "measurement: " in (folder / "out" / "index.txt").read_text()


def test_what_it_needs(lossc: Command) -> None:
    sizes = lossc("compile", "f.lir", "--tune")
    assert sizes.status == 1
    assert "--bind B=32" in sizes.err
    assert lossc("compile", "f.lir", "--bind", "B=32").status == 2
    preset = lossc("compile", "f.lir", "--tune", "--bind", "B=32", "--device", "gpu-generic")
    assert preset.status == 3
    assert "not a device that can run" in preset.err


def test_strategies_side_by_side(lossc: Command) -> None:
    words = ("bench", "f.lir", "--grad", "--bind", "B=20000", "--strategies")
    done = lossc(*words, "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)["strategies"]
    costs = [each["cost"] for each in found]
    assert costs == sorted(costs)
    (chosen,) = (each for each in found if each["chosen"])
    assert chosen["cost"] == costs[0]
    assert chosen["ratio"] == 1
    assert {"row-item", "row-lanes"} <= {each["strategy"] for each in found}
    for each in found:
        assert each["seconds"] is None or each["seconds"] == pytest.approx(each["ratio"] * chosen["seconds"])
    assert f"*  {chosen['strategy']}" in lossc(*words).out
